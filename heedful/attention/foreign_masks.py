"""Masks of other conventions, read into ours (True = may attend).

| where it comes from | what it means | read by |
|---|---|---|
| `nn.MultiheadAttention`, `nn.Transformer`: bool `attn_mask`, `src_mask` | True = may NOT attend | `from_ignore_mask` |
| the same: bool `key_padding_mask`, (batch, keys) | True = is padding | `from_key_padding_mask` |
| float masks of PyTorch and Hugging Face, added to the scores | 0 = may, -inf or -1e9 = may not | `from_additive` |
| `scaled_dot_product_attention`: bool `attn_mask` | True = may attend | ours already |
| Hugging Face: `attention_mask`, (batch, keys) | 1 = may attend | `not_padding(attention_mask, 0)` |

Where nothing may be seen, a query gets zeros here; PyTorch's module gives NaN there, and large negative numbers give
the mean of all values.
"""

import torch
from torch import Tensor

from heedful.attention.mask_algebra import Given, Mask

# The largest stand-in for -inf in use (-10000, BERT's): e^-10000 is zero in every floating type.
FORBIDDEN = -1e4


def from_ignore_mask(mask: Tensor, heads: int | None = None) -> Mask:
    """Read a mask in which True = may NOT attend: bool, (queries, keys) or what broadcasts to four dimensions.

    heads: how many heads there are, for PyTorch's three dimensions (batch * heads, queries, keys)

    Raises ValueError for a mask that is not bool, and for three dimensions without `heads`.
    """
    _check_bool("from_ignore_mask", mask)
    return Given(~_four(mask, heads), "from_ignore_mask")


def from_key_padding_mask(mask: Tensor) -> Mask:
    """Read a mask (batch, keys) in which True = is padding, to be attended to by no query.

    Raises ValueError for a mask that is not bool or has not two dimensions.
    """
    _check_bool("from_key_padding_mask", mask)
    if mask.ndim != 2:
        raise ValueError(f"from_key_padding_mask takes (batch, keys), got {tuple(mask.shape)}.")
    return Given(~mask[:, None, None], "from_key_padding_mask")


def from_additive(mask: Tensor, heads: int | None = None) -> Mask:
    """Read a float mask that was meant to be added to the scores: 0 = may attend, -inf (or at most -1e4) = may not.

    mask: (queries, keys) or what broadcasts to four dimensions; heads as in `from_ignore_mask`

    Raises ValueError where a number is neither: it changes scores and is no mask but a bias.
    """
    if not mask.is_floating_point():
        raise ValueError(
            f"from_additive takes a float mask, 0 = may attend and -inf = may not, got {mask.dtype}."
        )
    allowed = mask == 0
    neither = mask[~(allowed | (mask <= FORBIDDEN))]
    if neither.numel():
        raise ValueError(
            "An additive mask has 0 where a query may attend and -inf (or at most -1e4) where it may not, got "
            f"{float(neither[0]):g}; add numbers in between to the scores with scores.Bias."
        )
    return Given(_four(allowed, heads), "from_additive")


def _check_bool(name: str, mask: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(
            f"{name} takes a bool mask, True = ignore, got {mask.dtype}; see from_additive for floats."
        )


def _four(mask: Tensor, heads: int | None) -> Tensor:
    if mask.ndim != 3:
        return mask
    if heads is None or len(mask) % heads:
        raise ValueError(
            f"A mask of three dimensions is read as (batch * heads, queries, keys), got {tuple(mask.shape)} and "
            f"heads = {heads}; give the number of heads, or the mask in four dimensions."
        )
    return mask.unflatten(0, (-1, heads))
