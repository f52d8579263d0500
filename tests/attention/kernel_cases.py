"""Scores, modifiers and masks of every kind, small, with numbers drawn for each type: what kernels are tested with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from heedful.attention import (
    Additive,
    ALiBi,
    Bias,
    Concat,
    Cosine,
    Dot,
    Gaussian,
    General,
    Location,
    LocationAware,
    RelativeBuckets,
    RelativePositions,
    Rotary,
    ScaledDot,
    Score,
    SoftCap,
    masks,
)
from heedful.attention.attend import KERNELS, make_call
from heedful.attention.masks import Mask

BATCH, HEADS, KV_HEADS, QUERIES, KEYS, D, D_KEY, HIDDEN = 2, 4, 2, 5, 7, 4, 6, 5
# The largest error, relative to the largest number of a tensor. bfloat16 has 8 bits, and what is compared went through
# up to six roundings: scores, weights, products, and those of the gradients.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 6e-2}
# Triton's programs, which do not compute in float64, have tests of their own: test_triton.py.
HERE = [name for name in KERNELS if name != "triton"]
OTHERS = [name for name in HERE if name != "reference"]
DROPPING = [name for name in HERE if name != "fused"]
EVERY_KERNEL = pytest.mark.parametrize("kernel", HERE)
EVERY_DROPPING = pytest.mark.parametrize("kernel", DROPPING)


@dataclass
class Draw:
    """Random numbers, the same for each type: drawn in float64, rounded to one type and computed with in another."""

    rounded: torch.dtype = torch.float64
    computed: torch.dtype = torch.float64
    seed: int = 0
    leaves: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def __call__(self, *shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.rounded).to(self.computed)

    def leaf(self, *shape: int) -> Tensor:
        """Numbers that gradients are wanted of."""
        self.leaves.append(self(*shape).requires_grad_())
        return self.leaves[-1]

    def module(self, module: Any) -> Any:
        """All parameters drawn, that no score is near to another by chance."""
        for parameter in module.parameters():
            parameter.data = self(*parameter.shape)
            self.leaves.append(parameter)
        return module


@dataclass(frozen=True)
class Case:
    """How to make a score, and what it takes."""

    make: Callable[[Draw], Score]
    d_query: int = D
    d_key: int = D
    d_value: int = D
    queries: int = QUERIES


def _scaled(*modifiers: Callable[[Draw], Any]) -> Case:
    return Case(lambda draw: ScaledDot().then(*(make(draw) for make in modifiers)))


def _location_aware(draw: Draw) -> Score:
    score = draw.module(LocationAware(D, D_KEY, HIDDEN, filters=2, width=3))
    return score.after(draw.leaf(BATCH, HEADS, KEYS))


SLOPES = torch.tensor([0.5, 0.25, 0.125, 0.0625])
MODIFIERS: dict[str, Callable[[Draw], Any]] = {
    "bias": lambda draw: Bias(draw(HEADS, 1, KEYS)),
    "learned bias": lambda draw: Bias(draw.leaf(1, HEADS, QUERIES, KEYS)),
    "learned bias of keys": lambda draw: Bias(draw.leaf(BATCH, 1, 1, KEYS)),
    "relative positions": lambda draw: draw.module(RelativePositions.learned(2, D)),
    "relative positions of heads": lambda draw: RelativePositions(draw.leaf(HEADS, 5, D)),
    "relative buckets": lambda draw: draw.module(RelativeBuckets.learned(HEADS, buckets=4, furthest=5)),
    "ALiBi": lambda draw: ALiBi(SLOPES),
    "learned ALiBi": lambda draw: ALiBi(draw.leaf(HEADS)),
    "soft cap": lambda draw: SoftCap(1.5),
    "Gaussian": lambda draw: Gaussian(draw.leaf(BATCH, HEADS, QUERIES, 1), 4.0),
}
CASES: dict[str, Case] = {
    "dot": Case(lambda draw: Dot()),
    "scaled dot": Case(lambda draw: ScaledDot()),
    "scaled dot, values of a width of their own": Case(lambda draw: ScaledDot(), d_value=3),
    "rotary": Case(lambda draw: Rotary()),
    "general": Case(lambda draw: draw.module(General(D, D_KEY)), d_key=D_KEY, d_value=D_KEY),
    "cosine": Case(lambda draw: Cosine(3.0)),
    "learned cosine": Case(lambda draw: draw.module(Cosine(nn.Parameter(torch.ones(()))))),
    "location": Case(lambda draw: draw.module(Location(D, KEYS)), d_key=D_KEY),
    "location, longer ignored": Case(lambda draw: draw.module(Location(D, KEYS - 2, longer="ignore"))),
    "additive": Case(lambda draw: draw.module(Additive(D, D_KEY, HIDDEN)), d_key=D_KEY),
    "concat": Case(lambda draw: draw.module(Concat(D, D_KEY, HIDDEN)), d_key=D_KEY),
    "handicapped concat": Case(lambda draw: draw.module(Concat(D, D_KEY, key_part="identity")), d_key=D_KEY),
    "location-aware": Case(_location_aware, d_key=D_KEY, queries=1),
    **{name: _scaled(make) for name, make in MODIFIERS.items()},
    "bias, cap and Gaussian": _scaled(*(MODIFIERS[n] for n in ("learned bias", "soft cap", "Gaussian"))),
    "additive with ALiBi": Case(
        lambda draw: draw.module(Additive(D, D_KEY, HIDDEN)).then(ALiBi(SLOPES)), d_key=D_KEY
    ),
}


def written(queries: int) -> Tensor:
    mask = torch.rand(BATCH, HEADS, QUERIES, KEYS, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[0, 1, -1] = mask[1, :, 0] = False  # queries that may see nothing
    return mask[:, :, -queries:]


MASKS: dict[str, Callable[[int], Mask | Tensor | None]] = {
    "none": lambda queries: None,
    "causal": lambda queries: masks.causal(),
    "padding": lambda queries: masks.padding(torch.tensor([4, 7])),
    "nothing for one sentence": lambda queries: masks.padding(torch.tensor([0, 5])),
    "window": lambda queries: masks.window(2, 1),
    "document": lambda queries: masks.document(torch.tensor([[0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0, 1]])),
    "written": written,
    "causal, padding and window": lambda queries: (
        masks.causal() & masks.padding(torch.tensor([5, 7])) & masks.window(3, None)
    ),
    "prefix or written, not padding": lambda queries: (
        (masks.prefix(2) | written(queries)) & ~masks.padding(torch.tensor([1, 0]))
    ),
}


def asked(name: str, mask: str, draw: Draw) -> tuple[list[Tensor], dict[str, Any]]:
    """Query, key and value, and how they are attended with; all that gradients are wanted of is in `draw.leaves`."""
    case = CASES[name]
    inputs = [
        draw.leaf(BATCH, HEADS, case.queries, case.d_query),
        draw.leaf(BATCH, KV_HEADS, KEYS, case.d_key),
        draw.leaf(BATCH, KV_HEADS, KEYS, case.d_value),
    ]
    return inputs, {"score": case.make(draw), "mask": MASKS[mask](case.queries)}


def takes(kernel: str, name: str, mask: str = "none") -> bool:
    (query, key, value), choices = asked(name, mask, Draw())
    return KERNELS[kernel].refusal(make_call(query, key, value, **choices)) is None
