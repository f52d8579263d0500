"""The score functions of the literature: each a function that is its formula, and a class that owns its parameters.

    attend(query, key, value, score=General(d_query, d_key))

    dot              q . k                              Luong et al. 2015, section 3.1
    scaled_dot       q . k / sqrt(d_k)                  Vaswani et al. 2017, equation 1
    general          q^T W k                            Luong et al. 2015, section 3.1
    cosine           beta cos(q, k)                     Graves et al. 2014, equations 5 and 6
    location         (W q)_j                            Luong et al. 2015, equation 8
    additive         v^T tanh(W q + U k + b)            Bahdanau et al. 2014, appendix A.1.2
    concat           v^T tanh(W [q; k])                 Luong et al. 2015, section 3.1
    location_aware   v^T tanh(W q + V k + U f_j + b)    Chorowski et al. 2015, equations 8 and 9

Parameters are shared by all heads; the papers have one head. The first five are products of prepared queries and keys
(`DotScore`), the last three need a tanh for every pair (`AdditiveScore`). Rotary positions are a score, `Rotary`, as
queries and keys are turned before they meet; all else that depends on places is a modifier.

Shapes: query (batch, heads, queries, d_query), key (batch, heads, keys, d_key) -> (batch, heads, queries, keys).
"""

import copy
import math
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, embedding

from heedful.attention import masks
from heedful.attention.grid import Grid
from heedful.attention.kernels.additive import additive_pairs
from heedful.attention.positions import Layout, rotate
from heedful.attention.score import Score

Start = Literal["glorot", "paper"]
"""How parameters begin: by Glorot's rule, which learns with any optimizer, or as in the paper of the score."""


def dot(query: Tensor, key: Tensor) -> Tensor:
    """q . k."""
    return query @ key.transpose(-2, -1)


def scaled_dot(query: Tensor, key: Tensor) -> Tensor:
    """q . k / sqrt(d_k): by the width of the keys, not their number, so that the score has the variance of q and k."""
    return dot(query, key) / math.sqrt(key.shape[-1])


def general(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """q^T W k; weight (d_query, d_key)."""
    return dot(query @ weight, key)


def cosine(query: Tensor, key: Tensor, sharpness: float | Tensor = 1.0) -> Tensor:
    """beta cos(q, k); sharpness, beta, is a number or broadcasts to (batch, heads, queries, 1)."""
    return dot(_unit(query) * sharpness, _unit(key))


def location(query: Tensor, weight: Tensor, keys: int) -> Tensor:
    """The first `keys` of W q: it does not look at the keys; weight (longest source, d_query)."""
    return dot(query, weight[:keys])


def additive(
    query: Tensor,
    key: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """v^T tanh(W q + U k + b).

    query_weight (d_hidden, d_query), key_weight (d_hidden, d_key), v and bias (d_hidden,)
    """
    return _additive_pairs(_linear(query, query_weight, bias), _linear(key, key_weight), v)


def concat(query: Tensor, key: Tensor, weight: Tensor, v: Tensor) -> Tensor:
    """v^T tanh(W [q; k]); weight (d_hidden, d_query + d_key), v (d_hidden,)."""
    d_query = query.shape[-1]
    return additive(query, key, weight[:, :d_query], weight[:, d_query:], v)


def location_aware(
    query: Tensor,
    key: Tensor,
    previous: Tensor,
    filters: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    feature_weight: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """v^T tanh(W q + V k + U f_j + b), where f_j are the features of `location_features`; for one query.

    feature_weight (d_hidden, filters), the others as in `additive`.
    """
    features = location_features(previous, filters)
    key = _linear(key, key_weight) + _linear(features, feature_weight)
    return _additive_pairs(_linear(query, query_weight, bias), key, v)


def location_features(previous: Tensor, filters: Tensor) -> Tensor:
    """Give f = F * alpha: filters (filters, width) slide over the weights that the query before gave to the keys.

    previous (batch, heads, keys) -> (batch, heads, keys, filters); beyond the ends of the source weights are zero.
    """
    features = conv1d(
        previous.flatten(0, 1).unsqueeze(1), filters.to(previous.dtype).unsqueeze(1), padding="same"
    )
    return features.transpose(1, 2).unflatten(0, previous.shape[:2])


class DotScore(Score):
    """A score that is the product of prepared query and key."""

    def width(self, query: Tensor, key: Tensor) -> int:
        """Give how wide queries and keys are once they are prepared."""
        return query.shape[-1]

    def pairs(self, query: Tensor, key: Tensor, *tensors: Tensor) -> Tensor:
        return dot(query, key)


class Dot(DotScore):
    """score(q, k) = q . k (Luong et al. 2015, section 3.1)."""


class ScaledDot(DotScore):
    """score(q, k) = q . k / sqrt(d_k) (Vaswani et al. 2017, equation 1)."""

    def prepare_query(self, query: Tensor, grid: Grid) -> Tensor:
        return query * (1.0 / math.sqrt(query.shape[-1]))


class Rotary(ScaledDot):
    """score(q_m, k_n) = (R_m q) . (R_n k) / sqrt(d_k): queries and keys turned by their positions (Su et al. 2021).

    base, width, stretch, layout: as in `positions.rotate`
    """

    def __init__(
        self,
        base: float = 10_000.0,
        width: int | None = None,
        stretch: float = 1.0,
        layout: Layout = "interleaved",
    ) -> None:
        self.base, self.turned, self.stretch = base, width, stretch
        self.layout: Layout = layout

    def prepare_query(self, query: Tensor, grid: Grid) -> Tensor:
        return super().prepare_query(self._rotate(query, grid.query_positions), grid)

    def prepare_key(self, key: Tensor, grid: Grid) -> Tensor:
        return self._rotate(key, grid.key_positions)

    def _rotate(self, vectors: Tensor, positions: Tensor) -> Tensor:
        # (length, 1) or (1, length), or (batch, 1, length, 1) or (batch, 1, 1, length) -> (1 or batch, length)
        positions = positions.reshape(-1, vectors.shape[-2])
        return rotate(
            vectors,
            positions,
            base=self.base,
            width=self.turned,
            stretch=self.stretch,
            layout=self.layout,
        )


class General(DotScore, nn.Module):
    """score(q, k) = q^T W k, also called bilinear (Luong et al. 2015, section 3.1); the key stays as it is."""

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_query, d_key))
        self.reset_parameters()

    def reset_parameters(self, start: Start = "glorot") -> None:
        """Begin by Glorot's rule, or as the paper does: uniform in [-0.1, 0.1]."""
        _begin(self.weight, start)

    def mismatch(self, query: Tensor, key: Tensor) -> str | None:
        return _mismatch(query, key, *self.weight.shape)

    def width(self, query: Tensor, key: Tensor) -> int:
        return key.shape[-1]

    def prepare_query(self, query: Tensor, grid: Grid) -> Tensor:
        return query @ self.weight.to(query.dtype)


class Cosine(DotScore, nn.Module):
    """score(q, k) = beta cos(q, k): content-based addressing (Graves et al. 2014, section 3.3.1).

    sharpness: beta, a positive number; a parameter, to learn it; or what a controller says at each step, as in the
        paper, where the score is made anew for each: `Cosine(softplus(beta))`, beta (batch, heads, queries, 1)

    A query or key of zeros is like none: its cosines are 0.
    """

    def __init__(self, sharpness: float | Tensor = 1.0) -> None:
        super().__init__()
        self.sharpness = sharpness

    def prepare_query(self, query: Tensor, grid: Grid) -> Tensor:
        sharpness = self.sharpness
        return _unit(query) * (sharpness.to(query.dtype) if isinstance(sharpness, Tensor) else sharpness)

    def prepare_key(self, key: Tensor, grid: Grid) -> Tensor:
        return _unit(key)


class Location(DotScore, nn.Module):
    """score(q, k_j) = (W q)_j: where to look is read off the query alone (Luong et al. 2015, equation 8).

    longest: the number of positions that W knows; for a shorter source its first rows are used
    longer: what to do with a source that is longer: "refuse" it, or "ignore" the rest, as the paper does, by a mask

    Raises ValueError, where it is used, for a source that is longer and not to be ignored.
    """

    def __init__(self, d_query: int, longest: int, longer: Literal["refuse", "ignore"] = "refuse") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(longest, d_query))
        self.mask = masks.prefix(longest) if longer == "ignore" else None
        self.reset_parameters()

    def reset_parameters(self, start: Start = "glorot") -> None:
        """Begin by Glorot's rule, or as the paper does: uniform in [-0.1, 0.1]."""
        _begin(self.weight, start)

    def mismatch(self, query: Tensor, key: Tensor) -> str | None:
        return _mismatch(query, key, self.weight.shape[1], None)

    def prepare_key(self, key: Tensor, grid: Grid) -> Tensor:
        longest = len(self.weight)
        last = grid.tile().key_span[1]
        if last >= longest and self.mask is None:
            raise ValueError(
                f"Location-based attention was made for sources of up to {longest} positions, got one of {last + 1}; "
                "make it longer, or ignore the rest by longer='ignore'."
            )
        # (1, keys) or (batch, 1, 1, keys) -> (1 or batch, 1, keys, d_query)
        positions = grid.key_positions.reshape(-1, 1, key.shape[-2]).clamp(max=longest - 1)
        rows = embedding(positions, self.weight).to(key.dtype)
        return rows.expand(*key.shape[:-1], -1)


class AdditiveScore(Score):
    """A score v . tanh(q + k) of prepared queries and keys, (batch, heads, length, d_hidden), and v (d_hidden,)."""

    v: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.v,)

    def pairs(self, query: Tensor, key: Tensor, *tensors: Tensor) -> Tensor:
        return _additive_pairs(query, key, tensors[0])


class Additive(AdditiveScore, nn.Module):
    """score(q, k) = v^T tanh(W q + U k + b), a small network (Bahdanau et al. 2014, appendix A.1.2).

    d_hidden: the n' of the paper, 1000; bias: whether there is a b, which the paper has but leaves out of its formulas
    """

    def __init__(self, d_query: int, d_key: int, d_hidden: int, bias: bool = True) -> None:
        super().__init__()
        self.query_weight = nn.Parameter(torch.empty(d_hidden, d_query))
        self.key_weight = nn.Parameter(torch.empty(d_hidden, d_key))
        self.bias = nn.Parameter(torch.empty(d_hidden)) if bias else None
        self.v = nn.Parameter(torch.empty(d_hidden))
        self.reset_parameters()

    def reset_parameters(self, start: Start = "glorot") -> None:
        """Begin by Glorot's rule with b = 0, or as the paper does: W and U from N(0, 0.001^2), b = 0 and v = 0.

        With v = 0 all weights are equal at first and only v learns in the first step: it takes an optimizer without a
        fixed step size, such as the paper's Adadelta.
        """
        for parameter in self.parameters():
            if parameter is self.bias or (parameter is self.v and start == "paper"):
                nn.init.zeros_(parameter)
            elif start == "paper":
                nn.init.normal_(parameter, std=0.001)
            else:
                _begin(parameter, start)

    def mismatch(self, query: Tensor, key: Tensor) -> str | None:
        d_key = len(self.v) if self.keys_prepared else self.key_weight.shape[1]
        return _mismatch(query, key, self.query_weight.shape[1], d_key)

    def prepare_query(self, query: Tensor, grid: Grid) -> Tensor:
        return _linear(query, self.query_weight, self.bias)

    def prepare_key(self, key: Tensor, grid: Grid) -> Tensor:
        return _linear(key, self.key_weight)


class Concat(AdditiveScore, nn.Module):
    """score(q, k) = v^T tanh(W [q; k]) (Luong et al. 2015, section 3.1).

    d_hidden: height of W (d_key when None)
    key_part: "learned": all of W is learned, the function that the paper defines; "identity": the part of W that meets
        the key is the identity, as in the paper's experiments, to which its footnote 15 lays their poor perplexities
    """

    def __init__(
        self,
        d_query: int,
        d_key: int,
        d_hidden: int | None = None,
        key_part: Literal["learned", "identity"] = "learned",
    ) -> None:
        super().__init__()
        d_hidden = d_hidden or d_key
        if key_part == "identity" and d_hidden != d_key:
            raise ValueError(f"Where the key is taken as it is, d_hidden is d_key = {d_key}, got {d_hidden}.")
        self.d_query, self.d_key, self.key_part = d_query, d_key, key_part
        self.weight = nn.Parameter(torch.empty(d_hidden, d_query + (d_key if key_part == "learned" else 0)))
        self.v = nn.Parameter(torch.empty(d_hidden))
        self.reset_parameters()

    def reset_parameters(self, start: Start = "glorot") -> None:
        """Begin by Glorot's rule, or as the paper does: uniform in [-0.1, 0.1]."""
        _begin(self.weight, start)
        _begin(self.v, start)

    def mismatch(self, query: Tensor, key: Tensor) -> str | None:
        return _mismatch(query, key, self.d_query, len(self.v) if self.keys_prepared else self.d_key)

    def prepare_query(self, query: Tensor, grid: Grid) -> Tensor:
        return _linear(query, self.weight[:, : self.d_query])

    def prepare_key(self, key: Tensor, grid: Grid) -> Tensor:
        return key if self.key_part == "identity" else _linear(key, self.weight[:, self.d_query :])


class LocationAware(Additive):
    """score(q, k_j) = v^T tanh(W q + V k_j + U f_j + b), where f tells where the query before looked.

                    f = F * alpha_previous                    (Chorowski et al. 2015, equations 8 and 9)

    filters, width: F; the paper's are 10 filters of width 201 for speech
    Queries come one at a time, as each needs the weights of the one before: `attend(..., score=score.after(weights))`.
    """

    _previous: Tensor | None = None

    def __init__(
        self, d_query: int, d_key: int, d_hidden: int, filters: int = 10, width: int = 201, bias: bool = True
    ) -> None:
        if width % 2 == 0:
            raise ValueError(f"The filters reach equally far to both sides: width must be odd, got {width}.")
        super().__init__(d_query, d_key, d_hidden, bias)
        self.filters = nn.Parameter(torch.empty(filters, width))
        self.feature_weight = nn.Parameter(torch.empty(d_hidden, filters))
        self.reset_parameters()

    def after(self, previous: Tensor) -> Self:
        """Give this score for the query after one that gave its keys the weights `previous`.

        previous: (batch, heads, keys), or with a dimension of one query, (batch, heads, 1, keys); zeros before the
        first query. Parameters are shared with this score.
        """
        other = copy.copy(self)
        other._previous = previous.squeeze(-2) if previous.ndim == 4 else previous
        return other

    def prepare(self, query: Tensor, key: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        if self._previous is None:
            raise ValueError(
                "Location-aware attention needs the weights of the query before: score.after(weights), "
                "zeros before the first query."
            )
        wanted = (query.shape[0], query.shape[1], key.shape[2])
        if query.shape[2] != 1 or self._previous.shape != wanted:
            raise ValueError(
                f"Location-aware attention takes one query and weights {wanted} of the one before, "
                f"got {query.shape[2]} queries and weights {tuple(self._previous.shape)}."
            )
        query, key = super().prepare(query, key, grid)
        features = location_features(self._previous.to(key.dtype), self.filters)
        # The weights are of each head, so the keys become so too.
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        return query, key + _linear(features, self.feature_weight)


def _additive_pairs(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    return additive_pairs(query, key, v.to(query.dtype))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # In the type of x: who looks inside a bfloat16 model asks in float32.
    return nn.functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def _unit(vectors: Tensor) -> Tensor:
    # In float32 at least: the square of 300 is beyond float16.
    exact = torch.promote_types(vectors.dtype, torch.float32)
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=exact)
    # Zeros stay zeros, and get no gradient: they point nowhere.
    return (vectors / norm.masked_fill(norm == 0, math.inf)).to(vectors.dtype)


def _begin(weight: Tensor, start: Start) -> None:
    if start == "paper":
        nn.init.uniform_(weight, -0.1, 0.1)  # Luong et al. 2015, section 4.1
    else:
        nn.init.xavier_uniform_(weight if weight.ndim > 1 else weight.unsqueeze(0))


def _mismatch(query: Tensor, key: Tensor, d_query: int, d_key: int | None) -> str | None:
    if query.shape[-1] != d_query:
        return f"it was made for queries of width {d_query}"
    if d_key is not None and key.shape[-1] != d_key:
        return f"it was made for keys of width {d_key}"
    return None
