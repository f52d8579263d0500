"""The Transformer: PyTorch's own with the same weights, and the parameters of the paper's table 3."""

import pytest
import torch
from torch import nn

from heedful.models import Transformer, TransformerSettings
from tests.models.variants import SOURCE, TARGET, small


def _copy_attention(ours: nn.Module, theirs: nn.MultiheadAttention) -> None:
    theirs.in_proj_weight.copy_(ours.in_weight)
    theirs.in_proj_bias.copy_(ours.in_bias)
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def _copy_layer(ours: nn.Module, theirs: nn.Module) -> None:
    _copy_attention(ours.self_attention, theirs.self_attn)
    norms = [ours.self_norm, ours.feed_forward_norm]
    if ours.cross_attention is not None:
        _copy_attention(ours.cross_attention, theirs.multihead_attn)
        norms.insert(1, ours.cross_norm)
    for number, norm in enumerate(norms, 1):
        getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.outer.state_dict())


@pytest.mark.parametrize(("norm", "activation"), [("post", "relu"), ("pre", "gelu")])
def test_it_equals_pytorchs_with_the_same_weights(norm, activation):
    settings = TransformerSettings(
        d_model=16,
        d_ff=24,
        heads=4,
        encoder_layers=2,
        decoder_layers=3,
        norm=norm,
        activation=activation,
        attention_bias=True,
        dropout=0.0,
    )
    ours = Transformer(settings, 11, 11).double()
    shape = {"d_model": 16, "nhead": 4, "dim_feedforward": 24, "dropout": 0.0, "activation": activation}
    shape |= {
        "layer_norm_eps": 1e-6,
        "batch_first": True,
        "norm_first": norm == "pre",
        "dtype": torch.float64,
    }
    norms = [nn.LayerNorm(16, eps=1e-6, dtype=torch.float64) if norm == "pre" else None for _ in range(2)]
    theirs = nn.Transformer(
        d_model=16,
        nhead=4,
        batch_first=True,
        custom_encoder=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**shape), 2, norms[0], enable_nested_tensor=False
        ),
        custom_decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(**shape), 3, norms[1]),
    )
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.normal_()
        for stack, other in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
            for layer, copy in zip(stack.layers, other.layers, strict=True):
                _copy_layer(layer, copy)
            if stack.norm is not None:
                other.norm.load_state_dict(stack.norm.state_dict())
    source = ours.source_embedding(SOURCE, torch.arange(5))
    target = ours.target_embedding(TARGET, torch.arange(4))
    # Theirs says who may NOT attend.
    expected = theirs(
        source,
        target,
        src_key_padding_mask=SOURCE == 0,
        memory_key_padding_mask=SOURCE == 0,
        tgt_mask=torch.ones(4, 4).triu(1).bool(),
    )
    torch.testing.assert_close(ours.features(SOURCE, TARGET), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours(SOURCE, TARGET), expected @ ours.target_embedding.table.weight.t())


def parameters(settings: TransformerSettings, vocabulary: int) -> int:
    with torch.device("meta"):  # shapes without numbers
        model = Transformer(settings, vocabulary, vocabulary)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("millions", "choices"),
    [
        (65, {}),
        (65, {"heads": 1, "d_head": 512}),
        (65, {"heads": 4, "d_head": 128}),
        (65, {"heads": 16, "d_head": 32}),
        (65, {"heads": 32, "d_head": 16}),
        (36, {"encoder_layers": 2, "decoder_layers": 2}),
        (50, {"encoder_layers": 4, "decoder_layers": 4}),
        (80, {"encoder_layers": 8, "decoder_layers": 8}),
        (28, {"d_model": 256, "d_head": 32}),
        (168, {"d_model": 1024, "d_head": 128}),
        (53, {"d_ff": 1024}),
        (90, {"d_ff": 4096}),
    ],
    ids=str,
)
def test_the_parameters_are_those_of_table_3(millions, choices):
    # The paper says about 37,000 tokens, but its rows all imply about 41,000 (40,200 to 42,000).
    assert parameters(TransformerSettings(**choices), 41_000) == pytest.approx(millions * 1e6, abs=1e6)


def test_the_parameters_of_big_are_those_of_table_3():
    big = TransformerSettings(d_model=1024, d_ff=4096, heads=16)
    # This row implies 35,900 tokens.
    assert parameters(big, 35_900) == pytest.approx(213e6, abs=0.5e6)
    assert parameters(big, 37_000) == pytest.approx(214.2e6, abs=0.1e6)


def test_the_parameters_of_base_counted_by_hand():
    attention, feed_forward, norm = 4 * 512 * 512, 2 * 512 * 2048 + 512 + 2048, 2 * 512
    encoder, decoder = attention + feed_forward + 2 * norm, 2 * attention + feed_forward + 3 * norm
    assert parameters(TransformerSettings(), 37_000) == 6 * encoder + 6 * decoder + 37_000 * 512


def test_ties_share_one_matrix():
    models = {
        tied: Transformer(TransformerSettings(d_model=8, heads=2, tied=tied), 7, 7)
        for tied in ("all", "target", "none")
    }
    for tied, model in models.items():
        source, target = model.source_embedding.table.weight, model.target_embedding.table.weight
        assert (source is target) == (tied == "all")
        assert (model.output.weight is target) == (tied != "none")
    assert Transformer(TransformerSettings(d_model=8, heads=2, tied="target"), 5, 7).output.out_features == 7
    with pytest.raises(ValueError, match="got 5 source and 7 target tokens; use a joint tokenizer"):
        Transformer(TransformerSettings(d_model=8, heads=2), 5, 7)


def test_a_seed_determines_the_weights():
    settings = TransformerSettings(d_model=8, d_ff=8, heads=2, encoder_layers=1, decoder_layers=1)
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(Transformer(settings, 7, 7).state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@torch.no_grad()
def test_hypotheses_of_a_sentence_share_its_memory_while_each_sentence_has_as_many():
    model = small("transformer: the paper's")
    state = model.start(model.encode(SOURCE))
    _, state = model.step(TARGET[:, 0], state)
    twice = state.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    assert twice.memory is state.memory
    kept = twice.select(torch.tensor([3, 2, 4, 4]))  # a sentence has left
    assert len(kept.memory[0].key) == 2
    uneven = kept.select(torch.tensor([0, 1, 2]))
    assert len(uneven.memory[0].key) == 3
    assert len(uneven.select(torch.tensor([], dtype=torch.long)).memory[0].key) == 0
    # Whatever is shared, a step says the same.
    tokens = TARGET[:, 1]
    alone, _ = model.step(tokens, state)
    for chosen, sentences in ((twice, [0, 0, 1, 1, 2, 2]), (kept, [1, 1, 2, 2]), (uneven, [1, 1, 2])):
        step, _ = model.step(tokens[sentences], chosen)
        torch.testing.assert_close(step, alone[sentences], rtol=0, atol=1e-12)
