"""How one query of one head comes by its scores, step by step: products, sums, scaling, and each modifier.

    scored = score_steps(call, head=2, row=5)
    scored.sums                     # asked . k_j, before scaling
    scored.steps[0].says            # "divided by √64 = 8"

Any score of `heedful.attention` can be told so; one that is neither a product nor a network with a tanh has its sums
without what they are made of. All is float64.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from heedful.attention import (
    Additive,
    AdditiveScore,
    ALiBi,
    Bias,
    Concat,
    Cosine,
    Dot,
    DotScore,
    Gaussian,
    General,
    Location,
    LocationAware,
    Modifier,
    RelativeBuckets,
    RelativePositions,
    Rotary,
    ScaledDot,
    Score,
    SoftCap,
)
from heedful.attention.call import Call, repeat_heads
from heedful.interop.attention_functions import GivenScale, Sink

Form = Literal["product", "additive", "other"]

# The first that fits; those that are special cases of others before them.
_KINDS: tuple[tuple[type[Score], str], ...] = (
    (Rotary, "rotary"),
    (ScaledDot, "scaled dot"),
    (GivenScale, "scaled dot"),
    (General, "general"),
    (Cosine, "cosine"),
    (Location, "location"),
    (LocationAware, "location-aware"),
    (Additive, "additive"),
    (Concat, "concat"),
    (Dot, "dot"),
)


@dataclass(frozen=True)
class ScoreStep:
    """One thing that is done to the scores.

    says: what, with its numbers; scores (keys,): what they are after it
    """

    name: str
    says: str
    scores: Tensor


@dataclass(frozen=True)
class Scored:
    """The scores of one query of one head.

    kind: of the score, as the literature calls it
    form: whether sums are of asked_i k_i, or of v_i tanh(asked_i + k_i)
    asked (d,), keys (keys, d): the query and the keys as they meet: projected, turned, brought to length one, but not
        scaled; v (d,), where the form has one
    sums (keys,): what they give
    scores (keys,): the sums after all steps, the mask not among them
    factors (keys,): what weights are multiplied with after the softmax, if anything; factor_says: what that is
    """

    kind: str
    form: Form
    asked: Tensor
    keys: Tensor
    v: Tensor | None
    sums: Tensor
    steps: tuple[ScoreStep, ...]
    scores: Tensor
    factors: Tensor | None
    factor_says: str | None


def score_steps(call: Call, head: int, row: int) -> Scored:
    """Tell how the query `row` of a head comes by its scores; the call is of a batch of one."""
    score, heads, kv_heads = call.score, call.query.shape[1], call.key.shape[1]
    shared = head * kv_heads // heads
    alone = _separable(score)
    group, own = (
        (slice(head, head + 1), slice(shared, shared + 1)) if alone else (slice(0, heads), slice(None))
    )
    query, key = score.prepare(call.query[:, group].double(), call.key[:, own].double(), call.grid)
    query, key = query[:, :, row : row + 1], repeat_heads(key, query.shape[1])
    place = 0 if alone else head
    tile = replace(call.grid.tile(slice(row, row + 1)), heads=group)

    def mine(tensor: Tensor) -> Tensor:
        # What broadcasts to (1, heads of the group, 1, keys) -> (keys,)
        tensor = tensor.expand(1, query.shape[1], 1, key.shape[2])
        return tensor[0, place, 0].double()

    first, *others = score.cut(score.parts(), tile)
    scores = score.pairs(query, key, *first)
    asked, sums, steps = query[0, place, 0], mine(scores), list[ScoreStep]()
    scale, says = _scale(score, call, head, row)
    if scale not in (0, 1):
        asked, sums = asked / scale, sums / scale
        steps.append(ScoreStep("scale", says, mine(scores)))
    factors, factor_says = None, list[str]()
    for modifier, tensors in zip(score.modifiers, others, strict=True):
        factor = modifier.factor(tensors, tile)
        before, scores = scores, modifier.scores(scores, query, key, tensors, tile)
        if factor is not None:
            factors = mine(factor) if factors is None else factors * mine(factor)
            factor_says.append(_says(modifier, tensors, place, factor))
        if scores is not before:
            steps.append(ScoreStep(_name(modifier), _says(modifier, tensors, place), mine(scores)))
    form: Form = (
        "product"
        if isinstance(score, DotScore)
        else "additive"
        if isinstance(score, AdditiveScore)
        else "other"
    )
    return Scored(
        kind=next((name for kind, name in _KINDS if isinstance(score, kind)), type(score).__name__),
        form=form,
        asked=asked,
        keys=key[0, place],
        v=score.v.detach().double() if isinstance(score, AdditiveScore) else None,
        sums=sums,
        steps=tuple(steps),
        scores=mine(scores),
        factors=factors,
        factor_says=", ".join(factor_says) or None,
    )


def _separable(score: Score) -> bool:
    """Whether a head can be asked for without the others, as in `heedful.attention.recomputed`."""
    shared = not score.tensors() or isinstance(score, AdditiveScore)
    alone = type(score).prepare is Score.prepare and not isinstance(score, Cosine)
    return shared and alone and all(modifier.by_heads for modifier in score.modifiers)


def _scale(score: Score, call: Call, head: int, row: int) -> tuple[float, str]:
    """Give what prepared queries were multiplied with, and say so."""
    if isinstance(score, ScaledDot):
        width = call.query.shape[-1]
        return 1 / math.sqrt(width), f"divided by √{width} = {math.sqrt(width):.4g}"
    if isinstance(score, GivenScale):
        width = call.query.shape[-1]
        if math.isclose(score.scale, 1 / math.sqrt(width), rel_tol=1e-6):
            return score.scale, f"divided by √{width} = {math.sqrt(width):.4g}"
        return score.scale, f"times {score.scale:.4g}"
    if isinstance(score, Cosine):
        sharpness = score.sharpness
        if isinstance(sharpness, Tensor):
            batch, heads, queries, _ = call.query.shape
            sharpness = float(sharpness.detach().expand(batch, heads, queries, 1)[0, head, row])
        return sharpness, f"times β = {sharpness:.4g}"
    return 1.0, ""


def _name(modifier: Modifier) -> str:
    names: dict[type[Modifier], str] = {
        Bias: "bias",
        RelativePositions: "relative positions",
        RelativeBuckets: "relative buckets",
        ALiBi: "ALiBi",
        SoftCap: "cap",
    }
    return names.get(type(modifier), type(modifier).__name__)


def _says(modifier: Modifier, tensors: tuple[Tensor, ...], place: int, factor: Tensor | None = None) -> str:
    match modifier:
        case Bias():
            return "plus a bias of each pair"
        case RelativePositions():
            return "plus q · a, a vector for how far after the query the key stands"
        case RelativeBuckets():
            return "plus a number for how far apart they stand"
        case ALiBi():
            slopes = tensors[0].reshape(-1)
            return f"minus {float(slopes[min(place, len(slopes) - 1)]):.4g} for each place between them"
        case SoftCap():
            return f"kept within ±{modifier.cap:g}: {modifier.cap:g} tanh(s / {modifier.cap:g})"
        case Gaussian():
            centers = tensors[0]
            center = float(centers[0, min(place, centers.shape[1] - 1), 0, 0])
            return f"times exp(−(j − p)² / 2σ²), with p = {center:.2f} and σ = {modifier.sigma:g}"
        case Sink() if factor is not None:
            return f"times {float(factor[0, place, 0, 0]):.4g}, as a sink that is no key takes the rest"
        case _:
            return type(modifier).__name__
