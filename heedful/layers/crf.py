"""A linear-chain conditional random field: the likeliest tags of a whole sentence, not of each token by itself.

    score(y) = begin[y_1] + sum_t emission[t, y_t] + sum_t transition[y_t, y_t+1] + finish[y_n]
    p(y) = exp(score(y)) / sum over all allowed y' of exp(score(y'))

Lafferty et al. 2001; over a network's scores of each token as in Lample et al. 2016, section 2. What may not follow
what is no part of the sum, and never the answer. With nothing learnt (all of begin, transition, finish zero) `viterbi`
gives the likeliest allowed tags of tokens that were scored each by itself.
"""

import torch
from torch import Tensor, nn

_NEVER = (
    -1e4
)  # a score that no other makes up for, and that is no infinity, whose differences are not numbers


class ConditionalRandomField(nn.Module):
    """The scores between tags.

    allowed: (labels, labels), whether the second may stand after the first; first: (labels,), whether it may begin
    """

    def __init__(self, allowed: Tensor, first: Tensor, learned: bool = True) -> None:
        super().__init__()
        labels = len(first)
        self.register_buffer("forbidden", torch.where(allowed, 0.0, _NEVER), persistent=False)
        self.register_buffer("not_first", torch.where(first, 0.0, _NEVER), persistent=False)
        self.transition = self.begin = self.finish = None
        if learned:
            self.transition = nn.Parameter(torch.zeros(labels, labels))
            self.begin, self.finish = nn.Parameter(torch.zeros(labels)), nn.Parameter(torch.zeros(labels))

    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give transition (labels, labels), begin (labels,) and finish (labels,), with what is not allowed."""
        forbidden, not_first = self.get_buffer("forbidden"), self.get_buffer("not_first")
        if self.transition is None or self.begin is None or self.finish is None:
            return forbidden, not_first, torch.zeros_like(not_first)
        return self.transition + forbidden, self.begin + not_first, self.finish

    def likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Give the log-likelihood of tags in nats, (batch,).

        emissions (batch, length, labels); tags (batch, length); mask (batch, length), true for tokens, which stand on
        the left; at least one in each row.
        """
        transition, begin, finish = self.scores()
        emissions = emissions.to(transition.dtype)
        tags = tags.masked_fill(~mask, 0)
        last = tags.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
        own = emissions.gather(2, tags.unsqueeze(2)).squeeze(2).masked_fill(~mask, 0.0).sum(1)
        between = transition[tags[:, :-1], tags[:, 1:]].masked_fill(~mask[:, 1:], 0.0).sum(1)
        score = begin[tags[:, 0]] + own + between + finish[last]

        reached = begin + emissions[:, 0]
        for place in range(1, emissions.shape[1]):
            # (batch, before, after) -> (batch, after)
            ahead = (reached.unsqueeze(2) + transition).logsumexp(1) + emissions[:, place]
            reached = torch.where(mask[:, place, None], ahead, reached)
        return score - (reached + finish).logsumexp(1)

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, mask: Tensor) -> list[list[int]]:
        """Give the likeliest tags of each row, as many as it has tokens. As in `likelihood`; rows may have none."""
        transition, begin, finish = self.scores()
        emissions = emissions.to(transition.dtype)
        lengths = mask.sum(1).tolist()
        if not emissions.shape[1]:
            return [[] for _ in lengths]
        reached, came_from = begin + emissions[:, 0], []
        for place in range(1, emissions.shape[1]):
            ahead, best = (reached.unsqueeze(2) + transition).max(1)
            came_from.append(best)
            reached = torch.where(mask[:, place, None], ahead + emissions[:, place], reached)
        found: list[list[int]] = []
        last = (reached + finish).argmax(1).tolist()
        backwards = [best.tolist() for best in came_from]
        for row, length in enumerate(lengths):
            path = [last[row]] if length else []
            for place in range(length - 2, -1, -1):
                path.append(backwards[place][row][path[-1]])
            found.append(path[::-1])
        return found
