"""observe: the weights that were, under the modules' names, without changing a bit of what is computed."""

import threading

import pytest
import torch
from torch import nn

from heedful.attention import MultiHeadAttention, attend, observe
from heedful.decoding import SearchSettings, search
from heedful.models import DecoderOnlySettings, DecoderOnlyTransformer, Transformer, TransformerSettings

SOURCE = torch.tensor([[4, 5, 6, 2], [7, 2, 0, 0]])
TARGET = torch.tensor([[1, 8, 9], [1, 4, 0]])


def _model(**choices) -> Transformer:
    settings = TransformerSettings(
        **{"d_model": 16, "d_ff": 24, "heads": 4, "encoder_layers": 2, "decoder_layers": 2, **choices}
    )
    return Transformer(settings, 11, 11).double().eval()


def test_what_is_computed_is_the_same_bits_with_and_without_an_observer():
    model = _model(positions="relative", kv_heads=2, attention_dropout=0.3).train()
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        model.to(dtype)
        gradients = []
        for watched in (False, True):
            torch.manual_seed(1)
            model.zero_grad()
            if watched:
                with observe(model) as seen:
                    logits = model(SOURCE, TARGET)
                assert len(seen) == 6
            else:
                logits = model(SOURCE, TARGET)
            logits.square().sum().backward()
            gradients.append([logits.detach(), *(parameter.grad.clone() for parameter in model.parameters())])
        assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_records_stand_under_the_names_of_the_modules():
    model = _model()
    with observe(model) as seen:
        model(SOURCE, TARGET)
    assert list(seen) == [
        "encoder.layers.0.self_attention",
        "encoder.layers.1.self_attention",
        "decoder.layers.0.self_attention",
        "decoder.layers.0.cross_attention",
        "decoder.layers.1.self_attention",
        "decoder.layers.1.cross_attention",
    ]
    with observe(model, "cross") as seen:
        model(SOURCE, TARGET)
    assert list(seen) == ["decoder.layers.0.cross_attention", "decoder.layers.1.cross_attention"]
    with pytest.raises(KeyError, match=r"in 'encoder'; it was seen in: decoder.layers.0.cross_attention, "):
        seen["encoder"]
    seen.clear()
    assert len(seen) == 0


@pytest.mark.parametrize("choices", [{}, {"positions": "relative"}, {"kv_heads": 1}, {"positions": "rotary"}])
def test_recorded_weights_equal_the_dense_softmax(choices):
    model = _model(**choices)
    for relative in (model.encoder.relative, model.decoder.relative):
        if relative is not None:
            nn.init.normal_(relative.weight)
    with observe(model) as seen:
        model(SOURCE, TARGET)
    for name in seen:
        record = seen[name]
        call = record.call
        key = call.key.repeat_interleave(4 // call.key.shape[1], 1)
        scores = call.query @ key.transpose(-1, -2) / 2  # sqrt of the width 4 of a head
        tile = call.grid.tile()
        for bias in call.score.modifiers:
            scores = scores + bias.addend(bias.tensors(), tile)
        dense = scores.masked_fill(~call.mask.tile(tile), -torch.inf).softmax(-1)
        weights = record.weights()
        assert weights.dtype == torch.float64
        torch.testing.assert_close(weights, dense, rtol=0, atol=1e-14)
        tile = record.weights(rows=slice(1, 3), keys=slice(0, 2))
        assert torch.equal(tile, weights[:, :, 1:3, :2])
    padding = seen["encoder.layers.0.self_attention"].weights()[1, :, :, 2:]
    assert not padding.any()


def test_the_weights_and_the_values_give_what_the_module_gave():
    attention = MultiHeadAttention(8, 2).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    model = nn.Sequential(nn.Identity(), attention)
    with observe(model) as seen:
        attended, kept = model(x)
    again = attention.out((seen["1"].weights() @ kept.value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(again, attended, rtol=0, atol=1e-13)


def test_records_of_float32_and_bfloat16_are_exact_float32_weights():
    model = _model().to(torch.bfloat16)
    with observe(model) as seen:
        model(SOURCE, TARGET)
    weights = seen["encoder.layers.1.self_attention"].weights()
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 4))


def test_records_keep_no_graph():
    model = _model(positions="relative")
    with observe(model) as seen:
        model(SOURCE, TARGET)
    record = seen["encoder.layers.0.self_attention"]
    assert not record.call.query.requires_grad
    assert not record.call.key.requires_grad
    assert not any(tensor.requires_grad for tensor in record.call.score.modifiers[0].tensors())


def test_decoding_gives_a_record_for_each_step():
    model = _model()
    with observe(model, "cross_attention") as seen, torch.no_grad():
        state = model.start(model.encode(SOURCE))
        for tokens in TARGET.t():
            _, state = model.step(tokens, state)
    with observe(model, "cross_attention") as whole, torch.no_grad():
        model(SOURCE, TARGET)
    for name in seen:
        steps = seen.calls(name)
        assert len(steps) == 3
        rows = torch.cat([step.weights() for step in steps], 2)
        torch.testing.assert_close(rows, whole[name].weights(), rtol=0, atol=1e-12)


def test_the_search_can_be_watched():
    model = DecoderOnlyTransformer(DecoderOnlySettings(d_model=16, d_ff=16, heads=2, layers=1), 11, 11).eval()
    settings = SearchSettings(beam=2, maximum_length_factor=1, maximum_length_add=3)
    plain = search(model, SOURCE, settings)
    with observe(model) as seen:
        watched = search(model, SOURCE, settings)
    assert watched == plain
    calls = seen.calls("decoder.layers.0.self_attention")
    assert calls[0].weights().shape == (2, 2, 4, 4)  # the source
    assert calls[1].weights().shape == (2, 2, 1, 5)  # the first step
    assert not calls[1].weights()[1, :, :, 2:4].any()  # the shorter source's padding


def test_a_module_in_a_module_has_its_own_record():
    class Outer(MultiHeadAttention):
        def __init__(self) -> None:
            super().__init__(8, 2)
            self.inner = MultiHeadAttention(8, 4)

        def forward(self, x, memory=None, **rest):  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().forward(self.inner(x)[0], memory, **rest)

    model = nn.ModuleDict({"outer": Outer()})
    with observe(model) as seen:
        model["outer"](torch.randn(1, 3, 8))
    assert seen["outer"].call.query.shape == (1, 2, 3, 4)
    assert seen["outer.inner"].call.query.shape == (1, 4, 3, 2)


def test_observers_may_be_nested_and_each_sees_all():
    model = _model()
    with observe(model) as outer:
        with observe(model, "cross") as inner:
            model(SOURCE, TARGET)
        model.encode(SOURCE)
    assert [len(inner.calls(name)) for name in inner] == [1, 1]
    assert [len(outer.calls(name)) for name in outer] == [2, 2, 1, 1, 1, 1]


def test_after_an_exception_nothing_is_left_behind():
    model = _model()
    with observe(model) as seen:
        with pytest.raises(ValueError, match="does not broadcast"):
            model.encoder.layers[0].self_attention(torch.zeros(1, 3, 16).double(), mask=torch.ones(2, 2) > 0)
        with pytest.raises(RuntimeError):
            model.encoder.layers[1].self_attention(torch.zeros(1, 3, 17).double())
        attend(*torch.zeros(3, 1, 1, 2, 4))  # by nobody: it must not go to the modules that failed
        assert len(seen) == 0
        model(SOURCE, TARGET)
    assert len(seen.calls("encoder.layers.0.self_attention")) == 1
    assert len(seen.calls("encoder.layers.1.self_attention")) == 1
    with pytest.raises(ZeroDivisionError), observe(model) as seen:
        raise ZeroDivisionError
    model(SOURCE, TARGET)
    assert len(seen) == 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_another_threads_attention_is_not_seen():
    model, inside, go_on = _model(), threading.Event(), threading.Event()

    def pause(*_) -> None:
        inside.set()
        assert go_on.wait(60)

    with observe(model) as seen:
        model.encoder.layers[0].self_attention.register_forward_pre_hook(pause)
        thread = threading.Thread(target=model.encode, args=(SOURCE,))
        thread.start()
        assert inside.wait(60)
        attend(*torch.zeros(3, 1, 1, 2, 4))  # by nobody, while the other thread is in a module
        go_on.set()
        thread.join()
    assert len(seen) == 0
