"""Windows over a stream of tokens: what a language model is trained and scored on.

    stream      START a b c END START d e END ...
    tokens      START a b c END START d e                     a window: each token is to be followed by the next
    reference     a   b c END PAD  d  e END                   START is never predicted: PAD counts nothing
    documents     0   0 0 0  0   1  1 1                       of the window, for the mask that keeps them apart

In training each epoch cuts the stream anew, at a random offset, into windows that do not overlap, and shuffles them:
every token is read once, in ever new surroundings. The order is a function of the seed and the epoch.

In evaluation windows overlap, `stride` tokens apart, and of each only the last `stride` predictions count, but of the
first window all: so every token is predicted once, and with at least window - stride tokens before it. With a stride as
long as the window, which is what most code does, a token sees half a window on average; a short stride is what a user
gets that always gives all there is to see, and costs window / stride times as much.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.data.rows import RowBatch
from heedful.data.token_stream import TokenStream
from heedful.text.special import PAD, START


@dataclass(frozen=True)
class WindowBatch(RowBatch):
    """Windows of equal length.

    inputs: tokens (windows, length)
    reference: what follows each, (windows, length), PAD where nothing is to be predicted
    documents: which document of its window each token is of, (windows, length); None where no window has two, or where
        documents are not to be kept apart
    starts: where in the stream the windows begin, (windows), for messages
    tokens: how many predictions the whole batch has that this is a part of
    epoch: how often all text had been seen before
    """

    inputs: Tensor
    reference: Tensor
    documents: Tensor | None
    starts: Tensor
    tokens: int
    epoch: int

    def first(self, count: int) -> str:
        """Name its first windows."""
        length = self.inputs.shape[1]
        return ", ".join(f"tokens {start:,} to {start + length:,}" for start in self.starts[:count].tolist())


def windows(
    stream: TokenStream,
    starts: Sequence[int] | np.ndarray,
    length: int,
    apart: bool = True,
    epoch: int = 0,
    scored: Sequence[int] | None = None,
) -> WindowBatch:
    """Give windows of a stream.

    starts: where each begins; one that reaches beyond the stream is filled up with PAD
    apart: whether documents are told apart
    scored: the place in each window from which on predictions count; all when left out
    """
    rows = np.full((len(starts), length + 1), PAD, dtype=np.int64)
    for row, start in zip(rows, starts, strict=True):
        found = stream.tokens[start : start + length + 1]
        row[: len(found)] = found
    inputs, reference = rows[:, :-1], rows[:, 1:].copy()
    reference[reference == START] = PAD
    if scored is not None:
        reference[np.arange(length) < np.asarray(scored)[:, None]] = PAD
    begins = inputs == START
    documents = None
    if apart and begins[:, 1:].any():
        documents = torch.from_numpy(begins.cumsum(1) - begins[:, :1])
    return WindowBatch(
        torch.from_numpy(inputs.copy()),
        torch.from_numpy(reference),
        documents,
        torch.tensor(starts),
        int((reference != PAD).sum()),
        epoch,
    )


class TrainingWindows:
    """The stream again and again, each epoch cut and shuffled anew.

    length: tokens of a window; size: windows of a batch; the last of an epoch may be smaller
    """

    def __init__(self, stream: TokenStream, length: int, size: int, seed: int, apart: bool = True) -> None:
        self.stream, self.length, self.size, self.seed, self.apart = stream, length, size, seed, apart
        self.epoch, self.at = 0, 0
        self._starts = self._cut()

    def __next__(self) -> WindowBatch:
        if self.at >= len(self._starts):
            self.epoch, self.at = self.epoch + 1, 0
            self._starts = self._cut()
        starts = self._starts[self.at : self.at + self.size]
        self.at += len(starts)
        return windows(self.stream, starts, self.length, self.apart, self.epoch)

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"epoch": self.epoch, "at": self.at}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self.at = state["epoch"], state["at"]
        self._starts = self._cut()

    def _cut(self) -> np.ndarray:
        """Where the windows of this epoch begin, shuffled. The bits of text at both ends are left out."""
        random = np.random.default_rng((self.seed, self.epoch))
        last = len(self.stream) - 1 - self.length  # a window needs the token after it
        if last <= 0:
            return np.zeros(1, dtype=np.int64)
        offset = int(random.integers(min(self.length, last + 1)))
        return random.permutation(np.arange(offset, last + 1, self.length))


def evaluation_windows(
    stream: TokenStream, length: int, stride: int, size: int, apart: bool = True
) -> Iterator[WindowBatch]:
    """Give the whole stream once, `size` windows at a time, so that each token is predicted once.

    stride: how far apart windows begin, at most `length`
    """
    predictions = len(stream) - 1
    length = min(length, predictions)
    # Each window ends `stride` further on; the last one at the end of the stream.
    ends = (
        [length, *range(length + stride, predictions, stride), predictions]
        if predictions > length
        else [length]
    )
    before = [0, *ends[:-1]]
    places = [(end - length, scored - (end - length)) for end, scored in zip(ends, before, strict=True)]
    for first in range(0, len(places), size):
        starts, scored = zip(*places[first : first + size], strict=True)
        yield windows(stream, starts, length, apart, scored=scored)
