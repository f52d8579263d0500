"""Perplexity and its kin: what a fair die of k faces scores, by whatever it is divided."""

import math

import numpy as np
import pytest

from heedful.evaluation.perplexity import METRICS, language_scores, metric_value

# Eight characters of two bytes each, in two words, each character a token.
AMOUNT = {"characters": 8, "bytes": 16, "words": 2}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("cross-entropy", math.log(4)),
        ("perplexity", 4),
        ("bits-per-character", 2),
        ("bits-per-byte", 1),
        ("word-perplexity", 4**4),
    ],
)
def test_a_die_of_four_faces(metric, expected):
    assert metric_value(metric, 8 * math.log(4), 8, AMOUNT) == pytest.approx(expected)


def test_what_no_number_holds_is_infinite():
    assert metric_value("perplexity", 1000.0, 1, AMOUNT) == math.inf
    assert metric_value("cross-entropy", 1000.0, 1, AMOUNT) == 1000


def test_how_a_text_is_cut_into_windows_changes_no_value():
    nats, tokens = np.array([3.0, 9.0, 2.0, 6.0]), np.array([2, 3, 1, 2])
    whole = language_scores(nats.sum(keepdims=True), tokens.sum(keepdims=True), AMOUNT, list(METRICS), "")
    cut = language_scores(nats, tokens, AMOUNT, list(METRICS), "")
    assert [score.name for score in cut] == list(METRICS)
    for one, other in zip(whole, cut, strict=True):
        assert one.value == pytest.approx(other.value)
        assert other.low < other.value < other.high


def test_windows_that_surprise_alike_leave_no_doubt():
    tokens = np.arange(1, 10)
    (score,) = language_scores(1.25 * tokens, tokens, {}, ["cross-entropy"], "signed")
    assert (score.low, score.value, score.high) == pytest.approx((1.25, 1.25, 1.25))
    assert score.signature.startswith("signed|bs:")
