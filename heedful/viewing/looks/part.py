"""Some rows and keys of an observed attention, as a record of its own.

    part(record, [slice(200, 240)], slice(0, 200))        # what positions 200 to 239 have on the first 200 keys

Weights are those of the whole: on some of its keys, a row sums to what it gives to these.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from heedful.attention import Record
from heedful.attention.matrix import Block, Matrix

# So many weights are made at a time.
BLOCK = 2**21


def part(record: Record, rows: Sequence[slice], keys: slice | None = None) -> Record:
    """Give the record of some rows (runs of them, in order) and some keys, all when None, of a record of all heads."""
    return Record(Part(record.matrix, rows, keys or slice(0, record.shape[3])))


class Part(Matrix):
    """Some rows and keys of another matrix; slices have a start and a stop."""

    def __init__(self, whole: Matrix, rows: Sequence[slice], keys: slice) -> None:
        batch, heads, _, _ = whole.shape
        self.whole, self.keys = whole, keys
        sizes = [run.stop - run.start for run in rows]
        self.shape = batch, heads, sum(sizes), keys.stop - keys.start
        self.dtype, self.device = whole.dtype, whole.device
        # Of each run where it begins here, and what it is there.
        self.runs = list(zip(accumulate(sizes, initial=0), rows, strict=False))

    def tile(self, heads: slice, rows: slice, keys: slice) -> Tensor:
        """Give the weights of a rectangle, (batch, heads, rows, keys)."""
        there = self._there(keys)
        return torch.cat([self.whole.tile(heads, run, there) for run in self._inside(rows)], 2)

    def blocks(self, heads: slice, logs: bool = True) -> Iterator[Block]:
        """Give all rows, some at a time."""
        batch, _, queries, keys = self.shape
        step = max(1, BLOCK // max(1, batch * (heads.stop - heads.start) * keys))
        for start in range(0, queries, step):
            rows, every = slice(start, min(start + step, queries)), slice(0, keys)
            weights = self.tile(heads, rows, every)
            known = weights.log().clamp_(min=-1e30) if logs else None
            yield Block(heads, rows, every, weights, known, *self.positions(rows, every))

    def log_sum_exp(self, heads: slice, rows: slice | None = None) -> Tensor:
        """Give that of whole rows, (batch, heads, rows): all keys count."""
        inside = self._inside(rows or slice(0, self.shape[2]))
        return torch.cat([self.whole.log_sum_exp(heads, run) for run in inside], 2)

    def allowed(self, rows: slice) -> Tensor:
        """Say who may attend to whom."""
        batch, heads, _, keys = self.whole.shape
        found = []
        for run in self._inside(rows):
            allowed = self.whole.allowed(run)
            found.append(allowed.expand(batch, heads, run.stop - run.start, keys)[..., self.keys])
        return torch.cat(found, 2)

    def positions(self, rows: slice, keys: slice) -> tuple[Tensor, Tensor]:
        """Give where queries and keys stand in the whole."""
        every = [self.whole.positions(run, slice(0, 0))[0] for run in self._inside(rows)]
        return torch.cat(every, -2), self.whole.positions(slice(0, 0), self._there(keys))[1]

    def _there(self, keys: slice) -> slice:
        return slice(self.keys.start + keys.start, self.keys.start + keys.stop)

    def _inside(self, rows: slice) -> list[slice]:
        """Give these rows as runs of rows of the whole; an empty one where there are none."""
        found = [
            slice(
                run.start + max(rows.start - start, 0),
                run.start + min(rows.stop - start, run.stop - run.start),
            )
            for start, run in self.runs
            if rows.start < start + run.stop - run.start and rows.stop > start
        ]
        return found or [slice(0, 0)]
