"""Samples follow the model's probabilities, cut where they were asked to be, and repeat under a seed."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedful.decoding import SearchSettings, search
from heedful.decoding.ranking import largest
from heedful.decoding.sampling import draw, truncate, uniforms
from tests.decoding.brute_force import every_answer
from tests.decoding.small_models import Recurrent, Table, sources

SAMPLES = 20_000


def chi_square_is_small(observed: list[float], expected: list[float]) -> bool:
    """Pearson's statistic within five standard deviations of its mean, over cells that expect at least five."""
    cells = [(o, e) for o, e in zip(observed, expected, strict=True) if e >= 5]
    freedom = len(cells) - 1
    assert freedom >= 2
    return sum((o - e) ** 2 / e for o, e in cells) < freedom + 5 * math.sqrt(2 * freedom)


def test_drawing_follows_the_probabilities():
    probabilities = torch.tensor([0.02, 0.0, 0.5, 0.18, 0.3], dtype=torch.float64)
    drawn = draw(probabilities.expand(SAMPLES, 5), uniforms(0, [0], SAMPLES, 1)[:, 0])
    counts = drawn.bincount(minlength=5)
    assert counts[1] == 0
    assert chi_square_is_small(counts.tolist(), (SAMPLES * probabilities).tolist())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda p: sum(p) > 1e-3), st.data())
def test_a_draw_is_where_the_number_falls_and_never_impossible(weights, data):
    probabilities = torch.tensor(weights)
    probabilities = probabilities / probabilities.sum()
    uniform = data.draw(st.sampled_from([0.0, 0.5, 1 - 2**-53]) | st.floats(0, 1, exclude_max=True))
    choice = int(draw(probabilities.unsqueeze(0), torch.tensor([uniform], dtype=torch.float64)))
    assert probabilities[choice] > 0
    assert probabilities[:choice].sum() <= uniform + 1e-6
    assert probabilities[: choice + 1].sum() >= uniform - 1e-6


def test_whole_samples_are_as_frequent_as_the_model_says():
    model, batch = Table(6, seed=2, sharpness=1.0), sources(1, 6)
    settings = SearchSettings(
        method="sample", n_best=SAMPLES, ban_unknown=False, maximum_length_factor=0, maximum_length_add=4
    )
    (answers,) = search(model, batch, settings)
    counts = Counter(answer.tokens for answer in answers if answer.finished)
    # PAD and START are never drawn, so what is drawn follows the rest, renormalised at each step.
    with torch.no_grad():
        model.table[..., :2] = -1000
    every = every_answer(model, batch[0], [3, 4, 5], 4, settings)
    expected = [SAMPLES * math.exp(answer.log_probability) for answer in every]
    assert chi_square_is_small([counts[answer.tokens] for answer in every], expected)
    assert sum(counts.values()) == pytest.approx(sum(expected), rel=0.03)


@given(
    logits=st.lists(st.integers(-4, 4), min_size=1, max_size=9),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.integers(0, 10),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
)
def test_truncation_keeps_exactly_the_most_probable(logits, temperature, top_k, top_p):
    """Against the definitions in plain Python, ties (the logits are small integers) going to the lower id."""
    weights = [math.exp(logit / temperature) for logit in logits]
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    kept = order[:top_k] if top_k else order
    total = sum(weights[token] for token in kept)
    nucleus: list[int] = []
    for token in kept:
        if top_p < 1 and sum(weights[each] for each in nucleus) / total >= top_p - 1e-12:
            break
        nucleus.append(token)
    mass = sum(weights[token] for token in nucleus)

    row = torch.tensor([logits], dtype=torch.float64).log_softmax(-1)
    probabilities, tokens = truncate(row, temperature, top_k, top_p)
    if top_k:  # as a lean engine gives them, so that a uniform number falls on the same token
        assert tokens[0].tolist() == order[:top_k]
    given_ = dict(zip(tokens[0].tolist(), probabilities[0].tolist(), strict=True))
    positive = {token: probability for token, probability in given_.items() if probability > 0}
    assert set(positive) == set(nucleus)
    for token, probability in positive.items():
        assert probability == pytest.approx(weights[token] / mass)


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 6)
)
def test_the_largest_come_in_order_and_equals_by_index(rows, count):
    values, indices = largest(torch.tensor(rows, dtype=torch.float32), count)
    for row, value, index in zip(rows, values.tolist(), indices.tolist(), strict=True):
        expected = sorted(range(6), key=lambda place: (-row[place], place))[:count]
        assert index == expected
        assert value == [row[place] for place in expected]


def test_a_sample_depends_on_seed_and_number_only():
    model, batch = Recurrent(30), sources(4, 30)
    settings = SearchSettings(method="sample", n_best=2)
    whole = search(model, batch, settings)
    assert search(model, batch, settings) == whole
    turned = search(model, batch.flip(0), settings, numbers=[3, 2, 1, 0])
    assert [[each.tokens for each in row] for row in turned[::-1]] == [
        [each.tokens for each in row] for row in whole
    ]
    same = batch[:1].expand(4, -1)
    texts = {each.tokens for row in search(model, same, settings) for each in row}
    assert len(texts) == 8  # eight samples of one sentence under four numbers
    other = search(model, batch, settings.model_copy(update={"seed": 1}))
    assert [row[0].tokens for row in other] != [row[0].tokens for row in whole]


def test_top_k_1_and_a_low_temperature_are_greedy():
    model, batch = Recurrent(30), sources(4, 30)
    greedy = [row[0].tokens for row in search(model, batch, SearchSettings(beam=1))]
    for change in ({"top_k": 1}, {"temperature": 1e-4}, {"top_p": 1e-6}):
        sampled = search(model, batch, SearchSettings.model_validate({"method": "sample", **change}))
        assert [row[0].tokens for row in sampled] == greedy


def test_samples_report_the_models_own_log_probability():
    model, batch = Recurrent(30), sources(3, 30)
    hot = SearchSettings(method="sample", temperature=3.0, top_k=7, n_best=3)
    for source, answers in zip(batch, search(model, batch, hot), strict=True):
        for answer in answers:
            inputs = torch.tensor([[1, *answer.tokens]])
            outputs = [*answer.tokens, 2] if answer.finished else [*answer.tokens]
            own = model(source.unsqueeze(0), inputs).log_softmax(-1)[0, range(len(outputs)), outputs]
            assert answer.log_probability == pytest.approx(own.sum().item())
            assert answer.token_log_probabilities == pytest.approx(own.tolist())
