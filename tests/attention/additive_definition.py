"""Additive scores as their formula, and the gradients of whatever computes them."""

import torch
from torch import Tensor


def formula(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    return (v * (query[..., :, None, :] + key[..., None, :, :]).tanh()).sum(-1)


def with_gradients(pairs, inputs: list[Tensor], upstream: Tensor) -> list[Tensor]:
    """The scores, and the gradients with respect to query, key and v."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    scores = pairs(*inputs)
    return [scores.detach(), *torch.autograd.grad(scores, inputs, upstream.to(scores.dtype))]
