"""The vectors of every layer: those that the stack itself computes, and nothing kept outside."""

import pytest
import torch

from heedful.layers import LayerShape, TransformerStack
from heedful.layers.every_layer import every_layer


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_each_layer_gives_what_the_next_reads_and_the_last_what_the_stack_gives(norm):
    torch.manual_seed(0)
    shape = LayerShape(d_model=8, d_ff=16, heads=2, norm=norm, dropout=0.0)
    stack = TransformerStack(shape, 3, cross=False, relative="no").eval()
    x, positions = torch.randn(2, 5, 8), torch.arange(5)
    with every_layer(stack) as vectors:
        stack(torch.randn(1, 2, 8), torch.arange(2))
        given, _ = stack(x=x, positions=positions)
    assert [tuple(layer.shape) for layer in vectors] == [(2, 5, 8)] * 4  # of the last run only
    assert torch.equal(vectors[0], x)
    assert torch.equal(vectors[3], given)
    for layer in (0, 1):
        assert torch.equal(stack.layers[layer](vectors[layer], positions=positions)[0], vectors[layer + 1])
    last = stack.layers[2](vectors[2], positions=positions)[0]
    assert torch.equal(last if norm == "post" else stack.norm(last), vectors[3])


def test_outside_nothing_listens():
    stack = TransformerStack(LayerShape(8, 16, 2), 2, cross=False, relative="no").eval()
    with every_layer(stack) as vectors:
        stack(torch.randn(1, 2, 8), torch.arange(2))
    before = list(vectors)
    stack(torch.randn(1, 2, 8), torch.arange(2))
    assert all(one is other for one, other in zip(before, vectors, strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in stack.modules())
