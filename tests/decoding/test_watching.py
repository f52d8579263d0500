"""A watched search gives the same answers, and its steps tell how it came to them."""

import numpy as np
import pytest
import torch

from heedful.decoding import Hypothesis, SearchSettings, search
from heedful.decoding.penalties import length_penalty
from heedful.decoding.watching import LOOKED_AT, Step
from heedful.text.special import END
from tests.decoding.small_models import Recurrent, Table, sources
from tests.decoding.test_penalties import Attending

SETTINGS = [
    SearchSettings(beam=3, n_best=2, maximum_length_add=3, maximum_length_factor=0.5),
    SearchSettings(beam=2, stopping="count"),
    SearchSettings(beam=4, no_repeat_ngram=2, length_penalty="none", maximum_length_add=6),
    SearchSettings(beam=1, maximum_length_add=4),
    SearchSettings(method="sample", n_best=3, seed=5, maximum_length_add=4),
]


def followed(steps: list[Step], rows: int) -> list[list[tuple[tuple[int, ...], float, float]]]:
    """Give what the steps say of each row: tokens, log-probability and score of every candidate that finished."""
    found: list[list[tuple[tuple[int, ...], float, float]]] = [[] for _ in range(rows)]
    live: list[tuple[int, ...]] | None = None
    for step in steps:
        live = live or [()] * len(step.choices.value)
        new: dict[int, tuple[int, ...]] = {}
        for place, sentence in enumerate(step.sentences.tolist()):
            for candidate in range(step.value.shape[1]):
                parent, choice = step.parent[place, candidate], step.choice[place, candidate]
                said = (*live[parent], int(step.choices.token[parent, choice]))
                if step.finished[place, candidate]:
                    found[sentence].append((said, step.value[place, candidate], step.score[place, candidate]))
                if step.kept[place, candidate] >= 0:
                    new[int(step.kept[place, candidate])] = said
        live = [new.get(row, ()) for row in range(max(new, default=-1) + 1)]
    return found


def assert_led_to(found: list[list[Hypothesis]], steps: list[Step]) -> None:
    """Each answer is a candidate that finished, with its score."""
    for answers, candidates in zip(found, followed(steps, len(found)), strict=True):
        for answer in answers:
            said = (*answer.tokens, END) if answer.finished else answer.tokens
            scores = [score for tokens, _, score in candidates if tokens == said]
            assert scores
            assert scores[0] == pytest.approx(answer.score, abs=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", [Table, Recurrent])
def test_steps_lead_to_the_answers_of_the_search_that_is_not_watched(kind, settings):
    model, batch, steps = kind(6, seed=4, maximum_length=12), sources(4, 6, seed=2), list[Step]()
    watched = search(model, batch, settings, watch=steps.append)
    assert watched == search(model, batch, settings)
    assert_led_to(watched, steps)
    for answer in (answer for answers in watched for answer in answers):
        assert answer.log_probability == pytest.approx(sum(answer.token_log_probabilities))


@pytest.mark.parametrize(
    "method", [{"beam": 1}, {"beam": 3, "n_best": 3}, {"method": "sample", "n_best": 3}], ids=str
)
def test_scores_of_steps_hold_what_is_not_covered_as_those_of_the_answers_do(method):
    model, batch, steps = Attending(9, maximum_length=8, seed=1, sharpness=1.0), sources(4, 9), list[Step]()
    settings = SearchSettings.model_validate({**method, "coverage_penalty": 0.5})
    watched = search(model, batch, settings, attention=lambda: model.weights, watch=steps.append)
    assert watched == search(model, batch, settings, attention=lambda: model.weights)
    assert_led_to(watched, steps)


def test_a_beam_s_candidates_are_the_best_of_all_continuations_and_the_first_that_go_on_are_kept():
    model, steps = Recurrent(8, seed=1), list[Step]()
    settings = SearchSettings(beam=3, maximum_length_add=5, maximum_length_factor=0)
    search(model, sources(2, 8, seed=0), settings, watch=steps.append)
    assert [step.length for step in steps] == list(range(1, len(steps) + 1))
    for step in steps:
        assert (np.diff(step.value, axis=1) <= 0).all()
        assert step.score == pytest.approx(step.value / length_penalty(step.length, "gnmt", 0.6))
        token = step.choices.token[step.parent, step.choice]
        for place in range(len(step.sentences)):
            kept = step.kept[place] >= 0
            assert not (kept & (token[place] == END)).any()
            if kept.any():
                going = np.flatnonzero(token[place] != END)[:3]
                assert set(np.flatnonzero(kept)) <= set(going.tolist())


def test_greedy_search_tells_what_else_it_could_have_said():
    model, source, steps = Recurrent(12, seed=3), sources(1, 12, seed=3), list[Step]()
    search(model, source, SearchSettings(beam=1, maximum_length_add=3), watch=steps.append)
    assert steps[0].choices.token.shape == (1, LOOKED_AT)
    logits, _ = model.step(torch.tensor([1]), model.start(model.encode(source)))
    best = logits.log_softmax(-1).topk(3)
    told = dict(zip(steps[0].choices.token[0].tolist(), steps[0].choices.own[0].tolist(), strict=True))
    for token, value in zip(best.indices[0].tolist(), best.values[0].tolist(), strict=True):
        if token in told:
            assert told[token] == pytest.approx(value, abs=1e-6)
    assert len(set(best.indices[0].tolist()) & set(told)) >= 2  # <unk> is never said
