"""Gradients changed on their way back."""

import torch

from heedful.layers.gradient import scale_gradient


def test_values_pass_and_the_gradient_is_scaled():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    scaled = scale_gradient(x, 0.25)
    assert torch.equal(scaled, x)
    (scaled**2).sum().backward()
    torch.testing.assert_close(x.grad, 0.25 * 2 * x.detach(), rtol=0, atol=1e-15)
