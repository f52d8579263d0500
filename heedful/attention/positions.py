"""Positions: how a model without recurrence knows the order of its tokens.

- `sinusoidal`: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(same) (Vaswani et al. 2017, section 3.5).
  The code of tensor2tensor and fairseq differs from the paper: sines and cosines in two halves and an exponent over
  d/2 - 1; that is `sinusoidal(..., layout="concatenated")`.
- `rotate`: rotary positions (Su et al. 2021): pairs of coordinates of queries and keys turned by pos * theta_i, so
  that their product depends on the distance only; `scores.Rotary` is the score made of it.
- `relative_buckets`: the buckets of T5's learned relative biases (Raffel et al. 2020, section 2.1).
- `alibi_slopes`: how steeply each head forgets by distance (Press et al. 2022, section 3).
- `document_positions`: where tokens stand when several texts share a row.

What is done with buckets and slopes is in `modifiers`; learned positions are a table of `layers.embedding`.

Positions are integers given by the caller, never read off a tensor's corner, so that a cached step and a full pass
agree.
"""

import math
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["interleaved", "concatenated"]
"""Which coordinates make a pair: neighbours, or those of two halves."""


def sinusoidal(positions: Tensor, width: int, layout: Layout = "interleaved") -> Tensor:
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


def rotate(
    vectors: Tensor,
    positions: Tensor,
    *,
    base: float = 10_000.0,
    width: int | None = None,
    stretch: float = 1.0,
    layout: Layout = "interleaved",
) -> Tensor:
    """Turn each pair of coordinates (2i, 2i+1) of vectors (batch, heads, length, d) by positions * 10000^(-2i/d).

    positions: (length,) or (batch, length)
    base: what stands for the paper's 10000; larger turns slower
    width: turn the first `width` coordinates and leave the others as they are (GPT-J, GPT-NeoX); all when None
    stretch: divides the positions, for sentences longer than those of training (Chen et al. 2023)
    layout: pairs are neighbours, as in the paper, or coordinates i and i + width / 2 (GPT-NeoX, Llama in transformers)

    Lengths of vectors are kept, and rotate(q, m) . rotate(k, n) depends on m - n only (Su et al. 2021, equation 11).
    Raises ValueError for an odd width, or one beyond the vectors'.
    """
    whole = vectors.shape[-1]
    width = whole if width is None else width
    if width % 2 or not 0 < width <= whole:
        raise ValueError(
            f"Rotary positions need vectors of even width, got {tuple(vectors.shape)}."
            if width == whole
            else f"Rotary positions turn an even number of at most {whole} coordinates, got {width}."
        )
    # bfloat16 cannot tell position 257 from 256.
    exact = torch.promote_types(vectors.dtype, torch.float32)
    exponents = torch.arange(width // 2, dtype=exact, device=vectors.device) / (width // 2)
    angles = (positions.unsqueeze(-1).to(exact) / stretch) * torch.exp(-math.log(base) * exponents)
    if positions.ndim == 2:
        angles = angles.unsqueeze(1)
    turning, still = vectors.split((width, whole - width), -1)
    turned = _turned(turning.to(exact), angles.cos(), angles.sin(), layout)
    turned = turned.to(vectors.dtype)
    return torch.cat((turned, still), -1) if width < whole else turned


def _turned(vectors: Tensor, cosine: Tensor, sine: Tensor, layout: Layout) -> Tensor:
    if layout == "interleaved" and vectors.device.type == "cpu":
        # A pair is a complex number: one pass over memory forth and one back, and no step of two.
        pairs = vectors.unflatten(-1, (-1, 2))
        if pairs.stride(-1) != 1 or any(
            place % 2 for place in (pairs.storage_offset(), *pairs.stride()[:-1])
        ):
            pairs = pairs.contiguous()
        return torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cosine, sine)).flatten(-2)
    if layout == "interleaved":
        one, other = vectors[..., 0::2], vectors[..., 1::2]
    else:
        one, other = vectors.chunk(2, -1)
    turned = one * cosine - other * sine, one * sine + other * cosine
    return torch.stack(turned, -1).flatten(-2) if layout == "interleaved" else torch.cat(turned, -1)


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
    return distance_buckets(distance, buckets, furthest, both_sides)


def distance_buckets(distance: Tensor, buckets: int, furthest: int, both_sides: bool) -> Tensor:
    """Give the buckets of `relative_buckets` for distances key - query."""
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


def alibi_slopes(heads: int, device: torch.device | None = None) -> Tensor:
    """Give the slope of each head (heads,): 2^(-8/n), 2^(-16/n), ..., 2^-8 for n heads, n a power of two.

    For another number of heads: those of the next smaller power of two, then every second one, from the first, of
    those of the power of two after it, as in the authors' code.

    >>> alibi_slopes(6).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]
    """
    if heads < 1:
        raise ValueError(f"ALiBi needs at least one head, got {heads}.")
    power = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * head / power) for head in range(1, power + 1)]
    between = [2.0 ** (-4 * head / power) for head in range(1, 2 * power, 2)]
    return torch.tensor([*slopes, *between[: heads - power]], device=device)


def document_positions(documents: Tensor) -> Tensor:
    """Give where each token stands in its own document, counted from 0: (batch, length) -> (batch, length).

    documents: integers, which document of its row each token is of, in rising order

    >>> document_positions(torch.tensor([[0, 0, 0, 1, 2, 2]]))
    tensor([[0, 1, 2, 0, 0, 1]])
    """
    places = torch.arange(documents.shape[1], device=documents.device)
    begins = documents.diff(prepend=documents[:, :1]) != 0
    return places - (places * begins).cummax(1).values
