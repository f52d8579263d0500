"""The mean of all heads of an attention, as a matrix of its own.

    Record(MeanOfHeads(record)).weights(rows=slice(0, 8))     # (batch, 1, rows, keys)

Whatever can be asked of one head can be asked of their mean; no more than some rows of all heads exist at a time.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from torch import Tensor

from heedful.attention import Record
from heedful.attention.matrix import Block, Matrix


class MeanOfHeads(Matrix):
    """The mean of the heads of a record, (batch, 1, queries, keys)."""

    def __init__(self, record: Record) -> None:
        self._record = record
        batch, _, queries, keys = record.shape
        self.shape = batch, 1, queries, keys
        self.dtype, self.device = record.matrix.dtype, record.matrix.device

    def tile(self, heads: slice, rows: slice, keys: slice) -> Tensor:
        """Give the weights of a rectangle, (batch, 1, rows, keys)."""
        return self._record.weights(rows, keys).mean(1, keepdim=True)

    def blocks(self, heads: slice, logs: bool = True) -> Iterator[Block]:
        """Give all rows, block by block."""
        for _, group in groupby(self._record.blocks(), lambda block: block.rows):
            blocks = iter(group)  # the heads of the same rows, some at a time
            first = next(blocks)
            total, count = first.weights.sum(1, keepdim=True), first.weights.shape[1]
            for block in blocks:
                total += block.weights.sum(1, keepdim=True)
                count += block.weights.shape[1]
            weights = total.div_(count)
            known = weights.log().clamp_(min=-1e30) if logs else None
            yield replace(first, heads=slice(0, 1), weights=weights, logs=known)

    def log_sum_exp(self, heads: slice, rows: slice | None = None) -> Tensor:
        """Give the mean over the heads, -inf where one sees nothing: the mean has none of its own."""
        every = slice(0, self._record.shape[1])
        return self._record.matrix.log_sum_exp(every, rows).mean(1, keepdim=True)

    def allowed(self, rows: slice) -> Tensor:
        """Say what any of the heads may see."""
        allowed = self._record.allowed(rows)
        return allowed.any(-3, keepdim=True) if allowed.ndim > 2 else allowed

    def positions(self, rows: slice, keys: slice) -> tuple[Tensor, Tensor]:
        """Give where queries and keys stand."""
        return self._record.matrix.positions(rows, keys)
