"""Attention in a sliding window, with global tokens, by making only the band of the matrix (Longformer).

Beltagy et al. 2020, section 3.1: each token attends to its neighbours, and a few global tokens attend to all and are
attended to by all. Time and memory are n (w + g) instead of n n. The band is cut into chunks of queries with the keys
they can reach, and these are a batch of small attentions for `attend`.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from heedful.attention.attend import attend


def sliding_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    left: int,
    right: int,
    *,
    global_tokens: Tensor | None = None,
    key_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Let each token attend to `left` tokens before it and `right` after it, and to the global tokens.

    query (batch, heads, tokens, d), key (batch, kv_heads, tokens, d), value (batch, kv_heads, tokens, d_v)
    global_tokens: bool (tokens,) or (batch, tokens); they attend to all tokens, and all attend to them
    key_mask: bool (batch, tokens), True = may be attended to

    Gives (batch, heads, tokens, d_v), exactly that of attend with this mask:

        (window(left, right) | global_tokens[:, None, None, :] | global_tokens[:, None, :, None]) & key_mask

    Longformer projects queries, keys and values once more for the global tokens; here all have one projection.
    Observers see the pieces of the band. Raises ValueError for negative widths and for shapes that do not fit.
    """
    check_shapes("sliding_window_attention", query, key, value, key_mask)
    batch, _, tokens, _ = query.shape
    if key.shape[2] != tokens:
        raise ValueError(
            f"sliding_window_attention takes as many queries as keys, got {tokens} and {key.shape[2]}."
        )
    if min(left, right) < 0:
        raise ValueError(f"sliding_window_attention takes widths of at least 0, got {left} and {right}.")
    seen = torch.ones(batch, tokens, dtype=torch.bool, device=query.device) if key_mask is None else key_mask
    if global_tokens is None:
        return _attend_to_band(query, key, value, seen, left, right, dropout)
    if tuple(global_tokens.shape) not in ((tokens,), (batch, tokens)) or global_tokens.dtype != torch.bool:
        raise ValueError(
            f"sliding_window_attention takes bool global_tokens ({tokens},) or ({batch}, {tokens}), got "
            f"{global_tokens.dtype} of {tuple(global_tokens.shape)}."
        )
    chosen = global_tokens.expand(batch, tokens)
    count = chosen.sum(1, keepdim=True)
    most = int(count.max())
    if not most:
        return _attend_to_band(query, key, value, seen, left, right, dropout)
    # Rows with fewer global tokens than others have places left over, which are not `real`.
    places = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    real = torch.arange(most, device=query.device) < count
    global_query, global_key, global_value = (_at(places, tensor) for tensor in (query, key, value))
    also = global_key, global_value, real & seen.gather(1, places)
    local = _attend_to_band(query, key, value, seen & ~chosen, left, right, dropout, also)
    whole = attend(global_query, key, value, mask=seen[:, None, None], dropout=dropout)
    which = (chosen.cumsum(1) - 1).clamp(min=0)
    return torch.where(chosen[:, None, :, None], _at(which, whole), local)


def check_shapes(name: str, query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None) -> None:
    """Raise ValueError for queries, keys, values and key_mask that do not fit together; `name` is who asks."""
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(f"{name} takes four dimensions (batch, heads, length, width), got {shapes}.")
    if key.shape[:3] != value.shape[:3] or query.shape[-1] != key.shape[-1]:
        raise ValueError(f"{name} takes a value for each key, and keys as wide as queries, got {shapes}.")
    if query.shape[0] != key.shape[0] or query.shape[1] % key.shape[1]:
        raise ValueError(f"{name}: the batches must agree and heads be a multiple of kv_heads, got {shapes}.")
    expected = key.shape[0], key.shape[2]
    if key_mask is not None and (tuple(key_mask.shape) != expected or key_mask.dtype != torch.bool):
        raise ValueError(
            f"{name} takes a bool key_mask (batch, keys) = {expected}, got {key_mask.dtype} of {tuple(key_mask.shape)}."
        )


def _at(places: Tensor, tensor: Tensor) -> Tensor:
    """places (batch, some) of a tensor (batch, heads, tokens, d) -> (batch, heads, some, d)."""
    return tensor.gather(2, places[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3]))


def _attend_to_band(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor,
    left: int,
    right: int,
    dropout: float,
    also: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """Attend to the `seen` keys (batch, tokens) in the window, and `also` to others: keys, values, which are seen."""
    batch, _, tokens, _ = query.shape
    size = min(max(left + right, 32), tokens)
    chunks = math.ceil(tokens / size)
    width, missing = left + size + right, chunks * size - tokens

    def pieces(tensor: Tensor) -> Tensor:
        # (batch, kv_heads, tokens, d) -> (batch * chunks, kv_heads, width, d), each overlapping the next
        padded = pad(tensor, (0, 0, left, right + missing))
        return padded.unfold(2, width, size).permute(0, 2, 1, 4, 3).flatten(0, 1)

    keys, values = pieces(key), pieces(value)
    reach = torch.arange(width, device=query.device) - torch.arange(size, device=query.device)[:, None]
    seen = pad(seen, (left, right + missing)).unfold(1, width, size).flatten(0, 1)
    mask = (reach >= 0) & (reach <= left + right) & seen[:, None, None]
    if also is not None:
        more_keys, more_values, may = (tensor.repeat_interleave(chunks, 0) for tensor in also)
        keys, values = torch.cat((keys, more_keys), 2), torch.cat((values, more_values), 2)
        mask = torch.cat((mask, may[:, None, None].expand(-1, -1, size, -1)), -1)
    # (batch, heads, tokens, d) -> (batch * chunks, heads, size, d), and back
    queries = pad(query, (0, 0, 0, missing)).unflatten(2, (chunks, size)).transpose(1, 2).flatten(0, 1)
    attended = attend(queries, keys, values, mask=mask, dropout=dropout)
    return attended.unflatten(0, (batch, chunks)).transpose(1, 2).flatten(2, 3)[:, :, :tokens]
