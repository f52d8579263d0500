"""The definition of attention, in a few plain lines and any floating type: what every other kernel is tested against.

    Attention(Q, K, V) = softmax(score(Q, K)) V        (Vaswani et al. 2017, equation 1)

The softmax runs over the keys that the mask admits; a query that may attend to nothing gets zeros. Memory grows with
queries x keys.
"""

import torch
from torch import Tensor

from heedful.attention.call import Call, repeat_heads


def refusal(call: Call) -> str | None:
    """The definition computes everything."""
    return None


def weights(call: Call, rows: slice = slice(None)) -> Tensor:
    """Give the weights (batch, heads, rows, keys) of all queries, or of some.

    Rows sum to one, or to zero where nothing may be seen, or to less where the score has a factor after the softmax.
    """
    query, key = call.prepared()
    tile = call.grid.tile(rows)
    scores = call.score.tile(query[:, :, tile.rows], repeat_heads(key, query.shape[1]), tile)
    if call.mask is not None:
        scores = scores.masked_fill(~call.mask.tile(tile), -torch.inf)
    # A row of nothing but -inf would be softmax(-inf, ...) = NaN: it gets other scores, and weights of zero afterwards.
    seen = scores != -torch.inf
    weights = scores.masked_fill(~seen.any(-1, keepdim=True), 0.0).softmax(-1).masked_fill(~seen, 0.0)
    factor = call.score.factor(tile)
    return weights if factor is None else weights * factor.to(weights.dtype)


def attend(call: Call) -> Tensor:
    """Give softmax(score(query, key)) value, with dropout on the weights."""
    attention = weights(call)
    if call.dropout:
        attention = torch.nn.functional.dropout(attention, call.dropout)
    return attention @ repeat_heads(call.value, call.query.shape[1])
