"""Attention by PyTorch's fused kernel: memory linear in length, the fastest for long sequences.

`torch.nn.functional.scaled_dot_product_attention` falls back without a word to a kernel that writes the weights out
when it cannot fuse; `refusal` names the cases, so that `auto` never meets them and a user who asks for "fused" is told.
"""

from functools import reduce

import torch
from torch import Tensor

from heedful.attention.call import Call
from heedful.attention.mask_algebra import Both, Given, Mask
from heedful.attention.mask_rules import Causal, Padding
from heedful.attention.modifiers import Added
from heedful.attention.scores import DotScore, ScaledDot


def refusal(call: Call) -> str | None:
    """Say why the fused kernel cannot express this attention, or None when it can."""
    cpu = call.query.device.type == "cpu"
    name = type(call.score).__name__
    if not isinstance(call.score, DotScore):
        return f"it computes products of queries and keys, not {name}"
    for modifier in call.score.modifiers:
        if not isinstance(modifier, Added):
            return f"it cannot apply {type(modifier).__name__}, which is no addition to the scores"
        if any(tensor.requires_grad for tensor in modifier.tensors()):
            return f"it gives no gradient to the tensors of {type(modifier).__name__}"
    if call.dropout and cpu:
        return "on a CPU it has no dropout on the weights"
    width = call.score.width(call.query, call.key)
    if cpu and width != call.value.shape[-1]:
        widths = f"{width} and {call.value.shape[-1]}"
        return f"on a CPU it needs keys and values of one width, got {widths}"
    return None


def writes(call: Call) -> int:
    """Give how many numbers of the queries x keys it needs written out: those of the mask and of what is added."""
    if (call.mask is None and not call.score.modifiers) or triangular(call):
        return 0
    if not call.score.modifiers and _of_keys(call.mask):
        return call.grid.keys
    return call.grid.queries * call.grid.keys


def _of_keys(mask: Mask | None) -> bool:
    """Whether a mask says the same to every query: then it is written out, and read, as one row."""
    if isinstance(mask, Both):
        return _of_keys(mask.one) and _of_keys(mask.other)
    if isinstance(mask, Given):
        return mask.allowed.ndim < 2 or mask.allowed.shape[-2] == 1
    return isinstance(mask, Padding)


def triangular(call: Call) -> bool:
    """Whether the kernel's own causality is this mask: plain positions, as many queries as keys, nothing added."""
    square = call.grid.plain and call.grid.queries == call.grid.keys
    return square and isinstance(call.mask, Causal) and not call.score.modifiers


def attend(call: Call) -> Tensor:
    """Give softmax(score(query, key)) value."""
    query, key, scale = call.query, call.key, None
    if type(call.score) is not ScaledDot:
        (query, key), scale = call.prepared(), 1.0
    some = None
    triangle = triangular(call)
    allowed = None
    if call.mask is not None and not triangle:
        mask = call.mask.written(call.grid)
        allowed, some = mask.allowed, mask.some
    if call.score.modifiers:
        allowed = _added(call, allowed)
    if allowed is not None and allowed.ndim < 4:
        # The fused kernel of the CPU takes two dimensions or four; with others PyTorch writes the weights out.
        allowed = allowed[(None,) * (4 - allowed.ndim)]
    # Nor does PyTorch fuse what is not contiguous in its last dimension.
    query, key, value = (
        tensor if tensor.stride(-1) == 1 else tensor.contiguous() for tensor in (query, key, call.value)
    )
    attended = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=allowed,
        dropout_p=call.dropout,
        is_causal=triangle,
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    # Backends differ in what a query gets that may see nothing; here it gets zeros.
    return attended if some is None else attended.masked_fill(~some, 0.0)


def _added(call: Call, allowed: Tensor | None) -> Tensor:
    """Give what is added to the scores, and -inf where nothing may be seen."""
    tile = call.grid.tile()
    addends = [
        modifier.addend(modifier.tensors(), tile).to(call.query.dtype)
        for modifier in call.score.modifiers
        if isinstance(modifier, Added)  # `refusal` has seen to it
    ]
    total = reduce(torch.add, addends)
    return total if allowed is None else total.masked_fill(~allowed, -torch.inf)
