"""Attention by PyTorch's fused kernel: memory linear in length, the fastest for long sequences.

`torch.nn.functional.scaled_dot_product_attention` falls back without a word to a kernel that writes the weights out
when it cannot fuse; `refusal` names the cases, so that `auto` never meets them and a user who asks for "fused" is told.
"""

import torch
from torch import Tensor

from heedful.attention.scores import ScaledDot


def refusal(query: Tensor, value: Tensor, score: ScaledDot, dropout: float) -> str | None:
    """Say why the fused kernel cannot express this attention, or None when it can."""
    if dropout and query.device.type == "cpu":
        return "on a CPU it has no dropout on the weights"
    if query.shape[-1] != value.shape[-1] and query.device.type == "cpu":
        return f"on a CPU it needs keys and values of one width, got {query.shape[-1]} and {value.shape[-1]}"
    if score.bias is not None and score.bias.requires_grad:
        return "it gives no gradient to a learned bias"
    return None


def attend(
    query: Tensor, key: Tensor, value: Tensor, score: ScaledDot, mask: Tensor | None, dropout: float
) -> Tensor:
    """Give softmax(score(query, key)) value; shapes as in `heedful.attention.attend`."""
    allowed = mask
    if score.bias is not None:
        allowed = score.bias.to(query.dtype)
        if mask is not None:
            allowed = allowed.masked_fill(~mask, -torch.inf)
    if allowed is not None:
        # The fused kernel of the CPU takes two dimensions or four; with others PyTorch writes the weights out.
        allowed = allowed[(None,) * (4 - allowed.ndim)]
    attended = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed, dropout_p=dropout, enable_gqa=key.shape[1] != query.shape[1]
    )
    # Backends differ in what a query gets that may see nothing; here it gets zeros.
    return attended if mask is None else attended.masked_fill(~mask.any(-1, keepdim=True), 0.0)
