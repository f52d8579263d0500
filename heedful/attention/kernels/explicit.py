"""Attention with the weights written out: the fastest way at the lengths of sentences on a CPU.

Two batched products with a softmax between them beat the fused kernels up to 64 tokens where gradients are wanted, as
the way back is shorter, and up to 16 where they are not. Memory grows with queries x keys.
"""

import math

import torch
from torch import Tensor

from heedful.attention.call import Call, repeat_heads
from heedful.attention.kernels import short
from heedful.attention.kernels.dropping import drop
from heedful.attention.scores import DotScore, ScaledDot


def refusal(call: Call) -> str | None:
    """It computes everything."""
    return None


def attend(call: Call) -> Tensor:
    """Give softmax(score(query, key)) value, with dropout on the weights."""
    if (loops := short.loops(call)) is not None:
        return short.attend(call, loops)
    heads, tile = call.query.shape[1], call.grid.tile()
    if type(call.score) is ScaledDot and not call.score.modifiers and call.query.dtype != torch.float16:
        # Short texts have fewer scores than numbers in their queries: it is they that are scaled. Not in half
        # precision, where a product may be too large for a number before it is scaled.
        scores = call.query @ repeat_heads(call.key, heads).mT
        scores.mul_(1.0 / math.sqrt(call.query.shape[-1]))
    else:
        query, key = call.prepared()
        scores = call.score.tile(query, repeat_heads(key, heads), tile)
    some = None
    if call.score.modifiers:
        if call.mask is not None:
            scores = scores.masked_fill(call.mask.written(call.grid).blocked, -torch.inf)
        # What is added may be -inf too, so that only now is it known which rows have nothing else: NaN in a softmax.
        nothing = (scores == -torch.inf).all(-1, keepdim=True)
        if nothing.any():
            scores, some = scores.masked_fill(nothing, 0.0), ~nothing
    elif call.mask is not None:
        mask = call.mask.written(call.grid)
        some = mask.some
        # The lowest finite number rather than -inf: a row that may see nothing stays finite and is zeroed below.
        lowest = torch.finfo(scores.dtype).min
        if isinstance(call.score, DotScore):
            # In place and past autograd: a product does not need its result, and weights of zero give no gradient.
            with torch.no_grad():
                scores.masked_fill_(mask.blocked, lowest)
        else:
            scores = scores.masked_fill(mask.blocked, lowest)
    weights = scores.softmax(-1)
    if (factor := call.score.factor(tile)) is not None:
        weights = weights * factor.to(weights.dtype)
    if call.dropout:
        weights = drop(weights, call.dropout)
    attended = weights @ repeat_heads(call.value, heads)
    return attended if some is None else attended * some
