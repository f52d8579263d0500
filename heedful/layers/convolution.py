"""Convolutions over time: a linear map of the window around, or before, each position.

    y_t = W [x_{t - before}; x_{t - before + dilation}; ...; x_{t + after}] + b

with before + after = (kernel - 1) dilation. A causal one has after = 0: "masked" in Kalchbrenner et al. 2016, section
3.4. Beyond both ends x is zero, so the length stays. Tensors are (batch, length, width), and the windows are written
out for one product with W: on a CPU faster than `torch.nn.functional.conv1d` (benchmarks/convolution_speed.py).

A decoder goes on where it stopped: `step` takes the last (kernel - 1) dilation inputs, and gives those for the next.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from heedful.layers.weight_normalization import WeightNormLinear, Weights


class Convolution(nn.Module):
    """A linear map of windows.

    linear: takes vectors of kernel * width; its columns are those of the first position of the window, the second, ...
    kernel: how many positions a window has
    dilation: how far apart they are
    causal: whether a window ends at its own position; else that is its middle (of an even kernel, right of it)
    """

    def __init__(self, linear: nn.Linear, kernel: int, dilation: int = 1, causal: bool = True) -> None:
        super().__init__()
        if kernel < 1 or dilation < 1:
            raise ValueError(
                f"A convolution needs a kernel and a dilation of at least 1, got {kernel}, {dilation}."
            )
        if linear.in_features % kernel:
            raise ValueError(
                f"The map of a convolution takes kernel * width numbers; {linear.in_features} is no multiple of the "
                f"kernel {kernel}."
            )
        self.linear, self.kernel, self.dilation = linear, kernel, dilation
        self.width = linear.in_features // kernel
        self.span = (kernel - 1) * dilation
        self.before = self.span if causal else kernel // 2 * dilation

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) -> (batch, length, out_features)."""
        padded = pad(x, (0, 0, self.before, self.span - self.before)) if self.span else x
        return self._map(padded, x.shape[1], None)

    def step(self, x: Tensor, past: Tensor, weights: Weights | None = None) -> tuple[Tensor, Tensor]:
        """Go on, causally.

        x: the next inputs (batch, length, width), of one position or more
        past: the last inputs before them, (batch, span, width); `start` gives those before the first
        weights: see `weights_of`

        Gives what `forward` gives at these positions, (batch, length, out_features), and the new past.
        """
        joined = torch.cat((past, x), 1)
        return self._map(joined, x.shape[1], weights), joined[:, x.shape[1] :]

    def start(self, rows: int, like: Tensor) -> Tensor:
        """Give the past before the first position: zeros (rows, span, width) of the type and device of `like`."""
        return like.new_zeros(rows, self.span, self.width)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"kernel={self.kernel}, dilation={self.dilation}, causal={self.before == self.span}"

    def _map(self, padded: Tensor, length: int, weights: Weights | None) -> Tensor:
        parts = [padded[:, first : first + length] for first in range(0, self.span + 1, self.dilation)]
        windows = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
        return self.linear(windows) if weights is None else mapped(self.linear, windows, weights)


def mapped(linear: nn.Linear, x: Tensor, weights: Weights | None) -> Tensor:
    """Apply a map with the matrix made before, if it has one."""
    return linear(x, weights) if isinstance(linear, WeightNormLinear) else linear(x)


def receptive_field(kernel: int, dilations: list[int] | tuple[int, ...]) -> int:
    """Give how many positions the last of a stack of convolutions sees.

    >>> receptive_field(3, (1, 2, 4, 8, 16))
    63
    """
    return 1 + (kernel - 1) * sum(dilations)
