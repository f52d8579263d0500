"""How much of what is attended to arrives: the norms of weighted values, beside the weights.

    || sum_h a_ij^h (v_j^h W_O^h) ||        the vector that key j adds to query i, over all heads of a layer

(Kobayashi et al. 2020, "Attention is Not Only a Weight: Analyzing Transformers with Vector Norms", section 3.) A key
may have a large weight and a small vector, as separators mostly do: then little of it arrives. Values are not kept by
`observe`; they are made once more by running the scene.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention import Attention, KeyValue, MultiHeadAttention
from heedful.viewing.scene import AttentionMap, Scene


def value_norms(scene: Scene, maps: Sequence[AttentionMap], query: int) -> list[Tensor | None]:
    """Give for each map the norms (keys,) of what each key adds to one query; None where values are not known.

    They are known of modules of heedful that are called once in a pass.
    """
    values = _values(scene, [one.module for one in maps])
    return [
        None if one.module is None or one.module not in values else _norms(one, values[one.module], query)
        for one in maps
    ]


def _norms(one: AttentionMap, value: Tensor, query: int) -> Tensor | None:
    weights = one.record.row(query)[0]  # (heads, keys)
    if value.shape[2] != weights.shape[1] or one.heads % value.shape[1]:
        return None
    # (1, kv_heads, keys, d) -> (heads, keys, d): groups of queries share a head
    value = value[0].to(weights.dtype).repeat_interleave(one.heads // value.shape[1], 0)
    weighted = (weights.unsqueeze(-1) * value).transpose(0, 1).flatten(1)  # (keys, heads * d)
    if isinstance(one.module, MultiHeadAttention):
        weighted = weighted @ one.module.out.weight.detach().to(weighted.dtype).T
    return weighted.norm(dim=-1)


def _values(scene: Scene, modules: Sequence[nn.Module | None]) -> dict[nn.Module, Tensor]:
    """Give the values (1, kv_heads, keys, d) of modules in one pass."""
    found: dict[nn.Module, Tensor] = {}
    calls: dict[nn.Module, int] = {}
    here = threading.get_ident()

    def keep(module: nn.Module, read: tuple[Any, ...], named: dict[str, Any], given: Any) -> None:
        if threading.get_ident() != here:
            return
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, MultiHeadAttention):
            found[module] = given[1].value
        else:
            memory = named.get("memory", read[1] if len(read) > 1 else None)
            value = named.get("values")
            if value is None:
                value = memory.value if isinstance(memory, KeyValue) else memory
            if isinstance(value, Tensor):
                found[module] = value if value.ndim == 4 else value.unsqueeze(1)

    with ExitStack() as hooks, torch.no_grad():
        for module in set(modules):
            if isinstance(module, MultiHeadAttention | Attention):
                hooks.callback(module.register_forward_hook(keep, with_kwargs=True).remove)
                found[module] = torch.empty(0)
        if not found or scene.run is None:
            return {}
        scene.run(slice(0, 1))
    return {module: value for module, value in found.items() if calls.get(module) == 1 and value.numel()}
