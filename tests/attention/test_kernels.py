"""Every kernel gives the numbers of the definition: every score and modifier, every mask, every type, values and
gradients; and the laws of attention hold in each of them.

The wrong results that people report of other libraries are in test_reported_mistakes.py.
"""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heedful.attention import (
    Additive,
    Bias,
    Dot,
    Gaussian,
    General,
    Location,
    RelativeBuckets,
    RelativePositions,
    ScaledDot,
    Score,
    attend,
    masks,
)
from heedful.attention.attend import make_call
from heedful.attention.grid import Grid
from heedful.attention.kernels import streaming
from tests.attention.kernel_cases import (
    BATCH,
    CASES,
    EVERY_DROPPING,
    EVERY_KERNEL,
    HIDDEN,
    KEYS,
    MASKS,
    OTHERS,
    QUERIES,
    TOLERANCE,
    D,
    Draw,
    asked,
    takes,
)
from tests.attention.largest import Largest


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 3 x 4: the streaming kernel needs four of them for these sizes, three of which are cut off."""
    monkeypatch.setattr(streaming, "blocks", lambda grid, heads: (3, 4))


def _results(name: str, mask: str, kernel: Any, draw: Draw) -> list[Tensor]:
    """The attended vectors, and the gradients of query, key, value and all that the score has."""
    inputs, choices = asked(name, mask, draw)
    attended = attend(*inputs, kernel=kernel, **choices)
    gradients = torch.autograd.grad(attended, draw.leaves, draw(*attended.shape), materialize_grads=True)
    return [attended.detach(), *gradients]


@cache
def _definition(name: str, mask: str, rounded: torch.dtype) -> list[Tensor]:
    return _results(name, mask, "reference", Draw(rounded))


COMPARED = [
    (name, mask, kernel) for name in CASES for mask in MASKS for kernel in OTHERS if takes(kernel, name, mask)
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

SEEDS = st.integers(0, 999)
NORMALISED = [name for name in CASES if "Gaussian" not in name]
# Those whose score of a query and a key does not depend on which other keys there are.
LOCAL = [name for name in CASES if name != "location-aware"]


def _drawn(data: st.DataObject, kernel: str, names: list[str]) -> tuple[str, Draw]:
    name = data.draw(st.sampled_from([name for name in names if takes(kernel, name)]), "score")
    return name, Draw(seed=data.draw(SEEDS, "seed"))


@EVERY_KERNEL
@settings(max_examples=20)
@given(data=st.data())
def test_rows_sum_to_one_or_to_zero(kernel, data):
    name, draw = _drawn(data, kernel, NORMALISED)
    (query, key, value), choices = asked(name, data.draw(st.sampled_from(list(MASKS)), "mask"), draw)
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
    inputs, choices = asked(name, "none", draw)
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
    (query, key, value), choices = asked(name, "causal", draw)
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
    inputs, choices = asked(name, "none", draw)
    seen = torch.tensor(data.draw(st.lists(st.booleans(), min_size=KEYS, max_size=KEYS), "seen"))
    dropout = 0.0 if kernel == "fused" else data.draw(st.sampled_from((0.0, 0.4)), "dropout")
    attended = attend(*inputs, score=choices["score"], mask=seen, dropout=dropout, kernel=kernel)
    upstream = draw(*attended.shape)
    of_keys = torch.autograd.grad(attended, inputs[1:], upstream, allow_unused=True)
    assert all(gradient is None or not gradient[:, :, ~seen].any() for gradient in of_keys)
    if not seen.any():
        assert not attended.any()


# Dropout.


@EVERY_DROPPING
@pytest.mark.parametrize("name", ["scaled dot", "learned bias", "bias, cap and Gaussian", "additive"])
def test_gradients_are_those_of_the_weights_that_were_kept(kernel, name):
    draw = Draw()
    (query, key, value), choices = asked(name, "causal", draw)

    def attended(*leaves: Tensor) -> Tensor:
        torch.manual_seed(3)
        return attend(query, key, value, dropout=0.4, kernel=kernel, **choices)

    assert torch.autograd.gradcheck(attended, draw.leaves, fast_mode=True)


@EVERY_DROPPING
def test_dropout_is_what_the_seed_says(kernel):
    inputs, choices = asked("scaled dot", "causal", Draw())

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
        sizes.append(largest.elements)
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
    inputs, choices = asked("bias, cap and Gaussian", "written", draw)
    assert torch.autograd.gradgradcheck(
        lambda *leaves: attend(*inputs, kernel=kernel, **choices), draw.leaves, fast_mode=True
    )


@pytest.mark.parametrize("name", ["scaled dot", "learned bias", "additive"])
def test_the_streaming_kernel_refuses_second_derivatives(name):
    draw = Draw()
    inputs, choices = asked(name, "written", draw)
    attended = attend(*inputs, kernel="streaming", **choices)
    gradients = torch.autograd.grad(attended.square().sum(), draw.leaves, create_graph=True)
    for gradient in gradients:
        with pytest.raises(
            NotImplementedError, match=r"no second derivative; attend\(\.\.\., kernel='reference'"
        ):
            torch.autograd.grad(gradient.sum(), inputs[0], retain_graph=True)
