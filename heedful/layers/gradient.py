"""Gradients changed on their way back; the values on the way there stay what they are."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Give x; the gradient that comes back through it is multiplied by `factor`."""
    return _Scaled.apply(x, factor)


class _Scaled(torch.autograd.Function):
    """The identity, with a derivative of `factor`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] -- the decorator hides the names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        return gradients[0] * ctx.factor, None
