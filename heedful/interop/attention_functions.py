"""The attention functions of Hugging Face's `transformers`: what each computes, told from what it is called with.

    sdpa      softmax(scaling q k^T + position bias), masked: bool, True = may attend; or floats, added; or, when None
              and the module is causal, a triangle from the first query and key on
    eager     softmax(cap(scaling q k^T) + position bias + mask); None = no mask
    flash     softmax(cap(scaling q k^T)), masked: (batch, keys), 1 = no padding; and causal, and a sliding window

Each may have sinks (gpt-oss): a number for each head that stands in the softmax like one more key and is left out
afterwards, so that the weights sum to less than one.
"""

import math
from dataclasses import replace
from functools import cached_property, reduce
from operator import and_
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention import masks
from heedful.attention.call import Call, repeat_heads
from heedful.attention.grid import Grid, Tile
from heedful.attention.masks import Mask
from heedful.attention.modifiers import Bias, Modifier, SoftCap
from heedful.attention.scores import DotScore, ScaledDot

# How many scores are written out at once when rows are summed.
ROWS_AT_ONCE = 2**22


def called(
    kind: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    position_bias: Tensor | None = None,
    s_aux: Tensor | None = None,
    sinks: Tensor | None = None,
    **others: Any,
) -> Call:
    """Give as one call what an attention function was called with; `kind` is its name in the registry.

    query (batch, heads, queries, d), key and value (batch, kv_heads, keys, d). Raises ValueError for functions that
    are none of those above, and for sentences packed into one.
    """
    queries, keys = query.shape[2], key.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    grid = Grid(queries, keys, query.device)
    mask, added = None, [] if position_bias is None else [position_bias]
    if others.get("cache") is not None:  # pages, which the function itself gathers
        kind = f"paged {kind}"
    if kind == "eager":
        added += [] if attention_mask is None else [attention_mask]
    elif kind == "sdpa":
        softcap = s_aux = sinks = None  # which it leaves out, or refuses
        if attention_mask is None and causal and queries > 1:
            mask = masks.causal()
            if queries != keys:
                # PyTorch's triangle begins in the upper left corner: the keys after it are room that a cache has left.
                positions = torch.arange(max(queries, keys), device=query.device)
                grid = Grid(queries, keys, query.device, positions[:queries], positions[:keys])
        elif attention_mask is not None and attention_mask.dtype == torch.bool:
            mask = masks.as_mask(attention_mask[..., :keys])
        elif attention_mask is not None:
            added.append(attention_mask)
    elif "flash" in kind and not kind.startswith("paged") and not _packed(**others):
        mask = _flash_mask(attention_mask, keys, causal, sliding_window)
    else:
        raise ValueError(
            f"{type(module).__name__} computes its attention by {kind!r}, in a way that heedful does not read; "
            "choose one that it reads with model.set_attn_implementation('sdpa')."
        )
    modifiers: list[Modifier] = [] if softcap is None else [SoftCap(softcap)]
    modifiers += [Bias(tensor.detach()[..., :keys]) for tensor in added]
    score = (ScaledDot() if scaling is None else GivenScale(scaling)).then(*modifiers)
    # Queries that are learned and shared by the batch come once.
    batch = max(len(query), len(key))
    query, key, value = (tensor.expand(batch, -1, -1, -1) for tensor in (query, _kept(key), value))
    call = Call(query, key, value, score, mask, dropout, grid)
    sink = s_aux.reshape(1, -1, 1, 1) if s_aux is not None else sinks
    return call if sink is None else replace(call, score=score.then(Sink(sink.detach(), call)))


class GivenScale(DotScore):
    """score(q, k) = scale q . k."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def prepare_query(self, query: Tensor, grid: Grid) -> Tensor:
        return query * self.scale


class Sink(Modifier):
    """A number that stands in each softmax like one more key, and takes its share of the weights (gpt-oss, 2025).

        weight_j = e^s_j / (sum_k e^s_k + e^sink) = softmax(s)_j sigmoid(lse(s) - sink)

    sink: broadcasts to (batch, heads, queries, 1); call: the attention without it. The log-sum-exp of its rows is taken
    when it is first asked for, some rows at a time.
    """

    def __init__(self, sink: Tensor, call: Call) -> None:
        nothing = call.value[..., :0]
        self.sink = sink
        self.call = replace(call, query=call.query.detach(), key=call.key.detach(), value=nothing)

    def scores(
        self, scores: Tensor, query: Tensor, key: Tensor, tensors: tuple[Tensor, ...], tile: Tile
    ) -> Tensor:
        return scores

    def factor(self, tensors: tuple[Tensor, ...], tile: Tile) -> Tensor:
        return self._share[:, :, tile.rows]

    @cached_property
    def _share(self) -> Tensor:
        with torch.no_grad():
            return torch.sigmoid(log_sum_exp(self.call) - self.sink)


def log_sum_exp(call: Call) -> Tensor:
    """Give the log-sum-exp of each row, (batch, heads, queries, 1), in float32 at least; -inf for empty rows."""
    exact = torch.promote_types(call.query.dtype, torch.float32)
    call = replace(call, query=call.query.to(exact), key=call.key.to(exact))
    query, key = call.prepared()
    key = repeat_heads(key, query.shape[1])
    step = max(1, ROWS_AT_ONCE // (math.prod(query.shape[:2]) * key.shape[2]))
    sums = []
    for first in range(0, query.shape[2], step):
        tile = call.grid.tile(slice(first, first + step))
        scores = call.score.tile(query[:, :, tile.rows], key, tile)
        if call.mask is not None:
            scores = scores.masked_fill(~call.mask.tile(tile), -torch.inf)
        sums.append(scores.logsumexp(-1, keepdim=True))
    return torch.cat(sums, 2)


def _flash_mask(padding: Tensor | None, keys: int, causal: bool, sliding_window: int | None) -> Mask | None:
    given = [masks.causal()] if causal else []
    if sliding_window is not None and keys > sliding_window:
        given.append(masks.window(sliding_window - 1, sliding_window - 1))
    if padding is not None:
        given.append(masks.not_padding(padding, 0))
    return reduce(and_, given) if given else None


def _packed(cu_seq_lens_q: Tensor | None = None, position_ids: Tensor | None = None, **others: Any) -> bool:
    """Whether several sentences are packed into one, told by where they begin or by positions that begin anew."""
    if cu_seq_lens_q is not None:
        return True
    return position_ids is not None and len(position_ids) == 1 and bool((position_ids.diff() != 1).any())


def _kept(key: Tensor) -> Tensor:
    """Give keys that stay what they are: of a cache that is written in place, which may overwrite them, a copy."""
    return key.clone() if key.is_inference() or key._version else key
