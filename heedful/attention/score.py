"""What a score function is: it says how well a key answers a query.

A score has three parts, so that every kernel can compute it tile by tile: what is done once for each query and each key
and is linear in length (`prepare_query`, `prepare_key`: projections, scaling, rotation); `pairs`, one number for each
prepared query and key; and modifiers, which change these numbers by where the query and the key stand. Called as
`score(query, key)` it gives all numbers: the definition that the kernels are tested against. The scores of the
literature are in `heedful.attention.scores`, the modifiers in `heedful.attention.modifiers`.

Shapes: query (batch, heads, queries, d_q), key (batch, heads, keys, d_k) -> scores (batch, heads, queries, keys).
"""

import copy
from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor

from heedful.attention.grid import Grid, Tile
from heedful.attention.masks import Mask
from heedful.attention.modifiers import Modifier

Parts = list[tuple[Tensor, ...]]
"""The tensors of a score that gradients may be wanted of: those of its pairs, then those of each modifier."""


class Score(ABC):
    """How well keys answer queries. Scores that have parameters are torch modules too.

    modifiers: what is done to the scores after `pairs`, in this order
    mask: the keys that the score can speak of, when these are not all; `attend` joins it to the mask it is given
    keys_prepared: whether the keys come prepared, by `prepare_key`, as in a decoder that asks one memory at every step
    """

    modifiers: tuple[Modifier, ...] = ()
    mask: Mask | None = None
    keys_prepared: bool = False

    def then(self, *modifiers: Modifier) -> Self:
        """Give this score followed by modifiers, in their order; parameters are shared with this one."""
        other = copy.copy(self)
        other.modifiers = (*self.modifiers, *modifiers)
        return other

    def for_prepared_keys(self) -> Self:
        """Give this score as it reads keys that `prepare_key` gave; parameters are shared with this one."""
        other = copy.copy(self)
        other.keys_prepared = True
        return other

    def mismatch(self, query: Tensor, key: Tensor) -> str | None:
        """Say what is wrong with the widths of query and key, or None."""
        if query.shape[-1] != key.shape[-1]:
            return "queries and keys need one width d_k"
        return None

    def prepare_query(self, query: Tensor, grid: Grid) -> Tensor:
        """Do what is done once for each query: (batch, heads, queries, d_q) -> (batch, heads, queries, d)."""
        return query

    def prepare_key(self, key: Tensor, grid: Grid) -> Tensor:
        """Do what is done once for each key: (batch, kv_heads, keys, d_k) -> (batch, kv_heads, keys, d)."""
        return key

    def prepare(self, query: Tensor, key: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Prepare queries and keys; kv_heads of the key may be fewer than heads."""
        return self.prepare_query(query, grid), key if self.keys_prepared else self.prepare_key(key, grid)

    def tensors(self) -> tuple[Tensor, ...]:
        """Give the tensors that `pairs` takes beside prepared queries and keys."""
        return ()

    @abstractmethod
    def pairs(self, query: Tensor, key: Tensor, *tensors: Tensor) -> Tensor:
        """Prepared query (..., rows, d), key (..., keys, d) -> one number a pair, (..., rows, keys)."""

    def parts(self) -> Parts:
        """Give the tensors of `pairs` and of each modifier."""
        return [self.tensors(), *(modifier.tensors() for modifier in self.modifiers)]

    def cut(self, parts: Parts, tile: Tile) -> Parts:
        """Give views of what a tile needs of `parts`, or of their gradients."""
        modifiers = zip(self.modifiers, parts[1:], strict=True)
        return [parts[0], *(modifier.cut(tensors, tile) for modifier, tensors in modifiers)]

    def tile(self, query: Tensor, key: Tensor, tile: Tile, parts: Parts | None = None) -> Tensor:
        """Give the scores of a tile, of its prepared query (batch, heads, rows, d) and key (batch, heads, keys, d).

        parts: what `cut` gave for this tile, where a kernel has tensors of its own to differentiate by.
        """
        if not self.modifiers:  # most calls, and short ones are many
            return self.pairs(query, key, *(self.tensors() if parts is None else parts[0]))
        first, *others = self.cut(self.parts(), tile) if parts is None else parts
        scores = self.pairs(query, key, *first)
        for modifier, tensors in zip(self.modifiers, others, strict=True):
            scores = modifier.scores(scores, query, key, tensors, tile)
        return scores

    def factor(self, tile: Tile, parts: Parts | None = None) -> Tensor | None:
        """Give what the weights of a tile are multiplied with after the softmax, or None."""
        if not self.modifiers:
            return None
        product = None
        _, *others = self.cut(self.parts(), tile) if parts is None else parts
        for modifier, tensors in zip(self.modifiers, others, strict=True):
            factor = modifier.factor(tensors, tile)
            if factor is not None:
                product = factor if product is None else product * factor
        return product

    def __call__(self, query: Tensor, key: Tensor, grid: Grid | None = None) -> Tensor:
        """query (batch, heads, queries, d_q), key (batch, heads, keys, d_k) -> (batch, heads, queries, keys)."""
        grid = grid or Grid(query.shape[-2], key.shape[-2], query.device)
        return self.tile(*self.prepare(query, key, grid), grid.tile())
