"""Weights made again from queries and keys, as many of them as are asked for.

    P_ij = exp(s_ij - lse_i) f_ij,   lse_i = log sum_j exp(s_ij)

s are the scores that the mask lets through, f is what the score multiplies weights with after the softmax (mostly
nothing). Kept are queries, keys and, once it was needed, the log-sum-exp of each row: memory linear in length. All is
computed in float32, or float64 where the model is. A query that may see nothing has weights of zero.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, nn

from heedful.attention.call import Call, repeat_heads
from heedful.attention.grid import Grid, Tile
from heedful.attention.matrix import Block, Matrix
from heedful.attention.score import Score
from heedful.attention.scores import AdditiveScore

# So many weights are made at a time, a few MB of them: they stay in the processor's cache, whatever the length.
BLOCK = 2**21
# More rows than this make the products no faster.
ROWS = 128
# The mask is asked for so many keys at a time whether it hides any.
CHUNK = 512


class Recomputed(Matrix):
    """The weights of a call, made from its queries and keys."""

    def __init__(self, call: Call) -> None:
        self.call = call
        batch, heads, queries, _ = call.query.shape
        self.shape = batch, heads, queries, call.key.shape[2]
        self.dtype = torch.promote_types(call.query.dtype, torch.float32)
        self.device = call.query.device
        # NaN: not known yet.
        self._lse = torch.full(self.shape[:3], torch.nan, dtype=self.dtype, device=self.device)
        # Tensors made in inference mode do not say when they are changed.
        self._versions = [(tensor, tensor._version) for tensor in _tensors(call) if not tensor.is_inference()]

    def tile(self, heads: slice, rows: slice, keys: slice) -> Tensor:
        if rows.start == rows.stop or keys.start == keys.stop:
            size = self.shape[0], heads.stop - heads.start, rows.stop - rows.start, keys.stop - keys.start
            return torch.zeros(size, dtype=self.dtype, device=self.device)
        self._know(heads, rows)
        tile = self.call.grid.tile(rows, keys)
        scores = self._scores(self._query(rows), self._key(keys), tile, heads)
        mask = self.call.mask
        if mask is not None and mask.coverage(tile) != "all":
            scores.masked_fill_(~self._own(mask.tile(tile), heads), -torch.inf)
        lse = self._lse[:, heads, rows, None]
        weights = scores.sub_(lse.masked_fill(lse == -torch.inf, 0.0)).exp_()
        factor = self._factor(tile, heads)
        return weights if factor is None else weights * factor

    def blocks(self, heads: slice, logs: bool = True) -> Iterator[Block]:
        return self._blocks(heads, slice(0, self.shape[2]), logs)

    def log_sum_exp(self, heads: slice, rows: slice | None = None) -> Tensor:
        rows = rows or slice(0, self.shape[2])
        self._know(heads, rows)
        return self._lse[:, heads, rows]

    def allowed(self, rows: slice) -> Tensor:
        if self.call.mask is None:
            return torch.ones(1, 1, dtype=torch.bool, device=self.device)
        return self.call.mask.tile(self.call.grid.tile(rows))

    def positions(self, rows: slice, keys: slice) -> tuple[Tensor, Tensor]:
        tile = self.call.grid.tile(rows, keys)
        return tile.query_positions, tile.key_positions

    def near(self, rows: slice, offset: int) -> slice:
        grid = self.call.grid
        if not grid.plain:
            return super().near(rows, offset)
        shift = grid.keys - grid.queries + offset
        start, stop = (min(max(row + shift, 0), grid.keys) for row in (rows.start, rows.stop))
        return slice(start, stop)

    def _know(self, heads: slice, rows: slice) -> None:
        """Have the log-sum-exp of these rows."""
        self._check()
        if self._lse[:, heads, rows].isnan().any():
            for _ in self._blocks(heads, rows, logs=False):
                pass

    def _check(self) -> None:
        if any(tensor._version != version for tensor, version in self._versions):
            raise ValueError(
                "Queries, keys or parameters of this attention have been changed in place since it was observed (an "
                "optimizer's step does so), and its weights are not known any more: ask for them earlier."
            )

    def _blocks(self, heads: slice, rows: slice, logs: bool) -> Iterator[Block]:
        """Give blocks of some rows, and note their log-sum-exp."""
        self._check()
        batch, whole, queries, keys = self.shape
        # Head by head if there is much to do for each: then the keys of one head stay in the cache.
        together = BLOCK // max(1, batch * keys * min(queries, ROWS)) if self._separable else whole
        together = max(1, min(together, heads.stop - heads.start))
        step = max(1, min(ROWS, BLOCK // max(1, batch * together * keys)))
        key = self._key(slice(0, keys))
        for start in range(rows.start, rows.stop, step):
            here = slice(start, min(start + step, rows.stop))
            span, hidden = self._visible(here)
            query = self._query(here)
            for first in range(heads.start, heads.stop, together):
                group = slice(first, min(first + together, heads.stop))
                tile = self.call.grid.tile(here, span)
                yield self._block(query, key[:, :, span], tile, hidden, group, logs)

    def _block(
        self,
        query: Tensor,
        key: Tensor,
        tile: Tile,
        hidden: list[tuple[slice, Tensor]],
        heads: slice,
        with_logs: bool,
    ) -> Block:
        scores = self._scores(query, key, tile, heads)
        for keys, mask in hidden:
            scores[..., keys].masked_fill_(self._own(mask, heads), -torch.inf)
        logs = None
        lse = self._lse[:, heads, tile.rows, None]
        if not with_logs and not lse.isnan().any():
            weights = scores.sub_(lse.masked_fill(lse == -torch.inf, 0.0)).exp_()
        else:
            if scores.shape[-1]:
                greatest = scores.amax(-1, keepdim=True)
            else:
                greatest = scores.new_full((*scores.shape[:-1], 1), -torch.inf)
            scores.sub_(greatest.masked_fill_(greatest == -torch.inf, 0.0))
            weights = scores.exp() if with_logs else scores.exp_()
            total = weights.sum(-1, keepdim=True)
            lse.copy_(greatest + total.log())
            total.masked_fill_(total == 0, 1.0)
            weights.div_(total)
            logs = scores.sub_(total.log_()) if with_logs else None
        if (factor := self._factor(tile, heads)) is not None:
            weights = weights * factor
            logs = None if logs is None else logs + factor.log()
        if logs is not None and (hidden or self.call.score.modifiers):
            logs.clamp_(min=-1e30)  # 0 * -inf would be NaN
        return Block(heads, tile.rows, tile.keys, weights, logs, tile.query_positions, tile.key_positions)

    def _visible(self, rows: slice) -> tuple[slice, list[tuple[slice, Tensor]]]:
        """Give the span of keys outside which these rows see nothing; and in it, what is hidden from some of them."""
        mask, grid = self.call.mask, self.call.grid
        if mask is None:
            return slice(0, grid.keys), []
        tiles = [grid.tile(rows, slice(first, first + CHUNK)) for first in range(0, grid.keys, CHUNK)]
        covered = [(tile, cover) for tile in tiles if (cover := mask.coverage(tile)) != "none"]
        if not covered:
            return slice(0, 0), []
        start, stop = covered[0][0].keys.start, covered[-1][0].keys.stop
        whole = {tile.keys.start for tile, cover in covered if cover == "all"}
        hidden = [
            (slice(tile.keys.start - start, tile.keys.stop - start), ~mask.tile(tile))
            for tile in tiles
            if start <= tile.keys.start < stop and tile.keys.start not in whole
        ]
        return slice(start, stop), hidden

    def _scores(self, query: Tensor, key: Tensor, tile: Tile, heads: slice) -> Tensor:
        """Give the scores (batch, heads, rows, keys) of some heads, of prepared queries and keys of all."""
        whole, some = query.shape[1], heads.stop - heads.start
        group = whole // key.shape[1]
        if not self._separable or some == whole:
            return self._own(self.call.score.tile(query, repeat_heads(key, whole), tile), heads)
        shared = slice(heads.start // group, (heads.stop - 1) // group + 1)
        key = repeat_heads(key[:, shared], group * (shared.stop - shared.start))
        first = heads.start - group * shared.start
        return self.call.score.tile(query[:, heads], key[:, first : first + some], replace(tile, heads=heads))

    def _factor(self, tile: Tile, heads: slice) -> Tensor | None:
        factor = self.call.score.factor(replace(tile, heads=heads) if self._separable else tile)
        return None if factor is None else self._own(factor.to(self.dtype), heads)

    @cached_property
    def _separable(self) -> bool:
        """Whether some heads can be asked for without the others."""
        score = self.call.score
        shared = not score.tensors() or isinstance(score, AdditiveScore)
        return shared and all(modifier.by_heads for modifier in score.modifiers)

    def _own(self, tensor: Tensor, heads: slice) -> Tensor:
        """Give what is of some heads in a tensor that broadcasts to (batch, heads, rows, keys)."""
        return tensor[..., heads, :, :] if tensor.ndim > 2 and tensor.shape[-3] == self.shape[1] else tensor

    def _query(self, rows: slice) -> Tensor:
        """Give the prepared queries of some rows."""
        if not self._one_by_one:
            return self._prepared[0][:, :, rows]
        query, grid = self.call.query[:, :, rows].to(self.dtype), self.call.grid
        return self.call.score.prepare_query(query, _part(grid, rows, slice(0, grid.keys)))

    def _key(self, keys: slice) -> Tensor:
        """Give the prepared keys, (batch, kv_heads, keys, d)."""
        if not self._one_by_one:
            return self._prepared[1][:, :, keys]
        key, grid = self.call.key[:, :, keys].to(self.dtype), self.call.grid
        if self.call.score.keys_prepared:
            return key
        return self.call.score.prepare_key(key, _part(grid, slice(0, grid.queries), keys))

    @property
    def _one_by_one(self) -> bool:
        """Whether each query and each key is prepared without looking at others, as nearly all scores do."""
        return type(self.call.score).prepare is Score.prepare

    @property
    def _prepared(self) -> tuple[Tensor, Tensor]:
        call = self.call
        return call.score.prepare(call.query.to(self.dtype), call.key.to(self.dtype), call.grid)


def _tensors(call: Call) -> Iterator[Tensor]:
    """Give the tensors that scores are made of."""
    yield from (call.query, call.key)
    yield from chain(*call.score.parts())
    if isinstance(call.score, nn.Module):
        yield from call.score.parameters()


def _part(grid: Grid, rows: slice, keys: slice) -> Grid:
    """Give the grid of some queries and keys, which stand where they stood."""
    tile = grid.tile(rows, keys)
    queries, columns = tile.query_positions.squeeze(-1), tile.key_positions.squeeze(-2)
    if queries.ndim == 3:
        queries = queries.squeeze(1)
    if columns.ndim == 3:
        columns = columns.squeeze(1)
    return Grid(queries.shape[-1], columns.shape[-1], grid.device, queries, columns)
