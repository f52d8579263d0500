"""Scores of spans equal conlleval's."""

import numpy as np
import pytest

from heedful.errors import DataError
from heedful.evaluation.spans import METRICS, span_scores, span_value

TRUE = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
GUESS = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]


def test_the_example_of_seqeval():
    # README of seqeval: f1_score 0.50 for these.
    assert span_value("f1", TRUE, GUESS) == 50.0
    assert span_value("accuracy", TRUE, GUESS) == pytest.approx(80.0)
    assert span_value("macro-f1", TRUE, GUESS) == 50.0


def test_a_table_worked_out_by_hand():
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "I-LOC", "O", "O"], ["O"]]
    guess = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "O", "I-LOC", "O"], ["O"]]
    # true 3, predicted 4, right 1
    scores = {score.name: score for score in span_scores(true, guess, ("precision", "recall", "f1"))}
    assert scores["precision"].value == 25.0
    assert scores["recall"].value == pytest.approx(100 / 3)
    assert scores["f1"].value == pytest.approx(200 / 7)
    assert scores["f1 PER"].value == pytest.approx(200 / 3)
    assert scores["f1 LOC"].value == 0.0
    assert scores["f1"].low <= scores["f1"].value <= scores["f1"].high
    assert scores["f1"].signature == "sentences:3|spans:3|bs:1000|seed:12345|read:conlleval"


def test_wrong_sequences_count_as_conlleval_counts_them():
    assert span_value("f1", [["B-PER", "I-PER"]], [["I-PER", "I-PER"]]) == 100.0
    assert span_value("f1", [["B-PER", "I-PER"]], [["B-PER", "I-LOC"]]) == 0.0
    assert span_value("precision", [["B-PER", "I-PER"]], [["B-PER", "I-LOC"]]) == 0.0


def test_nothing_found_is_zero_and_no_division():
    assert span_value("f1", [["O"]], [["O"]]) == 0.0
    assert span_value("accuracy", [[]], [[]]) == 0.0
    assert span_value("recall", [["O"]], [["B-PER"]]) == 0.0


def test_a_type_that_is_only_predicted_counts_as_nothing_found():
    # PER 100, LOC 0.
    assert span_value("macro-f1", [["B-PER", "O"]], [["B-PER", "B-LOC"]]) == 50.0


@pytest.mark.parametrize("metric", METRICS)
def test_sentences_must_fit(metric):
    with pytest.raises(DataError, match="Sentence 1 has 1 tags, but 2"):
        span_value(metric, [["O"]], [["O", "O"]])
    with pytest.raises(DataError, match="There are 2 tagged sentences"):
        span_value(metric, [["O"], ["O"]], [["O"]])


def test_the_interval_is_of_sentences():
    draw = np.random.default_rng(0)
    true = [["B-PER"] for _ in range(400)]
    guess = [["B-PER" if draw.random() < 0.8 else "O"] for _ in range(400)]
    (recall,) = span_scores(true, guess, ("recall",), per_type=False)
    # Of a share of 0.8 over 400: 1.96 * sqrt(0.16 / 400) = 0.0392.
    assert recall.high - recall.low == pytest.approx(7.84, abs=1.2)
