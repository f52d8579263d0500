"""Schedules: the formula of the paper and its peaks, no jumps, and the ends that were asked for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.training.schedule import Schedule, ScheduleSettings


def _schedule(steps: int = 1000, d_model: int = 512, **settings) -> Schedule:
    return Schedule(ScheduleSettings(**settings), d_model, steps)


@given(step=st.integers(1, 300_000), d_model=st.integers(8, 2048), warmup=st.integers(1, 20_000))
def test_noam_is_the_formula_of_the_paper(step, d_model, warmup):
    expected = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
    assert _schedule(d_model=d_model, warmup=warmup).rate(step) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("d_model", "peak"), [(512, 6.99e-4), (1024, 4.94e-4)])
def test_noam_peaks_where_the_papers_models_do(d_model, peak):
    schedule = _schedule(d_model=d_model)
    assert schedule.rate(4000) == pytest.approx(peak, rel=1e-3)
    assert max(range(1, 20_000), key=schedule.rate) == 4000
    assert _schedule(d_model=d_model, factor=2.0).rate(4000) == pytest.approx(2 * peak, rel=1e-3)


def test_inverse_square_root_is_noam_by_its_peak():
    noam = _schedule(d_model=512, warmup=400)
    same = _schedule(kind="inverse-sqrt", rate=noam.rate(400), warmup=400)
    for step in (1, 17, 399, 400, 401, 5000, 100_000):
        assert same.rate(step) == pytest.approx(noam.rate(step), rel=1e-12)


@pytest.mark.parametrize("kind", ["noam", "inverse-sqrt", "cosine", "linear", "constant", "plateau"])
def test_no_schedule_jumps_and_all_grow_linearly_first(kind):
    schedule = _schedule(kind=kind, rate=0.01, warmup=100)
    peak = schedule.rate(100)
    for step in range(1, 100):
        assert schedule.rate(step) == pytest.approx(peak * step / 100)
    for step in range(1, 1000):
        assert abs(schedule.rate(step + 1) - schedule.rate(step)) <= peak / 100 * (1 + 1e-9)
    assert kind == "noam" or peak == 0.01


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_cosine_and_linear_end_where_they_shall(kind):
    schedule = _schedule(kind=kind, rate=0.01, warmup=200, final=0.001, steps=1000)
    assert schedule.rate(200) == 0.01
    assert schedule.rate(600) == pytest.approx(0.0055)  # half way
    assert schedule.rate(1000) == pytest.approx(0.001)
    assert schedule.rate(1500) == pytest.approx(0.001)
    rates = [schedule.rate(step) for step in range(200, 1001)]
    assert rates == sorted(rates, reverse=True)
    quarter = 0.00775 if kind == "linear" else 0.001 + 0.009 * (1 + math.sqrt(0.5)) / 2
    assert schedule.rate(400) == pytest.approx(quarter)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_a_cooldown_keeps_the_rate_and_then_falls_as_the_whole_curve_does(kind):
    settings = {"kind": kind, "rate": 0.01, "final": 0.001}
    schedule = _schedule(**settings, warmup=200, cooldown=0.25, steps=1000)
    assert {schedule.rate(step) for step in range(200, 801)} == {0.01}
    whole = _schedule(**settings, warmup=0, steps=200)
    for step in range(1, 200):
        assert schedule.rate(800 + step) == pytest.approx(whole.rate(step))
    assert schedule.rate(1000) == pytest.approx(0.001)


def test_before_the_cooldown_the_length_of_a_training_does_not_matter():
    short = _schedule(kind="linear", rate=0.01, warmup=10, cooldown=0.2, steps=1010)
    long = _schedule(kind="linear", rate=0.01, warmup=10, cooldown=0.2, steps=2010)
    assert [short.rate(step) for step in range(1, 811)] == [long.rate(step) for step in range(1, 811)]


@pytest.mark.parametrize("kind", ["noam", "inverse-sqrt", "cosine", "linear", "constant", "plateau"])
def test_warm_up_may_be_left_out_or_be_everything(kind):
    without = _schedule(kind=kind, rate=0.01, warmup=0)
    assert without.rate(1) == pytest.approx(512**-0.5 if kind == "noam" else 0.01, rel=0.01)
    assert all(math.isfinite(without.rate(step)) for step in (1, 2, 1000, 2000))
    assert all(math.isfinite(_schedule(kind=kind, warmup=1000).rate(step)) for step in (1, 1000, 1001))


def test_constant_stays():
    schedule = _schedule(kind="constant", rate=0.01, warmup=10)
    assert {schedule.rate(step) for step in range(10, 5000, 7)} == {0.01}


def test_a_stair_is_as_long_as_it_shall_be_and_the_first_begins_after_warm_up():
    schedule = _schedule(kind="staircase", rate=0.8, warmup=2, every=3, decay=0.25)
    rates = [schedule.rate(step) for step in range(1, 12)]
    assert rates == pytest.approx([0.4, 0.8, *[0.8] * 3, *[0.2] * 3, *[0.05] * 3])


def test_plateau_falls_after_validations_without_improvement():
    schedule = _schedule(kind="plateau", rate=1.0, warmup=0, decay=0.5, plateau_patience=2)
    rates = []
    for improved in (True, False, False, False, True, False, False, False, False):
        schedule.validated(improved)
        rates.append(schedule.rate(10))
    assert rates == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_plateau_goes_on_from_a_checkpoint():
    settings = {"kind": "plateau", "rate": 1.0, "warmup": 0, "plateau_patience": 2}
    schedule, again = _schedule(**settings), _schedule(**settings)
    for improved in (False, False, False):
        schedule.validated(improved)
    again.restore(schedule.state())
    for improved in (False, True, False, False):
        schedule.validated(improved)
        again.validated(improved)
        assert again.rate(50) == schedule.rate(50)
    assert again.rate(50) == 0.125


def test_validations_mean_nothing_to_other_schedules():
    schedule = _schedule(kind="constant", rate=0.01, warmup=0)
    for _ in range(20):
        schedule.validated(False)
    assert schedule.rate(100) == 0.01
