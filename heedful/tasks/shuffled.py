"""Examples in batches, again and again: each epoch in an order of its own, those of like length together.

A batch is padded to its longest example. So the order of an epoch is drawn at random, a few dozen batches' worth of it
at a time is sorted by length and cut into batches, and these again come in random order.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from heedful.data.rows import like_lengths

Made = TypeVar("Made")


class ShuffledBatches(Generic[Made]):
    """An endless stream of batches.

    lengths: of the examples; size: examples of a batch
    seed: the order is a function of it
    make: gives the batch of some examples, in an epoch counted from 0
    together: batches that are sorted by length together
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        size: int,
        seed: int,
        make: Callable[[np.ndarray, int], Made],
        together: int = 32,
    ) -> None:
        self.lengths, self.size, self.seed, self.make = np.asarray(lengths), size, seed, make
        self.together = together
        self.epoch, self.at = 0, 0
        self._order = self._batches()

    def __next__(self) -> Made:
        if self.at >= len(self._order):
            self.epoch, self.at = self.epoch + 1, 0
            self._order = self._batches()
        self.at += 1
        return self.make(self._order[self.at - 1], self.epoch)

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"epoch": self.epoch, "at": self.at}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self.at = state["epoch"], state["at"]
        self._order = self._batches()

    def _batches(self) -> list[np.ndarray]:
        """The examples of each batch of this epoch."""
        draw = np.random.default_rng((self.seed, self.epoch))
        order = draw.permutation(len(self.lengths))
        pool = self.size * self.together
        batches: list[np.ndarray] = []
        for first in range(0, len(order), pool):
            some = order[first : first + pool]
            batches += [some[chosen] for chosen in like_lengths(self.lengths[some], self.size)]
        return [batches[place] for place in draw.permutation(len(batches))]
