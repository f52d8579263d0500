"""The penalties are GNMT's formulas."""

import math

import numpy as np
import pytest
import torch

from heedful.decoding import SearchSettings, search
from heedful.decoding.penalties import coverage_penalty, length_penalty
from heedful.text.special import PAD
from tests.decoding.small_models import Table, sources


def test_length_penalties_by_hand():
    lengths = np.array([1, 7, 55])
    assert length_penalty(lengths, "gnmt", 0.6).tolist() == pytest.approx([1.0, 2**0.6, 10**0.6])
    assert length_penalty(lengths, "average", 0.5).tolist() == pytest.approx([1.0, 7**0.5, 55**0.5])
    assert length_penalty(lengths, "none", 0.6).tolist() == [1.0, 1.0, 1.0]


def test_the_coverage_penalty_by_hand():
    covered = np.array([[0.5, 2.0, 0.25, 0.0]])
    mask = np.array([[True, True, True, False]])
    assert coverage_penalty(covered, mask, 0.2).tolist() == pytest.approx(
        [0.2 * (math.log(0.5) + math.log(0.25))]
    )
    assert np.isfinite(coverage_penalty(np.zeros((1, 1)), np.ones((1, 1), dtype=bool), 0.2)).all()


class Attending(Table):
    """A model that attends to the source position that the token it reads names: 3 to the first, 4 to the second ..."""

    def step(self, tokens, state):
        logits, new = super().step(tokens, state)
        place = (tokens - 3).clamp(min=0) % 5
        self.weights = torch.nn.functional.one_hot(place, 5).double() * 0.75 + 0.05
        return logits, new


def attention_paid(tokens: tuple[int, ...]) -> list[list[float]]:
    return [[0.8 if place == max(read - 3, 0) % 5 else 0.05 for place in range(5)] for read in (1, *tokens)]


@pytest.mark.parametrize(
    "method", [{"beam": 1}, {"beam": 6, "n_best": 6}, {"method": "sample", "n_best": 6}], ids=str
)
def test_scores_contain_the_coverage_of_the_answers_own_steps(method):
    model, batch = Attending(9, maximum_length=8, seed=1, sharpness=1.0), sources(4, 9)
    settings = SearchSettings.model_validate({**method, "coverage_penalty": 0.5})
    for source, answers in zip(
        batch, search(model, batch, settings, attention=lambda: model.weights), strict=True
    ):
        length = int((source != PAD).sum())
        for answer in answers:
            steps = (1, *answer.tokens) if answer.finished else (1, *answer.tokens[:-1])
            sums = [sum(column) for column in zip(*attention_paid(steps[1:]), strict=True)]
            cp = 0.5 * sum(math.log(min(covered, 1)) for covered in sums[:length])
            lp = ((5 + len(answer.token_log_probabilities)) / 6) ** 0.6
            assert answer.score == pytest.approx(answer.log_probability / lp + cp)
        order = [(answer.finished, answer.score) for answer in answers]
        assert order == sorted(order, reverse=True)


def test_coverage_changes_which_answer_wins():
    model, batch = Attending(9, maximum_length=8, seed=1, sharpness=1.0), sources(6, 9)

    def best(beta: float) -> list[tuple[int, ...]]:
        rows = search(model, batch, SearchSettings(coverage_penalty=beta), attention=lambda: model.weights)
        return [row[0].tokens for row in rows]

    assert best(0.0) != best(2.0)


def test_a_coverage_penalty_without_attention_is_refused():
    with pytest.raises(ValueError, match="needs `attention`"):
        search(Table(6), sources(2, 6), SearchSettings(coverage_penalty=0.2))
