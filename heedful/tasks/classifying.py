"""Batches of texts with what is to be said of them: the number of a label, or a number."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from heedful.data.rows import RowBatch, like_lengths
from heedful.tasks.shuffled import ShuffledBatches
from heedful.tasks.windows import Texts


@dataclass(frozen=True)
class TextBatch(RowBatch):
    """Texts with their answers.

    words, segments: tokens of their windows, (windows, length); texts: which text each is of, (windows,)
    answers: labels by their numbers, or numbers, (texts,)
    places: where the texts stand, for messages
    tokens: how many texts the whole batch has that this is a part of
    epoch: how often all texts had been seen before
    """

    words: Tensor
    segments: Tensor | None
    texts: Tensor
    answers: Tensor
    places: list[str]
    tokens: int
    epoch: int

    def __len__(self) -> int:
        return len(self.answers)

    def rows(self, which: slice) -> Self:
        """Some of its texts, with all of their windows."""
        windows = (self.texts >= which.start) & (self.texts < which.stop)
        return replace(
            self,
            words=self.words[windows],
            segments=None if self.segments is None else self.segments[windows],
            texts=self.texts[windows] - which.start,
            answers=self.answers[which],
            places=self.places[which],
        )

    def first(self, count: int) -> str:
        """Name its first texts."""
        return "; ".join(self.places[:count])

    def twice(self) -> Self:
        """The windows of every text two times, for two draws of dropout; the answers once."""
        return replace(
            self,
            words=self.words.repeat(2, 1),
            segments=None if self.segments is None else self.segments.repeat(2, 1),
            texts=torch.cat((self.texts, self.texts + len(self))),
        )


class Answered:
    """Texts with their answers, to make batches of.

    answers: labels by their numbers (int64), or numbers (float32)
    places: where each text stands
    """

    def __init__(self, texts: Texts, answers: np.ndarray, places: list[str]) -> None:
        self.texts, self.answers, self.places = texts, answers, places

    def __len__(self) -> int:
        return len(self.answers)

    def batch(
        self,
        rows: np.ndarray,
        epoch: int = 0,
        most: int | None = None,
        draw: np.random.Generator | None = None,
    ) -> TextBatch:
        """Some of the texts; `most` and `draw` as in `Texts.tensors`."""
        return TextBatch(
            *self.texts.tensors(rows, most, draw),
            torch.from_numpy(self.answers[rows]),
            [self.places[row] for row in rows],
            len(rows),
            epoch,
        )

    def all(self, together: int) -> Iterator[TextBatch]:
        """All texts once, those of one length together."""
        return map(self.batch, like_lengths(self.texts.size, together))


class TextBatches(ShuffledBatches[TextBatch]):
    """The texts again and again, each epoch in an order of its own, texts of nearly one length in a batch.

    size: texts of a batch; windows: of a text at most, drawn anew in every epoch; None: all
    """

    def __init__(self, answered: Answered, size: int, seed: int, windows: int | None = None) -> None:
        super().__init__(answered.texts.size, size, seed, self._drawn, together=50)
        self.answered, self.windows = answered, windows

    def _drawn(self, rows: np.ndarray, epoch: int) -> TextBatch:
        # `at` already counts this batch.
        draw = np.random.default_rng((self.seed, epoch, self.at))
        return self.answered.batch(rows, epoch, self.windows, draw)
