"""Attention of short texts in compiled loops: what `explicit` does in ten passes over memory is done head by head.

Scaled dot products in float32 on a CPU, whose heads are whole registers wide; bfloat16 is widened head by head and
rounded at the end. Weights are kept for the way back, as `explicit` keeps them; dropout draws what it draws, so that
both give the same up to rounding. Queries, keys and values are read where they lie, and the output is written as
(batch, queries, heads, d), which the next projection reads.
"""

import ctypes
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from heedful.attention.call import Call, repeat_heads
from heedful.attention.kernels import compiled
from heedful.attention.kernels.dropping import Draws
from heedful.attention.kernels.second_derivatives import differentiably
from heedful.attention.scores import ScaledDot

SOURCE = Path(__file__).with_name("short.cpp")

# Less work than this for a thread does not repay waking it up; in multiplications.
_THREAD = 200_000

_Size = ctypes.c_int64


class _Rows(ctypes.Structure):
    _fields_ = (("numbers", ctypes.c_void_p), ("batch", _Size), ("head", _Size), ("row", _Size))


class _Blocked(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_void_p), *((name, _Size) for name in ("batch", "head", "row")))


class _Draws(ctypes.Structure):
    _fields_ = (("numbers", ctypes.c_void_p), ("below", ctypes.c_int16), ("kept", ctypes.c_float))


class _Call(ctypes.Structure):
    _fields_ = (
        *((name, _Rows) for name in ("query", "key", "value")),
        *(
            (name, _Size)
            for name in ("batch", "heads", "kv_heads", "queries", "keys", "width", "value_width")
        ),
        ("scale", ctypes.c_float),
        ("blocked", _Blocked),
        ("draws", _Draws),
        ("weights", ctypes.c_void_p),
        ("threads", _Size),
        ("bfloat16", ctypes.c_bool),
    )


def loops(call: Call) -> ctypes.CDLL | None:
    """Give the loops, if they compute this attention and can be had here."""
    tensors = call.query, call.key, call.value
    fits = (
        type(call.score) is ScaledDot
        and not call.score.modifiers
        and compiled.reads(*tensors)
        and all(x.dtype == _type(call.query) for x in tensors)
        and all(x.numel() and x.stride(-1) == 1 and x.shape[-1] % 16 == 0 for x in tensors)
    )
    return compiled.load(SOURCE) if fits else None


def _type(query: Tensor) -> torch.dtype:
    """In which type products of such queries are asked for."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype


def attend(call: Call, library: ctypes.CDLL) -> Tensor:
    """Give softmax(query key^T / sqrt(d)) value, with dropout on the weights; `library` is what `loops` gave."""
    blocked = None if call.mask is None else call.mask.written(call.grid).blocked
    size = *call.query.shape[:3], call.key.shape[2]
    draws = Draws.of(size, call.dropout) if call.dropout else None
    return _Attended.apply(library, call.query, call.key, call.value, blocked, draws)


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        library: ctypes.CDLL,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        blocked: Tensor | None,
        draws: Draws | None,
    ) -> Tensor:
        keys, lanes = key.shape[2], library.lanes()
        beyond = -keys % lanes
        weights = query.new_empty(*query.shape[:3], keys + beyond, dtype=torch.float32)
        hidden = None
        if blocked is not None:
            whole = pad(blocked.expand(*blocked.shape[:-1], keys), (0, beyond), value=True)
            hidden = whole.expand(weights.shape)
        out = _room(query, value.shape[-1])
        library.attend(_call(query, key, value, hidden, draws, weights), ctypes.byref(_rows(out)))
        ctx.save_for_backward(query, key, value, weights, blocked)
        ctx.library, ctx.draws = library, draws
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        if torch.is_grad_enabled():  # someone wants gradients of gradients
            return None, *_differentiably(ctx, upstream), None, None
        query, key, value, weights, _ = ctx.saved_tensors
        gradient = upstream[0].to(query.dtype)
        gradient = gradient if gradient.stride(-1) == 1 else gradient.contiguous()
        gradients = [_room(tensor, tensor.shape[-1]) for tensor in (query, key, value)]
        ctx.library.differentiate(
            _call(query, key, value, None, ctx.draws, weights),
            *(ctypes.byref(_rows(tensor)) for tensor in (gradient, *gradients)),
        )
        return None, *gradients, None, None


def _differentiably(ctx: Any, upstream: tuple[Tensor, ...]) -> list[Tensor | None]:
    *inputs, _, blocked = ctx.saved_tensors

    def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        weights = _plain(query, repeat_heads(key, query.shape[1]), blocked)
        if ctx.draws is not None:
            weights = weights * ctx.draws.factors(weights)
        return weights @ repeat_heads(value, query.shape[1])

    return differentiably(attended, ctx.needs_input_grad[1:4], inputs, upstream)


def _plain(query: Tensor, key: Tensor, blocked: Tensor | None) -> Tensor:
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if blocked is None:
        return scores.softmax(-1)
    return scores.masked_fill(blocked, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(blocked, 0.0)


def _room(like: Tensor, width: int) -> Tensor:
    """A tensor (batch, heads, length, width) that lies in memory as (batch, length, heads, width)."""
    batch, heads, length, _ = like.shape
    return like.new_empty(batch, length, heads, width).transpose(1, 2)


def _rows(tensor: Tensor) -> _Rows:
    return _Rows(tensor.data_ptr(), *tensor.stride()[:3])


def _call(
    query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, draws: Draws | None, weights: Tensor
) -> Any:
    batch, heads, queries, width = query.shape
    kv_heads, keys = key.shape[1:3]
    call = _Call(
        *(_rows(tensor) for tensor in (query, key, value)),
        *(batch, heads, kv_heads, queries, keys, width, value.shape[-1]),
        1.0 / math.sqrt(width),
        _Blocked() if blocked is None else _Blocked(blocked.data_ptr(), *blocked.stride()[:3]),
        _Draws() if draws is None else _Draws(draws.numbers.data_ptr(), draws.below, draws.kept),
        weights.data_ptr(),
        min(torch.get_num_threads(), 1 + batch * heads * queries * keys * width // _THREAD),
        query.dtype == torch.bfloat16,
    )
    return ctypes.byref(call)
