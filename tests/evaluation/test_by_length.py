"""Scores by source length: each bucket is a corpus of its own, and no line is lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.errors import DataError
from heedful.evaluation import evaluate
from heedful.evaluation.by_length import by_length, equal_steps

LENGTHS = [3, 10, 11, 20, 21, 50]
REFERENCES = [f"line number {length} of the corpus ." for length in LENGTHS]
HYPOTHESES = REFERENCES[:4] + ["some other line ."] * 2


def test_a_bound_belongs_to_the_bucket_that_it_ends():
    found = by_length(HYPOTHESES, REFERENCES, LENGTHS, (10, 20), metric="exact-match", resamples=100)
    assert [(bucket.shortest, bucket.longest, bucket.mean, bucket.lines) for bucket in found] == [
        (3, 10, 6.5, 2),
        (11, 20, 15.5, 2),
        (21, 50, 35.5, 2),
    ]
    assert [bucket.score.value for bucket in found] == [100, 100, 0]


def test_a_bucket_scores_as_its_lines_alone_do_interval_and_signature_included():
    found = by_length(HYPOTHESES, REFERENCES, LENGTHS, (10, 20), "chrf", "en", resamples=100, seed=7)
    assert [found[1].score] == evaluate(HYPOTHESES[2:4], REFERENCES[2:4], ("chrf",), "en", True, 100, 7)


def test_the_last_bucket_may_have_just_enough_lines():
    assert equal_steps([3] * 50 + [8] * 50, step=5, least=50) == (5,)
    assert equal_steps([3] * 50 + [8] * 50, step=5, least=51) == ()


def test_buckets_without_a_line_are_left_out():
    found = by_length(HYPOTHESES, REFERENCES, LENGTHS, (1, 30, 40), metric="wer", resamples=100)
    assert [(bucket.shortest, bucket.longest) for bucket in found] == [(3, 21), (50, 50)]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.integers(1, 20), st.integers(1, 10))
def test_every_line_is_in_one_bucket_and_the_last_has_enough(lengths: list[int], step: int, least: int):
    bounds = equal_steps(lengths, step, least)
    lines = [str(length) for length in lengths]
    found = by_length(lines, lines, lengths, bounds, metric="exact-match", resamples=100)
    assert sum(bucket.lines for bucket in found) == len(lengths)
    assert all(left.longest < right.shortest for left, right in pairwise(found))
    assert found[-1].lines >= min(least, len(lengths))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lengths": [1]}, "1 sources but 6 references"),
        ({"hypotheses": ["a"]}, "1 hypotheses but 6 references"),
        ({"bounds": (20, 10)}, "must ascend, and they are 20, 10"),
        ({"bounds": (10, 10)}, "must ascend, and they are 10, 10"),
        ({"lengths": [], "hypotheses": [], "references": []}, "nothing to score"),
    ],
)
def test_what_cannot_be_scored_is_said(changed: dict, message: str):
    given = {
        "hypotheses": HYPOTHESES,
        "references": REFERENCES,
        "lengths": LENGTHS,
        "bounds": (10,),
        **changed,
    }
    with pytest.raises(DataError, match=message):
        by_length(**given)
