"""Compiled attention of short texts: the definition's numbers and gradients, wherever its loops are taken."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad

from heedful.attention import Bias, ScaledDot, attend, masks
from heedful.attention.attend import make_call
from heedful.attention.kernels import compiled, short

pytestmark = pytest.mark.skipif(
    compiled.refusal(short.SOURCE) is not None, reason=str(compiled.refusal(short.SOURCE))
)

MASKS = {
    "none": None,
    "causal": masks.causal(),
    "padding": masks.padding(torch.tensor([1, 5, 0])),
    "heads": torch.rand(3, 4, 1, 40, generator=torch.Generator().manual_seed(1)) > 0.5,
    "queries": torch.rand(1, 1, 40, 1, generator=torch.Generator().manual_seed(2)) > 0.5,
}


def heads(batch, count, length, width, seed, dtype=torch.float32):
    """Heads as a projection gives them: beside each other in one row, (batch, length, count * width)."""
    numbers = torch.randn(
        batch, length, count * width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return numbers.to(dtype).unflatten(-1, (count, width)).transpose(1, 2).requires_grad_()


def numbers(inputs, mask, kernel, upstream, dropout=0.0):
    torch.manual_seed(3)
    attended = attend(*inputs, mask=mask, kernel=kernel, dropout=dropout)
    return [attended, *torch.autograd.grad(attended, inputs, upstream.to(attended.dtype))]


def cut(mask, queries, keys):
    if not isinstance(mask, torch.Tensor):
        return mask
    return mask[:, :, : queries if mask.shape[2] > 1 else 1, : keys if mask.shape[3] > 1 else 1]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (7, 7), (16, 16), (13, 17), (40, 33)])
@pytest.mark.parametrize(("width", "value_width", "kv_heads"), [(16, 16, 4), (32, 64, 2), (64, 16, 1)])
def test_it_is_the_definition(mask, queries, keys, width, value_width, kv_heads):
    def inputs(dtype):
        return (
            heads(3, 4, queries, width, 1, dtype),
            heads(3, kv_heads, keys, width, 2, dtype),
            heads(3, kv_heads, keys, value_width, 3, dtype),
        )

    chosen = cut(MASKS[mask], queries, keys)
    assert short.loops(make_call(*inputs(torch.float32), mask=chosen)) is not None
    upstream = torch.randn(3, 4, queries, value_width, generator=torch.Generator().manual_seed(4))
    loops = numbers(inputs(torch.float32), chosen, "explicit", upstream)
    definition = numbers(inputs(torch.float64), chosen, "reference", upstream)
    for one, other in zip(loops, definition, strict=True):
        # Gradients of keys and values are sums over queries and heads; without fused multiplication they lose more.
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=3e-6)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_is_rounded_once(kv_heads, autocast):
    """Values and gradients are the definition's of the same inputs, to half a unit in the last of eight bits."""
    inputs = [
        heads(3, count, 19, width, seed, torch.bfloat16)
        for count, width, seed in ((4, 32, 1), (kv_heads, 32, 2), (kv_heads, 16, 3))
    ]
    upstream = torch.randn(3, 4, 19, 16, generator=torch.Generator().manual_seed(4)).bfloat16()
    mask = masks.causal() & masks.padding(torch.tensor([7, 19, 0]))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert short.loops(make_call(*inputs, mask=mask)) is not None
        loops = numbers(inputs, mask, "explicit", upstream)
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    for one, other in zip(loops, numbers(wide, mask, "reference", upstream), strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=2**-8)


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_dropout_draws_what_it_draws_without_loops(mask, monkeypatch):
    inputs = heads(3, 4, 9, 16, 1), heads(3, 2, 9, 16, 2), heads(3, 2, 9, 32, 3)
    upstream = torch.randn(3, 4, 9, 32)
    loops = numbers(inputs, MASKS[mask], "explicit", upstream, dropout=0.3)
    monkeypatch.setenv(compiled.SWITCH, "0")
    assert short.loops(make_call(*inputs)) is None
    plain = numbers(inputs, MASKS[mask], "explicit", upstream, dropout=0.3)
    for one, other in zip(loops, plain, strict=True):
        torch.testing.assert_close(one, other, atol=3e-6, rtol=3e-6)
    assert not torch.allclose(loops[0], numbers(inputs, MASKS[mask], "reference", upstream)[0], atol=1e-2)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    inputs = heads(30, 4, 20, 32, 1), heads(30, 4, 20, 32, 2), heads(30, 4, 20, 32, 3)
    upstream, before = torch.randn(30, 4, 20, 32), torch.get_num_threads()
    alone = numbers(inputs, masks.causal(), "explicit", upstream, dropout=0.1)
    try:
        torch.set_num_threads(threads)
        shared = numbers(inputs, masks.causal(), "explicit", upstream, dropout=0.1)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.floats(-200, 200), st.integers(0, 69))
def test_large_scores_give_what_softmax_gives(keys, size, place):
    """Weights that vanish are zero, the rest sum to one."""
    scores = torch.linspace(-size, size, keys)
    scores[place % keys] = 2 * abs(size)
    key = torch.zeros(1, 1, keys, 16)
    key[0, 0, :, 0] = scores * 4  # the root of 16
    query = torch.zeros(1, 1, 1, 16)
    query[..., 0] = 1.0
    value = torch.nn.functional.pad(torch.eye(keys), (0, -keys % 16))[None, None]
    weights = attend(query, key, value, kernel="explicit")[0, 0, 0, :keys]
    torch.testing.assert_close(weights.double(), scores.double().softmax(-1), atol=1e-6, rtol=1e-5)


def test_nan_goes_where_the_definition_lets_it_go():
    query, key, value = (heads(1, 1, 6, 16, seed).detach() for seed in (1, 2, 3))
    query[0, 0, 2, 5] = math.nan
    attended = attend(query, key, value, kernel="explicit")
    assert attended[0, 0, 2].isnan().all()
    assert attended[0, 0, [0, 1, 3, 4, 5]].isfinite().all()
    query, value[0, 0, 4, 1] = torch.nan_to_num(query), math.inf
    assert attend(query, key, value, kernel="explicit")[0, 0, :, 1].isinf().all()


def test_second_derivatives_are_those_of_the_definition():
    inputs = heads(2, 2, 5, 16, 1), heads(2, 1, 5, 16, 2), heads(2, 1, 5, 16, 3)
    upstream = torch.randn(2, 2, 5, 16, generator=torch.Generator().manual_seed(4))
    mask, given = masks.padding(torch.tensor([3, 0])), []
    for kernel in ("explicit", "reference"):
        attended = attend(*inputs, mask=mask, kernel=kernel)
        first = torch.autograd.grad(attended, inputs, upstream, create_graph=True)
        given.append(torch.autograd.grad(sum(each.square().sum() for each in first), inputs))
    for one, other in zip(*given, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_gradient_may_lie_as_it_likes():
    inputs = heads(2, 2, 5, 16, 1), heads(2, 2, 5, 16, 2), heads(2, 2, 5, 16, 3)
    attended = attend(*inputs, kernel="explicit")
    (spread,) = torch.autograd.grad(attended.sum(), inputs[2], retain_graph=True)
    (whole,) = torch.autograd.grad(attended, inputs[2], torch.ones(2, 2, 16, 5).mT)
    torch.testing.assert_close(spread, whole, atol=0, rtol=0)


@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)  # what PyTorch itself does
def test_what_transforms_functions_goes_through_it():
    """Per-example gradients, and derivatives carried forward, are those of the definition."""
    query, key, value = (heads(3, 2, 5, 16, seed).detach() for seed in (1, 2, 3))

    def size(kernel, query, key, value):
        return attend(query[None], key[None], value[None], kernel=kernel).square().sum()

    each, along = [], []
    for kernel in ("explicit", "reference"):
        each.append(torch.func.vmap(torch.func.grad(partial(size, kernel)))(query, key, value))
        along.append(
            torch.func.jvp(lambda x, kernel=kernel: attend(x, key, value, kernel=kernel), (query,), (key,))[1]
        )
        with forward_ad.dual_level():
            made = attend(forward_ad.make_dual(query, key), key, value, kernel=kernel)
            along.append(forward_ad.unpack_dual(made).tangent)
    torch.testing.assert_close(*each, atol=1e-5, rtol=1e-5)
    for other in along[1:]:
        torch.testing.assert_close(along[0], other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("of", ["float64", "float16", "width", "stride", "score", "empty", "autocast"])
def test_what_it_has_no_loops_for_is_left_to_others(of):
    query = {
        "float64": torch.randn(1, 2, 5, 16, dtype=torch.float64),
        "float16": torch.randn(1, 2, 5, 16, dtype=torch.float16),
        "width": torch.randn(1, 2, 5, 12),
        "stride": torch.randn(1, 2, 16, 5).mT,
        "empty": torch.randn(0, 2, 5, 16),
    }.get(of, torch.randn(1, 2, 5, 16))
    score = ScaledDot().then(Bias(torch.zeros(5, 5))) if of == "score" else None
    with torch.autocast("cpu", torch.bfloat16, enabled=of == "autocast"):
        assert short.loops(make_call(query, query, query, score=score)) is None
        assert attend(query, query, query, score=score, kernel="explicit").shape == query.shape
