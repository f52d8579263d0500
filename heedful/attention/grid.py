"""The matrix of weights of one attention, and rectangles of it: how large it is, and where its queries and keys stand.

The matrix itself need never exist: masks and scores are asked for one tile of it at a time. What depends on order
(causality, windows, relative biases) is computed from positions, never from corners of the matrix, so that a cached
step and a full pass agree.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Grid:
    """Queries x keys.

    positions_of_queries, positions_of_keys: integers, (queries,) and (keys,), or with a batch dimension first. Left
    out, keys stand at 0, 1, ... and the queries at the last of these positions: as in self-attention, cached or not.
    """

    queries: int
    keys: int
    device: torch.device
    positions_of_queries: Tensor | None = None
    positions_of_keys: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether positions were left out, so that they need not be looked at to be known."""
        return self.positions_of_queries is None and self.positions_of_keys is None

    @cached_property
    def query_positions(self) -> Tensor:
        """(queries, 1), or (batch, 1, queries, 1)."""
        if self.positions_of_queries is None:
            return torch.arange(self.keys - self.queries, self.keys, device=self.device).unsqueeze(-1)
        positions = self.positions_of_queries.unsqueeze(-1)
        return positions if positions.ndim == 2 else positions.unsqueeze(1)

    @cached_property
    def key_positions(self) -> Tensor:
        """(1, keys), or (batch, 1, 1, keys)."""
        if self.positions_of_keys is None:
            return torch.arange(self.keys, device=self.device).unsqueeze(0)
        positions = self.positions_of_keys.unsqueeze(-2)
        return positions if positions.ndim == 2 else positions.unsqueeze(1)

    def misfit(self, tensor: Tensor, heads: tuple[int, int]) -> str | None:
        """Say how a tensor does not broadcast to (batch, heads, queries, keys), or None; `heads` is (batch, heads)."""
        full = (*heads, self.queries, self.keys)
        shape = tuple(tensor.shape)
        fits = zip(reversed(shape), reversed(full), strict=False)
        if len(shape) > 4 or any(size not in (1, whole) for size, whole in fits):
            return f"{shape} does not broadcast to (batch, heads, queries, keys) = {full}"
        return None

    def tile(self, rows: slice = slice(None), keys: slice = slice(None)) -> "Tile":
        """Give the rectangle of some queries and keys; all, when left out."""
        first_row, last_row, _ = rows.indices(self.queries)
        first_key, last_key, _ = keys.indices(self.keys)
        return Tile(self, slice(first_row, last_row), slice(first_key, last_key))


@dataclass(frozen=True, eq=False)
class Tile:
    """Some rows (queries) and some keys of a grid; both slices have a start and a stop.

    heads: those that are asked for; observers ask for some, kernels for all
    """

    grid: Grid
    rows: slice
    keys: slice
    heads: slice = field(default_factory=lambda: slice(None))

    @property
    def query_positions(self) -> Tensor:
        """(rows, 1), or (batch, 1, rows, 1)."""
        return self.grid.query_positions[..., self.rows, :]

    @property
    def key_positions(self) -> Tensor:
        """(1, keys), or (batch, 1, 1, keys)."""
        return self.grid.key_positions[..., self.keys]

    @property
    def distance(self) -> Tensor:
        """How far after its query each key stands: (rows, keys), or (batch, 1, rows, keys)."""
        return self.key_positions - self.query_positions

    @property
    def query_span(self) -> tuple[int, int]:
        """The least and the greatest position of the queries."""
        if self.grid.positions_of_queries is None:
            before = self.grid.keys - self.grid.queries
            return before + self.rows.start, before + self.rows.stop - 1
        return int(self.query_positions.min()), int(self.query_positions.max())

    @property
    def key_span(self) -> tuple[int, int]:
        """The least and the greatest position of the keys."""
        if self.grid.positions_of_keys is None:
            return self.keys.start, self.keys.stop - 1
        return int(self.key_positions.min()), int(self.key_positions.max())

    def cut(self, tensor: Tensor) -> Tensor:
        """Give the view of this tile in a tensor that broadcasts to (batch, heads, queries, keys)."""
        if tensor.ndim and tensor.shape[-1] != 1:
            tensor = tensor[..., self.keys]
        if tensor.ndim > 1 and tensor.shape[-2] != 1:
            tensor = tensor[..., self.rows, :]
        if tensor.ndim > 2 and tensor.shape[-3] != 1:
            tensor = tensor[..., self.heads, :, :]
        return tensor

    def of_heads(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Give the view of the tile's heads in a tensor that has all heads, or one for all, along dimension `dim`."""
        return tensor if tensor.shape[dim] == 1 else tensor[(slice(None),) * dim + (self.heads,)]
