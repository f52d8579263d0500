"""Positions: how a model without recurrence knows the order of its tokens.

- `sinusoidal`: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(same) (Vaswani et al. 2017, section 3.5).
  The code of tensor2tensor and fairseq differs from the paper: sines and cosines in two halves and an exponent over
  d/2 - 1; that is `sinusoidal(..., layout="concatenated")`.
- `rotate`: rotary positions (Su et al. 2021): pairs of coordinates of queries and keys turned by pos * theta_i, so
  that their product depends on the distance only.
- `relative_buckets`: the buckets of T5's learned relative biases (Raffel et al. 2020, section 2.1).

Positions are integers given by the caller, never read off a tensor's corner, so that a cached step and a full pass
agree.
"""

import math
from typing import Literal

import torch
from torch import Tensor


def sinusoidal(
    positions: Tensor, width: int, layout: Literal["interleaved", "concatenated"] = "interleaved"
) -> Tensor:
    """Give the sinusoidal encoding of positions (...) as float32 (..., width).

    >>> sinusoidal(torch.tensor([0, 1]), 4).round(decimals=3)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8410, 0.5400, 0.0100, 1.0000]])

    Raises ValueError for an odd width: sines and cosines come in pairs.
    """
    if width % 2:
        raise ValueError(f"Sinusoidal positions need an even width, got {width}.")
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float64, device=positions.device)
    exponents = exponents / half if layout == "interleaved" else exponents / max(half - 1, 1)
    angles = positions.unsqueeze(-1).double() * torch.exp(-math.log(10_000.0) * exponents)
    if layout == "interleaved":
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2).float()
    return torch.cat((angles.sin(), angles.cos()), -1).float()


def rotate(vectors: Tensor, positions: Tensor) -> Tensor:
    """Turn each pair of coordinates (2i, 2i+1) of vectors (batch, heads, length, d) by positions * 10000^(-2i/d).

    positions: (length,) or (batch, length). Lengths of vectors are kept, and rotate(q, m) . rotate(k, n) depends on
    m - n only (Su et al. 2021, equation 11). Raises ValueError for vectors of odd width.
    """
    if vectors.shape[-1] % 2:
        raise ValueError(f"Rotary positions need vectors of even width, got {tuple(vectors.shape)}.")
    half = vectors.shape[-1] // 2
    # bfloat16 cannot tell position 257 from 256.
    exact = torch.promote_types(vectors.dtype, torch.float32)
    exponents = torch.arange(half, dtype=exact, device=vectors.device) / half
    angles = positions.unsqueeze(-1).to(exact) * torch.exp(-math.log(10_000.0) * exponents)
    if positions.ndim == 2:
        angles = angles.unsqueeze(1)
    cosine, sine = angles.cos(), angles.sin()
    even, odd = vectors[..., 0::2], vectors[..., 1::2]
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)
    return turned.to(vectors.dtype)


def relative_buckets(
    query_positions: Tensor,
    key_positions: Tensor,
    buckets: int = 32,
    furthest: int = 128,
    both_sides: bool = True,
) -> Tensor:
    """Give the bucket of each distance key - query: one each for near distances, logarithmic ones up to `furthest`.

    query_positions (..., queries), key_positions (..., keys) -> LongTensor (..., queries, keys) in 0 .. buckets - 1.
    both_sides: half of the buckets are for keys after the query (an encoder); otherwise all are for keys before it.
    """
    distance = key_positions.unsqueeze(-2) - query_positions.unsqueeze(-1)
    offset = torch.zeros_like(distance)
    if both_sides:
        buckets //= 2
        offset = (distance > 0).long() * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    near = buckets // 2
    far = near + (
        torch.log(distance.clamp(min=1).float() / near) / math.log(furthest / near) * (buckets - near)
    ).long().clamp(max=buckets - near - 1)
    return offset + torch.where(distance < near, distance, far)
