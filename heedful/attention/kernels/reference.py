"""The definition of attention, in a few plain lines and any floating type: what every other kernel is tested against.

    Attention(Q, K, V) = softmax(score(Q, K)) V        (Vaswani et al. 2017, equation 1)

The softmax runs over the keys that the mask admits; a query that may attend to nothing gets zeros. Memory grows with
queries x keys.
"""

import torch
from torch import Tensor

from heedful.attention.scores import ScaledDot


def weights(query: Tensor, key: Tensor, score: ScaledDot, mask: Tensor | None) -> Tensor:
    """Give the softmax weights (batch, heads, queries, keys); rows sum to one, or to zero where nothing may be seen."""
    scores = score(query, _repeat_heads(key, query.shape[1]))
    if mask is None:
        return scores.softmax(-1)
    seen = mask.expand(scores.shape)
    # A row without any admitted key would be softmax(-inf, ...) = NaN: it keeps its scores, and its weights are set to
    # zero afterwards.
    some = seen.any(-1, keepdim=True)
    scores = scores.masked_fill(~seen & some, -torch.inf)
    return scores.softmax(-1).masked_fill(~seen, 0.0)


def attend(
    query: Tensor, key: Tensor, value: Tensor, score: ScaledDot, mask: Tensor | None, dropout: float
) -> Tensor:
    """Give softmax(score(query, key)) value, with dropout on the weights."""
    attention = weights(query, key, score, mask)
    if dropout:
        attention = torch.nn.functional.dropout(attention, dropout)
    return attention @ _repeat_heads(value, query.shape[1])


def _repeat_heads(tensor: Tensor, heads: int) -> Tensor:
    """Repeat (batch, kv_heads, keys, d) to (batch, heads, keys, d): each group of queries shares one head."""
    return tensor.repeat_interleave(heads // tensor.shape[1], dim=1)
