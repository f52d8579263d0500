"""What the literature computes instead of attention, so that long sequences cost less: n tokens, width d.

| function | in place of the softmax of q . k / sqrt(d) over all keys | time, memory |
|---|---|---|
| `linear_attention` | another similarity, phi(q) . phi(k) with phi = elu + 1 | n d^2, n d |
| `performer_attention` | a random estimate of the softmax by m features | n m d, n (m + d) |
| `linformer_attention` | the softmax over k mixtures of the keys | n k d, n k |
| `sliding_window_attention` | the softmax over a window of w keys and g global ones | n (w + g) d, n (w + g) |

None of them is the attention of `attend`, which is exact and never takes them (the last is exact for the mask it
names). A model is trained with the one that it runs with. What may attend to nothing gets zeros, as everywhere.

Shapes: query (batch, heads, queries, d), key (batch, kv_heads, keys, d), value (batch, kv_heads, keys, d_v) -> (batch,
heads, queries, d_v). key_mask, bool (batch, keys), says which keys may be attended to: True = may; of lengths it is
`torch.arange(keys) < lengths[:, None]`.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from heedful.attention.attend import attend
from heedful.attention.call import repeat_heads
from heedful.attention.sliding_window import check_shapes, sliding_window_attention

__all__ = [
    "linear_attention",
    "linear_attention_step",
    "linformer_attention",
    "orthogonal_directions",
    "performer_attention",
    "positive_features",
    "sliding_window_attention",
]

# How many tokens' similarities causal sums write out at once.
CHUNK = 64


def linear_attention(
    query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False, key_mask: Tensor | None = None
) -> Tensor:
    """Attend with the similarity phi(q) . phi(k), phi(x) = elu(x) + 1 (Katharopoulos et al. 2020, section 3.2).

        o_i = phi(q_i)^T S / phi(q_i)^T z,   S = sum_j phi(k_j) v_j^T,   z = sum_j phi(k_j)

    The sums run over all keys or, where causal, over those up to the query's own (section 3.3). Raises ValueError for
    shapes that do not fit, and where causal for other than as many queries as keys.
    """
    check_shapes("linear_attention", query, key, value, key_mask)
    keys = _elu_features(key)
    if key_mask is not None:
        keys = keys.masked_fill(~key_mask[:, None, :, None], 0.0)
    return _attend_by_features(_elu_features(query), keys, value, causal)


def linear_attention_step(
    query: Tensor, key: Tensor, value: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Do one step of causal linear attention as a recurrent network (Katharopoulos et al. 2020, section 3.4).

    query, key, value: of one token, (batch, heads or kv_heads, 1, width)
    state: S and z side by side, (batch, kv_heads, d, d_v + 1), after the tokens before; None at the first

    Gives (batch, heads, 1, d_v) and the new state; neither grows with the number of tokens before. Raises ValueError
    for shapes that do not fit.
    """
    check_shapes("linear_attention_step", query, key, value, None)
    if query.shape[2] != 1 or key.shape[2] != 1:
        raise ValueError(
            f"linear_attention_step takes one token, got {query.shape[2]} queries and {key.shape[2]} keys."
        )
    queries, keys = _elu_features(query), _elu_features(key)
    sums = keys.transpose(-2, -1) @ _with_ones(value, keys.dtype)
    state = sums if state is None else state + sums
    return _ratio(queries @ repeat_heads(state, query.shape[1]), value.dtype), state


def performer_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    directions: Tensor,
    *,
    causal: bool = False,
    key_mask: Tensor | None = None,
) -> Tensor:
    """Estimate softmax attention by positive random features: FAVOR+ (Choromanski et al. 2021, section 2).

    directions: (features, d), see `orthogonal_directions`; the error falls as 1 / sqrt(features), and grows fast with
        the norms of queries and keys. Features of keys are scaled by the greatest of all, later ones too: beside a
        key whose features are beyond exp(80) times theirs earlier ones vanish, in float32

    Raises ValueError for shapes that do not fit, and where causal for other than as many queries as keys.
    """
    check_shapes("performer_attention", query, key, value, key_mask)
    if directions.ndim != 2 or directions.shape[1] != query.shape[-1]:
        raise ValueError(
            f"performer_attention takes directions (features, {query.shape[-1]}), as wide as the queries, got "
            f"{tuple(directions.shape)}."
        )
    queries, keys = _exponents(query, directions), _exponents(key, directions)
    if key_mask is not None:
        keys = keys.masked_fill(~key_mask[:, None, :, None], -torch.inf)
    # A factor of all features of a query, or of all keys, cancels out: the greatest of them becomes 1.
    of_query = queries.detach().amax(-1, keepdim=True)
    of_keys = keys.detach().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(keys.dtype).min)
    return _attend_by_features((queries - of_query).exp(), (keys - of_keys).exp(), value, causal)


def positive_features(x: Tensor, directions: Tensor) -> Tensor:
    """Give features whose products are unbiased estimates: E[phi(q) . phi(k)] = exp(q . k / sqrt(d)).

        phi(x) = exp(w_i . x' - |x'|^2 / 2) / sqrt(features),   x' = x / d^(1/4)

    x (..., d), directions w (features, d) -> (..., features) (Choromanski et al. 2021, lemma 1).
    """
    return _exponents(x, directions).exp()


def orthogonal_directions(
    features: int,
    width: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Draw directions (features, width): each is normally distributed, and each `width` of them are orthogonal.

    They estimate better than independent ones (Choromanski et al. 2021, section 2.4).
    """
    normal = torch.randn(2, math.ceil(features / width), width, width, generator=generator, device=device)
    orthogonal, triangle = torch.linalg.qr(normal[0])
    # QR alone never draws some directions; with these signs all are as likely (Mezzadri 2006, section 5).
    orthogonal = orthogonal * triangle.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    return (orthogonal.transpose(-2, -1) * normal[1].norm(dim=-1, keepdim=True)).flatten(0, 1)[:features]


def linformer_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_projection: Tensor,
    value_projection: Tensor,
    *,
    key_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attend to k mixtures of the keys: softmax(Q (E K)^T / sqrt(d)) F V (Wang et al. 2020, section 4).

    key_projection E, value_projection F: (k, longest) or (kv_heads, k, longest), as long as the longest sequence; of
        shorter sequences their first columns are used

    Masked keys are left out of the mixtures. A mixture stands nowhere, so there is no causal form. Raises ValueError
    for shapes that do not fit.
    """
    check_shapes("linformer_attention", query, key, value, key_mask)
    kv_heads, length = key.shape[1:3]
    for name, projection in (("key_projection", key_projection), ("value_projection", value_projection)):
        if tuple(projection.shape[:-2]) not in ((), (kv_heads,)) or projection.shape[-1] < length:
            raise ValueError(
                f"linformer_attention takes a {name} (k, longest) or (kv_heads, k, longest) for {kv_heads} kv_heads "
                f"and {length} keys, got {tuple(projection.shape)}."
            )
    mixtures = [
        projection[..., :length] @ (tensor if key_mask is None else tensor * key_mask[:, None, :, None])
        for projection, tensor in ((key_projection, key), (value_projection, value))
    ]
    return attend(query, *mixtures, dropout=dropout)


def _elu_features(x: Tensor) -> Tensor:
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    # elu(x) + 1, without the rounding to 0 of e^x - 1 + 1.
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def _exponents(x: Tensor, directions: Tensor) -> Tensor:
    """Give the logarithms of the positive features."""
    x = x.to(torch.promote_types(x.dtype, torch.float32)) * x.shape[-1] ** -0.25
    features = x @ directions.to(x.dtype).t()
    return features - x.square().sum(-1, keepdim=True) / 2 - math.log(len(directions)) / 2


def _attend_by_features(queries: Tensor, keys: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Give the mean of the values weighted by products of features (batch, heads, length, features)."""
    heads, length = queries.shape[1:3]
    values = _with_ones(value, keys.dtype)
    if not causal:
        sums = keys.transpose(-2, -1) @ values
        return _ratio(queries @ repeat_heads(sums, heads), value.dtype)
    if keys.shape[2] != length:
        raise ValueError(f"Causal sums take as many queries as keys, got {length} and {keys.shape[2]}.")
    # (batch, heads, length, width) -> (batch, heads, chunks, CHUNK, width)
    queries, keys, values = (
        pad(repeat_heads(tensor, heads), (0, 0, 0, -length % CHUNK)).unflatten(2, (-1, CHUNK))
        for tensor in (queries, keys, values)
    )
    within = (queries @ keys.transpose(-2, -1)).tril() @ values
    # The sums before each chunk: those of the first are zero.
    sums = (keys.transpose(-2, -1) @ values).cumsum(2)
    before = pad(sums[:, :, :-1], (0, 0, 0, 0, 1, 0))
    return _ratio((within + queries @ before).flatten(2, 3)[:, :, :length], value.dtype)


def _with_ones(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Add a column of ones, whose weighted sum is the denominator."""
    return pad(value.to(dtype), (0, 1), value=1.0)


def _ratio(sums: Tensor, dtype: torch.dtype) -> Tensor:
    """Divide by the last column; 0 / 0, where nothing is attended to, is 0."""
    total = sums[..., -1:]
    return (sums[..., :-1] / total.masked_fill(total == 0, 1.0)).to(dtype)
