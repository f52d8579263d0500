"""Gradients of a kernel that has no second derivative: who asks for one is told, and gets no silent zero."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def once(
    gradients: Iterable[Tensor | None], made_of: Iterable[Tensor | None], kernel: str
) -> list[Tensor | None]:
    """Give the gradients, to be called in a backward pass; differentiated by what they are made of, they refuse."""
    if not torch.is_grad_enabled():
        return list(gradients)
    others = [tensor for tensor in made_of if tensor is not None]
    refusing: Any = _Once.apply
    return [None if gradient is None else refusing(kernel, gradient, *others) for gradient in gradients]


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: str, gradient: Tensor, *made_of: Tensor) -> Tensor:
        ctx.kernel = kernel
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        raise NotImplementedError(
            f"The {ctx.kernel} kernel of attention has no second derivative; attend(..., kernel='reference') has."
        )
