"""Additive scores of few pairs in compiled loops: the formula and its gradients, forth and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.attention.kernels import additive, additive_steps, compiled
from heedful.attention.kernels.additive import additive_pairs
from tests.attention.additive_definition import formula, with_gradients

pytestmark = pytest.mark.skipif(
    compiled.refusal(additive_steps.SOURCE) is not None, reason=str(compiled.refusal(additive_steps.SOURCE))
)

TYPES = st.sampled_from([torch.float32, torch.bfloat16])


@settings(max_examples=40, deadline=None)
@given(
    batch=st.lists(st.integers(1, 3), max_size=3),
    rows=st.integers(1, 4),
    keys=st.integers(1, 20),
    vectors=st.integers(1, 5),
    size=st.floats(0.01, 30),
    types=st.tuples(TYPES, TYPES),
    threads=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_they_are_the_formula_in_float64(batch, rows, keys, vectors, size, types, threads, seed):
    torch.manual_seed(seed)
    width = 16 * vectors
    query = (size * torch.randn(*batch, rows, width)).to(types[0])
    inputs = [query, torch.randn(*batch, keys, width).to(types[1]), torch.randn(width)]
    upstream = torch.randn(*batch, rows, keys)
    before, additive_steps._THREAD = additive_steps._THREAD, 1
    there = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = with_gradients(additive_steps.additive_steps, inputs, upstream)
    finally:
        additive_steps._THREAD = before
        torch.set_num_threads(there)
    exact = [tensor.double() for tensor in inputs]
    expected = with_gradients(formula, exact, upstream)
    # What each could be at most: of the sum of its terms a part in a million.
    v, g = exact[2].abs(), upstream.double().abs()
    most = [v.sum(), v * g.sum(-1, keepdim=True), v * g.sum(-2).unsqueeze(-1), g.sum()]
    for one, other, bound in zip(found, expected, most, strict=True):
        rounding = 2**-8 if one.dtype == torch.bfloat16 else 0.0
        assert ((one.double() - other).abs() <= 1e-6 * bound + rounding * other.abs()).all()


def test_few_pairs_take_this_way():
    query, key, v = torch.randn(5, 1, 32).bfloat16(), torch.randn(5, 7, 32).bfloat16(), torch.randn(32)
    assert additive.path(query, key).startswith("plain")
    found = additive_pairs(query, key, v)
    assert found.dtype == torch.float32
    assert torch.equal(found, additive_steps.additive_steps(query, key, v))


def test_gradients_of_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    inputs = [torch.randn(2, 1, 16), torch.randn(2, 3, 16), torch.randn(16)]
    second = []
    for pairs in (additive_steps.additive_steps, formula):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        first = torch.autograd.grad(pairs(*leaves).square().sum(), leaves, create_graph=True)
        second.append(torch.autograd.grad(sum(tensor.square().sum() for tensor in first), leaves))
    for one, other in zip(*second, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("query", "key"),
    [
        (torch.randn(2, 1, 16).double(), torch.randn(2, 3, 16).double()),
        (torch.randn(2, 1, 10), torch.randn(2, 3, 10)),  # no whole vectors
        (torch.randn(1, 1, 16), torch.randn(2, 3, 16)),  # one query for all
        (torch.randn(2, 0, 16), torch.randn(2, 3, 16)),
    ],
)
def test_the_rest_is_left_to_pytorch(query, key):
    v = torch.randn(query.shape[-1], dtype=query.dtype)
    assert additive_steps.additive_steps(query, key, v) is None
    torch.testing.assert_close(additive_pairs(query, key, v), formula(query, key, v))
