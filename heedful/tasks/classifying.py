"""Batches of texts with what is to be said of them: the number of a label, or a number."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from heedful.tasks.windows import Texts

_POOL = 50  # batches whose texts are sorted by length together


@dataclass(frozen=True)
class TextBatch:
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

    def to(self, device: str) -> Self:
        """The same batch on a device."""
        segments = None if self.segments is None else self.segments.to(device)
        moved = self.words.to(device), segments, self.texts.to(device), self.answers.to(device)
        return type(self)(*moved, self.places, self.tokens, self.epoch)

    def split(self, parts: int) -> list[Self]:
        """Cut it into at most so many parts, each of whole texts."""
        size = -(-len(self) // parts)
        cut: list[Self] = []
        for first in range(0, len(self), size):
            windows = (self.texts >= first) & (self.texts < first + size)
            cut.append(
                type(self)(
                    self.words[windows],
                    None if self.segments is None else self.segments[windows],
                    self.texts[windows] - first,
                    self.answers[first : first + size],
                    self.places[first : first + size],
                    self.tokens,
                    self.epoch,
                )
            )
        return cut

    def first(self, count: int) -> str:
        """Name its first texts."""
        return "; ".join(self.places[:count])

    def twice(self) -> Self:
        """The windows of every text two times, for two draws of dropout; the answers once."""
        return type(self)(
            self.words.repeat(2, 1),
            None if self.segments is None else self.segments.repeat(2, 1),
            torch.cat((self.texts, self.texts + len(self))),
            self.answers,
            self.places,
            self.tokens,
            self.epoch,
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
        order = np.argsort(self.texts.size, kind="stable")
        for first in range(0, len(self), together):
            yield self.batch(order[first : first + together])


class TextBatches:
    """The texts again and again, each epoch in an order of its own, texts of nearly one length in a batch.

    size: texts of a batch; windows: of a text at most, drawn anew in every epoch; None: all
    """

    def __init__(self, answered: Answered, size: int, seed: int, windows: int | None = None) -> None:
        self.answered, self.size, self.seed, self.windows = answered, size, seed, windows
        self.epoch, self.at = 0, 0
        self._order = self._shuffled()

    def __next__(self) -> TextBatch:
        if self.at >= len(self._order):
            self.epoch, self.at = self.epoch + 1, 0
            self._order = self._shuffled()
        rows = self._order[self.at]
        self.at += 1
        draw = np.random.default_rng((self.seed, self.epoch, self.at))
        return self.answered.batch(rows, self.epoch, self.windows, draw)

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"epoch": self.epoch, "at": self.at}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self.at = state["epoch"], state["at"]
        self._order = self._shuffled()

    def _shuffled(self) -> list[np.ndarray]:
        """The rows of every batch of this epoch."""
        draw = np.random.default_rng((self.seed, self.epoch))
        order = draw.permutation(len(self.answered))
        lengths = self.answered.texts.size
        batches: list[np.ndarray] = []
        for first in range(0, len(order), _POOL * self.size):
            pool = order[first : first + _POOL * self.size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[start : start + self.size] for start in range(0, len(pool), self.size)]
        return [batches[number] for number in draw.permutation(len(batches))]
