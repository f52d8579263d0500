"""What changes scores, or the weights made of them, by where queries and keys stand.

    attend(query, key, value, score=ScaledDot().then(RelativePositions.learned(16, d_key), SoftCap(50.0)))

    Bias                 s + b                          any tensor; a learned bias is a Bias of an nn.Parameter
    RelativePositions    s + q . a_clip(j - i)          Shaw et al. 2018
    RelativeBuckets      s + b_bucket(j - i)            Raffel et al. 2020 (T5)
    ALiBi                s - slope |j - i|              Press et al. 2022
    SoftCap              cap tanh(s / cap)              Gemma 2, 2024
    Gaussian             softmax(s) e^(-(j - p)^2 ...)  Luong et al. 2015, local-p

Everything is asked for one tile at a time, so that nothing of size queries x keys needs to exist. Luong's monotonic
window, local-m, changes no score: it is the mask `masks.window(D, D)`.
"""

import math
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from heedful.attention.grid import Grid, Tile
from heedful.attention.positions import distance_buckets


class Modifier(ABC):
    """Changes the scores, or the weights made of them, by where queries and keys stand.

    by_heads: whether it can be asked for a tile of some heads, `tile.heads`, without the others
    """

    by_heads = False

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        """Say why this modifier is not one for such queries and keys, or None; `heads` is (batch, heads)."""
        return None

    def tensors(self) -> tuple[Tensor, ...]:
        """Give the tensors that gradients may be wanted of."""
        return ()

    def cut(self, tensors: tuple[Tensor, ...], tile: Tile) -> tuple[Tensor, ...]:
        """Give views of what a tile needs of these tensors, or of their gradients; all of them, if not overridden."""
        return tensors

    @abstractmethod
    def scores(
        self, scores: Tensor, query: Tensor, key: Tensor, tensors: tuple[Tensor, ...], tile: Tile
    ) -> Tensor:
        """Give the modified scores of a tile.

        scores (batch, heads, rows, keys); query (batch, heads, rows, d), key (batch, heads, keys, d), as the score
        prepared them; tensors as `cut` gave them.
        """

    def factor(self, tensors: tuple[Tensor, ...], tile: Tile) -> Tensor | None:
        """Give what the weights are multiplied with after the softmax, broadcasting to (batch, heads, rows, keys)."""
        return None


class Added(Modifier):
    """A modifier that adds to the scores something that depends on places only."""

    @abstractmethod
    def addend(self, tensors: tuple[Tensor, ...], tile: Tile) -> Tensor:
        """Give what is added, broadcasting to (batch, heads, rows, keys)."""

    def scores(
        self, scores: Tensor, query: Tensor, key: Tensor, tensors: tuple[Tensor, ...], tile: Tile
    ) -> Tensor:
        return scores + self.addend(tensors, tile).to(scores.dtype)


class Bias(Added):
    """A tensor added to the scores; it broadcasts to (batch, heads, queries, keys). -inf keeps a query from a key."""

    by_heads = True

    def __init__(self, bias: Tensor) -> None:
        self.bias = bias

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return grid.misfit(self.bias, heads)

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.bias,)

    def cut(self, tensors: tuple[Tensor, ...], tile: Tile) -> tuple[Tensor, ...]:
        return (tile.cut(tensors[0]),)

    def addend(self, tensors: tuple[Tensor, ...], tile: Tile) -> Tensor:
        return tensors[0]


class RelativePositions(Modifier, nn.Module):
    """Adds the product of the query and a vector for how far after it the key stands (Shaw et al. 2018, section 3.2).

        q_i . (k_j + a_r) / sqrt(d_k),   r = min(max(j - i, -furthest), furthest)

    table: the vectors a_-furthest, ..., a_furthest as (2 * furthest + 1, d_k), one table for all heads as in the
        paper, or (heads, 2 * furthest + 1, d_k); learned when it is a parameter. After `ScaledDot`, which scales the
        query, the product is scaled like the paper's.

    The paper's second table, added to the values, is left out: it changes what is attended to and not how much, which
    would take a sum by distance of the weights that no fused kernel gives; and the paper's own ablation (section 4.3)
    found that the side of the keys suffices. Raises ValueError for a table that is no such one.
    """

    by_heads = True

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        if table.ndim not in (2, 3) or table.shape[-2] % 2 == 0:
            raise ValueError(
                "Relative positions need a table (2 * furthest + 1, d_k), or one for each head before it, "
                f"got {tuple(table.shape)}."
            )
        self.table = table

    @classmethod
    def learned(cls, furthest: int, d_key: int) -> Self:
        """Give one with a table of its own to learn, for distances up to `furthest`."""
        return cls(nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * furthest + 1, d_key))))

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return _misfit_of_heads(1 if self.table.ndim == 2 else self.table.shape[0], heads)

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.table,)

    def cut(self, tensors: tuple[Tensor, ...], tile: Tile) -> tuple[Tensor, ...]:
        return (tensors[0] if tensors[0].ndim == 2 else tile.of_heads(tensors[0]),)

    def scores(
        self, scores: Tensor, query: Tensor, key: Tensor, tensors: tuple[Tensor, ...], tile: Tile
    ) -> Tensor:
        table = tensors[0].to(query.dtype)
        if table.shape[-1] != query.shape[-1]:
            raise ValueError(
                f"The table of relative positions must be as wide as the queries, {query.shape[-1]}, "
                f"got {tuple(table.shape)}."
            )
        furthest = table.shape[-2] // 2
        # One product with each vector of the table, then each pair takes its own: (batch, heads, rows, 2 furthest + 1).
        products = query @ table.transpose(-2, -1)
        place = tile.distance.clamp(-furthest, furthest) + furthest
        return scores + products.gather(-1, place.expand(scores.shape))


class RelativeBuckets(Added, nn.Module):
    """Adds a number for each head and bucket of distance (Raffel et al. 2020, section 2.1).

    table: (buckets, heads), learned when it is a parameter
    both_sides: half of the buckets are for keys after the query (an encoder); otherwise all are for keys before it
    furthest: the distance from which on all share a bucket
    """

    by_heads = True

    def __init__(self, table: Tensor, both_sides: bool = True, furthest: int = 128) -> None:
        super().__init__()
        if table.ndim != 2:
            raise ValueError(f"Relative buckets need a table (buckets, heads), got {tuple(table.shape)}.")
        self.table, self.both_sides, self.furthest = table, both_sides, furthest

    @classmethod
    def learned(cls, heads: int, buckets: int = 32, both_sides: bool = True, furthest: int = 128) -> Self:
        """Give one with a table of its own to learn, which begins with zeros."""
        return cls(nn.Parameter(torch.zeros(buckets, heads)), both_sides, furthest)

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return _misfit_of_heads(self.table.shape[1], heads)

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.table,)

    def cut(self, tensors: tuple[Tensor, ...], tile: Tile) -> tuple[Tensor, ...]:
        return (tile.of_heads(tensors[0], dim=1),)

    def addend(self, tensors: tuple[Tensor, ...], tile: Tile) -> Tensor:
        distance = tile.distance
        if distance.ndim == 4:  # (batch, 1, rows, keys)
            distance = distance.squeeze(1)
        buckets = distance_buckets(distance, tensors[0].shape[0], self.furthest, self.both_sides)
        # (..., rows, keys, heads) -> (..., heads, rows, keys)
        return embedding(buckets, tensors[0]).movedim(-1, -3)


class ALiBi(Added):
    """Takes from each score its distance times the slope of its head (Press et al. 2022, section 3).

    slopes: (heads,), as `positions.alibi_slopes` gives them

    The paper is about causal models, where keys stand before the query. Keys after it lose by their distance too: the
    symmetric variant that its first author proposes for encoders (github.com/ofirpress/attention_with_linear_biases,
    issue 5).
    """

    by_heads = True

    def __init__(self, slopes: Tensor) -> None:
        if slopes.ndim != 1:
            raise ValueError(f"ALiBi needs one slope for each head, (heads,), got {tuple(slopes.shape)}.")
        self.slopes = slopes

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return _misfit_of_heads(len(self.slopes), heads)

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.slopes,)

    def cut(self, tensors: tuple[Tensor, ...], tile: Tile) -> tuple[Tensor, ...]:
        return (tile.of_heads(tensors[0]),)

    def addend(self, tensors: tuple[Tensor, ...], tile: Tile) -> Tensor:
        return -tensors[0].reshape(-1, 1, 1) * tile.distance.abs()


class SoftCap(Modifier):
    """Keeps scores within -cap and cap: cap * tanh(score / cap) (Gemma 2, 2024, section 2)."""

    by_heads = True

    def __init__(self, cap: float) -> None:
        if cap <= 0:
            raise ValueError(f"Scores are capped at a positive number, got {cap}.")
        self.cap = cap

    def scores(
        self, scores: Tensor, query: Tensor, key: Tensor, tensors: tuple[Tensor, ...], tile: Tile
    ) -> Tensor:
        return self.cap * torch.tanh(scores / self.cap)


class Gaussian(Modifier):
    """Favours keys near a point, one for each query: local-p of Luong et al. 2015, section 3.2, equation 10.

        weight_j = softmax(score)_j * exp(-(j - p)^2 / (2 sigma^2)),   sigma = D / 2

    The weights are not normalised again: a row sums to less than one.

    centers: p, (batch, heads or 1, queries, 1), in positions of the keys, as `PredictedPosition` gives them
    window: D

    The paper also cuts the softmax to the keys within D of p, which is a mask:

        attend(..., score=General(...).then(Gaussian(centers, D)), mask=masks.around(centers, D))
    """

    by_heads = True

    def __init__(self, centers: Tensor, window: float) -> None:
        if centers.ndim != 4 or centers.shape[-1] != 1:
            raise ValueError(f"Centers must be (batch, heads or 1, queries, 1), got {tuple(centers.shape)}.")
        if window <= 0:
            raise ValueError(f"The window around a center must be positive, got {window}.")
        self.centers, self.sigma = centers, window / 2

    def misfit(self, grid: Grid, heads: tuple[int, int]) -> str | None:
        return grid.misfit(self.centers, heads)

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.centers,)

    def cut(self, tensors: tuple[Tensor, ...], tile: Tile) -> tuple[Tensor, ...]:
        return (tile.cut(tensors[0]),)

    def scores(
        self, scores: Tensor, query: Tensor, key: Tensor, tensors: tuple[Tensor, ...], tile: Tile
    ) -> Tensor:
        return scores

    def factor(self, tensors: tuple[Tensor, ...], tile: Tile) -> Tensor:
        return torch.exp(-((tile.key_positions - tensors[0]) ** 2) / (2 * self.sigma**2))


def predicted_position(query: Tensor, lengths: Tensor, weight: Tensor, v: Tensor) -> Tensor:
    """Give p = S * sigmoid(v^T tanh(W h)): where in its source each query looks (Luong et al. 2015, equation 9).

    query (batch, heads, queries, d_q), lengths (batch,), weight (d_hidden, d_q), v (d_hidden,) -> (batch, heads,
    queries, 1), between 0 and the length of the source. In float32 at least: bfloat16 cannot tell 257 from 256.
    """
    logit = torch.tanh(linear(query, weight)) @ v.unsqueeze(-1)
    exact = torch.promote_types(logit.dtype, torch.float32)
    return lengths.reshape(-1, 1, 1, 1) * torch.sigmoid(logit.to(exact))


class PredictedPosition(nn.Module):
    """Learns W and v of `predicted_position`; d_hidden is d_query when None."""

    def __init__(self, d_query: int, d_hidden: int | None = None) -> None:
        super().__init__()
        d_hidden = d_hidden or d_query
        self.weight = nn.Parameter(torch.empty(d_hidden, d_query))
        self.v = nn.Parameter(torch.empty(d_hidden))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot initialisation of both."""
        nn.init.xavier_uniform_(self.weight)
        bound = math.sqrt(6.0 / (len(self.v) + 1))
        nn.init.uniform_(self.v, -bound, bound)

    def forward(self, query: Tensor, lengths: Tensor) -> Tensor:
        """query (batch, heads, queries, d_query), lengths of the sources (batch,) -> (batch, heads, queries, 1)."""
        return predicted_position(query, lengths, self.weight, self.v)


def _misfit_of_heads(given: int, heads: tuple[int, int]) -> str | None:
    return None if given in (1, heads[1]) else f"it is made for {given} heads, and there are {heads[1]}"
