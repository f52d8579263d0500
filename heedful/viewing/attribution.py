"""What gradients say of an output, beside what attention says: two questions that are easily taken for one.

    gradient      x . dy/dx                                   each token's vector with the gradient of the score
    integrated    (x - x0) . int_0^1 dy/dx(x0 + a (x - x0)) da    (Sundararajan, Taly and Yan 2017, equation 1)
    occlusion     y(x) - y(x with one token at x0)            what is lost where a token is taken away

y is the log-probability of one output, x are the vectors of tokens as the model reads them. The baseline x0 is that of
a token that says nothing, the unknown one, at every place; where there is none, vectors of zero. Integrated gradients
are complete: over all tokens they add up to y(x) - y(x0), and how nearly they do is told.
Beside them stands what attention tells: the mean over heads of each layer, the same weighted with the norms of values,
rollout. How far all these put the same tokens first is told by rank correlations, so that nobody takes one for another
(Jain and Wallace 2019; Wiegreffe and Pinter 2019).
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.attention import Rollout
from heedful.attention.record import ROWS
from heedful.errors import HeedfulError
from heedful.viewing.input_model import InputModel, Vectors
from heedful.viewing.packed import pack
from heedful.viewing.ranks import PAIRED, kendall, spearman
from heedful.viewing.scene import AttentionMap, Scene, Token
from heedful.viewing.value_norms import value_norms

Method = Literal["gradient", "integrated"]
Numbers = dict[str, NDArray[np.float32]]

# Passes through the model for one answer: as many as a person waits for.
PASSES = 101
OCCLUDED = 128
# What the sum of integrated gradients may miss of what it should be.
TOLERANCE = 1e-3


def attribute(scene: Scene, output: int, method: Method = "gradient") -> bytes:
    """Tell what one output is put down to, packed.

    output: which of `scene.outputs`, from 0
    method: "gradient" takes one pass forth and back; "integrated" adds integrated gradients and occlusion

    Told are score (log-probability), baseline, completeness, what is missing, and for each axis the correlation: the
    methods, and how each agrees with each by spearman and kendall, None where there is nothing to rank. Arrays are
    named METHOD.AXIS, (tokens,), and for attention and its norms also METHOD.layers.AXIS, (layers, tokens); seen.AXIS
    says which tokens the output may see: only those are compared. Of gradients and occlusion absolute values are
    compared, for attention has no sign.

    Raises HeedfulError for an output that is not there, and for a scene that has no scores or is too long.
    """
    if method not in ("gradient", "integrated"):
        raise HeedfulError(f"What is put down to tokens is found by gradient or integrated, got {method!r}.")
    model = InputModel(scene, output)
    score, gradients = model.gradients(model.vectors)
    missing: list[str] = []
    told: dict[str, Any] = {"output": output, "score": score, "baseline": model.baseline_title}
    found: dict[str, Numbers] = {"gradient": _by_token(gradients, model.vectors)}
    if method == "integrated":
        integrated, completeness = integrate(model)
        found["integrated"], told["completeness"] = integrated, completeness
        found["occlusion"], left_out = occlude(model, score, found["gradient"])
        if left_out:
            missing.append(
                f"Occlusion took the {OCCLUDED} tokens with the greatest gradient x input; {left_out} others were left."
            )
    asked = asking(scene, output)
    told["of_output"] = asked.of_output
    layers = _of_attention(scene, asked, missing)
    for name, by_axis in layers.items():
        found[name] = {axis: rows.mean(0) for axis, rows in by_axis.items()}
    if rolled := _rolled(scene, asked):
        found["rollout"] = rolled
    else:
        missing.append("Rollout needs layers that can be followed through the model.")
    arrays: dict[str, NDArray[Any]] = {
        f"{name}.{axis}": of for name, by_axis in found.items() for axis, of in by_axis.items()
    }
    arrays |= {
        f"{name}.layers.{axis}": of for name, by_axis in layers.items() for axis, of in by_axis.items()
    }
    correlation: dict[str, Any] = {}
    for axis in scene.axes:
        lists = {name: by_axis[axis] for name, by_axis in found.items() if axis in by_axis}
        if not lists:
            continue
        seen = _seen(scene, asked, axis)
        arrays[f"seen.{axis}"] = seen.astype(np.uint8)
        correlation[axis] = _correlation(lists, seen)
    told |= {"correlation": correlation, "missing": missing}
    return pack(told, {name: np.ascontiguousarray(of) for name, of in arrays.items()})


@dataclass(frozen=True)
class Node:
    """A place on the way from the baseline: the score, and what each token adds per step there."""

    at: float
    score: float
    slopes: NDArray[np.float64]


def integrate(
    model: InputModel, passes: int = PASSES, tolerance: float = TOLERANCE
) -> tuple[Numbers, dict[str, Any]]:
    """Give integrated gradients by axis, and how complete they are.

    The way is cut where it needs to be: on each piece the sum over tokens must be the difference of scores, so what
    Simpson's rule misses is known, and the worst piece is halved until all miss less than `tolerance` of the whole or
    there were so many passes. Nearly all may happen in a small part of the way, which even steps would miss.
    """

    def at(place: float) -> Node:
        ways = {axis: of - model.baseline[axis] for axis, of in model.vectors.items()}
        score, gradients = model.gradients({a: model.baseline[a] + way * place for a, way in ways.items()})
        by_axis = [(gradients[axis].double() * way.double()).sum(-1) for axis, way in ways.items()]
        return Node(place, score, torch.cat(by_axis).cpu().numpy())

    total, told = along(at, passes, tolerance)
    ends = np.cumsum([len(of) for of in model.vectors.values()])[:-1]
    return dict(zip(model.vectors, np.split(total.astype(np.float32), ends), strict=True)), told


def along(
    at: Callable[[float], Node], passes: int = PASSES, tolerance: float = TOLERANCE
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Give the integral of slopes from 0 to 1, and how near its sum is to the difference of scores."""
    first, middle, last = at(0.0), at(0.5), at(1.0)
    whole = last.score - first.score
    made, number = 3, 0
    pieces: list[tuple[float, int, tuple[Node, Node, Node]]] = []

    def add(nodes: tuple[Node, Node, Node]) -> None:
        nonlocal number
        missed = abs(float(_simpson(nodes).sum()) - (nodes[2].score - nodes[0].score))
        heapq.heappush(pieces, (-missed, number, nodes))
        number += 1  # of equal ones the first; nodes have no order

    add((first, middle, last))
    while made + 2 <= passes and -sum(piece[0] for piece in pieces) > tolerance * max(abs(whole), tolerance):
        _, _, (start, centre, end) = heapq.heappop(pieces)
        add((start, at((start.at + centre.at) / 2), centre))
        add((centre, at((centre.at + end.at) / 2), end))
        made += 2
    total = np.sum([_simpson(nodes) for _, _, nodes in pieces], 0)
    return total, {
        "sum": float(total.sum()),
        "difference": whole,
        "baseline_score": first.score,
        "passes": made,
    }


def _simpson(nodes: tuple[Node, Node, Node]) -> NDArray[np.float64]:
    start, centre, end = nodes
    return (end.at - start.at) / 6 * (start.slopes + 4 * centre.slopes + end.slopes)


def occlude(model: InputModel, score: float, gradient: Numbers) -> tuple[Numbers, int]:
    """Give by how much the score falls where a token becomes the baseline's, and how many were left out (NaN).

    A token of which the gradient is exactly zero was not seen by the output: it takes no pass.
    """
    places = [(abs(float(of)), axis, place) for axis, row in gradient.items() for place, of in enumerate(row)]
    places.sort(key=lambda place: -place[0])
    found = {axis: np.zeros(len(row), np.float32) for axis, row in gradient.items()}
    left = 0
    for number, (size, axis, place) in enumerate(places):
        if not size:
            continue
        if number >= OCCLUDED:
            found[axis][place], left = np.nan, left + 1
            continue
        changed = model.vectors[axis].clone()
        changed[place] = model.baseline[axis][place]
        with torch.no_grad():
            found[axis][place] = score - float(model.score({**model.vectors, axis: changed}))
    return found, left


def _by_token(gradients: Vectors, vectors: Vectors) -> Numbers:
    return {
        axis: (of.float() * vectors[axis].float()).sum(-1).cpu().numpy() for axis, of in gradients.items()
    }


@dataclass(frozen=True)
class Asking:
    """Where attention is asked from for an output: maps and their rows.

    of_output: whether these rows are the output's own; else they are all that read, for an output that asks nothing
        itself, as a label that is made of the mean of all vectors
    """

    maps: Sequence[AttentionMap]
    rows: slice
    of_output: bool

    def mean(self, one: AttentionMap) -> Tensor:
        """Give the weights (keys,) of one map, the mean over heads and rows, which go by in blocks."""
        total = torch.zeros(one.record.shape[3], dtype=torch.float64)
        for start in range(self.rows.start, self.rows.stop, ROWS):
            part = slice(start, min(start + ROWS, self.rows.stop))
            total += one.record.weights(part)[0].mean(0).sum(0).double().cpu()
        return total / (self.rows.stop - self.rows.start)


def asking(scene: Scene, output: int) -> Asking:
    """Say where attention is asked from for an output."""
    axis = "" if scene.outputs is None else scene.outputs[0]
    if maps := [one for one in scene.maps if one.queries == axis]:
        return Asking(maps, slice(output, output + 1), True)
    words = {token.word: place for place, token in reversed(list(enumerate(_tokens(scene))))}
    # A tagger's words are read off their first tokens.
    row = words.get(scene.axes[axis].tokens[output].word) if axis == "words" else None
    maps = [one for one in scene.maps if one.queries in scene.inputs]
    rows = slice(0, len(_tokens(scene))) if row is None else slice(row, row + 1)
    return Asking(maps, rows, row is not None)


def _tokens(scene: Scene) -> Sequence[Token]:
    return next((scene.axes[axis].tokens for axis in scene.inputs if axis in scene.axes), ())


def _of_attention(scene: Scene, asked: Asking, missing: list[str]) -> dict[str, Numbers]:
    """Give for each axis (layers, tokens): the mean over heads, and the share that each has of the norms of values."""
    weights: dict[str, list[NDArray[np.float32]]] = {}
    norms: dict[str, list[NDArray[np.float32]]] = {}
    for one in asked.maps:
        weights.setdefault(one.keys, []).append(asked.mean(one).float().numpy())
    alone = asked.rows.stop - asked.rows.start == 1
    known = value_norms(scene, asked.maps, asked.rows.start) if alone else []
    for one, norm in zip(asked.maps, known, strict=False):
        if norm is not None:
            share = norm / norm.sum().clamp_min(torch.finfo(norm.dtype).tiny)
            norms.setdefault(one.keys, []).append(share.float().cpu().numpy())
    if alone and (unknown := sum(norm is None for norm in known)):
        missing.append(
            f"The values of {unknown} of {len(known)} attentions are not known, and so not their norms."
        )
    found = {"attention": weights, "norms": norms}
    return {name: {axis: np.stack(rows) for axis, rows in of.items()} for name, of in found.items() if of}


def _rolled(scene: Scene, asked: Asking) -> Numbers:
    if not scene.steps:
        return {}
    rollout = Rollout(scene.steps)
    # Where a decoder's positions are called by what they predict, their stream is called by what they read.
    length = rollout.lengths[rollout.output]
    if not asked.maps or length != asked.maps[0].record.shape[2]:
        return {}
    if asked.rows.stop - asked.rows.start == 1:
        return {axis: of[0, 0].float().cpu().numpy() for axis, of in rollout.rows(asked.rows.start).items()}
    return {axis: (of[0] / length).float().cpu().numpy() for axis, of in rollout.received().items()}


def _seen(scene: Scene, asked: Asking, axis: str) -> NDArray[np.bool_]:
    """Say which tokens the output may see, (tokens,)."""
    seen = torch.zeros(len(scene.axes[axis].tokens), dtype=torch.bool)
    maps = [one for one in asked.maps if one.keys == axis]
    if not maps or asked.rows.stop - asked.rows.start != 1:
        return ~seen.numpy()
    for one in maps:
        allowed = one.record.allowed(asked.rows).cpu()
        seen |= allowed.expand(1, one.heads, 1, len(seen)).any(1)[0, 0]
    return seen.numpy()


def _correlation(lists: Mapping[str, NDArray[np.float32]], seen: NDArray[np.bool_]) -> dict[str, Any]:
    """Compare lists of numbers of one axis with each other, by the tokens of which all know something."""
    numbers = np.abs(np.stack(list(lists.values())))
    known = seen & np.isfinite(numbers).all(0)
    numbers = numbers[:, known]
    count = int(known.sum())
    if count < 2:
        return {"methods": list(lists), "tokens": count, "spearman": None, "kendall": None}
    return {
        "methods": list(lists),
        "tokens": count,
        "paired": min(count, PAIRED),
        "spearman": _plain(spearman(numbers)),
        "kendall": _plain(kendall(numbers)),
    }


def _plain(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    """NaN is no number in JSON."""
    return [[None if np.isnan(of) else round(float(of), 4) for of in row] for row in matrix]
