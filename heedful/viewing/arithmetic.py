"""One query of one head explained: every number between its vector and what it reads, so that all can be followed.

    asked . k_j  ->  scaled, modified, masked: s_j  ->  e^(s_j - max)  ->  weight_j  ->  sum_j weight_j v_j

    explanation = explain(scene, "decoder.layers.0.cross_attention", head=2, query=5)

What is told multiplies out: each step is made of the step before, in float64, and the weights are those of the record.
A long text has too many keys for a page; then those with the largest weights are told one by one, and of the others how
many there are, their weight, and what they add to the output.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.attention.call import Call
from heedful.errors import HeedfulError
from heedful.viewing.packed import pack
from heedful.viewing.scene import AttentionMap, Scene
from heedful.viewing.score_steps import score_steps
from heedful.viewing.whole_calls import whole_calls

# So many keys are told one by one, and so many numbers of them at most: of wide heads fewer keys.
KEYS, NUMBERS = 32, 2**18
_LEAST = 4


def explain(scene: Scene, map: int | str, head: int, query: int) -> bytes:
    """Tell how one query of one head comes to its weights and its output, packed (`heedful.viewing.packed`).

    map: its number in the scene, or the name of its module

    Told: "map", "head", "query"; of the score "kind", "form" ("product": sums of asked_i k_i; "additive": of
    v_i tanh(asked_i + k_i); "other") and "steps" [{"name", "says"}]; "count" of the keys, and "open", how many of them
    the mask lets through; "greatest" and "total" of the softmax; "factor", what the weights are multiplied with
    afterwards, or null; "rest" {"keys", "weight", "exp"}, those that are not told one by one; "missing": why there are
    no values, or null.

    Arrays, of the keys that are told one by one: "numbers" (keys,), their places; "projected" (d_q,), the query as the
    module gives it; "asked" (d,) and "keys" (keys, d), as they meet; "v" (d,) of additive scores; "sums" (keys,);
    "step0", "step1", ... (keys,), the scores after each step; "allowed", "exp" and "weights" (keys,); "factors" (keys,)
    if there are any; "values" (keys, d_v); "output" (d_v,), before any projection, and "rest_output" (d_v,), what the
    others add to it.

    Raises HeedfulError for what is not in the scene, and for an attention whose queries and keys are not known.
    """
    chosen = _chosen(scene, map)
    _, heads, queries, _ = chosen.record.shape
    for name, number, count in (("head", head, heads), ("query", query, queries)):
        if not 0 <= number < count:
            raise HeedfulError(f"{chosen.name} has no {name} {number}: there are {count:,}, counted from 0.")
    call, row, missing = _call(scene, chosen, query)
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        told, arrays = _explained(call, head, row, with_values=missing is None)
    packed = {name: array.detach().float().cpu().numpy() for name, array in arrays.items()}
    packed["numbers"] = packed["numbers"].astype(np.int32)
    packed["allowed"] = packed["allowed"].astype(np.uint8)
    return pack({"map": chosen.name, "head": head, "query": query, "missing": missing, **told}, packed)


def _chosen(scene: Scene, map: int | str) -> AttentionMap:
    for number, one in enumerate(scene.maps):
        if map in (number, one.name):
            return one
    raise HeedfulError(f"There is no attention {map!r} here; there are {len(scene.maps)}, counted from 0.")


def _call(scene: Scene, map: AttentionMap, query: int) -> tuple[Call, int, str | None]:
    """Give the call that made a query, its row in it, and why its values are not known, if they are not."""
    calls = whole_calls(scene, map)
    if sum(call.query.shape[2] for call in calls) == map.record.shape[2]:
        for call in calls:  # a decoder that attends step by step makes one for each
            if query < call.query.shape[2]:
                return call, query, None
            query -= call.query.shape[2]
    try:
        call = map.record.call
    except ValueError as error:
        raise HeedfulError(
            f"The arithmetic of {map.name} cannot be followed: its queries and keys are not known here."
        ) from error
    return call, query, "Values are not kept by an observer, and this pass cannot be made once more."


def _explained(
    call: Call, head: int, row: int, with_values: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    heads, kv_heads = call.query.shape[1], call.key.shape[1]
    scored = score_steps(call, head, row)
    allowed = _allowed(call, head, row, scored.scores)
    greatest = float(scored.scores[allowed].max()) if allowed.any() else 0.0
    exp = torch.where(allowed, (scored.scores - greatest).exp(), 0.0)
    total = float(exp.sum())
    weights = exp / (total or 1.0)  # a query that sees nothing has weights of zero
    if scored.factors is not None:
        weights = weights * scored.factors

    value = call.value[0, head * kv_heads // heads].double() if with_values else scored.keys[:, :0]
    numbers = _numbers(weights, allowed, scored.keys.shape[1] + value.shape[1])
    others = torch.ones_like(allowed)
    others[numbers] = False
    told = {
        "kind": scored.kind,
        "form": scored.form,
        "steps": [{"name": step.name, "says": step.says} for step in scored.steps],
        "factor": scored.factor_says,
        "count": len(weights),
        "open": int(allowed.sum()),
        "greatest": greatest,
        "total": total,
        "rest": {
            "keys": int((others & allowed).sum()),
            "weight": float(weights[others].sum()),
            "exp": float(exp[others].sum()),
        },
    }
    arrays = {
        "numbers": numbers,
        "projected": call.query[0, head, row],
        "asked": scored.asked,
        "keys": scored.keys[numbers],
        "sums": scored.sums[numbers],
        **{f"step{place}": step.scores[numbers] for place, step in enumerate(scored.steps)},
        "allowed": allowed[numbers],
        "exp": exp[numbers],
        "weights": weights[numbers],
    }
    if scored.v is not None:
        arrays["v"] = scored.v
    if scored.factors is not None:
        arrays["factors"] = scored.factors[numbers]
    if with_values:
        arrays |= {"values": value[numbers], "output": weights @ value}
        arrays["rest_output"] = weights[others] @ value[others]
    return told, arrays


def _allowed(call: Call, head: int, row: int, scores: Tensor) -> Tensor:
    """Say which keys the query may see, bool (keys,)."""
    allowed = scores > -torch.inf  # a bias may hide keys too
    if call.mask is None:
        return allowed
    mask = call.mask.tile(call.grid.tile(slice(row, row + 1)))
    whole = mask.expand(1, call.query.shape[1], 1, len(scores))
    return allowed & whole[0, head, 0]


def _numbers(weights: Tensor, allowed: Tensor, width: int) -> Tensor:
    """Give the keys that are told one by one, in their order: all, or those with the largest weights."""
    count = min(KEYS, max(_LEAST, NUMBERS // max(width, 1)))
    if len(weights) <= count:
        return torch.arange(len(weights), device=weights.device)
    # Never one that may not be seen in place of one that may: their weights can both be 0.
    best = torch.where(allowed, weights, -1.0).topk(count).indices
    return best.sort().values
