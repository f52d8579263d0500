"""Two maps side by side: two heads, two layers, two checkpoints, two models, two texts.

    pack = compare(Compared(scene, 3, 0), Compared(other, 3, 0))       # map 3, head 0 of both

Queries and keys of both are put together by the longest common subsequence of their tokens, or of their words where two
tokenizers cut them differently; what only one side has stays where it is, and is told apart. Nothing is divided anew: a
row keeps the weights that it has, and how much of them lies on keys that the other side has not is told.

    divergence   JS(p, q) = (KL(p | m) + KL(q | m)) / 2, m = (p + q) / 2, in bits: 0 the same, 1 nothing in common
    cosine       p . q / (|p| |q|)
    rank         Spearman's correlation over the keys that both sides have and one of them looks at

of each pair of queries, over the keys of either. (Lin 1991, "Divergence Measures Based on the Shannon Entropy".)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.errors import HeedfulError
from heedful.viewing.packed import pack
from heedful.viewing.pairing import Unit, paired, units
from heedful.viewing.ranks import ranks
from heedful.viewing.scene import AttentionMap, Axis, Scene
from heedful.viewing.vectors import layer_vectors, scene_stream

# A picture of so many cells a side is sent weight by weight; larger ones in cells of several.
CELLS = 384
# Of longer texts so many queries are compared, evenly.
QUERIES = 2048
ROWS = 64
# Of more keys so many have their ranks correlated, evenly.
RANKED = 2048


class Compared(NamedTuple):
    """One side of a comparison: which map of a scene, and of it one head, or the mean of all (None)."""

    scene: Scene
    map: int
    head: int | None


class Side(NamedTuple):
    """The units of one side: tokens, or words, each with its tokens."""

    rows: list[Unit]
    keys: list[Unit]


def compare(left: Compared, right: Compared) -> bytes:
    """Compare two maps, packed.

    Told are sides (model, map and head of each), level ("tokens" or "words"), common (of queries and keys how many
    are in both and on one side only), summary (means over the queries that both have), sampled, cells, row_text and,
    where each is shown, column_text. Arrays: queries and keys (units, 2) number the units of both sides, -1 where one
    has none, in one order; left and right are weights (rows, columns), or their means over cells, NaN where a side has
    none; difference is right - left, of cells the one that is largest either way; divergence, cosine, rank,
    only_left and only_right (mass on keys of one side) belong to each row, and moved.queries and moved.keys, (layers +
    1, units), are the cosines between the vectors of a unit in both scenes.

    Raises HeedfulError for a map or head that is not there.
    """
    maps = _map(left), _map(right)
    level, sides, queries, keys = _aligned(left, right, maps)
    told: dict[str, Any] = {
        "sides": {"left": _titled(left, maps[0]), "right": _titled(right, maps[1])},
        "level": level,
        "common": {"queries": _counted(queries), "keys": _counted(keys)},
        "sampled": len(queries) > QUERIES,
    }
    if len(queries) > QUERIES:
        queries = queries[np.linspace(0, len(queries) - 1, QUERIES).round().astype(int)]
    picture = _Picture(len(queries), len(keys))
    measures = {name: np.full(len(queries), np.nan, np.float32) for name in MEASURES}
    for start in range(0, len(queries), ROWS):
        rows = slice(start, min(start + ROWS, len(queries)))
        ours, theirs = (
            _weights(side, one, units_, queries[rows, number], keys[:, number])
            for number, (side, one, units_) in enumerate(zip((left, right), maps, sides, strict=True))
        )
        picture.add(rows, ours, theirs)
        for name, of in measured(ours, theirs, keys).items():
            measures[name][rows] = of
    told["summary"] = {name: _mean(of) for name, of in measures.items()}
    told["cells"] = list(picture.cells)
    told["row_text"] = [_text(sides, "rows", pair) for pair in queries.tolist()]
    told["column_text"] = (
        [_text(sides, "keys", pair) for pair in keys.tolist()] if picture.cells[1] == 1 else None
    )
    arrays = {
        "queries": queries.astype(np.int32),
        "keys": keys.astype(np.int32),
        **picture.arrays(),
        **measures,
    }
    moved, told["moved"] = _moved(left, right, maps, sides, queries, keys)
    return pack(told, {**arrays, **moved})


MEASURES = ("divergence", "cosine", "rank", "only_left", "only_right")


def measured(
    left: NDArray[np.float32], right: NDArray[np.float32], keys: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """Measure how far rows of weights (rows, columns) are from each other; NaN where one side has no such row or key.

    keys: (columns, 2), -1 where a side does not have this one
    """
    has = [keys[:, side] >= 0 for side in (0, 1)]
    p, q = (
        np.where(own, weights, 0.0).astype(np.float64)
        for own, weights in zip(has, (left, right), strict=True)
    )
    # A row that a side does not have is NaN, also where no key is alone.
    found = {
        "only_left": p[:, ~has[1]].sum(-1) + 0 * p.sum(-1),
        "only_right": q[:, ~has[0]].sum(-1) + 0 * q.sum(-1),
    }
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(of > 0, of * np.log2(of / middle), 0.0).sum(-1) for of in (p, q)]
        found["divergence"] = np.clip((parts[0] + parts[1]) / 2, 0, 1)
        lengths = np.sqrt((p * p).sum(-1) * (q * q).sum(-1))
        found["cosine"] = (p * q).sum(-1) / np.where(lengths > 0, lengths, np.nan)
    columns = np.flatnonzero(has[0] & has[1])
    if len(columns) > RANKED:
        columns = columns[np.linspace(0, len(columns) - 1, RANKED).round().astype(int)]
    found["rank"] = _rank(p[:, columns], q[:, columns])
    return {name: of.astype(np.float32) for name, of in found.items()}


def _rank(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlate the ranks of rows; keys of which neither has any weight, as those that a mask hides, are left out."""
    found = np.full(len(p), np.nan)
    for row, (one, other) in enumerate(zip(p, q, strict=True)):
        seen = (one > 0) | (other > 0)
        if np.isnan(one).any() or np.isnan(other).any() or seen.sum() < 3:
            continue
        a, b = ranks(one[seen]), ranks(other[seen])
        a, b = a - a.mean(), b - b.mean()
        length = np.sqrt((a @ a) * (b @ b))
        found[row] = a @ b / length if length > 0 else np.nan
    return found


class _Picture:
    """Both maps and their difference, cell by cell, while rows go by."""

    def __init__(self, rows: int, columns: int) -> None:
        self.cells = max(1, -(-rows // CELLS)), max(1, -(-columns // CELLS))
        size = -(-rows // self.cells[0]), -(-columns // self.cells[1])
        self._columns = np.arange(0, columns, self.cells[1])
        self._sums = np.zeros((2, *size))
        self._counts = np.zeros((2, *size))
        self._extremes = np.full((2, *size), np.nan)

    def add(self, rows: slice, left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
        """Add rows of weights (rows, columns)."""
        if not len(self._columns):
            return
        difference = right - left
        # Cell by cell along the columns first: few numbers are left for the rows.
        least = np.fmin.reduceat(difference, self._columns, 1), np.fmax.reduceat(difference, self._columns, 1)
        for side, weights in enumerate((left, right)):
            sums = np.add.reduceat(np.nan_to_num(weights).astype(np.float64), self._columns, 1)
            counts = np.add.reduceat((~np.isnan(weights)).astype(np.float64), self._columns, 1)
            for number in range(rows.stop - rows.start):
                cell = (rows.start + number) // self.cells[0]
                self._sums[side, cell] += sums[number]
                self._counts[side, cell] += counts[number]
                function = np.fmax if side else np.fmin
                self._extremes[side, cell] = function(self._extremes[side, cell], least[side][number])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give what was gathered; exact weights where each has a cell."""
        kind = np.float32 if self.cells == (1, 1) else np.float16
        with np.errstate(invalid="ignore"):
            means = self._sums / np.where(self._counts > 0, self._counts, np.nan)
            falls, rises = self._extremes
            difference = np.where(-falls > rises, falls, rises)
        return {
            "left": means[0].astype(kind),
            "right": means[1].astype(kind),
            "difference": difference.astype(kind),
        }


def _map(side: Compared) -> AttentionMap:
    if not 0 <= side.map < len(side.scene.maps):
        raise HeedfulError(f"There is no map {side.map}: there are {len(side.scene.maps)}, counted from 0.")
    one = side.scene.maps[side.map]
    if side.head is not None and not 0 <= side.head < one.heads:
        raise HeedfulError(f"There is no head {side.head}: {one.name} has {one.heads}, counted from 0.")
    return one


def _axes(side: Compared, one: AttentionMap) -> tuple[Axis, Axis]:
    return side.scene.axes[one.queries], side.scene.axes[one.keys]


def _aligned(
    left: Compared, right: Compared, maps: tuple[AttentionMap, AttentionMap]
) -> tuple[str, tuple[Side, Side], NDArray[np.int64], NDArray[np.int64]]:
    """Put queries and keys of both sides together, by tokens or, where more is common to them, by words."""
    axes = [_axes(side, one) for side, one in zip((left, right), maps, strict=True)]
    best = None
    for level in ("tokens", "words"):
        sides = tuple(Side(*(units(axis, level == "words") for axis in pair)) for pair in axes)
        queries, keys = paired(sides[0].rows, sides[1].rows), paired(sides[0].keys, sides[1].keys)
        common = _common(sides[0].rows, queries) + _common(sides[0].keys, keys)
        if best is None or common > best[0]:
            best = common, (level, (sides[0], sides[1]), queries, keys)
    assert best is not None  # noqa: S101 -- there are two levels
    return best[1]


def _common(of: Sequence[Unit], pairs: NDArray[np.int64]) -> int:
    """Count the tokens that stand in units of both sides."""
    return sum(len(of[one].tokens) for one, other in pairs.tolist() if one >= 0 and other >= 0)


def _weights(
    side: Compared, one: AttentionMap, units_: Side, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Give the weights (rows, columns) of units, NaN for -1: means over a word's queries, sums over its keys."""
    record = one.record if side.head is None else one.record.head(side.head)
    found = np.full((len(rows), len(columns)), np.nan, np.float32)
    of_rows = [units_.rows[row].tokens for row in rows if row >= 0]
    if not of_rows:
        return found
    first, last = min(tokens[0] for tokens in of_rows), max(tokens[-1] for tokens in of_rows)
    here = [number for number, row in enumerate(rows) if row >= 0]
    there = np.flatnonzero(columns >= 0)
    # Some rows at a time: between two of a sample there may be many.
    parts: list[Tensor] = []
    if last - first < 4 * sum(map(len, of_rows)) + ROWS:
        whole = record.weights(slice(first, last + 1))[0].mean(0)
        parts = [whole[[token - first for token in tokens]].mean(0) for tokens in of_rows]
    else:
        parts = [record.weights(slice(tokens[0], tokens[-1] + 1))[0].mean((0, 1)) for tokens in of_rows]
    weights = torch.stack(parts).double().cpu()
    place = torch.zeros(weights.shape[1], dtype=torch.long)
    for number, unit in enumerate(units_.keys):
        place[list(unit.tokens)] = number
    sums = torch.zeros(len(weights), len(units_.keys), dtype=torch.double).index_add_(1, place, weights)
    found[np.array(here)[:, None], there] = sums[:, columns[there]].float().numpy()
    return found


def _moved(
    left: Compared,
    right: Compared,
    maps: tuple[AttentionMap, AttentionMap],
    sides: tuple[Side, Side],
    queries: NDArray[np.int64],
    keys: NDArray[np.int64],
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Give the cosines between the vectors of each unit in both scenes, layer by layer, (layers + 1, units)."""
    found: dict[str, NDArray[np.float32]] = {}
    # Vectors of two models lie in two spaces, and their cosines tell nothing.
    modules = [{one.module for one in side.scene.maps if one.module is not None} for side in (left, right)]
    same = bool(modules[0] & modules[1])
    told: dict[str, Any] = {"same_model": same}
    if left.scene is right.scene or not same:
        return found, told
    for name, pairs, kind in (("queries", queries, "rows"), ("keys", keys, "keys")):
        axes = [one.queries if name == "queries" else one.keys for one in maps]
        # Rows that are called by what they predict stand for vectors of what they read.
        if any(
            scene_stream(side.scene, axis) != axis for side, axis in zip((left, right), axes, strict=True)
        ):
            continue
        vectors = [layer_vectors(side.scene, axis) for side, axis in zip((left, right), axes, strict=True)]
        if not vectors[0] or len(vectors[0]) != len(vectors[1]):
            continue
        both = np.flatnonzero((pairs >= 0).all(-1))
        cosines = np.full((len(vectors[0]), len(pairs)), np.nan, np.float32)
        for layer, two in enumerate(zip(*vectors, strict=True)):
            means = [
                torch.stack(
                    [of[list(getattr(own, kind)[unit].tokens)].mean(0) for unit in pairs[both, number]]
                )
                if len(both)
                else of[:0]
                for number, (of, own) in enumerate(zip(two, sides, strict=True))
            ]
            cosines[layer, both] = (
                torch.cosine_similarity(*(of.float() for of in means), dim=-1).cpu().numpy()
            )
        found[f"moved.{name}"] = cosines
    return found, told


def _titled(side: Compared, one: AttentionMap) -> dict[str, Any]:
    return {"model": side.scene.model, "map": one.name, "head": "mean" if side.head is None else side.head}


def _counted(pairs: NDArray[np.int64]) -> dict[str, int]:
    left, right = pairs[:, 0] >= 0, pairs[:, 1] >= 0
    return {
        "both": int((left & right).sum()),
        "left": int((left & ~right).sum()),
        "right": int((right & ~left).sum()),
    }


def _mean(of: NDArray[np.float32]) -> float | None:
    known = of[~np.isnan(of)]
    return round(float(known.mean()), 6) if len(known) else None


def _text(sides: tuple[Side, Side], kind: str, pair: Sequence[int]) -> str:
    number = 0 if pair[0] >= 0 else 1
    return getattr(sides[number], kind)[pair[number]].text
