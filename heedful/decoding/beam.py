"""Beam search.

At each step every live hypothesis of a sentence is continued by every token, and the 2 * beam most probable
continuations are looked at. Those that end, if among the first `beam` (or at the length limit), are finished
and leave; the first `beam` that do not end live on, so that finished hypotheses take no room from live ones
(as in fairseq; at most `beam` of the 2 * beam can end, one for each parent). Live hypotheses are compared by
log-probability, finished ones by score (penalties.py). Equal values: the better parent first, then the lower
token id.

The stopping rule, "bound". Let L <= 0 be the log-probability of the best live hypothesis of a sentence, and M
the longest length allowed. However a live hypothesis goes on, each token adds a logarithm of a probability,
so its log-probability stays <= L; its length penalty stays <= lp(M), because lp never falls; and cp <= 0.
Hence

    its score  <=  L / lp(M).

The search of a sentence ends when n_best hypotheses are finished and L / lp(M) is not above the worst of the
n_best best of them: nothing that going on would have found can enter the answer. The rule is exact about the
beam, not about the model: what fell out of the beam is lost, as in any beam search.

The other rule, "count", ends when `beam` hypotheses have finished (as in fairseq): sooner, without that
promise.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from heedful.decoding.constraints import Constraints
from heedful.decoding.hypothesis import Hypothesis, hypotheses
from heedful.decoding.penalties import coverage_penalty, length_penalty
from heedful.decoding.ranking import largest
from heedful.decoding.settings import SearchSettings
from heedful.models.face import SequenceToSequence, State
from heedful.text.special import END, PAD, START


def beam_search(
    model: SequenceToSequence,
    source: Tensor,
    settings: SearchSettings,
    constraints: Constraints,
    limits: Tensor,
    attention: Callable[[], Tensor] | None,
) -> list[list[Hypothesis]]:
    """Give the hypotheses found for each row of `source` (batch, source_length), in no particular order.

    `limits` (batch,) are the longest lengths. At its limit a sentence keeps its live hypotheses as unfinished
    ones. In the code, `length` is |Y| of the hypotheses that a step makes, END included.
    """
    beam, kind, alpha = settings.beam, settings.length_penalty, settings.alpha
    found: list[list[Hypothesis]] = [[] for _ in source]
    state: State = model.start(model.encode(source))
    # For each sentence still searched: the scores of its best finished hypotheses, how many finished, and the
    # log-probabilities of its live ones, where -inf stands for none.
    sentences = torch.arange(len(source), device=source.device)
    best = torch.full((len(source), settings.n_best), -torch.inf, device=source.device)
    ended_so_far = torch.zeros_like(sentences)
    total = torch.zeros(len(source), 1, device=source.device)
    # For each live hypothesis, those of a sentence beside each other: what it said, and how probable that was.
    tokens = torch.full((len(source), 1), START, device=source.device)
    terms = torch.zeros(len(source), 0, device=source.device)
    coverage = torch.zeros(source.shape, device=source.device)

    while True:
        width, length = total.shape[1], tokens.shape[1]
        logits, state = model.step(tokens[:, -1], state)
        own, allowed = constraints(logits, tokens[:, 1:], sentences.repeat_interleave(width))

        # (sentences * width, vocabulary) -> (sentences, width * vocabulary)
        vocabulary = logits.shape[1]
        candidates = allowed.add_(total.reshape(-1, 1)).view(len(sentences), width * vocabulary)
        value, index = largest(candidates, min(2 * beam, width * vocabulary))
        parent = index // vocabulary + width * torch.arange(len(sentences), device=source.device).unsqueeze(1)
        token = index % vocabulary
        score = value / length_penalty(value.new_tensor(length), kind, alpha)
        if attention is not None:
            coverage = coverage + attention()
            mask = (source != PAD)[sentences].repeat_interleave(width, dim=0)
            score = score + coverage_penalty(coverage, mask, settings.coverage_penalty)[parent]

        limit = limits[sentences]
        at_limit = limit == length
        ends = token == END
        possible = value > -torch.inf
        # A low rank does not matter at the limit, where ending is better than being cut.
        ended = ends & possible
        ended[:, beam:] &= at_limit.unsqueeze(1)
        ended_so_far = ended_so_far + ended.sum(1)
        winners = ended & (score > best[:, -1:])
        best, _ = largest(torch.cat([best, score.masked_fill(~ended, -torch.inf)], 1), settings.n_best)
        lacking = at_limit & (best[:, -1] == -torch.inf)
        cut = ~ends & possible & lacking.unsqueeze(1)
        place, rank = (winners | cut).nonzero(as_tuple=True)
        if len(place):
            kept = _extend(tokens, terms, own, parent[place, rank], token[place, rank])
            new = hypotheses(*kept, score[place, rank], ends[place, rank].tolist())
            for sentence, hypothesis in zip(sentences[place].tolist(), new, strict=True):
                found[sentence].append(hypothesis)

        # The first `beam` candidates that do not end, in their order.
        order = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :beam]
        live = value.masked_fill(ends, -torch.inf).gather(1, order)
        bound = live[:, 0] / length_penalty(limit.to(live.dtype), kind, alpha)
        done = at_limit | (bound <= best[:, -1])
        if settings.stopping == "count":
            done = done | (ended_so_far >= beam)

        going = (~done).nonzero().squeeze(1)
        if not len(going):
            return found
        # As wide as the sentence with the most live hypotheses: one at first, and while a prefix is forced.
        live = live[going]
        wide = int((live > -torch.inf).sum(1).max())
        order = order[going, :wide]
        rows = parent[going].gather(1, order).flatten()
        tokens, terms = _extend(tokens, terms, own, rows, token[going].gather(1, order).flatten())
        total = live[:, :wide]
        sentences, best, ended_so_far = sentences[going], best[going], ended_so_far[going]
        if not torch.equal(rows, torch.arange(len(logits), device=rows.device)):
            state, coverage = state.select(rows), coverage[rows]


def _extend(tokens: Tensor, terms: Tensor, own: Tensor, rows: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
    """Give the tokens and log-probabilities of the hypotheses `rows`, each continued by a token of `said`."""
    return (
        torch.cat([tokens[rows], said.unsqueeze(1)], 1),
        torch.cat([terms[rows], own[rows, said].unsqueeze(1)], 1),
    )
