"""The matrix of weights of one attention, of which any rectangle can be had without the others.

What statistics are made of goes by in blocks: some rows at a time, with all the keys that they may see, so that memory
stays bounded. Here are what every such matrix can be asked, weights that were written down (`Written`), and the rows of
several calls in one (`Joined`); weights that are made from queries and keys are in `heedful.attention.recomputed`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of the matrix: all their weights but zeros.

    weights, logs: (batch, heads, rows, keys) of these heads, rows and keys; the weights of all other keys are zero.
        logs are the logarithms of the weights, -1e30 for a weight of zero; None where they were not asked for
    query_positions: (rows, 1), or (batch, 1, rows, 1); key_positions: (1, keys), or (batch, 1, 1, keys)
    """

    heads: slice
    rows: slice
    keys: slice
    weights: Tensor
    logs: Tensor | None
    query_positions: Tensor
    key_positions: Tensor


class Matrix(ABC):
    """Weights (batch, heads, queries, keys), made when asked for."""

    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def tile(self, heads: slice, rows: slice, keys: slice) -> Tensor:
        """Give the weights of a rectangle, (batch, heads, rows, keys); slices have a start and a stop."""

    @abstractmethod
    def blocks(self, heads: slice, logs: bool = True) -> Iterator[Block]:
        """Give all rows of some heads, block by block; rows that see nothing may be missing.

        logs: whether logarithms are needed too; without them it is quicker
        """

    @abstractmethod
    def log_sum_exp(self, heads: slice, rows: slice | None = None) -> Tensor:
        """Give the log-sum-exp of the scores that some queries may see, (batch, heads, rows); -inf for none.

        rows: all when None; a slice with a start and a stop
        """

    @abstractmethod
    def allowed(self, rows: slice) -> Tensor:
        """Say who may attend to whom, bool that broadcasts to (batch, heads, rows, keys)."""

    @abstractmethod
    def positions(self, rows: slice, keys: slice) -> tuple[Tensor, Tensor]:
        """Give where queries and keys stand, as in `Block`."""

    def near(self, rows: slice, offset: int) -> slice:
        """Give keys among which all those are that stand `offset` after one of the rows."""
        return slice(0, self.shape[3])


class Written(Matrix):
    """Weights that were written down.

    weights: (batch, heads, queries, keys); lse: (batch, heads, queries); seen: bool, broadcasts like the weights
    query_positions, key_positions: as in `Block`
    """

    def __init__(
        self, weights: Tensor, lse: Tensor, seen: Tensor, query_positions: Tensor, key_positions: Tensor
    ) -> None:
        batch, heads, queries, keys = weights.shape
        self.shape, self.dtype, self.device = (batch, heads, queries, keys), weights.dtype, weights.device
        self._weights, self._lse, self._seen = weights, lse, seen
        self._query_positions, self._key_positions = query_positions, key_positions

    @classmethod
    def of(cls, matrix: Matrix) -> "Written":
        """Write another matrix down."""
        _, heads, queries, keys = matrix.shape
        rows, columns = slice(0, queries), slice(0, keys)
        weights = matrix.tile(slice(0, heads), rows, columns)
        lse = matrix.log_sum_exp(slice(0, heads))
        return cls(weights, lse, matrix.allowed(rows), *matrix.positions(rows, columns))

    def tile(self, heads: slice, rows: slice, keys: slice) -> Tensor:
        return self._weights[:, heads, rows, keys]

    def blocks(self, heads: slice, logs: bool = True) -> Iterator[Block]:
        rows, keys = slice(0, self.shape[2]), slice(0, self.shape[3])
        weights = self._weights[:, heads]
        known = weights.log().clamp_(min=-1e30) if logs else None
        yield Block(heads, rows, keys, weights, known, *self.positions(rows, keys))

    def log_sum_exp(self, heads: slice, rows: slice | None = None) -> Tensor:
        return self._lse[:, heads, rows or slice(None)]

    def allowed(self, rows: slice) -> Tensor:
        return self._seen if self._seen.shape[-2] == 1 else self._seen[..., rows, :]

    def positions(self, rows: slice, keys: slice) -> tuple[Tensor, Tensor]:
        return self._query_positions[..., rows, :], self._key_positions[..., keys]


class Joined(Matrix):
    """The rows of several matrices, one after the other, as steps of decoding make them; keys that are missing at the
    end of some have weights of zero.

    Raises ValueError for matrices whose batch or heads differ, or in which there are fewer keys than in the one before.
    """

    def __init__(self, parts: Sequence[Matrix]) -> None:
        last = parts[-1]
        for number, (one, other) in enumerate(pairwise(parts), 1):
            if one.shape[:2] != other.shape[:2] or one.shape[3] > other.shape[3]:
                raise ValueError(
                    "Calls of one sequence keep batch and heads, and lose no keys: (batch, heads, queries, keys) of "
                    f"call {number - 1} are {one.shape}, of call {number} {other.shape}. Join one sequence only."
                )
        queries = sum(part.shape[2] for part in parts)
        self.shape, self.dtype, self.device = (
            (*last.shape[:2], queries, last.shape[3]),
            last.dtype,
            last.device,
        )
        starts = accumulate((part.shape[2] for part in parts), initial=0)
        self._parts = list(zip(starts, parts, strict=False))

    def tile(self, heads: slice, rows: slice, keys: slice) -> Tensor:
        found = []
        for part, inside in self._inside(rows):
            some = slice(min(keys.start, part.shape[3]), min(keys.stop, part.shape[3]))
            missing = keys.stop - keys.start - (some.stop - some.start)
            found.append(pad(part.tile(heads, inside, some), (0, missing)))
        return torch.cat(found, 2)

    def blocks(self, heads: slice, logs: bool = True) -> Iterator[Block]:
        for start, part in self._parts:
            for block in part.blocks(heads, logs):
                rows = slice(block.rows.start + start, block.rows.stop + start)
                yield replace(block, rows=rows)

    def log_sum_exp(self, heads: slice, rows: slice | None = None) -> Tensor:
        inside = self._inside(rows or slice(0, self.shape[2]))
        return torch.cat([part.log_sum_exp(heads, some) for part, some in inside], 2)

    def allowed(self, rows: slice) -> Tensor:
        batch, heads, _, keys = self.shape
        found = []
        for part, inside in self._inside(rows):
            size = (batch, heads, inside.stop - inside.start, part.shape[3])
            found.append(pad(part.allowed(inside).expand(size), (0, keys - part.shape[3])))
        return torch.cat(found, 2)

    def positions(self, rows: slice, keys: slice) -> tuple[Tensor, Tensor]:
        every = [part.positions(inside, slice(0, 0))[0] for part, inside in self._inside(rows)]
        batch = max(len(positions) if positions.ndim == 4 else 1 for positions in every)
        queries = torch.cat([positions.expand(batch, 1, -1, 1) for positions in every], 2)
        return queries, self._parts[-1][1].positions(slice(0, 0), keys)[1]

    def _inside(self, rows: slice) -> Iterator[tuple[Matrix, slice]]:
        """Give the parts that have some of these rows, and which of their own they are."""
        for start, part in self._parts:
            inside = slice(max(rows.start - start, 0), min(rows.stop - start, part.shape[2]))
            if inside.start < inside.stop:
                yield part, inside
