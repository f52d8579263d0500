"""Exact match and F1 are those of SQuAD's script."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from heedful.errors import DataError
from heedful.evaluation.answers import answer_scores, best, best_threshold, exact, normal, word_f1


@pytest.mark.parametrize(
    ("answer", "compared"),
    [
        ("The  Cat's pyjamas!", "cats pyjamas"),
        ("An anthem, the a-team", "anthem ateam"),
        ("a", ""),
        ("theatre", "theatre"),
        ("6½ sacks", "6½ sacks"),
    ],
)
def test_answers_are_normalised(answer, compared):
    assert normal(answer) == compared


def test_f1_of_words():
    assert word_f1("in the year 1066", "1066") == pytest.approx(2 * (1 / 3) * 1 / (1 / 3 + 1))
    assert word_f1("no no yes", "no yes yes") == pytest.approx(2 / 3)
    assert (word_f1("", ""), word_f1("x", ""), word_f1("", "x")) == (1.0, 0.0, 0.0)
    assert (exact("The cat.", "cat"), exact("cats", "cat")) == (1.0, 0.0)


def test_the_best_of_several_answers_counts_and_none_is_the_empty_one():
    assert best(exact, "b", ["a b", "b"]) == 1.0
    assert best(word_f1, "b", ["b c"]) == pytest.approx(2 / 3)
    assert best(exact, "", []) == 1.0
    assert best(exact, "x", []) == 0.0
    assert best(exact, "", ["the"]) == 1.0  # nothing but an article: as SQuAD 2.0's script has it
    assert best(exact, "", ["the", "cat"]) == 0.0


def test_scores_of_questions_with_and_without_an_answer():
    scores = {
        score.name: score.value
        for score in answer_scores(["a b", "", "x"], [["b c"], [], []], ("exact-match", "f1"))
    }
    assert scores["exact-match"] == pytest.approx(100 / 3)
    assert scores["f1 answerable"] == pytest.approx(100 * word_f1("a b", "b c"))
    assert scores["f1 unanswerable"] == 50.0
    assert [score.name for score in answer_scores(["b"], [["b"]])] == ["exact-match", "f1"]


def test_unequal_and_empty_are_refused():
    with pytest.raises(DataError, match="1 answers, but 2"):
        answer_scores(["a"], [["a"], ["b"]])
    with pytest.raises(DataError, match="no question"):
        answer_scores([], [])


@given(
    some.lists(
        some.tuples(some.integers(-4, 4), some.sampled_from([0.0, 0.5, 1.0]), some.booleans()), min_size=1
    )
)
def test_the_threshold_is_the_best_there_is(rows):
    margins = np.array([row[0] for row in rows], dtype=float)
    answered = np.array([0.0 if row[2] else row[1] for row in rows])
    silent = np.array([float(row[2]) for row in rows])

    def score(threshold):
        return np.where(margins > threshold, answered, silent).mean()

    threshold, value = best_threshold(margins, answered, silent)
    assert value == pytest.approx(score(threshold))
    assert value == pytest.approx(max(score(each) for each in np.arange(-5, 5.5, 0.5)))


def test_of_thresholds_that_are_as_good_the_lowest_is_taken():
    threshold, _ = best_threshold(np.array([1.0, 2.0]), np.array([1.0, 0.5]), np.array([1.0, 0.0]))
    assert threshold < 1
