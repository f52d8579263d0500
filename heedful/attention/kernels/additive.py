"""Additive scores of all pairs, without a number for every pair and dimension.

    score_ij = sum_d v_d t_ijd        t_ijd = tanh(a_id + b_jd) = 1 - 2 / (1 + e^2a_id e^2b_jd)

Exponentials are taken once of each row and of each key, so that a pair costs products and a division in place of a
tanh. Nothing of the size rows x keys x dimensions is written: what is summed over pairs or dimensions is summed where
it is computed, and computed once more going back, where g is the gradient of the scores:

    da_id = v_d sum_j g_ij (1 - t_ijd^2)        db_jd = v_d sum_i g_ij (1 - t_ijd^2)        dv_d = sum_ij g_ij t_ijd

Two sets of loops do so: those of `additive.cpp`, compiled where there is a compiler, and blocks of PyTorch's operations
that stay in the cache, where there is none. Few pairs are computed by the formula as it stands: in the loops of
`additive_steps`, or with autograd.

Range: e^2a and e^2b must be ordinary numbers, which bounds |a| and |b|. Their product may overflow or vanish, as t is
then 1 or -1, as it should be. A row so far out in a dimension that no key can bring it back (all its tanh are 1, or -1)
is moved in until it is just that, and keys likewise; it changes nothing. Dimensions in which both are still too far out
are computed with a tanh. The error of a score is some units in the last place of sum |v_d|, as it is for a sum of tanh
of ordinary size. Were all tanh tiny, plain ones would be more exact than that, but no softmax could see it.
"""

import ctypes
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from heedful.attention.kernels import compiled
from heedful.attention.kernels.additive_steps import additive_steps
from heedful.attention.kernels.second_derivatives import differentiably

SOURCE = Path(__file__).with_suffix(".cpp")

# Up to so many tanh are computed by the formula as it stands: the first steps of the loops would cost as much.
PLAIN = 2**20
# Likewise where they are at most so many times the numbers in queries and keys, as for the one query of a recurrent
# decoder: exponentials would be hardly fewer, and the memory is linear as it is.
REUSE = 2
# From so many tanh on (some hundredths of a second) it is worth a second, once, to have the loops compiled.
COMPILED = 2**22
# How many numbers a block of PyTorch's operations has: to stay in the cache of a processor, or to fill a GPU.
BLOCK, BLOCK_ELSEWHERE = 2**18, 2**24
# For fewer tanh than this a thread is not worth its start.
THREAD = 2**21

# How large |a| may be for e^2a to be an ordinary number; and from where on tanh is 1 and its slope 0.
RANGE = {torch.float32: (43.0, 16.0), torch.float64: (350.0, 32.0)}


def additive_pairs(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    """Give sum_d v_d tanh(query_id + key_jd) for all pairs (Bahdanau et al. 2014, appendix A.1.2).

    query (..., rows, d), key (..., keys, d), v (d,) -> (..., rows, keys); dimensions before the last two broadcast.
    bfloat16 and float16 are computed in float32. Second derivatives are those of the formula as it stands, memory too.
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return additive_pairs(query, key, v)
    given = torch.promote_types(torch.promote_types(query.dtype, key.dtype), v.dtype)
    way, _ = _way(query, key)
    if way == "plain" and (scores := additive_steps(query, key, v)) is not None:
        return scores.to(given)
    dtype = torch.promote_types(given, torch.float32)
    query, key, v = query.to(dtype), key.to(dtype), v.to(dtype)
    if way == "plain":
        return plain(query, key, v).to(given)
    library = compiled.load(SOURCE) if way == "compiled" else None
    loops = Blocks() if library is None else Compiled(library)
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    # (..., length, d) -> (batch, length, d)
    rows, keys = (x.expand(*batch, -1, -1).reshape(-1, *x.shape[-2:]) for x in (query, key))
    scores: Any = _Pairs.apply(loops, rows, keys, v)
    return scores.view(*batch, *scores.shape[-2:]).to(given)


def plain(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    """Give the same by the formula as it stands, which writes a tanh for every pair and dimension."""
    return torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3)) @ v


def path(query: Tensor, key: Tensor) -> str:
    """Say which way `additive_pairs` goes, "plain", "compiled" or "chunked", and why; nothing is computed."""
    return ": ".join(_way(query, key))


def _way(query: Tensor, key: Tensor) -> tuple[str, str]:
    rows, keys = query.shape[-2], key.shape[-2]
    work = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2]).numel() * rows * keys * query.shape[-1]
    if work <= PLAIN:
        return "plain", f"{work:,} tanh are few"
    if rows * keys <= REUSE * (rows + keys):
        return "plain", f"{rows} x {keys} pairs are few for so many queries and keys"
    if torch.compiler.is_compiling():
        return "plain", "torch.compile fuses the formula as it stands"
    if query.device.type != "cpu":
        return "chunked", f"the compiled loops are for a CPU, not {query.device.type}"
    if work < COMPILED:
        return "chunked", f"{work:,} tanh are not worth compiling for"
    if (reason := compiled.refusal(SOURCE)) is not None:
        return "chunked", reason
    return "compiled", f"{work:,} tanh in the loops of {SOURCE.name}"


class Loops(Protocol):
    """A way to compute the sums of t over rows (batch, rows, d) and keys (batch, keys, d).

    exponentials: whether they are e^2a and e^2b, t = 1 - 2 / (1 + rows keys), or a and b, t = tanh(rows + keys)
    """

    def forward(self, rows: Tensor, keys: Tensor, v: Tensor, exponentials: bool) -> Tensor:
        """Give sum_d v_d t_ijd, (batch, rows, keys)."""
        ...

    def backward(self, rows: Tensor, keys: Tensor, g: Tensor, exponentials: bool) -> "Sums":
        """Give what gradients are made of, for g (batch, rows, keys)."""
        ...


class Sums(NamedTuple):
    """sum_j g_ij (1 - t_ijd^2), (batch, rows, d); the same over i, (batch, keys, d); and sum_ij g_ij t_ijd, (d,)."""

    of_rows: Tensor
    of_keys: Tensor
    of_v: Tensor


class Blocks(Loops):
    """Block by block of all t, in PyTorch's operations."""

    def forward(self, rows: Tensor, keys: Tensor, v: Tensor, exponentials: bool) -> Tensor:
        """Sum each block over its dimensions."""
        scores = rows.new_empty(*rows.shape[:2], keys.shape[1])
        for place, t in _blocks(rows, keys, exponentials):
            scores[place] = t @ v
        return scores

    def backward(self, rows: Tensor, keys: Tensor, g: Tensor, exponentials: bool) -> Sums:
        """Add the sums of each block to those of its rows and keys."""
        of_rows, of_keys = torch.zeros_like(rows), torch.zeros_like(keys)
        of_v, one = rows.new_zeros(rows.shape[-1]), rows.new_ones(())
        for place, t in _blocks(rows, keys, exponentials):
            item, here, there = place
            # (batch, rows, 1, keys) @ (batch, rows, keys, d)
            of_v += (g[place].unsqueeze(-2) @ t).sum((0, 1, 2))
            slopes = torch.addcmul(one, t, t, value=-1, out=t).mul_(g[place].unsqueeze(-1))
            of_rows[item, here] += slopes.sum(2)
            of_keys[item, there] += slopes.sum(1)
        return Sums(of_rows, of_keys, of_v)


def _blocks(
    rows: Tensor, keys: Tensor, exponentials: bool
) -> Iterator[tuple[tuple[slice, slice, slice], Tensor]]:
    """Give places (batch, rows, keys) and their t (batch, rows, keys, d), which the next is written over."""
    block = BLOCK if rows.device.type == "cpu" else BLOCK_ELSEWHERE
    room = max(1, block // rows.shape[-1])
    sizes = []
    for length in (keys.shape[1], rows.shape[1], rows.shape[0]):
        sizes.insert(0, min(length, room))
        room = max(1, room // length)
    buffer, one = rows.new_empty(*sizes, rows.shape[-1]), rows.new_ones(())
    for item in _slices(rows.shape[0], sizes[0]):
        for here in _slices(rows.shape[1], sizes[1]):
            x = rows[item, here].unsqueeze(-2)
            for there in _slices(keys.shape[1], sizes[2]):
                y = keys[item, there].unsqueeze(-3)
                t = buffer[: x.shape[0], : x.shape[1], : y.shape[2]]
                if exponentials:
                    torch.addcmul(one, x, y, out=t).reciprocal_()
                    torch.add(one, t, alpha=-2, out=t)
                else:
                    torch.add(x, y, out=t).tanh_()
                yield (item, here, there), t


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


class Compiled(Loops):
    """The loops of additive.cpp for exponentials, on as many threads as PyTorch has; blocks for the rest."""

    # How many dimensions the loops do together going back.
    LANES = 16

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.blocks = Blocks()

    def forward(self, rows: Tensor, keys: Tensor, v: Tensor, exponentials: bool) -> Tensor:
        """Each pair's dimensions side by side."""
        if not exponentials:
            return self.blocks.forward(rows, keys, v, exponentials)
        scores = rows.new_empty(*rows.shape[:2], keys.shape[1])
        tensors = rows.contiguous(), keys.contiguous(), v.contiguous(), scores
        self._call("forward", tensors, (*scores.shape, rows.shape[-1]), scores.numel() * rows.shape[-1])
        return scores

    def backward(self, rows: Tensor, keys: Tensor, g: Tensor, exponentials: bool) -> Sums:
        """Some dimensions at a time, for all pairs."""
        if not exponentials:
            return self.blocks.backward(rows, keys, g, exponentials)
        width = rows.shape[-1]
        rows, keys = self._fold(rows), self._fold(keys)
        blocks = rows.shape[1]
        of_rows, of_keys = torch.empty_like(rows), torch.empty_like(keys)
        of_v = rows.new_empty(rows.shape[0], blocks * self.LANES)
        tensors = rows, keys, g.contiguous(), of_rows, of_keys, of_v
        self._call("backward", tensors, (*g.shape, blocks), g.numel() * width)
        return Sums(self._unfold(of_rows, width), self._unfold(of_keys, width), of_v.sum(0)[:width])

    def _fold(self, x: Tensor) -> Tensor:
        """(batch, length, d) -> (batch, blocks, length, LANES), zeros where d is no multiple of LANES."""
        x = torch.nn.functional.pad(x, (0, -x.shape[-1] % self.LANES))
        return x.unflatten(-1, (-1, self.LANES)).transpose(1, 2).contiguous()

    def _unfold(self, x: Tensor, width: int) -> Tensor:
        """(batch, blocks, length, LANES) -> (batch, length, d)."""
        return x.transpose(1, 2).flatten(2)[..., :width]

    def _call(self, name: str, tensors: tuple[Tensor, ...], sizes: tuple[int, ...], work: int) -> None:
        kind = {torch.float32: "float", torch.float64: "double"}[tensors[0].dtype]
        threads = min(torch.get_num_threads(), 1 + work // THREAD)
        self.library[f"{name}_{kind}"](
            *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
            *(ctypes.c_int64(size) for size in (*sizes, threads)),
        )


class _Share(NamedTuple):
    """Some dimensions of rows and keys, as the loops take them."""

    dimensions: Tensor | slice
    rows: Tensor
    keys: Tensor
    exponentials: bool


def _shares(query: Tensor, key: Tensor) -> Iterator[_Share]:
    every = slice(None)
    if query.device.type != "cpu":
        # There a tanh costs no more than a division, and to look at the range would be to wait for it.
        yield _Share(every, query, key, False)
        return
    limit, margin = RANGE[query.dtype]
    # NaN is in no range: all tests are such that it fails them.
    if bool(torch.stack([*query.aminmax(), *key.aminmax()]).abs().amax() <= limit):
        yield _Share(every, _exponentials(query), _exponentials(key), True)
        return
    low, high = key.amin((0, 1)), key.amax((0, 1))
    rows = query.clamp(-high - margin, margin - low)
    low, high = rows.amin((0, 1)), rows.amax((0, 1))
    keys = key.clamp(-high - margin, margin - low)
    near = torch.maximum(rows.abs().amax((0, 1)), keys.abs().amax((0, 1))) <= limit
    if near.any():
        some = near.nonzero().squeeze(-1)
        yield _Share(some, _exponentials(rows[..., some]), _exponentials(keys[..., some]), True)
    if not near.all():
        some = (~near).nonzero().squeeze(-1)
        yield _Share(some, query[..., some], key[..., some], False)


def _exponentials(x: Tensor) -> Tensor:
    return (2 * x).exp_()


class _Pairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loops: Loops, query: Tensor, key: Tensor, v: Tensor) -> Tensor:
        ctx.loops = loops
        ctx.save_for_backward(query, key, v)
        sums = (loops.forward(rows, keys, v[some], e) for some, rows, keys, e in _shares(query, key))
        return reduce(Tensor.add_, sums)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        query, key, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # someone wants gradients of gradients
            return None, *differentiably(plain, ctx.needs_input_grad[1:], (query, key, v), upstream)
        of_query, of_key, of_v = torch.empty_like(query), torch.empty_like(key), torch.empty_like(v)
        with torch.autocast(query.device.type, enabled=False):
            for some, rows, keys, exponentials in _shares(query, key):
                sums = ctx.loops.backward(rows, keys, upstream[0], exponentials)
                of_query[..., some], of_key[..., some], of_v[some] = sums
        return None, of_query.mul_(v), of_key.mul_(v), of_v
