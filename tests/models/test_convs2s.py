"""ConvS2S: its parameters by a formula, the scaling that keeps variances, and its equations written out."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import conv1d, pad

from heedful.attention import observe
from heedful.models import ConvS2S, ConvS2SSettings
from heedful.models.convs2s import DecoderBlock
from tests.models.variants import SOURCE, TARGET, small


def _parameters(settings: ConvS2SSettings, source: int, target: int) -> int:
    """Every map in -> out has in * out weights, out lengths of rows and out biases."""
    f = settings.d_model

    def linear(inner: int, outer: int) -> int:
        return outer * (inner + 2)

    count = f * (source + target + 2 * settings.maximum_length) + linear(f, target)
    for groups, attends in ((settings.encoder_blocks, False), (settings.decoder_blocks, True)):
        before = groups[0].width
        count += linear(f, before)
        for group in groups:
            for _ in range(group.layers):
                width = group.width
                count += linear(group.kernel * before, 2 * width)
                count += linear(before, width) if before != width else 0
                count += linear(width, f) + linear(f, width) if attends else 0
                before = width
        count += linear(before, f)
    return count


# Section 4.2 of the paper: English to German.
WIDENING = [
    {"layers": 10, "width": 512, "kernel": 3},
    {"layers": 3, "width": 768, "kernel": 3},
    {"layers": 2, "width": 2048, "kernel": 1},
]
TEN = [{"layers": 10, "width": 512, "kernel": 3}]


def _model(choices: dict) -> tuple[ConvS2S, ConvS2SSettings, int, int]:
    settings, source, target = ConvS2SSettings.model_validate(choices), 7855, 5893
    with torch.device("meta"):
        return ConvS2S(settings, source, target), settings, source, target


@pytest.mark.parametrize(
    "choices", [{}, {"d_model": 768, "encoder_blocks": WIDENING, "decoder_blocks": WIDENING}]
)
def test_the_papers_models_have_the_parameters_of_the_formula(choices):
    model, *sizes = _model(choices)
    assert sum(parameter.numel() for parameter in model.parameters()) == _parameters(*sizes)


def test_the_tutorials_model_has_its_parameters():
    # bentrevett's tutorial 5 on Multi30k (37.4 million): no weight normalisation, so no lengths of rows, and one
    # pair of maps to and from attention for all ten layers.
    model, *_ = _model({"d_model": 256, "encoder_blocks": TEN, "decoder_blocks": TEN, "maximum_length": 100})
    count = sum(
        parameter.numel() for name, parameter in model.named_parameters() if not name.endswith("gain")
    )
    assert count - 9 * (512 * 256 + 256 + 256 * 512 + 512) == 37_351_685


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@torch.no_grad()
def test_at_first_the_variance_of_activations_stays_through_the_layers(dropout):
    # Section 3.4 and appendix A: about that of the embeddings, 0.1^2 of the token and 0.1^2 of the position.
    settings = ConvS2SSettings(
        d_model=128,
        encoder_blocks=({"layers": 20, "width": 128, "kernel": 3},),
        decoder_blocks=({"layers": 20, "width": 128, "kernel": 3},),
        dropout=dropout,
    )
    model = ConvS2S(settings, 500, 500).train()
    seen: list[float] = []
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        block.register_forward_hook(
            lambda _, __, x: seen.append(float((x[0] if isinstance(x, tuple) else x).square().mean()))
        )
    tokens = torch.randint(4, 500, (8, 40))
    model.features(tokens, tokens)
    assert len(seen) == 40
    # Of both stacks; without any of the factors it is off by powers of two from layer to layer.
    for stack in (seen[:20], seen[20:]):
        assert all(0.4 < variance / stack[0] < 2.0 for variance in stack)
        assert 0.005 < stack[-1] < 0.05


def test_it_is_its_equations_written_out():
    model = small("convs2s: the paper's")
    source, target = SOURCE[:1], TARGET[:1]
    half = math.sqrt(0.5)

    def convolved(block: nn.Module, x: torch.Tensor, left: int, right: int) -> torch.Tensor:
        linear = block.convolution.linear
        weight = linear.weight.unflatten(1, (block.convolution.kernel, -1)).transpose(1, 2)
        a, b = conv1d(pad(x.transpose(1, 2), (left, right)), weight, linear.bias).transpose(1, 2).chunk(2, -1)
        return a * b.sigmoid()

    def embedded(embedding: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        return embedding.table.weight[tokens] + embedding.learned.weight[: tokens.shape[1]]

    e, g = embedded(model.source_embedding, source), embedded(model.target_embedding, target)
    h = model.encoder.into(e)
    for block, (left, right) in zip(model.encoder.blocks, ((1, 1), (1, 1), (1, 0)), strict=True):
        past = h if block.residual is None else block.residual(h)
        h = (convolved(block, h, left, right) + past) * half
    z = model.encoder.out(h)
    h = model.decoder.into(g)
    for block, left in zip(model.decoder.blocks, (2, 2, 0), strict=True):
        past = h if block.residual is None else block.residual(h)
        h = convolved(block, h, left, 0)
        d = (block.ask(h) + g) * half
        a = (d @ z.mT).softmax(-1)
        c = a @ ((z + e) * half) * math.sqrt(source.shape[1])
        h = ((block.answer(c) + h) * half + past) * half
    expected = model.output(model.decoder.out(h))
    torch.testing.assert_close(model(source, target), expected, rtol=0, atol=1e-12)


def test_gradients_that_reach_the_encoder_are_divided_by_the_number_of_attentions():
    model = small("convs2s: the paper's")
    found = []
    for layers in (3, 1):
        model.zero_grad()
        # The keys alone: values reach the source embeddings past the encoder, whole.
        blocks = model.decoder.blocks
        model.decoder.blocks = blocks[:layers]
        model.encode(SOURCE).memory.key.square().sum().backward()
        model.decoder.blocks = blocks
        found.append(model.encoder.out.bias.grad.clone())
    torch.testing.assert_close(3 * found[0], found[1], rtol=1e-12, atol=0)
    # Past the encoder: v = (z + e) sqrt(1/2) gives e its gradient undivided.
    model.zero_grad()
    nn.init.zeros_(model.encoder.out.gain)
    model.encode(SOURCE[:1]).memory.value.sum().backward()
    rows = model.source_embedding.learned.weight.grad[:5]
    torch.testing.assert_close(rows, torch.full_like(rows, math.sqrt(0.5)), rtol=1e-12, atol=0)


def test_every_layer_of_the_decoder_is_observed():
    model = small("convs2s: the paper's")
    with observe(model) as seen:
        model(SOURCE, TARGET)
    names = model.source_attention()
    assert names == [f"decoder.blocks.{number}.attention" for number in range(3)]
    assert all(isinstance(block, DecoderBlock) for block in model.decoder.blocks)
    for name in names:
        weights = seen[name].weights()
        assert weights.shape == (3, 1, 4, 5)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1, 4, dtype=torch.float64))
        assert not weights[1, :, :, 2:].any()


@torch.no_grad()
def test_hypotheses_of_a_source_share_its_memory():
    model = small("convs2s: the paper's")
    state = model.start(model.encode(SOURCE))
    _, state = model.step(TARGET[:, 0], state)
    beam = state.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    assert len(beam.source.lengths) == 3
    assert beam.source.memory.key is state.source.memory.key
    assert [len(past) for past in beam.past] == [6, 6, 6]
    assert [past.shape[1] for past in beam.past] == [2, 2, 0]


def test_two_vocabularies_cannot_share_one_table():
    with pytest.raises(ValueError, match="tied='all' needs one vocabulary, got 5 source and 7 target tokens"):
        ConvS2S(ConvS2SSettings(d_model=8, tied="all"), 5, 7)
