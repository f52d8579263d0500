"""The layers: the papers' formulas written out, with the module's own weights."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

from heedful.attention import masks
from heedful.layers import FeedForward, LayerShape, TransformerLayer, TransformerStack, normalization

SHAPE = {"d_model": 8, "d_ff": 12, "heads": 2, "dropout": 0.0}


def _norm(x: Tensor, module: torch.nn.LayerNorm) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta (Ba et al. 2016)."""
    variance = x.var(-1, correction=0, keepdim=True)
    return (x - x.mean(-1, keepdim=True)) / (variance + 1e-6).sqrt() * module.weight + module.bias


def _layer(**choices) -> TransformerLayer:
    layer = TransformerLayer(LayerShape(**{**SHAPE, **choices}), cross=True).double()
    for name, parameter in layer.named_parameters():
        if "norm" in name or "bias" in name:
            torch.nn.init.normal_(parameter)
    return layer


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_layer_is_the_formula_of_the_paper(norm):
    layer = _layer(norm=norm)
    x, memory = torch.randn(2, 5, 8).double(), torch.randn(2, 3, 8).double()
    seen = torch.ones(5, 5, dtype=torch.bool).tril()
    w_query, w_key, w_value = (part.t() for part in layer.self_attention.in_weight.split(8))
    c_query, c_key, c_value = (part.t() for part in layer.cross_attention.in_weight.split(8))

    def head(number: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        mine = slice(4 * number, 4 * number + 4)
        scores = query[..., mine] @ key[..., mine].transpose(1, 2) / 2  # sqrt(4)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1) @ value[..., mine]

    def self_attention(x: Tensor) -> Tensor:
        heads = [head(number, x @ w_query, x @ w_key, x @ w_value, seen) for number in range(2)]
        return torch.cat(heads, -1) @ layer.self_attention.out.weight.t()

    def cross_attention(x: Tensor) -> Tensor:
        heads = [head(number, x @ c_query, memory @ c_key, memory @ c_value, None) for number in range(2)]
        return torch.cat(heads, -1) @ layer.cross_attention.out.weight.t()

    def feed_forward(x: Tensor) -> Tensor:
        inner, outer = layer.feed_forward.inner, layer.feed_forward.outer
        return (x @ inner.weight.t() + inner.bias).clamp(min=0) @ outer.weight.t() + outer.bias

    expected = x
    for sublayer, of in (
        (self_attention, layer.self_norm),
        (cross_attention, layer.cross_norm),
        (feed_forward, layer.feed_forward_norm),
    ):
        if norm == "post":
            expected = _norm(expected + sublayer(expected), of)
        else:
            expected = expected + sublayer(_norm(expected, of))
    torch.testing.assert_close(layer(x, memory, mask=masks.causal())[0], expected, rtol=0, atol=1e-12)


def test_post_norm_drops_the_sublayer_and_not_the_sum():
    # With everything dropped a layer is only its norms.
    layer = _layer(dropout=0.999)
    x, memory = torch.randn(1, 4, 8).double(), torch.randn(1, 3, 8).double()
    dropped = layer(x, memory)[0]
    norms = _norm(_norm(_norm(x, layer.self_norm), layer.cross_norm), layer.feed_forward_norm)
    assert float((dropped - norms).detach().abs().median()) < 1e-12


def test_attention_and_inner_dropout_are_off_unless_asked_for():
    x = torch.randn(1, 4, 8).double()
    assert torch.equal(_stack()(x, torch.arange(4))[0], _stack()(x, torch.arange(4))[0])
    for choice in ("attention_dropout", "activation_dropout"):
        one, other = (_stack(**{choice: 0.5})(x, torch.arange(4))[0] for _ in range(2))
        assert not torch.equal(one, other)


def _stack(**choices) -> TransformerStack:
    state = torch.get_rng_state()
    torch.manual_seed(5)
    stack = TransformerStack(LayerShape(**{**SHAPE, **choices}), 2, cross=False, relative="no").double()
    torch.set_rng_state(state)
    return stack


def test_swiglu_is_the_formula_of_the_paper():
    network = FeedForward(6, 10, "swiglu").double()
    assert [name for name, _ in network.named_parameters()] == ["inner.weight", "outer.weight"]
    gate, up = network.inner.weight.split(10)
    x = torch.randn(3, 6).double()
    expected = (silu(x @ gate.t()) * (x @ up.t())) @ network.outer.weight.t()
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-13)


def test_gelu_is_the_exact_one():
    network = FeedForward(6, 10, "gelu").double()
    x = torch.randn(3, 6).double()
    inner = x @ network.inner.weight.t()
    expected = inner * (1 + torch.erf(inner / 2**0.5)) / 2 @ network.outer.weight.t()
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-13)


def test_norms_are_their_formulas():
    x = torch.randn(4, 6).double() * 1e-3  # so small that epsilon counts
    rms = normalization("rms", 6).double()
    torch.nn.init.normal_(rms.weight)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * rms.weight
    torch.testing.assert_close(rms(x), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(normalization("layer", 6).double()(x), layer_norm(x, (6,), eps=1e-6))
    with pytest.raises(ValueError, match="no normalisation 'batch'"):
        normalization("batch", 6)  # pyright: ignore[reportArgumentType]


def test_only_pre_norm_has_a_last_norm():
    assert _stack(norm="post").norm is None
    stack, x = _stack(norm="pre"), torch.randn(1, 3, 8).double()
    before = x
    for layer in stack.layers:
        before, _ = layer(before)
    torch.testing.assert_close(stack(x, torch.arange(3))[0], _norm(before, stack.norm), rtol=0, atol=1e-12)


def test_all_layers_share_one_relative_bias():
    stack = TransformerStack(LayerShape(**SHAPE), 3, cross=False, relative="both")
    assert [name for name, _ in stack.named_parameters() if "relative" in name] == ["relative.weight"]
    assert stack.relative.weight.shape == (32, 2)


def test_keys_and_values_are_given_back_only_to_who_goes_on():
    stack, x = _stack(), torch.randn(1, 3, 8).double()
    through, kept = stack(x, torch.arange(3))
    again, none = stack(x, torch.arange(3), keep=False)
    assert torch.equal(through, again)
    assert [layer.key.shape[2] for layer in kept] == [3, 3]
    assert none == []
