"""Batches with a row for each example: examples of like length together, padded to the longest, and cut into parts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class RowBatch:
    """A batch whose tensors have a row for each example; whatever else it holds is said of the whole batch.

    See `heedful.tasks.face.Batch` for what a batch is asked.
    """

    def __len__(self) -> int:
        return len(next(value for value in vars(self).values() if isinstance(value, Tensor)))

    def to(self, device: str) -> Self:
        """The same batch on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def rows(self, which: slice) -> Self:
        """Some of its examples."""
        return self._each(lambda tensor: tensor[which])

    def split(self, parts: int) -> list[Self]:
        """Cut it into at most so many parts."""
        size = -(-len(self) // parts)
        return [self.rows(slice(first, first + size)) for first in range(0, len(self), size)]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items()})


def like_lengths(lengths: Sequence[int] | np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Give the places of all examples once, `size` at a time, those of like length together."""
    order = np.argsort(lengths, kind="stable")
    for first in range(0, len(order), size):
        yield order[first : first + size]


def padded(rows: Sequence[Sequence[int]], filler: int) -> np.ndarray:
    """Rows of numbers as one array, (rows, the longest), with `filler` on the right."""
    array = np.full((len(rows), max(1, *map(len, rows)) if rows else 1), filler, dtype=np.int64)
    for row, values in zip(array, rows, strict=True):
        row[: len(values)] = values
    return array
