"""Scores of labels and numbers, beside their definitions and known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.evaluation.classification import scores, value

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)
NUMBERS = st.lists(st.integers(-50, 50), min_size=3, max_size=20, unique=True)


@given(LABELS)
def test_macro_f1_is_the_mean_of_the_f1_of_labels(pairs):
    found, right = (np.array(each) for each in zip(*pairs, strict=True))
    each = []
    for label in set(found) | set(right):
        true = sum((f, r) == (label, label) for f, r in pairs)
        precision = true / max(1, sum(f == label for f in found))
        recall = true / max(1, sum(r == label for r in right))
        each.append(2 * precision * recall / (precision + recall) if true else 0.0)
    assert value("macro-f1", found, right) == pytest.approx(100 * np.mean(each))
    assert value("accuracy", found, right) == pytest.approx(100 * np.mean([f == r for f, r in pairs]))


@given(NUMBERS)
def test_a_rising_curve_keeps_ranks_and_a_line_keeps_pearson(numbers):
    x = np.array(numbers, float)
    assert value("spearman", x, np.exp(x / 20)) == pytest.approx(100)
    assert value("pearson", x, 3 * x + 2) == pytest.approx(100)
    assert value("pearson", x, -x) == pytest.approx(-100)
    assert value("rmse", x, x + 3) == pytest.approx(3)


def test_correlations_are_those_of_a_table():
    # Spearman 1904 by hand: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    assert value("spearman", np.array([1, 2, 2, 3]), np.array([1, 2, 3, 4])) == pytest.approx(
        94.8683, abs=1e-4
    )
    found = value("pearson", np.array([1, 2, 3, 4, 5]), np.array([2, 1, 4, 3, 5]))
    assert found == pytest.approx(80)
    assert value("pearson", np.ones(3), np.arange(3)) == 0


def test_scores_have_intervals_and_say_how():
    right = np.tile([0, 1], 50)
    found = np.where(np.arange(100) < 80, right, 1 - right)
    accuracy, f1 = scores(("accuracy", "macro-f1"), found, right)
    assert accuracy.value == pytest.approx(80)
    assert 70 < accuracy.low < 76
    assert 84 < accuracy.high < 90
    assert f1.signature == "examples:100|bs:1000|seed:12345"
