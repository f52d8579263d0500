"""Weight normalisation: equation 2 of Salimans and Kingma 2016, and PyTorch's own."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from heedful.layers.weight_normalization import WeightNormLinear, weights_of


def test_it_equals_pytorchs_with_the_same_parameters_values_and_gradients():
    ours = WeightNormLinear(5, 4, std=0.7).double()
    theirs = weight_norm(nn.Linear(5, 4).double())
    stored = theirs.parametrizations.weight
    with torch.no_grad():
        nn.init.normal_(ours.bias)
        ours.gain.mul_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        stored.original0.copy_(ours.gain[:, None])
        stored.original1.copy_(ours.direction)
        theirs.bias.copy_(ours.bias)
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-14)
    for model in (ours, theirs):
        model(x).square().sum().backward()
    torch.testing.assert_close(ours.gain.grad, stored.original0.grad[:, 0], rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.direction.grad, stored.original1.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=0, atol=1e-12)


def test_the_gain_is_the_length_of_a_row_whatever_the_direction():
    linear = WeightNormLinear(6, 3, std=1.0).double()
    with torch.no_grad():
        linear.gain.copy_(torch.tensor([1.0, 2.0, 5.0]))
        before = linear.weight.clone()
        linear.direction.mul_(7.0)
    torch.testing.assert_close(linear.weight.norm(dim=1), linear.gain, rtol=1e-14, atol=0)
    torch.testing.assert_close(linear.weight, before, rtol=1e-14, atol=0)


@torch.no_grad()
def test_at_first_it_is_what_was_drawn():
    linear = WeightNormLinear(400, 500, std=0.3)
    torch.testing.assert_close(linear.weight, linear.direction)
    assert float(linear.weight.std()) == pytest.approx(0.3, rel=0.02)
    assert not linear.bias.any()


def test_it_is_a_linear_map_to_whoever_asks_and_stores_only_its_parameters():
    linear = WeightNormLinear(6, 3, std=1.0)
    assert isinstance(linear, nn.Linear)
    assert set(linear.state_dict()) == {"direction", "gain", "bias"}
    other = WeightNormLinear(6, 3, std=1.0)
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other.weight, linear.weight)
    assert torch.equal(copy.deepcopy(linear).weight, linear.weight)


@torch.no_grad()
def test_matrices_made_before_give_the_same():
    model = nn.Sequential(WeightNormLinear(6, 3, std=1.0), nn.Linear(3, 4), WeightNormLinear(4, 2, std=1.0))
    weights = weights_of(model)
    assert list(weights) == [model[0], model[2]]
    x = torch.randn(5, 6)
    assert torch.equal(model[0](x, weights), model[0](x))
