"""Attention with one head: the classical formula, with memories made ready once and weights that models use further."""

import pytest
import torch
from torch import Tensor, nn

from heedful.attention import (
    Additive,
    ALiBi,
    Attending,
    Attention,
    Bias,
    Concat,
    Cosine,
    Dot,
    Gaussian,
    General,
    Location,
    LocationAware,
    MultiHeadAttention,
    PredictedPosition,
    RelativePositions,
    Rotary,
    ScaledDot,
    attend,
    masks,
)

BATCH, QUERIES, KEYS, D, HIDDEN = 3, 4, 6, 8, 5
LENGTHS = torch.tensor([6, 2, 4])
SCORES = {
    "dot": Dot,
    "scaled dot": ScaledDot,
    "rotary": Rotary,
    "general": lambda: General(D, D),
    "cosine": Cosine,
    "location": lambda: Location(D, KEYS),
    "additive": lambda: Additive(D, D, HIDDEN),
    "concat": lambda: Concat(D, D),
}
EVERY = pytest.mark.parametrize("name", SCORES)


def _inputs() -> tuple[Tensor, Tensor]:
    return torch.randn(BATCH, QUERIES, D), torch.randn(BATCH, KEYS, D)


def test_it_is_the_attention_of_bahdanau():
    # e_j = v^T tanh(W s + U h_j), alpha = softmax(e), c = sum_j alpha_j h_j
    attention = Attention(Additive(5, 7, HIDDEN, bias=False)).double()
    state = torch.randn(BATCH, 1, 5, dtype=torch.float64)
    annotations = torch.randn(BATCH, KEYS, 7, dtype=torch.float64)
    context = attention(state, annotations, mask=masks.padding(LENGTHS))
    w, u, v = (attention.score.get_parameter(name) for name in ("query_weight", "key_weight", "v"))
    for b in range(BATCH):
        energies = [
            torch.exp(v @ torch.tanh(w @ state[b, 0] + u @ annotation))
            for annotation in annotations[b, : LENGTHS[b]]
        ]
        expected = sum(e / sum(energies) * h for e, h in zip(energies, annotations[b], strict=False))
        torch.testing.assert_close(context[b, 0], expected)


@EVERY
def test_it_is_attend_with_one_head(name):
    attention, (query, memory), values = Attention(SCORES[name]()), _inputs(), torch.randn(BATCH, KEYS, 3)
    mask = masks.padding(LENGTHS)
    expected = attend(*(x.unsqueeze(1) for x in (query, memory, values)), score=attention.score, mask=mask)
    assert torch.equal(attention(query, memory, values=values, mask=mask), expected.squeeze(1))


@EVERY
def test_a_memory_made_ready_once_gives_the_same_at_every_step(name):
    attention, (query, memory) = Attention(SCORES[name]()), _inputs()
    places = {"query_positions": torch.arange(QUERIES), "key_positions": torch.arange(KEYS) % 3}
    choices = {"mask": masks.padding(LENGTHS)}
    expected = attention(query, memory, **choices, **places)
    ready = attention.project(memory, key_positions=places["key_positions"])
    torch.testing.assert_close(attention(query, ready, **choices, **places), expected)
    for step in range(QUERIES):
        here = {**places, "query_positions": torch.tensor([step])}
        one = attention(query[:, step : step + 1], ready, **choices, **here)
        torch.testing.assert_close(one, expected[:, step : step + 1])


def test_a_memory_that_is_ready_is_not_projected_again():
    class Counting(Additive):
        times = 0

        def prepare_key(self, key, grid):
            self.times += 1
            return super().prepare_key(key, grid)

    attention, (query, memory) = Attention(score := Counting(D, D, HIDDEN)), _inputs()
    ready = attention.project(memory)
    for step in range(QUERIES):
        attention(query[:, step : step + 1], ready)
    assert score.times == 1


def test_hypotheses_are_kept_and_reordered_in_a_memory_that_is_ready():
    attention, (query, memory) = Attention(Additive(D, D, HIDDEN)), _inputs()
    rows = torch.tensor([2, 0, 0, 1])
    ready = attention.project(memory, values=memory * 2).select(rows)
    torch.testing.assert_close(attention(query[rows], ready), attention(query, memory)[rows] * 2)


def test_a_location_aware_decoder_learns_through_all_its_steps():
    attention = Attention(LocationAware(D, D, HIDDEN, filters=2, width=3))
    query, memory = _inputs()
    ready, weights = attention.project(memory), torch.zeros(BATCH, 1, KEYS)
    attended = []
    for step in range(QUERIES):
        score = attention.score.after(weights)
        one, weights = attention.with_weights(
            query[:, step : step + 1], ready, score=score, mask=masks.padding(LENGTHS)
        )
        attended.append(one)
        raw = attend(
            query[:, None, step : step + 1], memory[:, None], memory[:, None], score=score,
            mask=masks.padding(LENGTHS),
        )  # fmt: skip
        torch.testing.assert_close(one, raw.squeeze(1))
    torch.cat(attended, 1).square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@EVERY
def test_weights_are_those_of_what_is_attended_to(name):
    attention, (query, memory) = Attention(SCORES[name](), dropout=0.5), _inputs()
    mask = masks.padding(torch.tensor([6, 0, 4]))
    attention.eval()
    attended, weights = attention.with_weights(query, memory, mask=mask)
    torch.testing.assert_close(attended, attention(query, memory, mask=mask))
    torch.testing.assert_close(weights @ memory, attended)
    torch.testing.assert_close(weights.sum(-1), torch.tensor([[1.0], [0.0], [1.0]]).expand(-1, QUERIES))
    attention.train()
    dropped, before = attention.with_weights(query, memory, mask=mask)
    torch.testing.assert_close(before, weights)  # as they were before dropout
    assert not torch.allclose(dropped, attended)


def test_weights_have_gradients():
    # A pointer's loss, or one of coverage, is made of the weights themselves.
    attention, (query, memory) = Attention(General(D, D)), _inputs()
    _, weights = attention.with_weights(query, memory)
    weights[:, :, 0].log().sum().backward()
    assert attention.score.weight.grad.abs().sum() > 0


def test_a_bool_tensor_of_three_dimensions_has_the_batch_first():
    attention, (query, memory) = Attention(ScaledDot()), _inputs()
    mask = torch.rand(BATCH, QUERIES, KEYS) < 0.5
    expected = attention(query, memory, mask=mask.unsqueeze(1))
    assert torch.equal(attention(query, memory, mask=mask), expected)


def test_dropout_is_of_training_only():
    attention, (query, memory) = Attention(ScaledDot(), dropout=0.9), _inputs()
    plain = Attention(ScaledDot())(query, memory)
    assert not torch.equal(attention(query, memory), plain)
    assert torch.equal(attention.eval()(query, memory), plain)


def test_parameters_of_the_score_and_of_its_modifiers_are_the_modules():
    score = General(D, D).then(RelativePositions.learned(2, D), ALiBi(torch.ones(1)))
    attention = Attention(score)
    assert set(attention.state_dict()) == {"score.weight", "modifiers.0.table"}
    attention.double()
    query, memory = (tensor.double() for tensor in _inputs())
    attention(query, memory).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in attention.parameters())


def test_nothing_is_remembered():
    attention, (query, memory) = Attention(Additive(D, D, HIDDEN)), _inputs()
    before = dict(vars(attention)), dict(vars(attention.score))
    attention(query, attention.project(memory), score=attention.score.then(Bias(torch.zeros(KEYS))))
    attention.with_weights(query, memory)
    assert (vars(attention), vars(attention.score)) == before


def test_local_p_is_made_of_a_predicted_position():
    attention, predict = Attention(General(D, D)), PredictedPosition(D)
    query, memory = _inputs()
    centers = predict(query.unsqueeze(1), LENGTHS)
    score = attention.score.then(Gaussian(centers, 2))
    attended = attention(query, memory, score=score, mask=masks.around(centers, 2) & masks.padding(LENGTHS))
    attended.square().sum().backward()
    assert predict.v.grad.abs().sum() > 0


def test_observers_find_both_kinds_of_attention():
    assert isinstance(Attention(Dot()), Attending)
    assert isinstance(MultiHeadAttention(8, 2), Attending)
    assert isinstance(Attention(Dot()), nn.Module)


def test_what_does_not_fit_is_told():
    attention, (query, memory) = Attention(Additive(D, D, HIDDEN)), _inputs()
    with pytest.raises(ValueError, match=r"queries \(batch, queries, d_query\), got \(3, 8\)"):
        attention(query[:, 0], memory)
    with pytest.raises(ValueError, match=r"memory \(batch, keys, d_key\) .* got \(3, 8\) and \(3, 8\)"):
        attention(query, memory[:, 0])
    with pytest.raises(ValueError, match="has its values; give them to `project`"):
        attention(query, attention.project(memory), values=memory)
    with pytest.raises(ValueError, match="made for keys of width 8"):
        attention(query, memory[..., :4])
    with pytest.raises(ValueError, match="Each key needs a value"):
        attention(query, memory, values=memory[:, :2])
