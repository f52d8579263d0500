"""The decoder-only Transformer: a language model that begins with the source."""

import pytest
import torch

from heedful.decoding import SearchSettings, search
from heedful.models import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.models.decoder_only import gpt2_settings
from tests.models.variants import SOURCE, TARGET, small

CAUSAL = ["decoder-only, causal source: the paper's", "decoder-only, causal source: relative positions"]
FULL = ["decoder-only: the paper's", "decoder-only: relative positions", "decoder-only: rotary positions"]


@pytest.mark.parametrize("variant", CAUSAL)
@torch.no_grad()
def test_with_a_causal_source_it_is_one_language_model(variant):
    model = small(variant)
    # The first row has no padding.
    text = torch.cat((SOURCE[:1], TARGET[:1]), 1)
    torch.testing.assert_close(model.language(text)[:, 5:], model(SOURCE[:1], TARGET[:1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", FULL)
@torch.no_grad()
def test_with_a_full_source_each_source_token_sees_all_of_it(variant):
    model = small(variant)
    # In one layer the vector of the last source token is the same either way; in two it has read the first ones,
    # which had read it.
    text = torch.cat((SOURCE[:1], TARGET[:1]), 1)
    assert not torch.allclose(model.language(text)[:, 5:], model(SOURCE[:1], TARGET[:1]))
    keys = model.encode(SOURCE).past[1].key
    changed = SOURCE.clone()
    changed[0, 3] = 9
    assert not torch.allclose(model.encode(changed).past[1].key[0, :, 0], keys[0, :, 0])
    changed = model.encode(torch.cat((SOURCE, torch.zeros_like(SOURCE)), 1)).past[1].key
    torch.testing.assert_close(changed[1, :, :2], keys[1, :, :2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", CAUSAL)
@torch.no_grad()
def test_with_a_causal_source_later_tokens_are_not_seen(variant):
    model = small(variant)
    changed = SOURCE.clone()
    changed[0, 3] = 9
    before, after = (model.encode(source).past[1].key[0, :, :3] for source in (SOURCE, changed))
    torch.testing.assert_close(before, after, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", CAUSAL + FULL)
@torch.no_grad()
def test_a_language_model_steps_from_an_empty_source(variant):
    model = small(variant)
    logits = model.language(TARGET)
    state = model.start(model.encode(TARGET[:, :0]))
    for position, tokens in enumerate(TARGET.t()):
        step, state = model.step(tokens, state)
        torch.testing.assert_close(step, logits[:, position], rtol=0, atol=1e-12)


def test_it_searches_like_any_model():
    model = small("decoder-only: the paper's")
    settings = SearchSettings(beam=3, maximum_length_add=3, maximum_length_factor=1)
    together = search(model, SOURCE, settings)
    for row, length in enumerate((SOURCE != 0).sum(1).tolist()):
        (alone,) = search(model, SOURCE[row : row + 1, :length], settings)
        assert alone[0].tokens == together[row][0].tokens
        assert alone[0].score == pytest.approx(together[row][0].score, abs=1e-5)


def test_gpt_2_has_its_parameters():
    with torch.device("meta"):
        model = DecoderOnlyTransformer(gpt2_settings(), 50_257, 50_257)
    # The published model's count, to the last one.
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808


def test_weights_are_drawn_as_gpt_2_draws_them():
    settings = gpt2_settings(d_model=64, d_ff=128, heads=4, layers=8, maximum_length=32)
    model = DecoderOnlyTransformer(settings, 500, 500)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            added = name.endswith(("self_attention.out.weight", "feed_forward.outer.weight"))
            expected = 0.02 / 4 if added else 0.02  # 4 is the root of twice the layers
            assert float(parameter.detach().std()) == pytest.approx(expected, rel=0.1), name


def test_two_vocabularies_are_refused():
    with pytest.raises(ValueError, match="one vocabulary, got 5 source and 7 target tokens"):
        DecoderOnlyTransformer(DecoderOnlySettings(d_model=8, heads=2), 5, 7)
