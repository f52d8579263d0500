"""What a hypothesis may say next, given what it said: bans, forced prefixes, penalties for repetition.

Each mechanism is a function of the tokens produced so far, `tokens` (hypotheses, length); `Constraints`
applies all of them to the logits of one step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from heedful.decoding.settings import SearchSettings
from heedful.errors import HeedfulError, RecipeError
from heedful.text.special import END, PAD, START, UNKNOWN

NOT_FORCED = -1
NOT_FINITE = (
    "the model gives logits that are not finite: its weights are damaged or its training diverged; "
    "load an earlier checkpoint"
)


def log_probabilities(logits: Tensor) -> Tensor:
    """Give the log-softmax over the last dimension in float32, or in float64 where the logits have it."""
    return logits.log_softmax(-1, dtype=torch.float64 if logits.dtype == torch.float64 else torch.float32)


def penalise_repetition(logits: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Make the tokens that occurred less probable (Keskar et al. 2019, "CTRL", section 4.1).

    The paper divides the logit of such a token by the penalty. That would raise a negative one, so a negative
    one is multiplied, as is usual since. Logits (hypotheses, vocabulary) in and out.
    """
    seen = logits.gather(1, tokens)
    return logits.scatter(1, tokens, torch.where(seen > 0, seen / penalty, seen * penalty))


def repeated_ngrams(tokens: Tensor, size: int, vocabulary: int) -> Tensor:
    """Give the mask (hypotheses, vocabulary) of tokens that would complete an n-gram for the second time.

    With size 2 and the tokens 4 5 6 4, the mask is True at 5, because "4 5" occurred.
    """
    hypotheses, length = tokens.shape
    banned = torch.zeros(hypotheses, vocabulary, dtype=torch.bool, device=tokens.device)
    if length < size:
        return banned
    # (hypotheses, windows, size): every n-gram that occurred
    ngrams = tokens.unfold(1, size, 1)
    beginning = tokens[:, length - size + 1 :].unsqueeze(1)
    repeats = (ngrams[..., :-1] == beginning).all(-1)
    hypothesis, window = repeats.nonzero(as_tuple=True)
    banned[hypothesis, ngrams[hypothesis, window, -1]] = True
    return banned


def completes(tokens: Tensor, sequence: Sequence[int]) -> Tensor:
    """Give the mask (hypotheses,) of those that the last token of `sequence` would complete."""
    beginning = torch.tensor(sequence[:-1], dtype=tokens.dtype, device=tokens.device)
    if tokens.shape[1] < len(beginning):
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    return (tokens[:, tokens.shape[1] - len(beginning) :] == beginning).all(-1)


class Constraints:
    """All constraints of one search.

    A forced prefix is stronger than a ban. A hypothesis that the bans leave nothing to say may end, even
    before the minimum length.
    """

    def __init__(
        self, settings: SearchSettings, prefixes: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        """Take one prefix, possibly empty, for each sentence."""
        self.settings, self.device = settings, device
        never = {PAD, START, *settings.banned_tokens} | ({UNKNOWN} if settings.ban_unknown else set[int]())
        self._bans = tuple(sorted(never))
        self._never = torch.tensor(self._bans, device=device)
        # Ids are checked once the vocabulary is known, because indexing alone would fail without a reason.
        named = (
            *never,
            *(i for s in settings.banned_sequences for i in s),
            *(i for p in prefixes for i in p),
        )
        self._largest = max(named)
        longest = max((len(prefix) for prefix in prefixes), default=0)
        self._prefix = torch.tensor(
            [[*prefix, *[NOT_FORCED] * (longest - len(prefix))] for prefix in prefixes],
            dtype=torch.long,
            device=device,
        ).view(len(prefixes), longest)
        self._end_can_be_banned = any(sequence[-1] == END for sequence in settings.banned_sequences)

    def bans(self, length: int) -> tuple[int, ...] | None:
        """Give the only ids that may not follow `length` tokens, or None where more than such bans is asked for."""
        settings = self.settings
        if (
            settings.repetition_penalty != 1
            or settings.banned_sequences
            or settings.no_repeat_ngram
            or length < self._prefix.shape[1]
        ):
            return None
        return (*self._bans, END) if length + 1 < settings.minimum_length else self._bans

    def leave_only_end(self, among: Sequence[Tensor] | None, vocabulary: int) -> bool:
        """Whether the bans leave a sentence nothing but END, of its own tokens or, without such, of the vocabulary."""
        never = {*self._bans, END}
        if among is None:
            return vocabulary <= len(never)
        return any(len(tokens) <= len(never) and never.issuperset(tokens.tolist()) for tokens in among)

    def check_vocabulary(self, vocabulary: int) -> None:
        """Raise RecipeError where a banned or forced id is outside a vocabulary of this size."""
        if self._largest >= vocabulary:
            raise RecipeError(
                f"token id {self._largest}, banned or forced, is outside the model's vocabulary "
                f"of {vocabulary}: give ids of the model's own tokenizer"
            )

    def __call__(self, logits: Tensor, tokens: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        """Judge what may follow each hypothesis.

        Args:
            logits: (hypotheses, vocabulary), what the model gives.
            tokens: (hypotheses, length), what was produced, without START.
            sentences: (hypotheses,), the sentence to which each hypothesis belongs.

        Returns:
            The log-probabilities (hypotheses, vocabulary) of the model itself, and those to search with:
            after the repetition penalty, and -inf where a token is not allowed.

        Raises:
            RecipeError: a banned or forced id is outside the vocabulary.
            HeedfulError: the logits are not finite.
        """
        settings, length, vocabulary = self.settings, tokens.shape[1], logits.shape[1]
        self.check_vocabulary(vocabulary)
        own = log_probabilities(logits)
        # One NaN or +inf among the logits of a hypothesis makes its whole row NaN, so one column tells.
        if bool(own[:, END].isnan().any()):
            raise HeedfulError(NOT_FINITE)
        judged = own
        if settings.repetition_penalty != 1:
            judged = log_probabilities(penalise_repetition(logits, tokens, settings.repetition_penalty))
        allowed = judged.index_fill(1, self._never, -torch.inf)
        for sequence in settings.banned_sequences:
            allowed[completes(tokens, sequence), sequence[-1]] = -torch.inf
        if settings.no_repeat_ngram:
            allowed.masked_fill_(repeated_ngrams(tokens, settings.no_repeat_ngram, vocabulary), -torch.inf)
        too_short = length + 1 < settings.minimum_length
        if too_short:
            allowed[:, END] = -torch.inf
        if too_short or self._end_can_be_banned:
            stuck = allowed.amax(-1) == -torch.inf
            allowed[stuck, END] = judged[stuck, END]
        if length < self._prefix.shape[1]:
            forced = self._prefix[sentences, length]
            hypothesis = (forced != NOT_FORCED).nonzero().squeeze(1)
            token = forced[hypothesis]
            allowed[hypothesis] = -torch.inf
            allowed[hypothesis, token] = judged[hypothesis, token]
        return own, allowed
