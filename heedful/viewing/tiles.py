"""One head as a map that can be zoomed: a pyramid of tiles, from exact weights up to the whole in one picture.

    pyramid = Pyramid(record, head=3)
    pyramid.tile(0, 12, 7).mean          # 256 x 256 exact weights: queries 3072 ..., keys 1792 ...
    pyramid.tile(8, 0, 0)                # 65,536 x 65,536 of them in 256 x 256 cells

Level n has cells of 2^n queries x 2^n keys: of each the mean, and the maximum, which keeps thin lines in sight. Tiles
are made when they are asked for, as long as that takes no more than some millions of weights. For the coarser levels
the matrix goes by once (`Pyramid.pass_over`, in the background); until then they are made of the exact weights of some
queries, one in each row of cells, and say so. That one pass gives the tracks, too: what is told of each query and key.

Memory is linear in length but for the pictures of the coarser levels, which are bounded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor
from torch.nn.functional import pad

from heedful.attention import Record
from heedful.attention.matrix import Matrix
from heedful.attention.overview import Overview, Thumbnail
from heedful.attention.record import plainly
from heedful.attention.statistics import Entropy, Maximum, Position, Received
from heedful.viewing.mean_of_heads import MeanOfHeads
from heedful.viewing.sample import sample, spread

SIDE = 256
"""Cells of a tile, to each side."""

# A tile is made from so many weights when it is asked for: a few hundredths of a second.
ON_DEMAND = 2**21
# A picture that is kept has at most so many cells, 64 MiB of them; then finer tiles take longer.
KEPT = 2**24
# Weights at a time: they stay in the cache.
STRIP = 2**20
# Queries of which tracks are told before the pass.
TRACKED = 256


@dataclass(frozen=True, eq=False)
class Tile:
    """A rectangle of cells.

    mean, maximum: (rows, columns); no maximum at level 0, where both are the weight
    sampled: whether it is made of some of the queries only
    """

    mean: Tensor
    maximum: Tensor | None
    sampled: bool = False


@dataclass(frozen=True, eq=False)
class Tracks:
    """What is told of each query: entropy, largest weight and mean position; and of each key: the mass it receives.

    seen: how many queries may see each key
    sampled: whether each query stands for those around it
    """

    entropy: Tensor
    largest: Tensor
    position: Tensor
    received: Tensor
    seen: Tensor
    sampled: bool = False


class Stopped(Exception):  # noqa: N818 -- nothing is wrong
    """The pass is not wanted any more."""


class Pyramid:
    """One head of a record of one text, from exact weights to the whole; several threads may ask.

    record: with all heads of its matrix, of a batch of one
    head: its number; None for the mean of all heads

    Raises ValueError for more than one text, and IndexError where there is no such head.
    """

    def __init__(self, record: Record, head: int | None) -> None:
        batch, heads, self.queries, self.keys = record.shape
        if batch != 1:
            raise ValueError(f"A map is of one text, got a record of {batch}.")
        if head is not None and not 0 <= head < heads:
            raise IndexError(f"There is no head {head}: there are {heads}, counted from 0.")
        self._whole = record
        self._heads = slice(None) if head is None else slice(head, head + 1)
        self.record = Record(MeanOfHeads(record)) if head is None else record.head(head)
        self._matrix: Matrix = self.record.matrix
        self._of_matrix = slice(0, 1) if head is None else self._heads
        longest = max(self.queries, self.keys, 1)
        self.top = max(0, (longest - 1).bit_length() - (SIDE.bit_length() - 1))
        self.base = self._base(1 if head is not None else heads)
        self.progress = 0.0
        self._levels: dict[int, _Picture] = {}
        self._tracks: Tracks | None = None
        self._working = Lock()

    @property
    def done(self) -> bool:
        """Whether all that is asked for is exact now."""
        return self.base is None or self.base in self._levels

    @property
    def kept_bytes(self) -> int:
        """How much memory the pictures take."""
        return sum(picture.bytes for picture in self._levels.values())

    def _base(self, heads: int) -> int | None:
        """Give the first level that is not made on demand; None if all are."""

        def weights(level: int) -> int:
            side = SIDE << level
            return heads * min(side, self.queries) * min(side, self.keys)

        for level in range(self.top + 1):
            cells = -(-self.queries // 2**level) * -(-self.keys // 2**level)
            if weights(level) > ON_DEMAND and cells <= KEPT:
                return level
        return None if weights(self.top) <= ON_DEMAND else self.top

    def tile(self, level: int, row: int, column: int) -> Tile:
        """Give a tile of at most 256 x 256 cells.

        Raises IndexError where there is none. Level `top` has one tile.
        """
        if not 0 <= level <= self.top:
            raise IndexError(f"There is no level {level}: there are {self.top + 1}, counted from 0.")
        side = SIDE << level
        if not (0 <= row * side < max(self.queries, 1) and 0 <= column * side < max(self.keys, 1)):
            raise IndexError(f"There is no tile {row}, {column} at level {level}.")
        if picture := self._levels.get(level):
            return Tile(*picture.cut(row, column))
        rows = slice(row * side, min((row + 1) * side, self.queries))
        keys = slice(column * side, min((column + 1) * side, self.keys))
        if self.base is None or level < self.base:
            return self._exact(rows, keys, 2**level)
        return self._sampled(rows, keys, 2**level)

    def tracks(self) -> Tracks:
        """Give what is told of each query and each key; sampled for a long text before the pass."""
        if self._tracks is None:
            if self.base is None:
                self.pass_over()
            else:
                return self._sampled_tracks()
        assert self._tracks is not None  # noqa: S101 -- the pass made them
        return self._tracks

    def pass_over(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Look at all weights once, and keep the coarser levels and the tracks. Raises Stopped if `stop` says so."""
        with self._working:
            if self._tracks is not None and self.done:
                return
            statistics = [Entropy(), Maximum(), Position(), Received()]
            if self.base is not None:
                statistics.append(Cells(2**self.base))
            matrix, heads = self._matrix, self._of_matrix
            seen = torch.zeros(self.keys, dtype=matrix.dtype, device=matrix.device)
            with plainly(matrix):
                gathered = [one.begin(matrix, 1) for one in statistics]
                for block in matrix.blocks(heads):
                    if stop():
                        raise Stopped
                    for one, into in zip(statistics, gathered, strict=True):
                        one.add(into, block, slice(0, 1))
                    seen += _seen(self.record.allowed(block.rows), block.rows.stop - block.rows.start)
                    self.progress = block.rows.stop / max(1, self.queries)
                found = [one.finish(into) for one, into in zip(statistics, gathered, strict=True)]
            if self.base is not None:
                self._keep(found.pop())
            entropy, largest, position, received = (each[0, 0] for each in found)
            self._tracks = Tracks(entropy, largest, position, received, seen)

    def thin(self, cells: int = 2**18) -> None:
        """Let go of pictures with more than so many cells: they take another pass when they are wanted again."""
        self._levels = {level: each for level, each in self._levels.items() if each.cells <= cells}
        self.progress = 0.0

    def thumbnail(self, size: int) -> Thumbnail | None:
        """Give the finest kept picture of at most size x size cells; None where there is none."""
        level = (max(1, -(-max(self.queries, self.keys) // size)) - 1).bit_length()
        levels = self._levels  # another thread may thin them meanwhile
        if not levels or level < min(levels):
            return None
        top = max(levels)
        mean, maximum = levels[min(level, top)].whole()
        cell = 2 ** min(level, top)
        picture = Thumbnail(mean[None, None], maximum[None, None], (cell, cell), self.queries, self.keys)
        for _ in range(level - top):
            picture = picture.coarser()
        return picture

    def _keep(self, picture: Thumbnail) -> None:
        levels = {}
        for level in range(self.base or 0, self.top + 1):
            levels[level] = _Picture(picture, level)
            picture = picture.coarser()
        self._levels = levels

    def _exact(self, rows: slice, keys: slice, cell: int) -> Tile:
        with plainly(self._matrix):
            if cell == 1:
                return Tile(self._matrix.tile(self._of_matrix, rows, keys)[0, 0], None)
            high = max(cell, STRIP // max(1, keys.stop - keys.start) // cell * cell)
            strips = []
            for start in range(rows.start, rows.stop, high):
                strip = slice(start, min(start + high, rows.stop))
                strips.append(cells(self._matrix.tile(self._of_matrix, strip, keys)[0, 0], cell, cell))
        total, maximum = (torch.cat(parts) for parts in zip(*strips, strict=True))
        sizes = _sizes(rows, cell, total).unsqueeze(-1) * _sizes(keys, cell, total)
        return Tile(total / sizes, maximum)

    def _sampled(self, rows: slice, keys: slice, cell: int) -> Tile:
        """One query stands for each row of cells."""
        count = -(-(rows.stop - rows.start) // cell)
        places = [rows.start + place for place in spread(rows.stop - rows.start, count)]
        weights = self._some(places).weights(keys=keys)[0, 0]
        total, maximum = cells(weights, 1, cell)
        return Tile(total / _sizes(keys, cell, total), maximum, sampled=True)

    def _sampled_tracks(self) -> Tracks:
        places = spread(self.queries, TRACKED)
        few = self._some(places)
        entropy, largest, position, received = few.measure(Entropy(), Maximum(), Position(), Received())
        nearest = torch.tensor(places).sub(torch.arange(self.queries).unsqueeze(-1)).abs().argmin(-1)
        nearest = nearest.to(entropy.device)
        stands_for = self.queries / len(places)
        return Tracks(
            entropy[0, 0, nearest],
            largest[0, 0, nearest],
            position[0, 0, nearest],
            received[0, 0] * stands_for,
            _seen(few.allowed(), len(places)).expand(self.keys) * stands_for,
            sampled=True,
        )

    def _some(self, places: list[int]) -> Record:
        few = sample(self._whole, places, self._heads)
        return few if few.shape[1] == 1 else Record(MeanOfHeads(few))


@dataclass(frozen=True)
class Cells(Overview):
    """The matrix in square cells of `size` x `size`, however many there are."""

    def begin(self, matrix: Matrix, heads: int) -> Thumbnail:
        """Begin with nothing in any cell."""
        batch, _, queries, keys = matrix.shape
        shape = batch, heads, -(-queries // self.size), -(-keys // self.size)
        total = torch.zeros(shape, dtype=matrix.dtype, device=matrix.device)
        return Thumbnail(total, total.clone(), (self.size, self.size), queries, keys)


class _Picture:
    """A level that is kept, in float16.

    The rows of a matrix sum to one, so that the mean of a cell of 2^n x 2^n is at most 2^-n: scaled up by as much, and
    by what else float16 has room for, it keeps its eleven bits down to 1e-10.
    """

    def __init__(self, picture: Thumbnail, level: int) -> None:
        self._scales = 2.0 ** (15 + level), 2.0**15
        # Weights with a factor after the softmax may sum to less, never to much more.
        self._kept = [
            (of[0, 0] * scale).clamp_(max=65_504).half()
            for of, scale in zip((picture.mean, picture.maximum), self._scales, strict=True)
        ]

    @property
    def cells(self) -> int:
        """How many there are."""
        return self._kept[0].numel()

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return 4 * self.cells

    def cut(self, row: int, column: int) -> tuple[Tensor, Tensor]:
        """Give mean and maximum of a tile."""
        here = slice(row * SIDE, (row + 1) * SIDE), slice(column * SIDE, (column + 1) * SIDE)
        mean, maximum = (
            kept[here].float() / scale for kept, scale in zip(self._kept, self._scales, strict=True)
        )
        return mean, maximum

    def whole(self) -> tuple[Tensor, Tensor]:
        """Give mean and maximum of all cells."""
        mean, maximum = (kept.float() / scale for kept, scale in zip(self._kept, self._scales, strict=True))
        return mean, maximum


def cells(weights: Tensor, high: int, wide: int) -> tuple[Tensor, Tensor]:
    """Give sum and maximum of cells of `high` x `wide`, of (rows, keys); the last ones may be smaller."""
    rows, keys = weights.shape
    if keys % wide or rows % high:
        weights = pad(weights, (0, -keys % wide, 0, -rows % high))
    by_rows = weights.unflatten(0, (-1, high))
    total = by_rows.sum(1).unflatten(-1, (-1, wide)).sum(-1)
    return total, by_rows.amax(1).unflatten(-1, (-1, wide)).amax(-1)


def _seen(allowed: Tensor, rows: int) -> Tensor:
    """Give how many of some rows may see each key, (keys,) or (1,), of what is allowed in one head."""
    allowed = allowed.reshape(-1, *allowed.shape[-2:])[0]
    return allowed.sum(0) * (rows if len(allowed) == 1 else 1)


def _sizes(part: slice, cell: int, like: Tensor) -> Tensor:
    """Give how many weights the cells of a part have to one side."""
    starts = torch.arange(part.start, part.stop, cell, device=like.device)
    return (part.stop - starts).clamp_max(cell).to(like.dtype)
