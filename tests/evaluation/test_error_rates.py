"""Error rates: the distance against its definition written out, its laws, and rates worked out by hand."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.evaluation import corpus_score, evaluate, metric_kind
from heedful.evaluation.error_rates import edit_distance

SHORT = st.text(alphabet="abc ", max_size=7)


def by_definition(one: str, other: str) -> int:
    """The recursion of Wagner and Fischer 1974, from the ends of both."""

    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        change = distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(change, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(one), len(other))


@given(SHORT, SHORT)
def test_the_distance_is_that_of_the_definition(one: str, other: str):
    assert edit_distance(one, other) == by_definition(one, other)


@given(SHORT, SHORT, SHORT)
def test_the_distance_is_a_metric(a: str, b: str, c: str):
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_the_first_row_counts_what_is_missing():
    """Where SIGMORPHON's script, whose table begins with ones, gives 1."""
    assert edit_distance("", "abcd") == edit_distance("abcd", "") == 4
    assert edit_distance("xyza", "a") == 3


@pytest.mark.parametrize(
    ("metric", "expected"),
    # 2 of 3 lines; 1 + 0 + 2 edits of 3 + 1 + 3 phonemes; 1 + 0 + 4 of 7 + 1 + 5 characters (three in t͡ʃ)
    [("wer", 200 / 3), ("per", 300 / 7), ("cer", 500 / 13)],
)
def test_rates_worked_out_by_hand(metric: str, expected: float):
    assert corpus_score(metric, ["t͡ʃ a m", "o", "a"], ["t͡ʃ a n", "o ", "a b c"]) == pytest.approx(expected)
    assert metric_kind(metric).lower_is_better


@given(st.lists(st.tuples(SHORT, SHORT), min_size=1, max_size=8))
def test_wrong_and_right_lines_are_all_lines(pairs: list[tuple[str, str]]):
    hypotheses, references = zip(*pairs, strict=True)
    wrong = corpus_score("wer", hypotheses, references)
    assert wrong + corpus_score("exact-match", hypotheses, references) == pytest.approx(100)


def test_a_rate_can_exceed_a_hundred_and_empty_references_do_not_divide_by_zero():
    assert corpus_score("per", ["a b c"], ["x"]) == 300
    assert corpus_score("per", ["a b c", ""], ["", ""]) == 300
    assert corpus_score("cer", [""], [""]) == 0


def test_scores_come_with_intervals_and_signatures():
    references = [f"{number % 7} {number % 3}" for number in range(60)]
    hypotheses = [line if number % 4 else "0 0" for number, line in enumerate(references)]
    for score in evaluate(hypotheses, references, ("wer", "per", "cer"), resamples=200):
        assert score.low is not None
        assert score.high is not None
        assert score.low < score.value < score.high
    assert score.signature == "nrefs:1|bs:200|seed:12345|case:mixed|unit:character|strip:yes"
