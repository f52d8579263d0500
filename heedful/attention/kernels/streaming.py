"""Attention tile by tile: any score and any mask, in memory linear in length, forward and backward.

    for each block of queries, over the blocks of keys (Dao et al. 2022, algorithm 1):
        m' = max(m, rowmax S)     l' = e^(m - m') l + rowsum e^(S - m')     O' = e^(m - m') O + (F * e^(S - m')) V
    output O / l, log-sum-exp L = m + log l

    backward (algorithm 4), every tile of weights made once more, P = e^(S - L):
        dV = (F * P)^T dO     dP = F * (dO V^T)     dS = P * (dP - D)     D = rowsum(dO * O)

F is what weights are multiplied with after the softmax: dropout, and the factors of the score's modifiers. How dS
becomes gradients of queries, keys and the score's own tensors is the score's affair: autograd differentiates its tile;
only for plain products are dQ = dS K and dK = dS^T Q written here.

Tiles of which the mask allows nothing are passed over. All sums are in float32 at least. A query that may attend to
nothing gets zeros, has L = -inf and gives zero gradients. NaN and infinity in keys and values reach only the queries
that may attend to them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from heedful.attention.call import Call, repeat_heads
from heedful.attention.grid import Grid, Tile
from heedful.attention.kernels.dropping import keep_factors
from heedful.attention.kernels.once import once
from heedful.attention.mask_algebra import Mask
from heedful.attention.modifiers import Added
from heedful.attention.score import Parts, Score
from heedful.attention.scores import DotScore

# A tile of scores, over all batch x heads, has up to this many numbers where it can: they stay in the cache, and are
# enough work for the calls that it takes (benchmarks/NOTES.md).
TILE = 2**20


def refusal(call: Call) -> str | None:
    """It computes everything."""
    return None


def attend(call: Call) -> Tensor:
    """Give softmax(score(query, key)) value, with dropout on the weights."""
    query, key = call.prepared()
    plan = _plan(call, query, key)
    attended: Any = _Streaming.apply(plan, query, key, call.value, *chain(*call.score.parts()))
    return attended


def log_sum_exp(call: Call) -> Tensor:
    """Give log(sum of e^score) over the keys that each query may attend to, (batch, heads, queries).

    It is float32 at least, -inf for a query that may attend to nothing, and has no gradient.
    """
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        query, key = call.prepared()
        return _forward(_plan(call, query, key), query, key, None, call.score.parts())[1].squeeze(-1)


def blocks(grid: Grid, heads: int) -> tuple[int, int]:
    """Give how many rows and keys a tile has, for so many matrices (batch x heads) side by side."""
    rows, keys = 256, 1024
    while rows * keys * heads > TILE and keys > 128:
        rows, keys = (rows, keys // 2) if keys > rows else (rows // 2, keys)
    return rows, keys


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is computed, how exactly and in which tiles.

    rows, keys: of a tile
    careful: whether there is NaN or infinity, which weights of zero do not hide, and a mask that may have to
    """

    score: Score
    mask: Mask | None
    grid: Grid
    heads: int
    dtype: torch.dtype
    dropout: float
    seed: int
    rows: int
    keys: int
    careful: bool

    def row_blocks(self) -> Iterator[slice]:
        for start in range(0, self.grid.queries, self.rows):
            yield slice(start, start + self.rows)

    def tiles(self, rows: slice) -> Iterator[tuple[Tile, Tensor | None]]:
        """Give the tiles of some rows in which anything may be seen, and what (None: everything)."""
        for start in range(0, self.grid.keys, self.keys):
            tile = self.grid.tile(rows, slice(start, start + self.keys))
            coverage = "all" if self.mask is None else self.mask.coverage(tile)
            if coverage != "none":
                yield tile, None if self.mask is None or coverage == "all" else self.mask.tile(tile)

    def ready(self, tensor: Tensor) -> Tensor:
        """Give a query, key or value as the loops read it."""
        return repeat_heads(tensor, self.heads).to(self.dtype).contiguous()

    def seen(self, tensor: Tensor, allowed: Tensor | None, others: int) -> Tensor:
        """Give a tile's queries (others = -1), keys or values (-2) with zeros for those that take no part in it."""
        if not self.careful or allowed is None:
            return tensor
        return tensor.masked_fill(~torch.atleast_2d(allowed).any(others).unsqueeze(-1), 0.0)

    def keep(self, tile: Tile, weights: Tensor) -> Tensor | None:
        """Give the dropout factors of a tile: the same ones whenever asked."""
        if not self.dropout:
            return None
        number = tile.rows.start * self.grid.keys + tile.keys.start
        generator = torch.Generator(weights.device).manual_seed(self.seed + number)
        return keep_factors(weights, self.dropout, generator)


def _plan(call: Call, query: Tensor, key: Tensor) -> _Plan:
    rows, keys = blocks(call.grid, query.shape[0] * query.shape[1])
    tensors = query, key, call.value
    careful = call.mask is not None and not all(bool(tensor.isfinite().all()) for tensor in tensors)
    return _Plan(
        call.score,
        call.mask,
        call.grid,
        query.shape[1],
        torch.promote_types(torch.promote_types(query.dtype, key.dtype), torch.float32),
        call.dropout,
        int(torch.randint(2**62, ())) if call.dropout else 0,
        # In a tile of one query a key is either seen or takes no part.
        1 if careful else rows,
        keys,
        careful,
    )


class _Streaming(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, query: Tensor, key: Tensor, value: Tensor, *flat: Tensor) -> Tensor:
        parts = _like(plan.score.parts(), flat)
        with torch.autocast(query.device.type, enabled=False):
            attended, log_sum = _forward(plan, query, key, value, parts)
        attended = attended.to(value.dtype)
        ctx.plan = plan
        ctx.save_for_backward(query, key, value, attended, log_sum, *flat)
        return attended

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        saved, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        with torch.no_grad(), torch.autocast(upstream[0].device.type, enabled=False):
            gradients = _backward(ctx.plan, upstream[0], saved, wanted)
        inputs = *saved[:3], *saved[5:]
        gradients = [
            gradient.to(tensor.dtype) if want else None
            for gradient, tensor, want in zip(gradients, inputs, wanted, strict=True)
        ]
        return None, *once(gradients, (upstream[0], *inputs), "streaming")


def _forward(
    plan: _Plan, query: Tensor, key: Tensor, value: Tensor | None, parts: Parts
) -> tuple[Tensor, Tensor]:
    """Give the attended values, and the log-sum-exp (batch, heads, queries, 1)."""
    query, key = plan.ready(query), plan.ready(key)
    value = key[..., :0] if value is None else plan.ready(value)
    parts = _exact(parts, plan.dtype)
    attended = query.new_zeros(*query.shape[:3], value.shape[-1])
    log_sum = query.new_zeros(*query.shape[:3], 1)
    for rows in plan.row_blocks():
        # Below any score that counts, and finite: -inf less -inf would be NaN where a row sees nothing.
        top = torch.full_like(log_sum[:, :, rows], torch.finfo(plan.dtype).min)
        total, result = torch.zeros_like(top), attended[:, :, rows]
        for tile, allowed in plan.tiles(rows):
            here = plan.score.cut(parts, tile)
            seen = plan.seen(key[:, :, tile.keys], allowed, -2)
            scores = plan.score.tile(query[:, :, rows], seen, tile, here)
            if allowed is not None:
                scores = scores.masked_fill(~allowed, -torch.inf)
            before, top = top, torch.maximum(top, scores.amax(-1, keepdim=True))
            weights, shrink = scores.sub(top).exp_(), before.sub_(top).exp_()
            total.mul_(shrink).add_(weights.sum(-1, keepdim=True))
            for factor in (plan.score.factor(tile, here), plan.keep(tile, weights)):
                if factor is not None:
                    weights.mul_(factor)
            result.mul_(shrink).add_(weights @ plan.seen(value[:, :, tile.keys], allowed, -2))
        log_sum[:, :, rows] = total.log().add_(top)
        result.div_(total.masked_fill_(total == 0, 1.0))
    return attended, log_sum


def _backward(plan: _Plan, upstream: Tensor, saved: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    """Give the gradients of query, key, value and the parts of the score; of those not wanted, anything."""
    query, key, value, attended, upstream = (plan.ready(tensor) for tensor in (*saved[:4], upstream))
    parts = _exact(_like(plan.score.parts(), saved[5:]), plan.dtype)
    mean = (upstream * attended).sum(-1, keepdim=True)
    log_sum = saved[4].masked_fill(saved[4] == -torch.inf, torch.inf)  # e^(S - L) is then 0
    d_query, d_key, d_value = (torch.zeros_like(tensor) for tensor in (query, key, value))
    flat = [
        torch.zeros_like(tensor) if want else tensor
        for tensor, want in zip(chain(*parts), wanted[3:], strict=True)
    ]
    d_parts = _like(parts, flat)
    for rows in plan.row_blocks():
        given = upstream[:, :, rows]
        for tile, allowed in plan.tiles(rows):
            seen = [plan.seen(tensor[:, :, tile.keys], allowed, -2) for tensor in (key, value)]
            pairs = _Pairs(plan, plan.seen(query[:, :, rows], allowed, -1), seen[0], parts, tile, wanted)
            weights = pairs.scores.sub(log_sum[:, :, rows])
            if allowed is not None:
                weights.masked_fill_(~allowed, -torch.inf)
            dropped = weights.exp_()
            d_weights = given @ seen[1].mT
            if (keep := plan.keep(tile, weights)) is not None:
                d_weights.mul_(keep)
                dropped = weights * keep
            d_factor = None
            if pairs.factor is not None:
                d_factor = d_weights * weights
                d_weights.mul_(pairs.factor)
                dropped = dropped * pairs.factor
            d_value[:, :, tile.keys] += dropped.mT @ given
            d_scores = d_weights.sub_(mean[:, :, rows]).mul_(weights)
            into = [d_query[:, :, rows], d_key[:, :, tile.keys], *chain(*plan.score.cut(d_parts, tile))]
            pairs.pull(d_scores, d_factor, into)
    # The queries of one group share a key: its gradient is the sum of theirs. A score may have prepared one for each.
    d_key, d_value = (
        gradient.unflatten(1, (tensor.shape[1], -1)).sum(2)
        for gradient, tensor in ((d_key, saved[1]), (d_value, saved[2]))
    )
    return [d_query, d_key, d_value, *flat]


class _Pairs:
    """The scores of a tile and their factor, and the way back from their gradients."""

    def __init__(
        self, plan: _Plan, query: Tensor, key: Tensor, parts: Parts, tile: Tile, wanted: Sequence[bool]
    ) -> None:
        self.leaves = [query, key, *chain(*plan.score.cut(parts, tile))]
        added = all(isinstance(modifier, Added) for modifier in plan.score.modifiers)
        self.product = isinstance(plan.score, DotScore) and added and not any(wanted[3:])
        if not self.product:
            wanted = *wanted[:2], *wanted[3:]
            self.leaves = [
                t.detach().requires_grad_(want) for t, want in zip(self.leaves, wanted, strict=True)
            ]
        here = _like(parts, self.leaves[2:])
        with torch.set_grad_enabled(not self.product):
            self.scores = plan.score.tile(self.leaves[0], self.leaves[1], tile, here)
            self.factor = plan.score.factor(tile, here)

    def pull(self, d_scores: Tensor, d_factor: Tensor | None, into: Sequence[Tensor]) -> None:
        """Add the gradients of query, key and the parts to `into`."""
        if self.product:
            query, key = self.leaves[:2]
            into[0].add_(d_scores @ key)
            into[1].add_(d_scores.mT @ query)
            return
        outputs = [(self.scores, d_scores)]
        if self.factor is not None and d_factor is not None:
            outputs.append((self.factor, d_factor.sum_to_size(self.factor.shape)))
        outputs = [pair for pair in outputs if pair[0].requires_grad]
        inputs = [pair for pair in zip(self.leaves, into, strict=True) if pair[0].requires_grad]
        if not outputs or not inputs:
            return
        ends, gradients = zip(*outputs, strict=True)
        leaves, places = zip(*inputs, strict=True)
        for place, gradient in zip(
            places, torch.autograd.grad(ends, leaves, gradients, allow_unused=True), strict=True
        ):
            if gradient is not None:
                place.add_(gradient)


def _like(parts: Parts, flat: Sequence[Tensor]) -> Parts:
    """Give the tensors of `flat` in tuples as those of `parts`."""
    tensors = iter(flat)
    return [tuple(next(tensors) for _ in part) for part in parts]


def _exact(parts: Parts, dtype: torch.dtype) -> Parts:
    return [tuple(t.to(dtype) if t.is_floating_point() else t for t in part) for part in parts]
