"""A linear map that a recurrence applies at every step: the gradient of its weight is one product, not one a step.

    product = RepeatedLinear(weight)          # once for a sequence
    y = product(x)                            # at every step: x W^T + b

Going back through T steps, autograd would multiply T times and add T matrices of the size of the weight:

    dW = sum_t dy_t^T x_t = [dy_1; ...; dy_T]^T [x_1; ...; x_T]

The right side is the same number as one product, which a processor does at its full speed, and nothing is added up. So
each step, going back, only notes its x_t and dy_t; the weight, whose turn comes after all steps, multiplies. What is
noted is kept by step, so that a graph that is gone through twice counts once each time.
"""

from typing import Any

import torch
from torch import Tensor

Notes = dict[int, tuple[Tensor, Tensor]]


class RepeatedLinear:
    """x -> x W^T + b for the steps of one sequence; the parameters are those given.

    weight: (d_out, d_in), bias: (d_out,) or None
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        device = weight.device.type
        if torch.is_autocast_enabled(device):
            # Once, not at every step: autocast remembers the casts of parameters only, not those of their parts.
            weight = weight.to(torch.get_autocast_dtype(device))
            bias = None if bias is None else bias.to(weight.dtype)
        self.noting = torch.is_grad_enabled() and weight.requires_grad
        self.notes: Notes = {}
        self.steps = 0
        self.weight: Tensor = _Weight.apply(weight, self.notes) if self.noting else weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """x (batch, d_in) -> (batch, d_out)."""
        x = x.to(self.weight.dtype)
        if not self.noting:
            return torch.nn.functional.linear(x, self.weight, self.bias)
        self.steps += 1
        y: Tensor = _Product.apply(x, self.weight, self.notes, self.steps)
        return y if self.bias is None else y + self.bias


class _Weight(torch.autograd.Function):
    """The weight as the steps see it: its gradient is made of their notes."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, notes: Notes) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.notes = notes
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        notes = list(ctx.notes.values())
        ctx.notes.clear()
        if not notes:
            return upstream[0], None
        inputs, gradients = (torch.cat(tensors) for tensors in zip(*notes, strict=True))
        return gradients.t() @ inputs, None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, notes: Notes, step: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.notes, ctx.step = notes, step
        return x @ weight.t()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] -- the decorator hides the names
        ctx: Any, *upstream: Tensor
    ) -> Any:
        x, weight = ctx.saved_tensors
        ctx.notes[ctx.step] = x, upstream[0]
        return upstream[0] @ weight, None, None, None
