"""Label-smoothed cross-entropy by its definition, and its gradient, whatever the chunks."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, linear

from heedful.models import Transformer, TransformerSettings
from heedful.objectives import sequence_loss, smoothed_cross_entropy
from heedful.text.special import PAD

TOKENS, WIDTH, VOCABULARY = 9, 6, 13
REFERENCE = torch.tensor([5, 2, PAD, 12, 1, PAD, 7, 7, 2])


def definition(logits: Tensor, reference: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """- sum_v q(v) log p(v) with q = 1 - eps on the reference and eps / (V - 1) on each other token, and - log p."""
    log_p = logits.log_softmax(-1)
    smoothed = likelihood = torch.zeros((), dtype=logits.dtype)
    for row, token in zip(log_p, reference.tolist(), strict=True):
        if token == PAD:
            continue
        for v in range(len(row)):
            q = 1 - smoothing if v == token else smoothing / (len(row) - 1)
            smoothed = smoothed - q * row[v]
        likelihood = likelihood - row[token]
    return smoothed, likelihood.detach()


def _inputs(bias: bool, dtype: torch.dtype = torch.float64) -> list[Tensor | None]:
    shapes = [(TOKENS, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,)]
    tensors = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return tensors if bias else [*tensors[:2], None]


def _with_gradients(loss: Tensor, inputs: list[Tensor | None]) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, [tensor for tensor in inputs if tensor is not None])]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("chunk", [1, 2, 4, 9, 512])
def test_it_is_its_definition_whatever_the_chunks(monkeypatch, bias, smoothing, chunk):
    monkeypatch.setattr("heedful.objectives.cross_entropy.CHUNK", chunk)
    inputs = _inputs(bias)
    smoothed, likelihood = smoothed_cross_entropy(*inputs, REFERENCE, smoothing)
    expected, expected_likelihood = definition(linear(*inputs), REFERENCE, smoothing)
    torch.testing.assert_close(likelihood, expected_likelihood, rtol=1e-12, atol=1e-12)
    # A factor upstream, as the mean over tokens is.
    for one, other in zip(
        _with_gradients(smoothed / 7, inputs), _with_gradients(expected / 7, inputs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_other_numbers_or_none_may_be_what_does_not_count():
    inputs = _inputs(bias=True)
    labels = torch.tensor([0, 3, 12, 0, 5, 7, 1, 1, 0])
    everything = cross_entropy(linear(*inputs), labels, reduction="sum")
    torch.testing.assert_close(smoothed_cross_entropy(*inputs, labels, ignore=None)[0], everything)
    without_one = cross_entropy(linear(*inputs), labels, reduction="sum", ignore_index=1)
    torch.testing.assert_close(smoothed_cross_entropy(*inputs, labels, ignore=1)[0], without_one)


def test_without_smoothing_it_is_pytorchs_cross_entropy():
    features, weight, _ = inputs = _inputs(bias=False)
    smoothed, likelihood = smoothed_cross_entropy(*inputs, REFERENCE, 0.0)
    expected = cross_entropy(features @ weight.t(), REFERENCE, ignore_index=PAD, reduction="sum")
    for one, other in zip(
        _with_gradients(smoothed, inputs[:2]), _with_gradients(expected, inputs[:2]), strict=True
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(likelihood, expected.detach())
    assert not likelihood.requires_grad


def test_the_divisor_is_one_less_than_the_vocabulary():
    # By hand: p = (.7, .1, .1, .1) and the reference is token 1 of probability .7 (token 0 is padding).
    features = torch.tensor([[0.1, 0.7, 0.1, 0.1]], dtype=torch.float64).log()
    weight, reference = torch.eye(4, dtype=torch.float64), torch.tensor([1])
    smoothed, _ = smoothed_cross_entropy(features, weight, None, reference, 0.3)
    assert float(smoothed) == pytest.approx(-(0.7 * math.log(0.7) + 3 * 0.1 * math.log(0.1)))
    # PyTorch divides by V, the reference included: its eps is ours times V / (V - 1).
    expected = cross_entropy(features, reference, label_smoothing=0.3 * 4 / 3)
    torch.testing.assert_close(smoothed, expected)


def test_padding_counts_nothing():
    features, weight, bias = _inputs(bias=True)
    real = REFERENCE != PAD
    whole = smoothed_cross_entropy(features, weight, bias, REFERENCE, 0.1)
    only = smoothed_cross_entropy(features[real], weight, bias, REFERENCE[real], 0.1)
    torch.testing.assert_close(whole[0], only[0])
    torch.testing.assert_close(whole[1], only[1])
    (gradient,) = torch.autograd.grad(whole[0], features)
    assert not gradient[~real].any()
    nothing, _ = smoothed_cross_entropy(features, weight, bias, torch.zeros_like(REFERENCE), 0.1)
    assert float(nothing.detach()) == 0
    assert not torch.autograd.grad(nothing, weight)[0].any()


def test_no_tokens_at_all_are_a_loss_of_zero():
    features = torch.zeros(0, WIDTH, requires_grad=True)
    smoothed, likelihood = smoothed_cross_entropy(
        features, torch.randn(VOCABULARY, WIDTH), None, torch.zeros(0, dtype=torch.long), 0.1
    )
    assert float(smoothed.detach()) == float(likelihood) == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_float32_holds_even_when_the_reference_is_all_but_impossible(smoothing):
    features, weight = torch.tensor([[1.0], [0.01]]), torch.linspace(-300, 300, 5).unsqueeze(1)
    reference = torch.tensor([1, 1])  # its logit is 450 below the best one
    exact, exact_likelihood = smoothed_cross_entropy(
        features.double(), weight.double(), None, reference, smoothing
    )
    smoothed, likelihood = smoothed_cross_entropy(features, weight, None, reference, smoothing)
    assert float(exact_likelihood) > 450
    assert float(smoothed) == pytest.approx(float(exact), rel=1e-6)
    assert float(likelihood) == pytest.approx(float(exact_likelihood), rel=1e-6)


def test_what_is_not_finite_is_not_hidden():
    features, weight, _ = _inputs(bias=False)
    with torch.no_grad():
        features[0, 0] = torch.nan
    smoothed, likelihood = smoothed_cross_entropy(features, weight, None, REFERENCE, 0.1)
    assert bool(smoothed.isnan())
    assert bool(likelihood.isnan())


@pytest.mark.parametrize("bias", [False, True])
def test_bfloat16_is_close_to_float32(bias):
    tokens, vocabulary = 300, 500
    features = torch.randn(tokens, 64, requires_grad=True)
    weight = (torch.randn(vocabulary, 64) * 0.2 + 0.05).requires_grad_()
    offset = torch.randn(vocabulary).requires_grad_() if bias else None
    inputs = [features, weight, offset]
    reference = torch.randint(1, vocabulary, (tokens,))
    exact, _ = smoothed_cross_entropy(*inputs, reference, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = smoothed_cross_entropy(*inputs, reference, 0.1)
    assert rounded.dtype == torch.float32
    assert float(rounded.detach()) == pytest.approx(float(exact.detach()), rel=5e-4)
    for one, other in zip(_with_gradients(rounded, inputs), _with_gradients(exact, inputs), strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 0.01


def test_the_smoothed_part_is_not_rounded_under_autocast():
    # All logits large and near to each other: the sum over the vocabulary is 8,000 times one of them.
    features = torch.full((64, 8), 4.0, requires_grad=True)
    weight = torch.ones(8000, 8) + torch.randn(8000, 8).mul_(0.05)
    weight = weight.bfloat16().float()  # what autocast gives is then exact but for the logits
    reference = torch.randint(1, 8000, (64,))
    exact = smoothed_cross_entropy(features.double(), weight.double(), None, reference, 0.9)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = smoothed_cross_entropy(features, weight, None, reference, 0.9)[0]
    assert abs(float((rounded - exact).detach())) / 64 < 0.02


def test_validation_makes_no_gradient():
    inputs = _inputs(bias=True)
    with torch.no_grad():
        smoothed, _ = smoothed_cross_entropy(*inputs, REFERENCE, 0.1)
    assert not smoothed.requires_grad
    torch.testing.assert_close(smoothed, smoothed_cross_entropy(*inputs, REFERENCE, 0.1)[0].detach())


def test_the_loss_of_a_model_is_that_of_its_logits():
    settings = TransformerSettings(
        d_model=8, d_ff=8, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0
    )
    model = Transformer(settings, VOCABULARY, VOCABULARY).double()
    source = torch.tensor([[4, 5, 2], [6, 2, 0]])
    target, reference = torch.tensor([[1, 7, 8], [1, 9, 0]]), torch.tensor([[7, 8, 2], [9, 2, 0]])
    loss = sequence_loss(model, source, target, reference, 0.1)
    smoothed, likelihood = definition(model(source, target).flatten(0, 1), reference.flatten(), 0.1)
    assert loss.tokens == 5
    torch.testing.assert_close(loss.likelihood, likelihood)
    parameters = list(model.parameters())
    # The embeddings' matrix is the output's: its gradient is the sum of both.
    for one, other in zip(
        _with_gradients(loss.smoothed, parameters), _with_gradients(smoothed, parameters), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [2, 4, 6, 512])
def test_r_drop_is_its_definition_whatever_the_chunks(monkeypatch, bias, chunk):
    """Liang et al. 2021, equations 1 to 4: two cross-entropies, and alpha / 2 of both divergences."""
    monkeypatch.setattr("heedful.objectives.cross_entropy.CHUNK", chunk)
    first, weight, offset = inputs = _inputs(bias)
    second = torch.randn_like(first, requires_grad=True)
    both = torch.cat((first, second))
    smoothed, likelihood = smoothed_cross_entropy(both, weight, offset, REFERENCE.repeat(2), 0.1, 5.0)
    logits = [linear(half, weight, offset) for half in (first, second)]
    terms = [definition(half, REFERENCE, 0.1) for half in logits]
    log_p, log_q = (half[REFERENCE != PAD].log_softmax(-1) for half in logits)
    divergence = kl_div(log_q, log_p, reduction="sum", log_target=True)
    divergence = divergence + kl_div(log_p, log_q, reduction="sum", log_target=True)
    expected = terms[0][0] + terms[1][0] + 5.0 / 2 * divergence
    torch.testing.assert_close(likelihood, terms[0][1] + terms[1][1], rtol=1e-12, atol=1e-12)
    inputs = [*inputs, second]
    for one, other in zip(_with_gradients(smoothed, inputs), _with_gradients(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_r_drop_of_a_model_without_dropout_adds_nothing():
    torch.manual_seed(1)
    settings = TransformerSettings(
        d_model=8, d_ff=16, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0
    )
    model = Transformer(settings, 11, 11).double()
    source, target = torch.randint(4, 11, (2, 3, 5))
    batch = source, target, target.roll(-1, 1)
    plain, twice = sequence_loss(model, *batch, 0.1), sequence_loss(model, *batch, 0.1, r_drop=5.0)
    torch.testing.assert_close(twice.smoothed, plain.smoothed, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(twice.likelihood, plain.likelihood, rtol=1e-12, atol=1e-12)
    assert twice.tokens == plain.tokens
