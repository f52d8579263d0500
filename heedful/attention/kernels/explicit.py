"""Attention with the weights written out: the fastest way at the lengths of sentences on a CPU.

Up to some hundred tokens the matrix of weights fits in the cache, and two batched products with a softmax between
them beat the fused kernels, forward and backward. Memory grows with queries x keys.
"""

import torch
from torch import Tensor

from heedful.attention.scores import ScaledDot


def attend(
    query: Tensor, key: Tensor, value: Tensor, score: ScaledDot, mask: Tensor | None, dropout: float
) -> Tensor:
    """Give softmax(score(query, key)) value, with dropout on the weights; shapes as in `heedful.attention.attend`."""
    batch, heads, kv_heads = *query.shape[:2], key.shape[1]
    if kv_heads != heads:
        # Repeated heads are views until a product reads them: (batch, kv_heads, group, keys, d).
        group = heads // kv_heads
        key = key[:, :, None].expand(-1, -1, group, -1, -1).reshape(batch, heads, *key.shape[2:])
        value = value[:, :, None].expand(-1, -1, group, -1, -1).reshape(batch, heads, *value.shape[2:])
    scores = score(query, key)
    if mask is None:
        weights = scores.softmax(-1)
    else:
        # The lowest finite number rather than -inf: a row that may see nothing stays finite and is zeroed below.
        lowest = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~mask, lowest).softmax(-1)
    if dropout:
        weights = torch.nn.functional.dropout(weights, dropout)
    attended = weights @ value
    return attended if mask is None else attended * mask.any(-1, keepdim=True)
