"""Sampling on from a prompt, token by token, with the keys and values of what was read kept.

    p(x_t) ~ softmax(logits / temperature), cut by top-k and top-p            (heedful.decoding.sampling)

A text may become longer than the window that the model was trained to read. Where positions are relative (rotary,
ALiBi, relative, none) the oldest token is then forgotten with each new one. Where they are absolute there is no place
beyond the last: the model forgets all but the latter half of the window, reads that again from the first place on, and
has room for another half. Either way the cost of a token does not grow with the text.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from heedful.decoding.constraints import Constraints
from heedful.decoding.sampling import draw, truncate, uniforms
from heedful.decoding.settings import SearchSettings
from heedful.models.decoder_only import DecoderOnlyTransformer, TextState
from heedful.text.special import END

_RELATIVE = ("rotary", "alibi", "relative", "none")


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
    model: DecoderOnlyTransformer,
    prompt: Sequence[int],
    settings: SearchSettings,
    longest: int,
    window: int,
    numbers: Sequence[int] = (0,),
    stops: Collection[int] = (),
) -> list[Continuation]:
    """Give samples of what may follow a prompt.

    prompt: tokens, at least one; only the last `window` of them are read
    longest: tokens of a sample at most
    window: the longest context, in tokens
    numbers: of each sample; with the seed it decides what is drawn
    stops: tokens that end a sample, itself included
    """
    device, samples = model.output.weight.device, len(numbers)
    constraints = Constraints(settings, [()], device)
    uniform = uniforms(settings.seed, numbers, 1, longest).to(device)
    reader = _Reader(model, window, torch.tensor([prompt], device=device).expand(samples, -1))
    logits = reader.begin()
    rows = torch.arange(samples, device=device)
    said = torch.empty(samples, 0, dtype=torch.long, device=device)
    terms = torch.empty(samples, 0, device=device)
    ending = torch.tensor([END, *stops], device=device)
    found: dict[int, Continuation] = {}
    for step in range(longest):
        own, allowed = constraints(logits, said, torch.zeros_like(rows))
        probabilities, ids = truncate(allowed, settings.temperature, settings.top_k, settings.top_p)
        new = ids.gather(1, draw(probabilities, uniform[rows, step]).unsqueeze(1))
        said, terms = torch.cat((said, new), 1), torch.cat((terms, own.gather(1, new)), 1)
        leaving = torch.isin(new.squeeze(1), ending)
        if step + 1 == longest:
            leaving = torch.ones_like(leaving)
        if leaving.any():
            for place in leaving.nonzero().squeeze(1).tolist():
                found[int(rows[place])] = _continuation(said[place].tolist(), terms[place].tolist(), stops)
            going = (~leaving).nonzero().squeeze(1)
            if not len(going):
                break
            rows, said, terms, new = rows[going], said[going], terms[going], new[going]
            reader.keep(going)
        logits = reader.read(new)
    return [found[sample] for sample in range(samples)]


class _Reader:
    """Reads texts, all of one length, and forgets what is further back than the window."""

    def __init__(self, model: DecoderOnlyTransformer, window: int, prompt: torch.Tensor) -> None:
        self.model, self.window, self.text = model, window, prompt[:, -window:]
        self.relative = model.settings.positions in _RELATIVE
        self.state: TextState

    def begin(self) -> torch.Tensor:
        """Read the prompt once, however many samples there are: logits (samples, vocabulary)."""
        logits, state = self.model.read_text(self.text[:1])
        rows = torch.zeros(len(self.text), dtype=torch.long, device=self.text.device)
        self.state = state.select(rows) if len(rows) > 1 else state
        return logits[rows]

    def read(self, new: torch.Tensor) -> torch.Tensor:
        """Read a token more of each text, (texts, 1): logits (texts, vocabulary)."""
        if self.relative:
            logits, self.state = self.model.read_text(new, self.state.last(self.window - 1))
            return logits
        self.text = torch.cat((self.text, new), 1)
        if self.state.length < self.window:
            logits, self.state = self.model.read_text(new, self.state)
        else:
            self.text = self.text[:, -max(1, self.window // 2) :]
            logits, self.state = self.model.read_text(self.text)
        return logits

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some of the texts only."""
        self.state, self.text = self.state.select(rows), self.text[rows]


def _continuation(said: list[int], terms: list[float], stops: Collection[int]) -> Continuation:
    ended = said[-1] == END
    return Continuation(tuple(said[:-1] if ended else said), tuple(terms), ended, said[-1] in stops)
