"""The rules behind `heedful.attention.masks`, where each is told and made: one class for each, unchecked.

A rule answers for a tile of the queries x keys from positions, lengths or ids along its two sides, and says which tiles
may be passed over without making them.
"""

import math
from abc import abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from heedful.attention.grid import Grid, Tile
from heedful.attention.mask_algebra import Coverage, Mask, told


class Window(Mask):
    """Keys that stand from `left` before the query to `right` after it; None = no bound on that side."""

    def __init__(self, left: int | None, right: int | None) -> None:
        self.left, self.right = left, right
        self._least = -math.inf if left is None else -left
        self._greatest = math.inf if right is None else right

    def __repr__(self) -> str:
        return f"window({self.left}, {self.right})"

    def tile(self, tile: Tile) -> Tensor:
        distance = tile.distance
        return (distance >= self._least) & (distance <= self._greatest)

    def coverage(self, tile: Tile) -> Coverage:
        (first_query, last_query), (first_key, last_key) = tile.query_span, tile.key_span
        least, greatest = first_key - last_query, last_key - first_query
        if greatest < self._least or least > self._greatest:
            return "none"
        return "all" if self._least <= least and greatest <= self._greatest else "some"


class Causal(Window):
    """A query sees the keys that do not stand after it."""

    def __init__(self) -> None:
        super().__init__(None, 0)

    def __repr__(self) -> str:
        return "causal()"

    def tile(self, tile: Tile) -> Tensor:
        return tile.distance <= 0


class Around(Mask):
    """Keys at most `reach` from centres that broadcast to (batch, heads, queries, 1)."""

    def __init__(self, centers: Tensor, reach: float) -> None:
        # bfloat16 cannot tell position 257 from 256.
        self.centers = centers.detach().to(torch.promote_types(centers.dtype, torch.float32))
        self.reach = reach

    def __repr__(self) -> str:
        return f"around({told(self.centers.flatten())}, {self.reach})"

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return grid.misfit(self.centers, heads)

    def tile(self, tile: Tile) -> Tensor:
        return (tile.key_positions - tile.cut(self.centers)).abs() <= self.reach

    @cached_property
    def _known(self) -> Tensor:
        return self.centers.cpu()

    def coverage(self, tile: Tile) -> Coverage:
        # In the numbers and the order of `tile`, whose rounding is monotone: both say the same of a key on the edge.
        least, greatest = tile.cut(self._known).aminmax()
        first_key, last_key = tile.key_span
        if first_key - greatest > self.reach or least - last_key > self.reach:
            return "none"
        inside = last_key - least <= self.reach and greatest - first_key <= self.reach
        return "all" if inside else "some"


class _Below(Mask):
    """Keys whose number is below a bound, which is one or, (batch,), that of each sentence."""

    name = ""

    def __init__(self, bound: int | Tensor) -> None:
        self.bound = bound

    def __repr__(self) -> str:
        return f"{self.name}({told(self.bound) if isinstance(self.bound, Tensor) else self.bound})"

    @abstractmethod
    def numbers(self, tile: Tile) -> Tensor:
        """Give the numbers of the tile's keys, (1, keys) or (batch, 1, 1, keys)."""

    @abstractmethod
    def span(self, tile: Tile) -> tuple[int, int]:
        """Give the least and the greatest of these numbers."""

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        if isinstance(self.bound, Tensor) and len(self.bound) not in (1, heads[0]):
            return f"{self} is for a batch of {len(self.bound)}, got a batch of {heads[0]}"
        return None

    def tile(self, tile: Tile) -> Tensor:
        bound = self.bound[:, None, None, None] if isinstance(self.bound, Tensor) else self.bound
        return self.numbers(tile) < bound

    @cached_property
    def _bounds(self) -> tuple[int, int]:
        if isinstance(self.bound, int):
            return self.bound, self.bound
        least, greatest = self.bound.aminmax()
        return int(least), int(greatest)

    def coverage(self, tile: Tile) -> Coverage:
        (first, last), (least, greatest) = self.span(tile), self._bounds
        if first >= greatest:
            return "none"
        return "all" if last < least else "some"


class Padding(_Below):
    """The first keys of the tensor, as many as the sentence is long."""

    name = "padding"

    def numbers(self, tile: Tile) -> Tensor:
        return torch.arange(tile.keys.start, tile.keys.stop, device=tile.grid.device).unsqueeze(0)

    def span(self, tile: Tile) -> tuple[int, int]:
        return tile.keys.start, tile.keys.stop - 1


class Prefix(_Below):
    """The keys at the first positions."""

    name = "prefix"

    def numbers(self, tile: Tile) -> Tensor:
        return tile.key_positions

    def span(self, tile: Tile) -> tuple[int, int]:
        return tile.key_span


class Document(Mask):
    """Keys of the query's own document."""

    def __init__(self, ids: Tensor, query_ids: Tensor | None) -> None:
        self.ids, self.query_ids = ids, query_ids

    def __repr__(self) -> str:
        given = (self.ids,) if self.query_ids is None else (self.ids, self.query_ids)
        return f"document({', '.join(map(told, given))})"

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        for name, ids, length in (("keys", self.ids, grid.keys), ("queries", self.query_ids, grid.queries)):
            if ids is not None and tuple(ids.shape) not in ((length,), (1, length), (heads[0], length)):
                return f"{self} has ids {tuple(ids.shape)} for {length} {name} and a batch of {heads[0]}"
        if self.query_ids is None and grid.queries > grid.keys:
            return f"{self} needs query_ids: {grid.queries} queries cannot be the last of {grid.keys} keys"
        return None

    def tile(self, tile: Tile) -> Tensor:
        return tile.cut(self._down(tile.grid, self.ids, self.query_ids)) == tile.cut(_across(self.ids))

    @staticmethod
    def _down(grid: Grid, ids: Tensor, query_ids: Tensor | None) -> Tensor:
        """Give the documents of the queries, (queries, 1) or (batch, 1, queries, 1)."""
        ids = ids[..., grid.keys - grid.queries :] if query_ids is None else query_ids
        return _across(ids).transpose(-1, -2)

    @cached_property
    def _known(self) -> tuple[Tensor, Tensor | None]:
        return self.ids.cpu(), None if self.query_ids is None else self.query_ids.cpu()

    def coverage(self, tile: Tile) -> Coverage:
        queries, keys = tile.cut(self._down(tile.grid, *self._known)), tile.cut(_across(self._known[0]))
        least, greatest = torch.aminmax(queries.squeeze(-1), dim=-1)
        least_key, greatest_key = torch.aminmax(keys.squeeze(-2), dim=-1)
        if ((greatest_key < least) | (greatest < least_key)).all():
            return "none"
        one = (least == greatest) & (least_key == greatest_key) & (least == least_key)
        return "all" if one.all() else "some"


class Block(Mask):
    """Keys of the query's own block of positions."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __repr__(self) -> str:
        return f"block({self.size})"

    def tile(self, tile: Tile) -> Tensor:
        return tile.query_positions // self.size == tile.key_positions // self.size

    def spans(self, tile: Tile) -> tuple[int, int, int, int]:
        """Give the first and the last block of the queries, then of the keys."""
        first_query, last_query, first_key, last_key = (
            position // self.size for position in (*tile.query_span, *tile.key_span)
        )
        return first_query, last_query, first_key, last_key

    def coverage(self, tile: Tile) -> Coverage:
        first_query, last_query, first_key, last_key = self.spans(tile)
        if last_query < first_key or last_key < first_query:
            return "none"
        return "all" if first_query == last_query == first_key == last_key else "some"


class Layout(Block):
    """Keys of the blocks that a layout names for the query's block."""

    def __init__(self, size: int, layout: Tensor) -> None:
        super().__init__(size)
        self.layout = layout

    def __repr__(self) -> str:
        return f"block({self.size}, {told(self.layout)})"

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        if self.layout.ndim == 3 and len(self.layout) not in (1, heads[1]):
            return f"{self} is for {len(self.layout)} heads, got {heads[1]}"
        if not grid.queries or not grid.keys:
            return None
        first_query, last_query, first_key, last_key = self.spans(grid.tile())
        query_blocks, key_blocks = self.layout.shape[-2:]
        if min(first_query, first_key) < 0 or last_query >= query_blocks or last_key >= key_blocks:
            return (
                f"{self} has no place for queries of the blocks {first_query} to {last_query} and keys of "
                f"{first_key} to {last_key}; give a larger layout, or the positions they stand at"
            )
        return None

    def tile(self, tile: Tile) -> Tensor:
        queries, keys = tile.query_positions // self.size, tile.key_positions // self.size
        allowed = self._of_heads(self.layout, tile)[..., queries, keys]
        # (heads, batch, 1, rows, keys) where each sentence has positions of its own
        return allowed.squeeze(2).transpose(0, 1) if allowed.ndim == 5 else allowed

    @staticmethod
    def _of_heads(layout: Tensor, tile: Tile) -> Tensor:
        return layout if layout.ndim == 2 else tile.of_heads(layout)

    @cached_property
    def _known(self) -> Tensor:
        return self.layout.cpu()

    def coverage(self, tile: Tile) -> Coverage:
        first_query, last_query, first_key, last_key = self.spans(tile)
        layout = self._of_heads(self._known, tile)
        here = layout[..., first_query : last_query + 1, first_key : last_key + 1]
        if not here.any():
            return "none"
        return "all" if here.all() else "some"


def _across(ids: Tensor) -> Tensor:
    """(keys,) -> (1, keys), or (batch, keys) -> (batch, 1, 1, keys)."""
    return ids[:, None, None] if ids.ndim == 2 else ids[None]
