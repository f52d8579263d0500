"""GELU's approximation in compiled loops: PyTorch's values and gradients, forth and back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from heedful.attention.kernels import compiled
from heedful.layers import gelu as loops
from heedful.layers.gelu import gelu_tanh

pytestmark = pytest.mark.skipif(
    compiled.refusal(loops.SOURCE) is not None, reason=str(compiled.refusal(loops.SOURCE))
)


def pytorch(x):
    return functional.gelu(x, approximate="tanh")


def slope(x, upstream, function):
    x = x.detach().requires_grad_()
    made = function(x)
    return made, torch.autograd.grad(made, x, upstream)[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40_000), st.floats(0.01, 30), st.booleans(), st.integers(0, 9))
def test_it_is_gelu_and_its_slope(count, size, narrow, seed):
    generator = torch.Generator().manual_seed(seed)
    x, upstream = size * torch.randn(count, generator=generator), torch.randn(count, generator=generator)
    if narrow:
        x, upstream = x.bfloat16(), upstream.bfloat16()
    assert compiled.load(loops.SOURCE) is not None
    made = slope(x, upstream, gelu_tanh)
    exact = slope(x.double(), upstream.double(), pytorch)
    for one, other in zip(made, exact, strict=True):
        assert one.dtype == x.dtype
        # In bfloat16 half a unit in the last place, which is rounded once.
        torch.testing.assert_close(one.double(), other, atol=1e-6, rtol=2**-8 if narrow else 1e-6)


def test_far_from_zero_it_is_x_or_nothing():
    x = torch.tensor([1e4, 1e20, 3e38, -1e4, -50.0, math.nan])
    made, gradient = slope(x, torch.ones(6), gelu_tanh)
    torch.testing.assert_close(made[:5], torch.tensor([1e4, 1e20, 3e38, 0.0, 0.0]), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradient[:5], torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    assert made[5].isnan()
    assert gradient[5].isnan()


def test_gradients_of_gradients_are_its_own():
    x = torch.randn(30, requires_grad=True)
    second = []
    for function in (gelu_tanh, pytorch):
        (first,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
        second.append(torch.autograd.grad(first.sum(), x)[0])
    torch.testing.assert_close(*second)


@pytest.mark.parametrize("x", [torch.randn(3, 4).double(), torch.randn(3, 4).mT, torch.randn(0, 4)])
def test_the_rest_is_left_to_pytorch(x):
    assert torch.equal(gelu_tanh(x), pytorch(x))
