"""The encoder that fine-tuning builds on: what it reads, and which layer a weight is of."""

import pytest
import torch

from heedful import observe
from heedful.models import DecoderOnlySettings, EncoderOnlySettings
from heedful.models.encoder import Encoder, longest
from heedful.text.special import PAD
from tests.models.tagger import Tagger

SHAPE = {"d_model": 16, "d_ff": 24, "heads": 2, "layers": 2, "norm": "pre", "maximum_length": 12}
SETTINGS = {
    "encoder-only": EncoderOnlySettings(**SHAPE, positions="learned"),
    "decoder-only": DecoderOnlySettings(**SHAPE, positions="relative"),
}
EVERY = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


@EVERY
def test_padding_changes_nothing(settings):
    encoder = Encoder(settings, 30).eval()
    tokens = torch.randint(4, 30, (2, 7))
    padded = torch.cat((tokens, torch.full((2, 3), PAD)), 1)
    torch.testing.assert_close(encoder(padded)[:, :7], encoder(tokens))


def test_an_encoder_only_stack_sees_both_sides_and_a_decoder_only_one_what_is_before():
    for settings in SETTINGS.values():
        encoder = Encoder(settings, 30).eval()
        tokens = torch.randint(4, 30, (1, 6))
        other = tokens.clone()
        other[0, 4] = 4 + (other[0, 4] - 3) % 26
        same = (encoder(tokens) == encoder(other)).all(-1)[0]
        assert same.tolist() == ([True] * 4 + [False] * 2 if encoder.causal else [False] * 6)


@EVERY
def test_what_guesses_tokens_is_left_away(settings):
    assert not any("output" in name for name, _ in Encoder(settings, 30).named_parameters())


def test_the_longest_text_is_what_positions_reach():
    assert [longest(settings) for settings in SETTINGS.values()] == [12, 24]
    for settings in SETTINGS.values():
        tokens = torch.randint(4, 30, (1, longest(settings)))
        assert Encoder(settings, 30).eval()(tokens).shape == (1, longest(settings), 16)


@EVERY
def test_every_weight_is_of_one_layer(settings):
    model = Tagger(Encoder(settings, 30))
    found = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert model.layers == 4
    for name, layer in found.items():
        if ".layers." in name:
            assert layer == 1 + int(name.split(".layers.")[1][0])
        elif name.startswith("output"):
            assert layer == 3
        elif ".norm." in name:
            assert layer == 2
        else:
            assert layer == 0, name
    assert set(found.values()) == {0, 1, 2, 3}


def test_frozen_layers_get_no_gradient_and_the_others_do():
    model = Tagger(Encoder(SETTINGS["encoder-only"], 30))
    model.freeze(1)
    model.output(model.encoder(torch.randint(4, 30, (2, 5)))).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (model.layer_of(name) <= 1), name
    model.freeze(None)
    with pytest.raises(ValueError, match="3 layers are to be frozen, but the encoder has 2"):
        model.freeze(3)


def test_words_dropped_are_as_if_they_were_not_there_but_for_their_places():
    encoder = Encoder(SETTINGS["encoder-only"], 30, word_dropout=0.5)
    tokens = torch.randint(4, 30, (50, 10))
    tokens[:, 0], tokens[:, -1] = 1, 2
    seen = encoder.dropped(tokens)
    assert (seen[:, [0, -1]] == tokens[:, [0, -1]]).all()
    kept = seen[:, 1:-1] != PAD
    assert (seen[:, 1:-1] == tokens[:, 1:-1])[kept].all()
    assert 0.4 < kept.float().mean() < 0.6
    encoder.eval()
    assert encoder.dropped(tokens) is tokens
    # What stands in the place of a word that is not seen changes no other vector.
    holes = tokens.clone()
    holes[:, 4] = PAD
    full = encoder.read(holes)
    alone = torch.cat((holes[:, :4], holes[:, 5:]), 1)
    assert not torch.allclose(encoder.read(alone)[:, 4:], full[:, 5:])  # positions stay
    torch.testing.assert_close(full[:, :4], encoder.read(holes.clone())[:, :4])


def test_a_mask_is_no_word_that_could_be_dropped():
    encoder = Encoder(SETTINGS["encoder-only"], 30, word_dropout=0.9, special=5)
    tokens = torch.arange(1, 6).repeat(40, 1)  # start, end, unknown, mask, a word
    seen = encoder.dropped(tokens)
    assert (seen[:, :4] == tokens[:, :4]).all()
    assert (seen[:, 4] == PAD).any()


def test_heads_that_look_beside_average_one_neighbour_each():
    settings = EncoderOnlySettings(**SHAPE | {"heads": 4}, positions="relative")
    encoder = Encoder(settings, 30).eval()
    encoder.look_beside(50.0)  # more than any score
    tokens = torch.randint(4, 30, (1, 8))
    with observe(encoder) as seen:
        encoder(tokens)
    for layer in range(2):
        weights = seen[f"stack.encoder.layers.{layer}.self_attention"].weights()[0]
        for head, offset in enumerate((-1, 1, -2, 2)):
            for place in range(2, 6):
                assert weights[head, place].argmax() == place + offset
                assert weights[head, place].max() > 0.99
    causal = Encoder(SETTINGS["decoder-only"], 30).eval()
    causal.look_beside(50.0)
    with observe(causal) as seen:
        causal(tokens)
    weights = seen["stack.decoder.layers.0.self_attention"].weights()[0]
    assert [weights[head, 5].argmax().item() for head in (0, 1)] == [4, 3]
    with pytest.raises(ValueError, match="only by relative positions"):
        Encoder(SETTINGS["encoder-only"], 30).look_beside(1.0)
