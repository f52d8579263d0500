"""Additive scores of few pairs, as of the one query of a decoder's step, in one pass over memory forth and one back.

    score_ij = sum_d v_d tanh(a_id + b_jd)

Where pairs are few the tanh themselves are what costs, and writing, reading and summing them in operations of their
own. Here a tanh is an exponential and a division (1 - 2 / (1 + e^2x)) of a vector of numbers, and stays where it is
made; going back it is made again. Queries and keys are read as they are, in bfloat16 too, and summed in float32.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heedful.attention.kernels import compiled
from heedful.attention.kernels.second_derivatives import differentiably

SOURCE = Path(__file__).with_suffix(".cpp")

# Rows must be whole vectors of the loops, of whatever processor.
_LANES = 16
# For fewer tanh than this a thread is not worth its start.
_THREAD = 2**16

_NAMES = {torch.float32: "float", torch.bfloat16: "bfloat16"}


def additive_steps(query: Tensor, key: Tensor, v: Tensor) -> Tensor | None:
    """Give sum_d v_d tanh(query_id + key_jd) for all pairs, in float32; None where there are no loops for it.

    query (..., rows, d), key (..., keys, d), of the same dimensions before the last two, v (d,) -> (..., rows, keys)
    """
    width = query.shape[-1]
    fits = (
        compiled.reads(query, key, v)
        and query.shape[:-2] == key.shape[:-2]
        and width % _LANES == 0
        and query.numel() * key.numel() > 0
    )
    library = compiled.load(SOURCE) if fits else None
    if library is None:
        return None
    rows, keys = (x.reshape(-1, *x.shape[-2:]).contiguous() for x in (query, key))
    scores: Any = _Steps.apply(library, rows, keys, v.float().contiguous())
    return scores.view(*query.shape[:-1], key.shape[-2])


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, query: Tensor, key: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, v)
        ctx.library = library
        scores = v.new_empty(*query.shape[:2], key.shape[1])
        _call(library, "forward", (query, key, v, scores))
        return scores

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        inputs = query, key, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # someone wants gradients of gradients
            return None, *differentiably(_plain, ctx.needs_input_grad[1:], inputs, upstream)
        of_query, of_key = torch.empty_like(query), torch.empty_like(key)
        of_v = v.new_empty(len(query), len(v))
        _call(ctx.library, "backward", (query, key, v, upstream[0].contiguous(), of_query, of_key, of_v))
        return None, of_query, of_key, of_v.sum(0)


def _plain(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    return torch.tanh(query.float().unsqueeze(-2) + key.float().unsqueeze(-3)) @ v


def _call(library: ctypes.CDLL, name: str, tensors: tuple[Tensor, ...]) -> None:
    query, key = tensors[:2]
    sizes = (*query.shape[:2], *key.shape[1:])
    threads = min(torch.get_num_threads(), 1 + key.numel() * query.shape[1] // _THREAD)
    library[f"{name}_{_NAMES[query.dtype]}_{_NAMES[key.dtype]}"](
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
        *(ctypes.c_int64(size) for size in (*sizes, threads)),
    )
