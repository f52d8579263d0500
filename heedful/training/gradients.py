"""The gradient of a group of batches: forward and backward, a part at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from heedful.objectives import Loss
from heedful.tasks.face import Batch


class Sums(NamedTuple):
    """Sums over predictions: the loss that is minimised, and the negative log-likelihood."""

    smoothed: float
    likelihood: float

    def plus(self, other: "Sums") -> "Sums":
        """The sums over the predictions of both."""
        return Sums(self.smoothed + other.smoothed, self.likelihood + other.likelihood)


def compute_gradients(
    loss: Callable[[Batch], Loss],
    batches: Sequence[Batch],
    tokens: int,
    parts: int,
    device: str,
    autocast: bool,
) -> Sums:
    """Add the gradient of the batches' loss, divided by `tokens`, to that of the parameters; give the sums.

    parts: into how many a batch is cut, to be computed one after the other; autocast: in bfloat16
    """
    sums = Sums(0.0, 0.0)
    for batch in batches:
        for piece in batch.split(parts) if parts > 1 else [batch]:
            piece = piece.to(device)
            with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=autocast):
                found = loss(piece)
            (found.smoothed / tokens).backward()
            sums = sums.plus(Sums(float(found.smoothed.detach()), float(found.likelihood)))
    return sums
