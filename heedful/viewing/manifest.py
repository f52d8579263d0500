"""A scene as the page gets it: all that is told in words and small numbers, ready for JSON.

    manifest(scene, id="5f0c...", model="0")["maps"][3]["name"]       # "decoder.layers.0.cross_attention"

The weights follow when they are asked for; see `heedful.viewing.server`.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from heedful.attention import (
    Additive,
    AdditiveScore,
    Concat,
    Cosine,
    Dot,
    General,
    Location,
    LocationAware,
    Record,
    Rotary,
    ScaledDot,
)
from heedful.attention.recomputed import Recomputed
from heedful.attention.scores import DotScore
from heedful.viewing.looks.opened import Opened
from heedful.viewing.scene import AttentionMap, Axis, Scene

# The nearest class in a score's ancestry names it.
_SCORES = {
    Rotary: "scaled dot product of turned vectors",
    ScaledDot: "scaled dot product",
    Dot: "dot product",
    General: "general (bilinear)",
    Cosine: "cosine",
    Location: "location",
    LocationAware: "location-aware",
    Additive: "additive",
    Concat: "concat",
    AdditiveScore: "additive",
    DotScore: "dot product, scaled",  # by what the model says
}
# Rows that are looked at to see whether a mask is causal.
_LOOKED_AT = 64


def manifest(scene: Scene, id: str, model: str, sampled: bool = False) -> dict[str, Any]:
    """Tell all of a scene but its weights.

    id, model: by which the page asks for more of it
    sampled: whether overviews are made of some queries at first
    """
    return {
        "id": id,
        "model": model,
        "title": scene.model,
        "texts": dict(scene.texts),
        "answer": scene.answer,
        "facts": plain(scene.facts),
        "axes": {name: _axis(axis) for name, axis in scene.axes.items()},
        "maps": [_map(one, scene.run is not None) for one in scene.maps],
        "outputs": _outputs(scene),
        "rollout": bool(scene.steps),
        "gradients": scene.run is not None and scene.outputs is not None and bool(scene.inputs),
        "sampled": sampled,
    }


def model_told(model: Opened, number: str) -> dict[str, Any]:
    """Tell what a model is, and what it asks for."""
    return {
        "id": number,
        "title": model.title,
        "task": model.task,
        "parameters": model.parameters,
        "asks": [
            {"name": ask.name, "title": ask.title, "optional": ask.optional, "example": ask.example}
            for ask in model.asks
        ],
        "writes": model.writes,
        "folder_name": model.folder_name,
    }


def plain(value: Any) -> Any:
    """Give a value as JSON has it: numbers that are none become None, what is unknown its text."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool | None):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value)


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "title": axis.title,
        "text": [token.text for token in axis.tokens],
        "word": [token.word for token in axis.tokens],
        "special": [number for number, token in enumerate(axis.tokens) if token.special],
    }


def _map(one: AttentionMap, runs: bool) -> dict[str, Any]:
    _, heads, queries, keys = one.record.shape
    return {
        "name": one.name,
        "group": one.group,
        "layer": one.layer,
        "heads": heads,
        "queries": one.queries,
        "keys": one.keys,
        "shape": [queries, keys],
        "score": score_of(one.record),
        # Of single steps, queries and keys are not kept: they are made once more.
        "arithmetic": isinstance(one.record.matrix, Recomputed) or (runs and one.module is not None),
        "causal": causal(one.record),
    }


def score_of(record: Record) -> str:
    """Name the score function for people, with what modifies it."""
    if not isinstance(record.matrix, Recomputed):
        return "weights of single steps, joined"
    score = record.score
    known = next((_SCORES[kind] for kind in type(score).__mro__ if kind in _SCORES), type(score).__name__)
    return " + ".join([known, *(type(modifier).__name__ for modifier in score.modifiers)])


def causal(record: Record) -> bool:
    """Whether no query sees a key that stands after it, and the last sees the first: as far as some rows tell."""
    _, _, queries, keys = record.shape
    if queries != keys or queries < 2:
        return False
    step = max(1, queries // _LOOKED_AT)
    rows = [*range(0, queries, step), queries - 1]
    with torch.no_grad():
        for row in rows:
            allowed = record.allowed(slice(row, row + 1))
            if row + 1 < queries and (allowed.shape[-1] == 1 or bool(allowed[..., row + 1 :].any())):
                return False
    return True


def _outputs(scene: Scene) -> dict[str, Any] | None:
    """Tell which axis has next tokens, and what they are: where it is the axis itself, shifted by one, in its words."""
    if scene.outputs is None:
        return None
    axis, taken = scene.outputs
    told = scene.facts.get("taken")
    if not told:
        following = [token.text for token in scene.axes[axis].tokens[1:]] if axis in scene.axes else []
        told = [following[place] if place < len(following) else str(one) for place, one in enumerate(taken)]
    return {"axis": axis, "taken": [str(each) for each in told]}
