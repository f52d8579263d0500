"""What a mask is, and how masks combine; which masks there are stands in `heedful.attention.masks`.

A mask is a rule, not a matrix: it is asked for one tile of the queries x keys at a time, and it can say of a tile that
nothing in it may be seen, so that kernels pass it over. Masks combine with `&`, `|` and `~`, with each other and with
bool tensors that broadcast to (batch, heads, queries, keys). True = may attend, everywhere and with no exception.

What a mask says of a tensor is remembered: the tensor must not be changed afterwards.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from heedful.attention.grid import Grid, Tile

Coverage = Literal["none", "some", "all"]
"""How much of a tile may be seen; "some" also when that is not known cheaply."""


@dataclass(frozen=True, eq=False)
class Written:
    """A mask written out, in the forms that kernels read; each broadcasts to (batch, heads, queries, keys).

    allowed: who may attend; blocked: who may not
    some: (..., queries, 1), the queries that may attend to anything, or None when all may
    """

    allowed: Tensor
    blocked: Tensor
    some: Tensor | None


class Mask(ABC):
    """A rule of who may attend to whom."""

    _written: tuple[tuple[int, int, torch.device], Written] | None = None

    @abstractmethod
    def tile(self, tile: Tile) -> Tensor:
        """Give a bool tensor that broadcasts to (batch, heads, rows, keys) of the tile."""

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        """Say why this mask is not one for such queries and keys, or None; `heads` is (batch, heads)."""
        return None

    def coverage(self, tile: Tile) -> Coverage:
        """Say whether the tile may be passed over ("none"), or needs no mask ("all")."""
        return "some"

    def written(self, grid: Grid) -> Written:
        """Write the mask out, once for all layers that share it."""
        size = grid.queries, grid.keys, grid.device
        if grid.plain and self._written is not None and self._written[0] == size:
            return self._written[1]
        # Kept for later calls, which may want gradients: those cannot go through what inference mode has made.
        with torch.inference_mode(False):
            allowed = self.tile(grid.tile())
            allowed = allowed.clone() if allowed.is_inference() else allowed
            some = allowed.any(-1, keepdim=True)
            written = Written(allowed, ~allowed, None if bool(some.all()) else some)
        if grid.plain:
            self._written = size, written
        return written

    def __and__(self, other: "Mask | Tensor") -> "Mask":
        return Both(self, as_mask(other))

    def __or__(self, other: "Mask | Tensor") -> "Mask":
        return Either(self, as_mask(other))

    def __invert__(self) -> "Mask":
        return Not(self)

    __rand__, __ror__ = __and__, __or__

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let a tensor stand on the left: tensor & mask."""
        if function in (Tensor.__and__, Tensor.__rand__):
            return as_mask(args[0]) & args[1]
        if function in (Tensor.__or__, Tensor.__ror__):
            return as_mask(args[0]) | args[1]
        return NotImplemented


class _Pair(Mask):
    sign = ""

    def __init__(self, one: Mask, other: Mask) -> None:
        self.one, self.other = one, other

    def __repr__(self) -> str:
        return f"({self.one} {self.sign} {self.other})"

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return self.one.misfit(grid, heads) or self.other.misfit(grid, heads)


class Both(_Pair):
    """What both masks allow."""

    sign = "&"

    def tile(self, tile: Tile) -> Tensor:
        return self.one.tile(tile) & self.other.tile(tile)

    def coverage(self, tile: Tile) -> Coverage:
        one = self.one.coverage(tile)
        other = "none" if one == "none" else self.other.coverage(tile)
        if "none" in (one, other):
            return "none"
        return "all" if one == other == "all" else "some"


class Either(_Pair):
    """What one of the masks allows."""

    sign = "|"

    def tile(self, tile: Tile) -> Tensor:
        return self.one.tile(tile) | self.other.tile(tile)

    def coverage(self, tile: Tile) -> Coverage:
        one = self.one.coverage(tile)
        other = "all" if one == "all" else self.other.coverage(tile)
        if "all" in (one, other):
            return "all"
        return "none" if one == other == "none" else "some"


class Not(Mask):
    """What the mask does not allow."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask

    def __repr__(self) -> str:
        return f"~{self.mask}"

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return self.mask.misfit(grid, heads)

    def tile(self, tile: Tile) -> Tensor:
        return ~self.mask.tile(tile)

    def coverage(self, tile: Tile) -> Coverage:
        opposite: dict[Coverage, Coverage] = {"none": "all", "some": "some", "all": "none"}
        return opposite[self.mask.coverage(tile)]


class Given(Mask):
    """A bool tensor that broadcasts to (batch, heads, queries, keys); `name` is what it was made by."""

    def __init__(self, allowed: Tensor, name: str = "given") -> None:
        if not isinstance(allowed, Tensor):
            raise ValueError(f"A mask is one of heedful.attention.masks or a bool tensor, got {allowed!r}.")
        if allowed.dtype != torch.bool:
            raise ValueError(
                f"A mask is bool (True = may attend), got {allowed.dtype}; masks.from_additive and "
                "masks.from_ignore_mask read other conventions."
            )
        self.allowed, self.name = allowed, name

    def __repr__(self) -> str:
        return f"{self.name}({told(self.allowed)})"

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return grid.misfit(self.allowed, heads)

    def tile(self, tile: Tile) -> Tensor:
        return tile.cut(self.allowed)

    def coverage(self, tile: Tile) -> Coverage:
        here = tile.cut(self.allowed)
        # A look costs a few percent of the tile's scores on a CPU; on a GPU it would wait for all that is under way.
        if not here.is_cpu or not here.numel():
            return "some"
        # As bytes: one pass, and faster than `any` and `all` of bools.
        least, greatest = here.view(torch.uint8).aminmax()
        return "all" if least else "some" if greatest else "none"


def as_mask(mask: Mask | Tensor) -> Mask:
    """Take a mask, or a bool tensor (True = may attend) that broadcasts to (batch, heads, queries, keys)."""
    return mask if isinstance(mask, Mask) else Given(mask)


def told(tensor: Tensor) -> str:
    """Write a short tensor out, and of a longer one its shape: [4, 7], or <64 x 512>."""
    return str(tensor.tolist()) if tensor.numel() <= 8 else f"<{' x '.join(map(str, tensor.shape))}>"
