"""What holds for every model with the face of heedful.models.face."""

import pytest
import torch

from heedful.models import build
from heedful.text.special import PAD
from tests.models.variants import SOURCE, TARGET, VARIANTS, VOCABULARY, read_settings, small

every_variant = pytest.mark.parametrize("variant", VARIANTS)


@every_variant
@torch.no_grad()
def test_step_by_step_equals_all_at_once(variant):
    model = small(variant)
    logits = model(SOURCE, TARGET)
    assert logits.shape == (3, 4, VOCABULARY)
    state = model.start(model.encode(SOURCE))
    for position, tokens in enumerate(TARGET.t()):
        step, state = model.step(tokens, state)
        torch.testing.assert_close(step, logits[:, position], rtol=0, atol=1e-11)


@every_variant
@torch.no_grad()
def test_selected_hypotheses_go_on_as_their_own_sentences(variant):
    model = small(variant)
    rows = torch.tensor([2, 0, 0, 1])
    # Each of the four goes its own way after the second token.
    target = TARGET[rows].clone()
    target[1, 2:] = torch.tensor([3, 7])
    logits = model(SOURCE[rows], target)
    state = model.start(model.encode(SOURCE))
    for tokens in TARGET[:, :2].t():
        _, state = model.step(tokens, state)
    state = state.select(rows)
    for position in (2, 3):
        step, state = model.step(target[:, position], state)
        torch.testing.assert_close(step, logits[:, position], rtol=0, atol=1e-11)


@every_variant
@torch.no_grad()
def test_padding_changes_nothing(variant):
    model = small(variant)
    logits = model(SOURCE, TARGET)
    wider = torch.nn.functional.pad(SOURCE, (0, 3), value=PAD)
    longer = torch.nn.functional.pad(TARGET, (0, 2), value=PAD)
    torch.testing.assert_close(model(wider, longer)[:, :4], logits, rtol=0, atol=1e-11)
    for row, length in enumerate((SOURCE != PAD).sum(1).tolist()):
        alone = model(SOURCE[row : row + 1, :length], TARGET[row : row + 1])
        torch.testing.assert_close(alone[0], logits[row], rtol=0, atol=1e-11)


@every_variant
@torch.no_grad()
def test_the_future_cannot_change_the_past(variant):
    model = small(variant)
    logits = model(SOURCE, TARGET)
    changed = TARGET.clone()
    changed[:, 2] = torch.tensor([5, 6, 7])
    again = model(SOURCE, changed)
    torch.testing.assert_close(again[:, :2], logits[:, :2], rtol=0, atol=1e-12)
    assert not torch.allclose(again[:, 2], logits[:, 2])


@every_variant
@torch.no_grad()
def test_order_is_known_unless_it_shall_not_be(variant):
    model = small(variant)
    turned = SOURCE[:1, [2, 0, 1, 3, 4]]
    blind = VARIANTS[variant][1].get("positions") == "none"
    # The causal mask, too, tells the order, to all layers after the first.
    if blind and "causal" in variant:
        return
    assert torch.allclose(model(SOURCE[:1], TARGET[:1]), model(turned, TARGET[:1])) is blind


@every_variant
def test_every_parameter_learns_and_padding_does_not(variant):
    model = small(variant).train()
    logits = model(SOURCE, TARGET)
    logits[:, :3].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name
    if VARIANTS[variant][1].get("tied") == "none":  # otherwise the row of PAD is an output, too
        for name, parameter in model.named_parameters():
            if name.endswith("table.weight"):
                assert not parameter.grad[PAD].any(), name


@every_variant
@torch.no_grad()
def test_a_sentence_of_nothing_but_padding_gives_numbers(variant):
    model = small(variant)
    source = torch.stack((SOURCE[0], torch.zeros_like(SOURCE[0])))
    assert bool(torch.isfinite(model(source, TARGET[:2])).all())
    logits, _ = model.step(TARGET[:2, 0], model.start(model.encode(source)))
    assert bool(torch.isfinite(logits).all())


@every_variant
@torch.no_grad()
def test_the_longest_source_and_target_fit(variant):
    model = small(variant)
    longest = torch.full((1, model.maximum_length), 5)
    assert model(longest, longest).shape == (1, model.maximum_length, VOCABULARY)


def test_settings_name_their_architecture_and_the_transformer_needs_no_name():
    assert type(build(read_settings({"d_model": 8, "heads": 2}), 5, 5)).__name__ == "Transformer"
    decoder = read_settings({"architecture": "decoder-only", "d_model": 8, "heads": 2, "layers": 1})
    assert type(build(decoder, 5, 5)).__name__ == "DecoderOnlyTransformer"
    assert read_settings(decoder) == decoder
    assert read_settings(decoder.model_dump()) == decoder
    with pytest.raises(ValueError, match="architecture must be one of 'transformer', 'decoder-only', "):
        read_settings({"architecture": "perceptron"})
    with pytest.raises(ValueError, match="encoder_layers"):
        read_settings({"architecture": "decoder-only", "encoder_layers": 2})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_model": 10, "heads": 4}, r"d_model \(10\) must be a multiple of heads \(4\)"),
        ({"d_model": 12, "heads": 4, "kv_heads": 3}, r"heads \(4\) must be a multiple of kv_heads \(3\)"),
        ({"d_model": 12, "heads": 4, "positions": "rotary"}, "heads of even width"),
        ({"d_model": 9, "heads": 3}, "even d_model, got 9"),
        ({"heads": 0}, "greater than or equal to 1"),
        ({"dropout": 1.0}, "less than 1"),
        ({"positions": "sinusoid"}, "'sinusoidal', 'sinusoidal-concatenated'"),
    ],
)
@pytest.mark.parametrize("architecture", ["transformer", "decoder-only"])
def test_settings_that_do_not_fit_are_refused(architecture, settings, message):
    with pytest.raises(ValueError, match=message):
        read_settings({"architecture": architecture, **settings})
