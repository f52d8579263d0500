"""Gradients of gradients, which loops do not have: a gradient that autograd can follow, by the formula as it stands."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def differentiably(
    formula: Callable[..., Tensor | tuple[Tensor, ...]],
    wanted: Sequence[bool],
    inputs: Sequence[Tensor],
    upstream: Sequence[Tensor],
) -> list[Tensor | None]:
    """Give the gradients of formula(*inputs) for those inputs that are wanted, and None for the others.

    upstream: the gradient of each of what the formula gives
    """
    chosen = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want]
    gradients = iter(torch.autograd.grad(formula(*inputs), chosen, upstream, create_graph=True))
    return [next(gradients) if want else None for want in wanted]
