"""Sampling on from a prompt, token by token, with the keys and values of what was read kept.

    p(x_t) ~ softmax(logits / temperature), cut by top-k and top-p            (heedful.decoding.sampling)

A text may become longer than the window that the model was trained to read. Where positions are relative (rotary,
ALiBi, relative, none) the oldest token is then forgotten with each new one. Where they are absolute there is no place
beyond the last: the model forgets all but the latter half of the window, reads that again from the first place on, and
has room for another half. Either way the cost of a token does not grow with the text.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from heedful.decoding.constraints import NOT_FINITE, Constraints
from heedful.decoding.sampling import draw, truncate, uniforms
from heedful.decoding.settings import SearchSettings
from heedful.errors import HeedfulError
from heedful.inference import LeanText
from heedful.inference.lean_text import LeanTextState
from heedful.models.decoder_only import DecoderOnlyTransformer, TextState
from heedful.text.special import END

_RELATIVE = ("rotary", "alibi", "relative", "none")
CHOICES = frozenset(
    (
        *("temperature", "top_k", "top_p", "seed", "minimum_length"),
        *("ban_unknown", "banned_tokens", "banned_sequences", "no_repeat_ngram", "repetition_penalty"),
    )
)
"""The fields of the settings of a search that sampling reads."""


@dataclass(frozen=True)
class Continuation:
    """What was drawn after a prompt.

    tokens: without the end
    log_probabilities: of each token by the model's own distribution, and of the end, if it came
    ended, stopped: whether the text ended, or came to a token that it should stop at
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    ended: bool
    stopped: bool


@torch.inference_mode()
def continuations(
    model: DecoderOnlyTransformer | LeanText,
    prompt: Sequence[int],
    settings: SearchSettings,
    longest: int,
    window: int,
    numbers: Sequence[int] = (0,),
    stops: Collection[int] = (),
) -> list[Continuation]:
    """Give samples of what may follow a prompt.

    model: a language model, or its lean layout
    prompt: tokens, at least one; only the last `window` of them are read
    longest: tokens of a sample at most
    window: the longest context, in tokens
    numbers: of each sample; with the seed it decides what is drawn
    stops: tokens that end a sample, itself included
    """
    device = torch.device("cpu") if isinstance(model, LeanText) else model.output.weight.device
    samples = len(numbers)
    constraints = Constraints(settings, [()], device)
    uniform = uniforms(settings.seed, numbers, 1, longest).to(device)
    reader = _Reader(model, window, torch.tensor([prompt], device=device).expand(samples, -1))
    reader.begin()
    rows = torch.arange(samples, device=device)
    said = torch.empty(samples, longest, dtype=torch.long, device=device)
    terms = torch.empty(samples, longest, device=device)
    ending = torch.tensor([END, *stops], device=device)
    found: dict[int, Continuation] = {}
    for step in range(longest):
        own, probabilities, tokens = _choices(reader, constraints, said[:, :step])
        place = draw(probabilities, uniform[rows, step]).unsqueeze(1)
        new = tokens.gather(1, place)
        said[:, step : step + 1], terms[:, step : step + 1] = new, own.gather(1, place)
        leaving = torch.isin(new.squeeze(1), ending)
        if step + 1 == longest:
            leaving = torch.ones_like(leaving)
        if leaving.any():
            for row in leaving.nonzero().squeeze(1).tolist():
                whole = said[row, : step + 1].tolist(), terms[row, : step + 1].tolist()
                found[int(rows[row])] = _continuation(*whole, stops)
            going = (~leaving).nonzero().squeeze(1)
            if not len(going):
                break
            rows, said, terms, new = rows[going], said[going], terms[going], new[going]
            reader.keep(going)
        reader.read(new)
    return [found[sample] for sample in range(samples)]


def _choices(reader: "_Reader", constraints: Constraints, said: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each text may go on with, (texts, choices) each.

    The model's own log-probabilities, the probabilities to draw by, and the tokens.
    """
    settings = constraints.settings
    few = reader.best(settings.top_k, constraints, said.shape[1]) if settings.top_k else None
    if few is not None:
        own, ids = few
        probabilities, places = truncate(own, settings.temperature, 0, settings.top_p)
        return own.gather(1, places), probabilities, ids.gather(1, places)
    sentences = torch.zeros(len(said), dtype=torch.long, device=said.device)
    own, allowed = constraints(reader.logits(), said, sentences)
    probabilities, ids = truncate(allowed, settings.temperature, settings.top_k, settings.top_p)
    return own.gather(1, ids), probabilities, ids


class _Reader:
    """Reads texts, all of one length, and forgets what is further back than the window."""

    def __init__(self, model: DecoderOnlyTransformer | LeanText, window: int, prompt: Tensor) -> None:
        self.model, self.window, self.text = model, window, prompt[:, -window:]
        self.relative = model.settings.positions in _RELATIVE
        self.state: TextState | LeanTextState
        self._logits: Tensor

    def begin(self) -> None:
        """Read the prompt once, however many samples there are."""
        self._read(self.text[:1], None)
        if len(self.text) > 1:
            rows = torch.zeros(len(self.text), dtype=torch.long, device=self.text.device)
            self.state = self.state.select(rows)
            if not isinstance(self.model, LeanText):
                self._logits = self._logits[rows]

    def read(self, new: Tensor) -> None:
        """Read a token more of each text, (texts, 1)."""
        if self.relative:
            self._read(new, self.state.last(self.window - 1))
            return
        self.text = torch.cat((self.text, new), 1)
        if self.state.length < self.window:
            self._read(new, self.state)
        else:
            self.text = self.text[:, -max(1, self.window // 2) :]
            self._read(self.text, None)

    def logits(self) -> Tensor:
        """Of what follows, (texts, vocabulary)."""
        if isinstance(self.model, LeanText):
            return self.model.logits(cast(LeanTextState, self.state))
        return self._logits

    def best(self, count: int, constraints: Constraints, length: int) -> tuple[Tensor, Tensor] | None:
        """The likeliest tokens after `length` of them, log-probabilities and ids (texts, count), of lean models.

        None where the constraints need all logits.
        """
        bans = constraints.bans(length)
        if bans is None or not isinstance(self.model, LeanText):
            return None
        constraints.check_vocabulary(self.model.vocabulary)
        count = min(count, self.model.vocabulary)
        values, tokens = self.model.best(cast(LeanTextState, self.state), count, bans)
        if bool(values[:, 0].isnan().any()):
            raise HeedfulError(NOT_FINITE)
        return values, tokens

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the texts only."""
        self.state, self.text = self.state.select(rows), self.text[rows]

    def _read(self, tokens: Tensor, past: TextState | LeanTextState | None) -> None:
        if isinstance(self.model, LeanText):
            self.state = self.model.read_text(tokens, cast("LeanTextState | None", past))
        else:
            self._logits, self.state = self.model.read_text(tokens, cast("TextState | None", past))


def _continuation(said: list[int], terms: list[float], stops: Collection[int]) -> Continuation:
    ended = said[-1] == END
    return Continuation(tuple(said[:-1] if ended else said), tuple(terms), ended, said[-1] in stops)
