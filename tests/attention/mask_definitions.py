"""Every mask of `heedful.attention.masks` as its definition: who may attend to whom, said of one query and one key."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from hypothesis import strategies as st
from torch import Tensor

from heedful.attention import masks
from heedful.attention.grid import Grid, Tile
from heedful.attention.masks import Mask

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pair:
    """One query and one key: which of the batch, which head, their places in the tensors, and where they stand."""

    batch: int
    head: int
    query: int
    key: int
    here: int
    there: int
    queries: int
    keys: int


Definition = Callable[[Pair], bool]


@dataclass(frozen=True)
class Sizes:
    batch: int
    heads: int
    grid: Grid

    def written(self, definition: Definition) -> Tensor:
        """The definition, asked of every pair."""
        grid = self.grid
        allowed = torch.zeros(self.batch, self.heads, grid.queries, grid.keys, dtype=torch.bool)
        here = grid.query_positions.expand(self.batch, 1, -1, 1)[:, 0, :, 0].tolist()
        there = grid.key_positions.expand(self.batch, 1, 1, -1)[:, 0, 0].tolist()
        for b, h, i, j in product(*map(range, allowed.shape)):
            allowed[b, h, i, j] = definition(
                Pair(b, h, i, j, here[b][i], there[b][j], grid.queries, grid.keys)
            )
        return allowed

    def of(self, mask: Mask, tile: Tile | None = None) -> Tensor:
        """The mask's tile (all, when None), expanded."""
        tile = tile or self.grid.tile()
        rows, keys = (side.stop - side.start for side in (tile.rows, tile.keys))
        heads = len(range(*tile.heads.indices(self.heads)))
        return mask.tile(tile).expand(self.batch, heads, rows, keys)


@st.composite
def sizes(draw, plain: bool | None = None) -> Sizes:
    batch, heads = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    keys = draw(st.integers(1, 7))
    # More queries than keys would stand at negative positions, unless positions are given.
    plain = draw(st.booleans()) if plain is None else plain
    queries = draw(st.integers(1, keys if plain else 6))
    positions: list[Tensor | None] = [None, None]
    if not plain:
        shapes = [draw(st.sampled_from([(length,), (batch, length)])) for length in (queries, keys)]
        positions = [integers(draw, shape, 0, 12) for shape in shapes]
    return Sizes(batch, heads, Grid(queries, keys, CPU, *positions))


@st.composite
def tiles(draw, sizes: Sizes) -> Tile:
    parts = []
    for length in (sizes.grid.queries, sizes.grid.keys, sizes.heads):
        first = draw(st.integers(0, length - 1))
        parts.append(slice(first, draw(st.integers(first + 1, length))))
    return Tile(sizes.grid, *parts)


def integers(draw, shape: tuple[int, ...], least: int, greatest: int) -> Tensor:
    """Draw a tensor of numbers from least to greatest."""
    count = math.prod(shape)
    numbers = draw(st.lists(st.integers(least, greatest), min_size=count, max_size=count))
    return torch.tensor(numbers).reshape(shape)


def _bools(draw, shape: tuple[int, ...]) -> Tensor:
    return integers(draw, shape, 0, 1).bool()


# Each draws a mask for these sizes, and gives it with its definition.
def _causal(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    return masks.causal(), lambda pair: pair.there <= pair.here


def _window(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    side = st.none() | st.integers(0, 8)
    left, right = draw(side), draw(side)

    def definition(pair: Pair) -> bool:
        in_left = left is None or pair.here - pair.there <= left
        return in_left and (right is None or pair.there - pair.here <= right)

    return masks.window(left, right), definition


def _around(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    full = (sizes.batch, sizes.heads, sizes.grid.queries, 1)
    shape = tuple(draw(st.sampled_from([1, size])) for size in full)[draw(st.integers(0, 3)) :]
    # Eighths, so that keys stand on the very edge.
    centers, reach = integers(draw, shape, -8, 100) / 8, draw(st.integers(0, 40)) / 8
    expanded = centers.expand(full).tolist()

    def definition(pair: Pair) -> bool:
        return abs(pair.there - expanded[pair.batch][pair.head][pair.query][0]) <= reach

    return masks.around(centers, reach), definition


def _padding(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    lengths = integers(draw, (sizes.batch,), 0, 8)
    return masks.padding(lengths), lambda pair: pair.key < lengths[pair.batch]


def _not_padding(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    tokens = integers(draw, (sizes.batch, sizes.grid.keys), 0, 2)
    return masks.not_padding(tokens, 0), lambda pair: bool(tokens[pair.batch, pair.key] != 0)


def _document(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    grid, batched = sizes.grid, draw(st.booleans())
    ids = integers(draw, (sizes.batch, grid.keys) if batched else (grid.keys,), -1, 2)
    if draw(st.booleans()):
        ids = ids.sort(-1).values  # as packing makes them
    of_keys = ids.expand(sizes.batch, -1)
    if grid.queries <= grid.keys and draw(st.booleans()):
        before = grid.keys - grid.queries
        return masks.document(ids), lambda pair: bool(
            of_keys[pair.batch, pair.key] == of_keys[pair.batch, before + pair.query]
        )
    query_ids = integers(draw, (sizes.batch, grid.queries) if batched else (grid.queries,), -1, 2)
    of_queries = query_ids.expand(sizes.batch, -1)
    return masks.document(ids, query_ids), lambda pair: bool(
        of_keys[pair.batch, pair.key] == of_queries[pair.batch, pair.query]
    )


def _prefix(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    if draw(st.booleans()):
        n = draw(st.integers(0, 13))
        return masks.prefix(n), lambda pair: pair.there < n
    each = integers(draw, (sizes.batch,), 0, 13)
    return masks.prefix(each), lambda pair: bool(pair.there < each[pair.batch])


def _block(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    size = draw(st.integers(1, 5))
    return masks.block(size), lambda pair: pair.here // size == pair.there // size


def _layout(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    size = draw(st.integers(1, 5))
    blocks = 12 // size + 1
    if draw(st.booleans()):
        layout = _bools(draw, (blocks, blocks))
        return masks.block(size, layout), lambda pair: bool(layout[pair.here // size, pair.there // size])
    layouts = _bools(draw, (sizes.heads, blocks, blocks))
    return masks.block(size, layouts), lambda pair: bool(
        layouts[pair.head, pair.here // size, pair.there // size]
    )


def _given(draw, sizes: Sizes) -> tuple[Mask, Definition]:
    full = (sizes.batch, sizes.heads, sizes.grid.queries, sizes.grid.keys)
    shape = tuple(draw(st.sampled_from([1, size])) for size in full)[draw(st.integers(0, 4)) :]
    allowed = _bools(draw, shape)
    expanded = allowed.expand(full)
    return masks.as_mask(allowed), lambda pair: bool(expanded[pair.batch, pair.head, pair.query, pair.key])


RULES = {
    "causal": _causal,
    "window": _window,
    "around": _around,
    "padding": _padding,
    "not_padding": _not_padding,
    "document": _document,
    "prefix": _prefix,
    "block": _block,
    "layout": _layout,
    "given": _given,
}


def expression(draw, sizes: Sizes, depth: int) -> tuple[Mask, Definition]:
    """A random expression of the algebra."""
    kind = draw(st.sampled_from(["rule", "and", "or", "not"])) if depth else "rule"
    if kind == "rule":
        return draw(st.sampled_from(list(RULES.values())))(draw, sizes)
    one, first = expression(draw, sizes, depth - 1)
    if kind == "not":
        return ~one, lambda pair: not first(pair)
    other, second = expression(draw, sizes, depth - 1)
    if kind == "and":
        return one & other, lambda pair: first(pair) and second(pair)
    return one | other, lambda pair: first(pair) or second(pair)
