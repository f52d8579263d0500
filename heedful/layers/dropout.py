"""Dropout that is cheap on a CPU: one random byte for each element.

PyTorch draws a Bernoulli variable for each element, 4.7 ms per million on the machine of benchmarks/RESULTS.md, which
is a tenth of a small model's training step. Here eight elements share one 64-bit draw. The probability is thereby a
multiple of 1/256 (0.1 becomes 26/256 = 0.1016; the largest is 255/256), and the scale is that of the true probability,
so that the expected value is kept exactly.
"""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Set each element to zero with the probability given, in training, and scale the others by 1 / (1 - p)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"A dropout probability is in [0, 1), got {probability}.")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape -> the same shape and type."""
        if not self.training or self.probability == 0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.probability)
        return x * keep_mask(x, min(round(self.probability * 256), 255))

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{self.probability}"


def keep_mask(x: Tensor, dropped: int) -> Tensor:
    """Give the factors 0 (with probability dropped / 256) and 256 / (256 - dropped), in the shape and type of x."""
    if dropped == 0:
        return torch.ones_like(x)
    # The full range of 64 bits: a plain random_() leaves the highest bit zero, and every eighth byte would be small.
    draws = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
    keep = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return keep.to(x.dtype).mul_(256 / (256 - dropped))
