"""The matrix of weights in small: the mean and the largest weight of each of its cells.

A cell is 2^a queries by 2^b keys, the smallest for which the picture is no larger than asked: one level of a pyramid,
the coarser levels of which follow from it, and the finer ones are tiles of the matrix itself. The mean keeps how much
is attended to, the maximum keeps thin lines in sight that a mean would wash out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from heedful.attention.matrix import Block, Matrix
from heedful.attention.statistics import Statistic


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A matrix of queries x keys in small.

    mean, maximum: (batch, heads, rows, columns)
    cell: how many queries and keys each cell has, powers of two; the last row and column may have fewer
    """

    mean: Tensor
    maximum: Tensor
    cell: tuple[int, int]
    queries: int
    keys: int

    def coarser(self) -> "Thumbnail":
        """Give the next level of the pyramid, a quarter of the size: cells of twice as many queries and keys."""
        cell = self.cell[0] * 2, self.cell[1] * 2
        total = _pairs(self.mean * _sizes(self.queries, self.keys, self.cell, self.mean)).sum((-1, -3))
        mean = total / _sizes(self.queries, self.keys, cell, total)
        return Thumbnail(mean, _pairs(self.maximum).amax((-1, -3)), cell, self.queries, self.keys)


@dataclass(frozen=True)
class Overview(Statistic[Thumbnail]):
    """The matrix as a picture of at most `size` x `size` cells."""

    size: int

    def begin(self, matrix: Matrix, heads: int) -> Thumbnail:
        batch, _, queries, keys = matrix.shape
        cell = _cell(queries, self.size), _cell(keys, self.size)
        shape = batch, heads, -(-queries // cell[0]), -(-keys // cell[1])
        total = torch.zeros(shape, dtype=matrix.dtype, device=matrix.device)
        return Thumbnail(total, total.clone(), cell, queries, keys)

    def add(self, gathered: Thumbnail, block: Block, heads: slice) -> None:
        rows, columns = gathered.cell
        weights = _from_cell(_from_cell(block.weights, -2, block.rows, rows), -1, block.keys, columns)
        first_row, first_column = block.rows.start // rows, block.keys.start // columns
        # First the rows, then the keys: sums down columns are quick, and leave less to be summed across.
        by_rows = weights.unflatten(-2, (-1, rows))
        for kept, reduced in ((gathered.mean, by_rows.sum(-2)), (gathered.maximum, by_rows.amax(-2))):
            cells = reduced.unflatten(-1, (-1, columns))
            here = (
                slice(first_row, first_row + cells.shape[2]),
                slice(first_column, first_column + cells.shape[3]),
            )
            place = kept[:, heads, *here]
            if kept is gathered.mean:
                place += cells.sum(-1)
            else:
                place.copy_(place.maximum(cells.amax(-1)))

    def finish(self, gathered: Thumbnail) -> Thumbnail:
        gathered.mean.div_(_sizes(gathered.queries, gathered.keys, gathered.cell, gathered.mean))
        return gathered


def _cell(length: int, size: int) -> int:
    cell = 1
    while length > cell * size:
        cell *= 2
    return cell


def _from_cell(weights: Tensor, dim: int, part: slice, cell: int) -> Tensor:
    """Add zeros around a part of the matrix so that it begins and ends with a cell."""
    before, after = part.start % cell, -part.stop % cell
    return (
        pad(weights, (before, after) if dim == -1 else (0, 0, before, after)) if before or after else weights
    )


def _pairs(picture: Tensor) -> Tensor:
    """(..., rows, columns) -> (..., rows / 2, 2, columns / 2, 2), with zeros where there is no second one."""
    rows, columns = picture.shape[-2:]
    return pad(picture, (0, columns % 2, 0, rows % 2)).unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))


def _sizes(queries: int, keys: int, cell: tuple[int, int], like: Tensor) -> Tensor:
    """Give how many weights each cell has, (rows, columns)."""
    rows, columns = (
        (length - torch.arange(0, length, step, device=like.device)).clamp_max(step).to(like.dtype)
        for length, step in zip((queries, keys), cell, strict=True)
    )
    return rows.unsqueeze(-1) * columns
