"""Weight normalisation: the length of each row of a matrix is a parameter of its own.

    w = g v / |v|           for each output unit        (Salimans and Kingma 2016, "Weight Normalization", equation 2)

g is called `gain` here and v `direction`. Training changes how long a row is and where it points apart from each other.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

Weights = Mapping[nn.Module, Tensor]
"""Matrices made once for many calls, by the modules that they are of: see `weights_of`."""


class WeightNormLinear(nn.Linear):
    """y = W x + b with W = gain direction / |direction|, row by row.

    Drawn from N(0, std^2), with gains that are the lengths of the rows as drawn and biases of zero, as Gehring et al.
    2017, section 3.5, begin: at first the map is as without normalisation.
    """

    def __init__(self, in_features: int, out_features: int, std: float) -> None:
        super(nn.Linear, self).__init__()  # not nn.Linear's own: its weight would be a parameter
        self.in_features, self.out_features = in_features, out_features
        direction = torch.empty(out_features, in_features)
        nn.init.normal_(direction, std=std)
        self.direction = nn.Parameter(direction)
        self.gain = nn.Parameter(direction.norm(dim=1))
        self.bias = nn.Parameter(torch.zeros(out_features))

    @property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """W (out_features, in_features), made anew at each look; it has gradients."""
        return _Normalized.apply(self.direction, self.gain)

    def forward(self, input: Tensor, weights: Weights | None = None) -> Tensor:
        """(..., in_features) -> (..., out_features); `weights` are of `weights_of`, where they were made before."""
        return linear(input, self.weight if weights is None else weights[self], self.bias)


def weights_of(model: nn.Module) -> Weights:
    """Make the matrices of all normalised maps in a model, for the many steps of a decoding."""
    return {module: module.weight for module in model.modules() if isinstance(module, WeightNormLinear)}


class _Normalized(torch.autograd.Function):
    """gain direction / |direction|; written out because it passes over the matrix half as often as autograd would."""

    @staticmethod
    def forward(ctx: Any, direction: Tensor, gain: Tensor) -> Tensor:
        length = direction.norm(dim=1)
        ctx.save_for_backward(direction, gain, length)
        return direction * (gain / length).unsqueeze(1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] -- the decorator hides the names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        # d gain = (d w . v) / |v|,   d v = gain / |v| (d w - d gain v / |v|)        (equation 3 there)
        direction, gain, length = ctx.saved_tensors
        of_gain = torch.linalg.vecdot(gradients[0], direction) / length
        projected = torch.addcmul(gradients[0], direction, (of_gain / length).unsqueeze(1), value=-1)
        return projected.mul_((gain / length).unsqueeze(1)), of_gain
