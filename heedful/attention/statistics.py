"""What is told of weights without the matrix: statistics of rows and columns, computed block by block.

    record.measure(Entropy(), Received(), Top(8))     # one pass for all of them

One pass makes every weight once, some rows at a time, and hands each block to all statistics that are asked for: time
grows with queries x keys, memory with queries + keys. The statistics of a row (of one query) are those of its weights
taken as a distribution over the keys; a query that sees nothing has zeros. A statistic of your own is a `Statistic`.

    Entropy    - sum_j p_ij log p_ij, in nats            (batch, heads, queries)
    Maximum    max_j p_ij                                (batch, heads, queries)
    Position   m_i = sum_j p_ij k_j, k_j where key j stands   (batch, heads, queries)
    Distance   sum_j p_ij |k_j - q_i|                    (batch, heads, queries)
    Spread     sqrt(sum_j p_ij (k_j - m_i)^2)            (batch, heads, queries)
    Received   sum_i p_ij                                (batch, heads, keys)
    Top        the largest weights of a row, and whose   (batch, heads, queries, k), twice
    Overview   the matrix in small: mean and maximum of square cells
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from heedful.attention.matrix import Block, Matrix

Result = TypeVar("Result")


class Statistic(ABC, Generic[Result]):
    """Something that is gathered block by block, in three steps: begin with nothing, add each block, finish."""

    needs_logs: ClassVar[bool] = False

    @abstractmethod
    def begin(self, matrix: Matrix, heads: int) -> Any:
        """Give what is gathered into, for a matrix of which so many heads are looked at."""

    @abstractmethod
    def add(self, gathered: Any, block: Block, heads: slice) -> None:
        """Add a block; `heads` are its heads counted from the first that is looked at."""

    @abstractmethod
    def finish(self, gathered: Any) -> Result:
        """Make the result of what was gathered."""


def measure(matrix: Matrix, statistics: Sequence[Statistic[Any]], heads: slice) -> list[Any]:
    """Gather statistics of some heads in one pass over the weights."""
    count = heads.stop - heads.start
    gathered = [statistic.begin(matrix, count) for statistic in statistics]
    logs = any(statistic.needs_logs for statistic in statistics)
    for block in matrix.blocks(heads, logs):
        own = slice(block.heads.start - heads.start, block.heads.stop - heads.start)
        for statistic, into in zip(statistics, gathered, strict=True):
            statistic.add(into, block, own)
    return [statistic.finish(into) for statistic, into in zip(statistics, gathered, strict=True)]


class OfRows(Statistic[Tensor]):
    """One number for each query, (batch, heads, queries)."""

    def begin(self, matrix: Matrix, heads: int) -> Tensor:
        batch, _, queries, _ = matrix.shape
        return torch.zeros(batch, heads, queries, dtype=matrix.dtype, device=matrix.device)

    def add(self, gathered: Tensor, block: Block, heads: slice) -> None:
        if block.weights.numel():
            gathered[:, heads, block.rows] = self.of(block)

    def finish(self, gathered: Tensor) -> Tensor:
        return gathered

    @abstractmethod
    def of(self, block: Block) -> Tensor:
        """Give the numbers (batch, heads, rows) of a block."""


@dataclass(frozen=True)
class Entropy(OfRows):
    """- sum_j p_ij log p_ij, in nats: 0 for one key alone, log(n) for n keys alike."""

    needs_logs = True

    def of(self, block: Block) -> Tensor:
        # Rows that do not sum to one, as those of Luong's Gaussian window, are taken as shares of their sum.
        if block.logs is None:
            raise ValueError("The entropy is made of blocks with logarithms: ask for them.")
        total = _total(block)
        return torch.where(
            total > 0, total.log() - torch.linalg.vecdot(block.weights, block.logs) / total, 0.0
        )


@dataclass(frozen=True)
class Maximum(OfRows):
    """The largest weight of each row."""

    def of(self, block: Block) -> Tensor:
        return block.weights.amax(-1)


@dataclass(frozen=True)
class Position(OfRows):
    """Where the keys stand that are attended to, on average."""

    def of(self, block: Block) -> Tensor:
        return _mean(block, block.key_positions.to(block.weights.dtype))


@dataclass(frozen=True)
class Distance(OfRows):
    """How far from the query the keys stand that are attended to, on average, to either side."""

    def of(self, block: Block) -> Tensor:
        return _mean(block, (block.key_positions - block.query_positions).abs().to(block.weights.dtype))


@dataclass(frozen=True)
class Spread(OfRows):
    """How far around their mean the keys are that are attended to: the standard deviation of their positions."""

    def of(self, block: Block) -> Tensor:
        # In two steps: the difference of squares of large positions would leave little that is exact.
        positions = block.key_positions.to(block.weights.dtype)
        away = positions - _mean(block, positions).unsqueeze(-1)
        total = _total(block).clamp_min(torch.finfo(block.weights.dtype).tiny)
        weighted = block.weights * away
        return (
            (torch.linalg.vecdot(weighted, away) / total - (weighted.sum(-1) / total) ** 2)
            .clamp_min(0)
            .sqrt()
        )


@dataclass(frozen=True)
class Received(Statistic[Tensor]):
    """How much attention each key gets from all queries together, (batch, heads, keys)."""

    def begin(self, matrix: Matrix, heads: int) -> Tensor:
        batch, _, _, keys = matrix.shape
        return torch.zeros(batch, heads, keys, dtype=matrix.dtype, device=matrix.device)

    def add(self, gathered: Tensor, block: Block, heads: slice) -> None:
        gathered[:, heads, block.keys] += block.weights.sum(-2)

    def finish(self, gathered: Tensor) -> Tensor:
        return gathered


@dataclass(frozen=True)
class Top(Statistic[tuple[Tensor, Tensor]]):
    """The k largest weights of each row and the keys that have them; 0 and key -1 where fewer can be seen."""

    k: int

    def begin(self, matrix: Matrix, heads: int) -> tuple[Tensor, Tensor]:
        batch, _, queries, keys = matrix.shape
        size = batch, heads, queries, min(self.k, keys)
        values = torch.zeros(size, dtype=matrix.dtype, device=matrix.device)
        return values, torch.full(size, -1, device=matrix.device)

    def add(self, gathered: tuple[Tensor, Tensor], block: Block, heads: slice) -> None:
        values, places = block.weights.topk(min(self.k, block.weights.shape[-1]))
        found = slice(0, values.shape[-1])
        gathered[0][:, heads, block.rows, found] = values
        gathered[1][:, heads, block.rows, found] = (places + block.keys.start).masked_fill(values == 0, -1)

    def finish(self, gathered: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return gathered


def _total(block: Block) -> Tensor:
    return block.weights.sum(-1)


def _mean(block: Block, of: Tensor) -> Tensor:
    """Give the mean (batch, heads, rows) of something that broadcasts to (batch, heads, rows, keys)."""
    total = _total(block).clamp_min(torch.finfo(block.weights.dtype).tiny)
    if of.shape[-2] == 1 and of.numel() == of.shape[-1]:
        return block.weights @ of.flatten() / total  # far quicker than a product with every weight
    return torch.linalg.vecdot(block.weights, of) / total
