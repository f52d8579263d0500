"""Beam search is what its definition says, and its stopping rule loses nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.decoding import Hypothesis, SearchSettings, search
from heedful.decoding.beam import beam_search
from heedful.decoding.choices import Chooser
from heedful.decoding.constraints import Constraints
from heedful.text.special import END
from tests.decoding.brute_force import every_answer, plain_beam
from tests.decoding.small_models import Recurrent, Table, sources

PENALTIES = [("gnmt", 0.0), ("gnmt", 0.6), ("gnmt", 2.0), ("average", 0.5), ("average", 1.0), ("none", 0.6)]


def assert_same(given: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [answer.tokens for answer in given] == [answer.tokens for answer in expected]
    for one, other in zip(given, expected, strict=True):
        assert one.finished == other.finished
        assert one.score == pytest.approx(other.score, abs=1e-12)
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-12)
        assert one.token_log_probabilities == pytest.approx(other.token_log_probabilities, abs=1e-12)


@pytest.mark.parametrize(("penalty", "alpha"), PENALTIES)
@pytest.mark.parametrize("n_best", [1, 7])
@pytest.mark.parametrize("kind", [Table, Recurrent])
def test_a_beam_wide_enough_finds_the_best_of_all_answers(kind, penalty, alpha, n_best):
    wide = SearchSettings(
        beam=100,
        n_best=n_best,
        length_penalty=penalty,
        alpha=alpha,
        maximum_length_factor=0,
        maximum_length_add=5,
        ban_unknown=False,
    )
    for seed in range(3):
        model, batch = kind(6, seed=seed), sources(4, 6, seed=seed)
        for source, answers in zip(batch, search(model, batch, wide), strict=True):
            assert_same(answers, every_answer(model, source, [3, 4, 5], 5, wide)[:n_best])


@given(
    seed=st.integers(0, 10_000),
    beam=st.integers(2, 5),
    n_best=st.integers(1, 5),
    penalty=st.sampled_from(PENALTIES),
    sharpness=st.sampled_from([0.3, 1.0, 3.0]),
    stopping=st.sampled_from(["bound", "count"]),
)
@settings(max_examples=120)
def test_a_narrow_beam_equals_plain_loops_that_never_stop_early(
    seed, beam, n_best, penalty, sharpness, stopping
):
    """With "bound" the plain loops run to the length limit: stopping where the bound says loses nothing."""
    narrow = SearchSettings(
        beam=beam,
        n_best=min(beam, n_best),
        length_penalty=penalty[0],
        alpha=penalty[1],
        stopping=stopping,
    )
    model = Table(6, maximum_length=8, seed=seed, sharpness=sharpness)
    batch = sources(2, 6, seed=seed)
    for source, answers in zip(batch, search(model, batch, narrow), strict=True):
        expected = plain_beam(model, source, [4, 5], 8, narrow)[: narrow.n_best]
        finished = [answer for answer in answers if answer.finished]
        assert_same(finished, expected)


def test_the_search_stops_as_soon_as_the_bound_allows():
    """One sentence, no length penalty: over when the best live hypothesis is less probable than the finished one."""
    model = Table(4, maximum_length=40)
    with torch.no_grad():
        model.table[:] = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64).log()
    settings = SearchSettings(beam=2, length_penalty="none", ban_unknown=False)
    (answers,) = search(model, sources(1, 4), settings)
    assert answers[0].tokens == ()
    assert len(model.rows_read) == 1  # 0.6 against 0.3 times whatever follows

    model.rows_read.clear()
    search(model, sources(1, 4), SearchSettings(beam=2, length_penalty="none", ban_unknown=False, n_best=2))
    assert len(model.rows_read) == 2  # the second best is 0.3 * 0.6, against 0.3 * 0.3

    # GNMT: the empty answer scores log 0.6, and 3 (n - 1 times) END scores ((n - 1) log 0.3 + log 0.6) / lp(n), which
    # no longer can win once n log 0.3 / lp(40) <= log 0.6.
    model.rows_read.clear()
    search(model, sources(1, 4), SearchSettings(beam=2, alpha=1.0, ban_unknown=False))
    needed = next(
        n for n in range(1, 41) if n * torch.tensor(0.3).log() / (45 / 6) <= torch.tensor(0.6).log()
    )
    assert len(model.rows_read) == needed > 1


def test_finished_sentences_leave_the_batch_and_finished_hypotheses_leave_room():
    model = Table(12, maximum_length=30, seed=3)
    search(model, sources(8, 12, seed=1), SearchSettings(beam=4))
    first, *after = model.rows_read
    assert first == 8  # one hypothesis for each sentence before anything is said
    assert after[0] == 32  # four live ones each, though some ended
    assert after == sorted(after, reverse=True)
    assert after[-1] < 32
    assert all(rows % 4 == 0 for rows in after)


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_of_one_without_length_penalty_is_greedy_search(seed):
    model, batch = Recurrent(12, seed=seed), sources(5, 12, seed=seed)
    one = SearchSettings(beam=1, length_penalty="none")
    with torch.no_grad():
        limits = np.full(5, model.maximum_length)
        chooser = Chooser(model, Constraints(one, [()] * 5, batch.device))
        by_beam = beam_search(chooser, batch, one, limits, None)
    greedy = search(model, batch, one.model_copy(update={"maximum_length_add": 60}))
    compared = 0
    for answer, by_argmax in zip(by_beam, greedy, strict=True):
        if by_argmax[0].finished:
            assert_same(answer[:1], by_argmax)
            compared += 1
    assert compared


def test_equal_scores_come_in_the_order_of_parents_and_token_ids():
    model = Table(6, sharpness=0.0)
    settings = SearchSettings(
        beam=4, n_best=3, minimum_length=3, maximum_length_factor=0, maximum_length_add=3
    )
    (answers,) = search(model, sources(1, 6), settings)
    assert [answer.tokens for answer in answers] == [(4, 4), (4, 5), (5, 4)]
    assert len({answer.score for answer in answers}) == 1


def test_n_best_comes_by_falling_score_and_without_duplicates():
    model, batch = Recurrent(30), sources(6, 30)
    for answers in search(model, batch, SearchSettings(beam=8, n_best=8)):
        order = [(answer.finished, answer.score) for answer in answers]
        assert order == sorted(order, reverse=True)
        assert len({answer.tokens for answer in answers}) == len(answers) == 8


def test_what_the_length_limit_cuts_is_marked_and_comes_last():
    model = Table(6, seed=5)
    with torch.no_grad():
        model.table[:, :, :, END] = -torch.inf
    limit = {"maximum_length_factor": 0, "maximum_length_add": 4}
    (answers,) = search(model, sources(1, 6), SearchSettings.model_validate(limit | {"beam": 3, "n_best": 3}))
    assert [answer.finished for answer in answers] == [False] * 3
    for answer in answers:
        assert len(answer.tokens) == len(answer.token_log_probabilities) == 4
        assert answer.log_probability == pytest.approx(sum(answer.token_log_probabilities))

    with torch.no_grad():
        model.table[:, 4, 5, END] = 0  # only after 4 5
    (answers,) = search(model, sources(1, 6), SearchSettings.model_validate(limit | {"beam": 8, "n_best": 8}))
    ended = [answer.finished for answer in answers]
    assert ended == sorted(ended, reverse=True)
    assert True in ended
    assert False in ended


@pytest.mark.parametrize("beam", [1, 4])
def test_the_limit_is_source_length_plus_50_and_never_above_the_model(beam):
    endless = Table(6, maximum_length=500)
    with torch.no_grad():
        endless.table[:, :, :, END] = -torch.inf
    batch = sources(3, 6)
    lengths = (batch != 0).sum(1).tolist()

    def said(**changes: float) -> list[int]:
        found = search(endless, batch, SearchSettings.model_validate({"beam": beam} | changes))
        return [len(answers[0].tokens) for answers in found]

    assert said() == [length + 50 for length in lengths]
    assert said(maximum_length_factor=2, maximum_length_add=3) == [2 * length + 3 for length in lengths]
    endless.maximum_length = 20
    assert said() == [20, 20, 20]


def test_the_state_is_not_reordered_when_nothing_moves(monkeypatch):
    model = Recurrent(12)
    selected = []
    start = model.start

    class Watched:
        def __init__(self, inner):
            self.inner = inner

        def select(self, rows):
            selected.append(rows.tolist())
            return Watched(self.inner.select(rows))

    step = model.step
    monkeypatch.setattr(model, "start", lambda memory: Watched(start(memory)))

    def watched_step(tokens, state):
        logits, new = step(tokens, state.inner)
        return logits, Watched(new)

    monkeypatch.setattr(model, "step", watched_step)
    prefix = [5, 6, 7, 8]
    search(model, sources(1, 12), SearchSettings(beam=3), prefixes=[prefix])
    assert selected[0] == [0, 0, 0]  # forced steps keep one row; the first free step makes three
