"""Modifiers: each is its paper's formula, by positions, with gradients, and in tiles what it is in whole."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from heedful.attention import (
    ALiBi,
    Bias,
    Dot,
    Gaussian,
    General,
    Modifier,
    PredictedPosition,
    RelativeBias,
    RelativeBuckets,
    RelativePositions,
    ScaledDot,
    SoftCap,
    attend,
    masks,
)
from heedful.attention.grid import Grid
from heedful.attention.modifiers import predicted_position
from heedful.attention.positions import alibi_slopes, relative_buckets

BATCH, HEADS, LENGTH, D = 2, 3, 6, 4


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# Each modifier, made of one tensor that gradients are wanted of, and that tensor.
MODIFIERS: dict[str, tuple[Callable[[Tensor], Modifier], tuple[int, ...]]] = {
    "bias": (Bias, (HEADS, LENGTH, LENGTH)),
    "bias of keys": (Bias, (BATCH, 1, 1, LENGTH)),
    "relative positions": (RelativePositions, (5, D)),
    "relative positions of heads": (RelativePositions, (HEADS, 5, D)),
    "relative buckets": (lambda table: RelativeBuckets(table, furthest=8), (8, HEADS)),
    "relative buckets of one side": (lambda table: RelativeBuckets(table, False, furthest=8), (6, 1)),
    "ALiBi": (ALiBi, (HEADS,)),
    "soft cap": (lambda _: SoftCap(2.0), (1,)),
    "Gaussian": (lambda centers: Gaussian(centers * 3, window=3), (BATCH, HEADS, LENGTH, 1)),
    "Gaussian of all heads": (lambda centers: Gaussian(centers, window=3), (BATCH, 1, LENGTH, 1)),
}
EVERY = pytest.mark.parametrize("name", MODIFIERS)


def _weights(score, query: Tensor, key: Tensor, **choices) -> Tensor:
    """The weights, as what is attended to when each key has a value of its own."""
    values = torch.eye(key.shape[2], dtype=query.dtype).expand(*key.shape[:3], -1)
    return attend(query, key, values, score=score, kernel="reference", **choices)


def _inputs(length: int = LENGTH) -> tuple[Tensor, Tensor]:
    return _random(BATCH, HEADS, length, D), _random(BATCH, HEADS, length, D)


@EVERY
def test_gradients_are_those_of_the_definition(name):
    make, shape = MODIFIERS[name]
    query, key = _inputs()
    inputs = [tensor.requires_grad_() for tensor in (query, key, _random(*shape))]
    if name == "soft cap":
        inputs[2].requires_grad_(False)

    def weights(query: Tensor, key: Tensor, tensor: Tensor) -> Tensor:
        return _weights(ScaledDot().then(make(tensor)), query, key, mask=masks.causal())

    assert torch.autograd.gradcheck(weights, tuple(inputs), fast_mode=True)


@EVERY
def test_a_tile_is_a_tile_of_the_whole_and_its_tensors_are_views(name):
    make, shape = MODIFIERS[name]
    score = Dot().then(make(_random(*shape)))
    query, key = _inputs()
    positions = torch.tensor([[0, 1, 2, 3, 4, 5], [7, 3, 9, 0, 2, 2]])
    for grid in (
        Grid(LENGTH, LENGTH, query.device),
        Grid(LENGTH, LENGTH, query.device, positions, positions),
    ):
        whole = score.tile(query, key, grid.tile())
        factor = score.factor(grid.tile())
        for rows, keys in product((slice(0, 2), slice(2, 6)), (slice(0, 1), slice(1, 5), slice(5, 6))):
            tile = grid.tile(rows, keys)
            part = score.tile(query[:, :, rows], key[:, :, keys], tile)
            torch.testing.assert_close(part, whole[:, :, rows, keys], rtol=1e-12, atol=1e-12)
            if factor is not None:
                there = score.factor(tile)
                expected = factor.expand_as(whole)[:, :, rows, keys]
                torch.testing.assert_close(there.expand_as(part), expected)
            for tensors, views in zip(score.parts(), score.cut(score.parts(), tile), strict=True):
                for tensor, view in zip(tensors, views, strict=True):
                    assert view.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


@EVERY
def test_a_cached_step_is_the_last_row_of_a_full_pass(name):
    make, shape = MODIFIERS[name]
    tensor, (query, key) = _random(*shape), _inputs()
    whole = _weights(Dot().then(make(tensor)), query, key, mask=masks.causal())
    if len(shape) > 2 and shape[-2] == LENGTH:  # it has a row for each query
        tensor = tensor[..., -1:, :]
    last = _weights(Dot().then(make(tensor)), query[:, :, -1:], key, mask=masks.causal())
    torch.testing.assert_close(last, whole[:, :, -1:])


def test_relative_positions_are_the_formula_of_shaw():
    # e_ij = q_i . (k_j + a_clip(j - i)) / sqrt(d_k)
    furthest = 2
    relative, (query, key) = RelativePositions.learned(furthest, D).double(), _inputs()
    vectors = {r: relative.table[r + furthest].detach() for r in range(-furthest, furthest + 1)}
    scores = ScaledDot().then(relative)(query, key)
    for b, h, i, j in product(range(BATCH), range(HEADS), range(LENGTH), range(LENGTH)):
        clipped = max(-furthest, min(furthest, j - i))
        expected = query[b, h, i] @ (key[b, h, j] + vectors[clipped]) / math.sqrt(D)
        assert scores[b, h, i, j].item() == pytest.approx(expected.item(), abs=1e-12)


def test_relative_buckets_are_the_biases_of_t5():
    module = RelativeBias(HEADS, both_sides=True, buckets=8).double()
    nn.init.normal_(module.weight)
    query, key = _inputs(40)
    positions = torch.arange(40)
    written = Dot().then(Bias(module(positions, positions)))(query, key)
    torch.testing.assert_close(Dot().then(RelativeBuckets(module.weight))(query, key), written)
    for i, j in ((0, 0), (3, 30), (30, 3)):
        bucket = relative_buckets(positions[i : i + 1], positions[j : j + 1], 8).item()
        expected = (query[1, 2, i] @ key[1, 2, j]) + module.weight[bucket, 2]
        torch.testing.assert_close(written[1, 2, i, j], expected)


def test_alibi_takes_more_from_keys_further_away_on_both_sides():
    slopes = alibi_slopes(HEADS).double()
    zeros = torch.zeros(1, HEADS, LENGTH, D, dtype=torch.float64)
    scores = Dot().then(ALiBi(slopes))(zeros, zeros)
    for h, i, j in product(range(HEADS), range(LENGTH), range(LENGTH)):
        assert scores[0, h, i, j].item() == -slopes[h].item() * abs(i - j)


@given(shift=st.integers(-1000, 1000))
def test_what_is_relative_does_not_change_when_all_positions_are_shifted(shift):
    query, key = _inputs()
    positions = torch.arange(LENGTH)
    tables = RelativePositions(_random(5, D)), RelativeBuckets(_random(8, HEADS)), ALiBi(_random(HEADS))
    shifted = {"query_positions": positions + shift, "key_positions": positions + shift}
    score = ScaledDot().then(*tables)
    torch.testing.assert_close(_weights(score, query, key, **shifted), _weights(score, query, key))


@given(st.floats(0.1, 1000), st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=9, unique=True))
def test_a_soft_cap_keeps_scores_within_it_and_in_their_order(cap, numbers):
    def capped(scores: Tensor) -> Tensor:
        one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        return Dot().then(SoftCap(cap))(one, scores.reshape(1, 1, -1, 1)).flatten()

    scores = capped(torch.tensor(numbers, dtype=torch.float64).sort().values)
    assert (scores.abs() <= cap).all()
    assert (scores.diff() >= 0).all()
    small = torch.linspace(-cap, cap, 5, dtype=torch.float64) / 1000
    torch.testing.assert_close(capped(small), small, rtol=1e-6, atol=0)  # what is far below it hardly changes


def test_modifiers_are_applied_in_their_order():
    query, key = _inputs()
    bias = _random(LENGTH, LENGTH)
    dots = query @ key.transpose(-2, -1)
    torch.testing.assert_close(
        Dot().then(Bias(bias), SoftCap(2.0))(query, key), 2 * torch.tanh((dots + bias) / 2)
    )
    torch.testing.assert_close(
        Dot().then(SoftCap(2.0), Bias(bias))(query, key), 2 * torch.tanh(dots / 2) + bias
    )


def test_a_gaussian_multiplies_the_weights_and_does_not_normalise_them_again():
    # a_t(s) = align(h_t, h_s) exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D / 2 (Luong et al. 2015, equation 10)
    query, key, window = *_inputs(), 4
    centers = torch.rand(BATCH, HEADS, LENGTH, 1, dtype=torch.float64) * LENGTH
    weights = _weights(Dot().then(Gaussian(centers, window)), query, key)
    align = Dot()(query, key).softmax(-1)
    for b, h, t, s in product(range(BATCH), range(HEADS), range(LENGTH), range(LENGTH)):
        distance = s - centers[b, h, t, 0].item()
        expected = align[b, h, t, s].item() * math.exp(-(distance**2) / (2 * (window / 2) ** 2))
        assert weights[b, h, t, s].item() == pytest.approx(expected, abs=1e-12)
    assert (weights.sum(-1) < 1).all()


def test_local_p_is_that_of_luong():
    """The softmax within the window, times the Gaussian, written with loops."""
    window, lengths, length = 2, torch.tensor([9, 5]), 9
    score, predict = General(D, D).double(), PredictedPosition(D).double()
    query, memory = _random(BATCH, 1, 3, D), _random(BATCH, 1, length, D)
    centers = predict(query, lengths)
    weights = _weights(
        score.then(Gaussian(centers, window)),
        query,
        memory,
        mask=masks.around(centers, window) & masks.padding(lengths),
    )
    for b, t in product(range(BATCH), range(3)):
        hidden = torch.tanh(predict.weight @ query[b, 0, t])
        p = lengths[b] * torch.sigmoid(predict.v @ hidden)
        near = [s for s in range(int(lengths[b])) if p - window <= s <= p + window]
        exponentials = {s: torch.exp(query[b, 0, t] @ score.weight @ memory[b, 0, s]) for s in near}
        for s in range(length):
            expected = torch.zeros((), dtype=torch.float64)
            if s in near:
                gauss = torch.exp(-((s - p) ** 2) / (2 * (window / 2) ** 2))
                expected = exponentials[s] / sum(exponentials.values()) * gauss
            torch.testing.assert_close(weights[b, 0, t, s], expected)
    weights.sum().backward()
    assert predict.weight.grad.abs().sum() > 0  # where to look is learned through the Gaussian


def test_predicted_positions_lie_within_the_source_and_have_gradients():
    predict = PredictedPosition(D, d_hidden=5).double()
    query, lengths = _random(BATCH, 1, 7, D) * 30, torch.tensor([3, 700])
    centers = predict(query, lengths)
    assert centers.shape == (BATCH, 1, 7, 1)
    assert (centers >= 0).all()
    assert (centers <= lengths.reshape(-1, 1, 1, 1)).all()
    # A bfloat16 model too can tell where it looks in a long source.
    assert predict.bfloat16()(query.bfloat16(), lengths).dtype == torch.float32
    predict.double()
    inputs = (query / 30).requires_grad_(), predict.weight, predict.v
    assert torch.autograd.gradcheck(lambda q, w, v: predicted_position(q, lengths, w, v), inputs)


def test_modifiers_with_tables_of_their_own_learn_them():
    relative, buckets = RelativePositions.learned(3, D), RelativeBuckets.learned(HEADS, buckets=10)
    assert relative.state_dict()["table"].shape == (7, D)
    assert buckets.state_dict()["table"].shape == (10, HEADS)
    query, key = (tensor.float() for tensor in _inputs())
    attend(query, key, key, score=ScaledDot().then(relative, buckets)).square().sum().backward()
    assert relative.table.grad.abs().sum() > 0
    assert buckets.table.grad.abs().sum() > 0
    assert list(RelativePositions(torch.zeros(3, D)).parameters()) == []  # a tensor is not a parameter


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@EVERY
def test_scores_keep_their_type(name, dtype):
    make, shape = MODIFIERS[name]
    query, key = (tensor.to(dtype) for tensor in _inputs())
    assert Dot().then(make(_random(*shape).float()))(query, key).dtype == dtype


@pytest.mark.parametrize(
    ("modifier", "message"),
    [
        (lambda: RelativePositions(torch.zeros(4, D)), r"table \(2 \* furthest \+ 1, d_k\), .* got \(4, 4\)"),
        (lambda: RelativePositions(torch.zeros(5, 7)), "as wide as the queries, 4, got"),
        (lambda: RelativePositions(torch.zeros(2, 5, D)), "made for 2 heads, and there are 3"),
        (lambda: RelativeBuckets(torch.zeros(8)), r"table \(buckets, heads\), got \(8,\)"),
        (lambda: RelativeBuckets(torch.zeros(8, 2)), "made for 2 heads"),
        (lambda: ALiBi(torch.zeros(1, HEADS, 1, 1)), r"\(heads,\), got \(1, 3, 1, 1\)"),
        (lambda: ALiBi(alibi_slopes(2)), "made for 2 heads"),
        (lambda: SoftCap(0.0), "positive number, got 0.0"),
        (lambda: Gaussian(torch.zeros(BATCH, LENGTH), 2), r"Centers must be .* got \(2, 6\)"),
        (lambda: Gaussian(torch.zeros(BATCH, 1, LENGTH, 1), 0), "must be positive, got 0"),
        (lambda: Gaussian(torch.zeros(BATCH, 1, 4, 1), 2), r"\(2, 1, 4, 1\) does not broadcast"),
        (lambda: Bias(torch.zeros(4, LENGTH)), r"\(4, 6\) does not broadcast"),
    ],
)
def test_what_does_not_fit_is_told(modifier, message):
    query, key = (tensor.float() for tensor in _inputs())
    with pytest.raises(ValueError, match=message):
        attend(query, key, key, score=ScaledDot().then(modifier()))
