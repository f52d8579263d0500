"""Convolutions: their definition, PyTorch's own, and going on step by step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv1d, pad

from heedful.layers.convolution import Convolution, receptive_field
from heedful.layers.weight_normalization import WeightNormLinear, weights_of

kernels, dilations, lengths = st.integers(1, 4), st.integers(1, 3), st.integers(1, 7)


def _convolution(kernel: int, dilation: int, causal: bool) -> Convolution:
    return Convolution(WeightNormLinear(kernel * 3, 5, std=1.0).double(), kernel, dilation, causal)


@given(kernels, dilations, lengths, st.booleans())
def test_it_is_the_sum_over_the_window(kernel, dilation, length, causal):
    convolution = _convolution(kernel, dilation, causal)
    x = torch.randn(2, length, 3, dtype=torch.float64)
    # (out, kernel * width): the columns of each place of the window.
    parts = convolution.linear.weight.split(3, 1)
    last = kernel - 1 if causal else kernel // 2
    y = convolution(x)
    assert y.shape == (2, length, 5)
    for t in range(length):
        expected = convolution.linear.bias.expand(2, 5)
        for j, part in enumerate(parts):
            if 0 <= (seen := t + (j - last) * dilation) < length:
                expected = expected + x[:, seen] @ part.t()
        torch.testing.assert_close(y[:, t], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dilation", [1, 4])
def test_it_equals_pytorchs_values_and_gradients(dilation):
    convolution = Convolution(nn.Linear(9, 5).double(), 3, dilation)
    x = torch.randn(2, 11, 3, dtype=torch.float64, requires_grad=True)
    weight = convolution.linear.weight.unflatten(1, (3, 3)).transpose(1, 2)
    expected = conv1d(
        pad(x.transpose(1, 2), (2 * dilation, 0)), weight, convolution.linear.bias, dilation=dilation
    ).transpose(1, 2)
    ours = convolution(x)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)
    upstream, parameters = torch.randn_like(ours), [x, *convolution.parameters()]
    for one, other in zip(
        torch.autograd.grad(ours, parameters, upstream, retain_graph=True),
        torch.autograd.grad(expected, parameters, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@given(kernels, dilations, st.lists(st.integers(1, 4), min_size=1, max_size=4))
@torch.no_grad()
def test_it_goes_on_from_its_past_in_pieces_of_any_size(kernel, dilation, pieces):
    convolution = _convolution(kernel, dilation, causal=True)
    x = torch.randn(2, sum(pieces), 3, dtype=torch.float64)
    past, weights = convolution.start(2, x), weights_of(convolution)
    found = []
    for piece in x.split(pieces, 1):
        y, past = convolution.step(piece, past, weights)
        assert past.shape == (2, (kernel - 1) * dilation, 3)
        found.append(y)
    torch.testing.assert_close(torch.cat(found, 1), convolution(x), rtol=0, atol=1e-13)


def test_a_set_of_bytenet_sees_63_positions():
    # Found by gradients: which inputs reach the output of a stack, in its middle and at its end.
    for causal, first in ((False, 100 - 31), (True, 100 - 62)):
        stack = nn.Sequential(*(Convolution(nn.Linear(6, 2), 3, d, causal) for d in (1, 2, 4, 8, 16)))
        x = torch.randn(1, 200, 2, requires_grad=True)
        stack(x)[0, 100].sum().backward()
        seen = x.grad[0].abs().sum(1).nonzero().flatten().tolist()
        assert seen == list(range(first, first + 63))
    assert receptive_field(3, (1, 2, 4, 8, 16)) == 63
    assert receptive_field(3, (1, 2, 4, 8, 16) * 6) == 373


@pytest.mark.parametrize(("kernel", "dilation"), [(0, 1), (3, 0)])
def test_windows_of_nothing_are_refused(kernel, dilation):
    with pytest.raises(ValueError, match="at least 1"):
        Convolution(nn.Linear(6, 2), kernel, dilation)


def test_a_map_that_does_not_fit_its_kernel_is_refused():
    with pytest.raises(ValueError, match="10 is no multiple of the kernel 3"):
        Convolution(nn.Linear(10, 2), 3)
