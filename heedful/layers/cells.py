"""What one step of a recurrent cell does beside its products, in one pass over memory forth and one back.

A step of a small cell is a dozen operations on little tensors, and two dozen going back: more is spent on calling them
than on what they compute. Where there is a compiler, loops do each in one call. They recompute the gates going back, so
that nothing is kept but what came in.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heedful.attention.kernels import compiled
from heedful.attention.kernels.second_derivatives import differentiably

SOURCE = Path(__file__).with_name("cells.cpp")

# Rows must be whole vectors of the loops, of whatever processor.
_LANES = 16
# For fewer numbers than this a thread is not worth its start.
_THREAD = 2**15


def loops(x: Tensor, u: Tensor, state: Tensor) -> ctypes.CDLL | None:
    """Give the loops, if they can be had for these: x and u (rows, blocks * width), and a state (rows, width)."""
    fits = (
        compiled.reads(x, u, state)
        and x.shape == u.shape
        and x.dtype == u.dtype
        and len(state) == len(x)
        and state.shape[1] % _LANES == 0
        and state.numel() > 0
    )
    return compiled.load(SOURCE) if fits else None


def gru_step(library: ctypes.CDLL, x: Tensor, u: Tensor, bias: Tensor, h: Tensor) -> Tensor:
    """The step of `gru-reset-after`: x = W x + b and u = U h, (rows, 3 width), b' (width,), h (rows, width) -> h'."""
    return _Gru.apply(library, x.contiguous(), u.contiguous(), bias, h.contiguous())


def lstm_step(library: ctypes.CDLL, x: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The step of `lstm`: x = W x + b and u = U h, (rows, 4 width), c (rows, width) -> h', c'."""
    return _Lstm.apply(library, x.contiguous(), u.contiguous(), c.contiguous())


def plain_gru(x: Tensor, u: Tensor, bias: Tensor, h: Tensor) -> Tensor:
    """`gru_step` in PyTorch's operations."""
    width = h.shape[1]
    into_gates, into_candidate = x.split((2 * width, width), 1)
    of_gates, of_candidate = u.split((2 * width, width), 1)
    r, z = torch.sigmoid(into_gates + of_gates).chunk(2, 1)
    candidate = torch.tanh(torch.addcmul(into_candidate, r, of_candidate + bias))
    return torch.lerp(candidate.to(h.dtype), h, z.to(h.dtype))


def plain_lstm(x: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """`lstm_step` in PyTorch's operations."""
    width = c.shape[1]
    into_i_f, into_g, into_o = (x + u).split((2 * width, width, width), 1)
    i, f = torch.sigmoid(into_i_f).chunk(2, 1)
    c = torch.addcmul(f * c, i, torch.tanh(into_g))
    return torch.sigmoid(into_o) * torch.tanh(c), c


class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, *inputs: Tensor) -> Tensor:
        x, u, bias, h = inputs
        ctx.save_for_backward(*inputs)
        ctx.library = library
        after = torch.empty_like(h)
        _call(library.gru, (x, u, bias.float(), h, after), x, h)
        return after

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        inputs = x, u, bias, h = ctx.saved_tensors
        if torch.is_grad_enabled():  # someone wants gradients of gradients
            return None, *differentiably(plain_gru, ctx.needs_input_grad[1:], inputs, upstream)
        of_x, of_u, of_h = torch.empty_like(x), torch.empty_like(u), torch.empty_like(h)
        of_bias = torch.empty_like(bias, dtype=torch.float32)
        made = of_x, of_u, of_h, of_bias
        _call(ctx.library.gru_back, (x, u, bias.float(), h, upstream[0].contiguous(), *made), x, h)
        return None, of_x, of_u, of_bias.to(bias.dtype), of_h


class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        x, u, c = inputs
        ctx.save_for_backward(*inputs)
        ctx.library = library
        h, after = torch.empty_like(c), torch.empty_like(c)
        _call(library.lstm, (x, u, c, h, after), x, c)
        return h, after

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        inputs = x, u, c = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *differentiably(plain_lstm, ctx.needs_input_grad[1:], inputs, upstream)
        of_sum, of_c = torch.empty_like(x), torch.empty_like(c)
        given = (tensor.contiguous() for tensor in upstream)
        _call(ctx.library.lstm_back, (x, u, c, *given, of_sum, of_c), x, c)
        return None, of_sum, of_sum, of_c


def _call(
    function: Callable[..., None], tensors: tuple[Tensor, ...], products: Tensor, state: Tensor
) -> None:
    function(
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
        ctypes.c_bool(products.dtype == torch.bfloat16),
        ctypes.c_bool(state.dtype == torch.bfloat16),
        ctypes.c_int64(state.shape[0]),
        ctypes.c_int64(state.shape[1]),
        ctypes.c_int64(min(torch.get_num_threads(), 1 + products.numel() // _THREAD)),
    )
