"""Masks: who may attend to whom. True = may attend, everywhere and with no exception.

A mask is a bool tensor that broadcasts to (batch, heads, queries, keys); masks combine with `&`, `|` and `~`.
Causality is defined by positions (a key may be seen when it does not stand later than the query), not by corners of
the matrix, so that a cached step and a full pass agree.
"""

import torch
from torch import Tensor


def causal(query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """Let a query see the keys at its own position and before.

    query_positions (..., queries) and key_positions (..., keys), integers -> mask (..., queries, keys).
    """
    return key_positions.unsqueeze(-2) <= query_positions.unsqueeze(-1)


def padding(lengths: Tensor, width: int) -> Tensor:
    """Let every query see the first `lengths[b]` of `width` keys: (batch,) -> mask (batch, 1, 1, width)."""
    positions = torch.arange(width, device=lengths.device)
    return (positions < lengths.unsqueeze(-1))[:, None, None, :]


def not_padding(tokens: Tensor, padding_token: int) -> Tensor:
    """Let every query see the tokens that are not padding: tokens (batch, keys) -> mask (batch, 1, 1, keys)."""
    return (tokens != padding_token)[:, None, None, :]
