"""observe: the weights that were, under the modules' names, without changing a bit of what is computed."""

import sys
import threading
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from heedful.attention import (
    Additive,
    Attending,
    Attention,
    Bias,
    Cosine,
    General,
    MultiHeadAttention,
    Record,
    ScaledDot,
    attend,
    masks,
    observe,
)
from heedful.attention.attend import make_call
from heedful.attention.observe import SOURCES
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
        key = record.key.repeat_interleave(4 // record.key.shape[1], 1)
        scores = record.query @ key.transpose(-1, -2) / 2  # sqrt of the width 4 of a head
        for modifier in record.score.modifiers:
            assert isinstance(modifier, Bias)
            scores = scores + modifier.bias
        dense = scores.masked_fill(~record.mask.tile(record.grid.tile()), -torch.inf).softmax(-1)
        weights = record.weights()
        assert weights.dtype == torch.float64
        torch.testing.assert_close(weights, dense, rtol=0, atol=1e-14)
        tile = record.weights(rows=slice(1, 3), keys=slice(0, 2))
        torch.testing.assert_close(tile, weights[:, :, 1:3, :2], rtol=0, atol=1e-15)
        assert torch.equal(record.row(-1), record.weights(slice(-1, None)).squeeze(2))
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
    (bias,) = record.score.modifiers
    for tensor in (record.query, record.key, bias.bias, record.weights(), record.entropy()):
        assert not tensor.requires_grad
    assert record.call.value.numel() == 0


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
        torch.testing.assert_close(seen.joined(name).weights(), whole[name].weights(), rtol=0, atol=1e-12)


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
    assert seen["outer"].query.shape == (1, 2, 3, 4)
    assert seen["outer.inner"].query.shape == (1, 4, 3, 2)


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


def _held(record: Record) -> int:
    """How many bytes a record keeps alive."""
    storages = [tensor.untyped_storage() for tensor in (record.query, record.key, record.call.value)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_records_grow_linearly_with_length_and_keep_no_values_alive(monkeypatch):
    module = sys.modules["heedful.attention.observe"]  # the package's `observe` is the function
    monkeypatch.setattr(module, "KEPT_ALONG", 0)
    attention = MultiHeadAttention(16, 4)
    sizes = []
    for length in (100, 200):
        with observe(nn.Sequential(attention)) as seen, torch.no_grad():
            attention(torch.randn(1, length, 16), mask=masks.causal())
        sizes.append(_held(seen["0"]))
    # Queries and keys, though the module makes them in one product with the values.
    assert sizes == [2 * 100 * 16 * 4, 2 * 200 * 16 * 4]
    # Few values are kept along: a copy would take longer than the pass can spare.
    monkeypatch.undo()
    with observe(nn.Sequential(attention)) as seen, torch.no_grad():
        attention(torch.randn(1, 200, 16), mask=masks.causal())
    assert _held(seen["0"]) == 3 * 200 * 16 * 4
    assert module.KEPT_ALONG > 3 * 200 * 16 * 4


def test_what_a_call_made_its_score_of_is_kept_without_its_graph():
    x = torch.randn(1, 1, 4, 8, requires_grad=True)
    sharpness = torch.rand(1, 1, 4, 1, requires_grad=True).exp()
    bias = torch.randn(4, 4, requires_grad=True).exp()
    with observe() as seen:
        attended = attend(x, x, x, score=Cosine(sharpness).then(Bias(bias)))
    score = seen[""].score
    assert score.sharpness.grad_fn is None
    assert score.modifiers[0].bias.grad_fn is None
    assert bias.grad_fn is not None  # the call's own is what it was
    torch.testing.assert_close(seen[""].weights() @ x, attended)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("cross", ["decoder.layers.0.cross_attention", "decoder.layers.1.cross_attention"]),
        (
            "decoder.*.cross_attention",
            ["decoder.layers.0.cross_attention", "decoder.layers.1.cross_attention"],
        ),
        ("layers.1.cross_attention", ["decoder.layers.1.cross_attention"]),
        (
            ["encoder.layers.1.self_attention", "decoder.layers.[1-9].self*"],
            ["encoder.layers.1.self_attention", "decoder.layers.1.self_attention"],
        ),
    ],
)
def test_modules_are_chosen_by_part_of_a_name_by_pattern_or_by_several_names(names, found):
    model = _model()
    with observe(model, names) as seen:
        model(SOURCE, TARGET)
    assert list(seen) == found


@pytest.mark.parametrize("names", ["decodr", "cross*", ["self_attention", "cross_attention"]])
def test_names_that_no_module_has_are_refused(names):
    with (
        pytest.raises(ValueError, match=r"there are encoder.layers.0.self_attention, "),
        observe(_model(), names),
    ):
        pass


def test_without_a_model_every_call_is_seen():
    q, k, v = torch.randn(3, 1, 2, 5, 4)
    with observe() as seen:
        attended = attend(q, k, v, mask=masks.causal())
        _model().encode(SOURCE)
    assert list(seen) == [""]
    assert len(seen.calls("")) == 3
    torch.testing.assert_close(seen.calls("")[0].weights() @ v, attended)


SCORES = {
    "additive": lambda: Additive(6, 6, 5),
    "general": lambda: General(6, 6),
    "cosine": lambda: Cosine(2.0),
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())
def test_attention_of_one_head_and_any_score_is_seen_whichever_method_is_called(score):
    attention = Attention(score())
    query, memory = torch.randn(2, 3, 6), torch.randn(2, 5, 6)
    lengths = masks.padding(torch.tensor([5, 2]))
    model = nn.ModuleDict({"reader": attention})
    with observe(model) as seen:
        attention(query, memory, mask=lengths)
        _, weights = attention.with_weights(query, memory, mask=lengths)
        attention(query, attention.project(memory), mask=lengths)
    assert list(seen) == ["reader"]
    assert len(seen.calls("reader")) == 3
    for record in seen.calls("reader"):
        torch.testing.assert_close(record.weights().squeeze(1), weights)


def test_a_module_of_ones_own_is_seen_when_it_is_marked():
    class Own(Attending):
        def forward(self, x):
            return attend(x, x, x, score=ScaledDot())

    model = nn.Sequential(Own())
    with observe(model) as seen:
        model(torch.randn(1, 2, 3, 4))
    assert seen["0"].shape == (1, 2, 3, 3)


def test_weights_are_refused_once_parameters_have_changed():
    attention = Attention(General(4, 4))
    x = torch.randn(1, 3, 4)
    with observe(nn.Sequential(attention)) as seen:
        attention(x, x).sum().backward()
    torch.optim.SGD(attention.parameters(), 0.1).step()
    with pytest.raises(ValueError, match="changed in place since it was observed"):
        seen["0"].weights()


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_what_was_seen_in_inference_mode_can_be_looked_at_outside(context):
    model = _model()
    with context(), observe(model, "cross") as seen:
        model(SOURCE, TARGET)
        state = model.start(model.encode(SOURCE))
        model.step(TARGET[:, 0], state)
    whole, step = seen.calls("decoder.layers.0.cross_attention")
    torch.testing.assert_close(whole.weights(slice(0, 1)), step.weights(), rtol=0, atol=1e-12)
    assert whole.entropy().shape == (2, 4, 3)
    torch.testing.assert_close(step.entropy(), whole.entropy()[:, :, :1], rtol=0, atol=1e-12)


# Decoding


def test_steps_of_decoding_join_to_the_matrix_of_the_full_pass():
    model = (
        DecoderOnlyTransformer(DecoderOnlySettings(d_model=16, d_ff=16, heads=2, layers=2), 11, 11)
        .double()
        .eval()
    )
    name = "decoder.layers.1.self_attention"
    with observe(model, name) as whole, torch.no_grad():
        model(SOURCE[:1], TARGET[:1])
    with observe(model, name) as seen, torch.no_grad():
        state = model.start(model.encode(SOURCE[:1]))
        for tokens in TARGET[:1].t():
            _, state = model.step(tokens, state)
    joined, expected = seen.joined(name), whole[name]
    assert joined.shape == expected.shape == (1, 2, 7, 7)
    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(joined.weights(), expected.weights(), **close)
    part = slice(3, 6), slice(2, 7)
    torch.testing.assert_close(joined.weights(*part), expected.weights(*part), **close)
    for statistic in ("entropy", "maximum", "position", "distance", "spread", "received", "log_sum_exp"):
        torch.testing.assert_close(getattr(joined, statistic)(), getattr(expected, statistic)(), **close)
    torch.testing.assert_close(joined.received(True), expected.received(True), **close)
    for offset in (-1, 0, 1):
        torch.testing.assert_close(joined.at(offset), expected.at(offset), **close)
    torch.testing.assert_close(joined.head(1).mass(0), expected.mass(0)[:, 1:], **close)
    torch.testing.assert_close(joined.overview(4).mean, expected.overview(4).mean, **close)
    steps = seen.joined(name, slice(1, None))
    torch.testing.assert_close(steps.weights(), expected.weights(slice(4, None)), **close)
    with pytest.raises(ValueError, match="neither queries nor keys"):
        _ = steps.query


def test_calls_of_two_sequences_are_not_joined():
    model = _model()
    with observe(model) as seen, torch.no_grad():
        for _ in range(2):
            state = model.start(model.encode(SOURCE))
            for tokens in TARGET.t():
                _, state = model.step(tokens, state)
    name = "decoder.layers.0.self_attention"
    with pytest.raises(ValueError, match=r"of call 2 are \(2, 4, 1, 3\), of call 3 \(2, 4, 1, 1\)"):
        seen.joined(name)
    assert seen.joined(name, slice(3, 6)).shape == (2, 4, 3, 3)
    with pytest.raises(ValueError, match=r"no such calls .* called 6 times"):
        seen.joined(name, slice(6, 9))


# Other libraries


def test_others_can_tell_what_is_attended_to():
    model = nn.ModuleDict({"foreign": nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    q = torch.randn(1, 1, 3, 4)
    heard = []

    @contextmanager
    def source(observed, hear, wanted):
        assert observed is model
        heard.extend(name for name, _ in observed.named_modules() if wanted(name))
        hear("foreign", make_call(q, q, q))
        yield

    SOURCES.append(source)
    try:
        with observe(model, "foreign") as seen:
            pass
    finally:
        SOURCES.remove(source)
    assert heard == ["foreign"]
    torch.testing.assert_close(seen["foreign"].weights(), (q @ q.mT / 2).softmax(-1))
