"""Corpora in, scores out: intervals, comparisons, settings, the table, and what is refused."""

import io
import json
import random

import numpy as np
import pytest
from rich.console import Console
from sacrebleu import BLEU, CHRF, TER

from heedful.errors import DataError, RecipeError
from heedful.evaluation import METRICS, compare, corpus_score, evaluate, table
from heedful.evaluation.confidence import bootstrap_values, interval, p_value


def corpus(lines: int, noise: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """References of random words, and hypotheses in which each word is wrong with probability `noise`."""
    texts, errors = random.Random(seed), random.Random(f"{seed} {noise}")
    references = [" ".join(texts.choices("abcdefghij", k=texts.randint(5, 15))) for _ in range(lines)]
    hypotheses = [
        " ".join("x" if errors.random() < noise else word for word in reference.split())
        for reference in references
    ]
    return hypotheses, references


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_holds_the_value_and_is_the_same_again(name: str) -> None:
    hypotheses, references = corpus(100, noise=0.1)
    (first,) = evaluate(hypotheses, references, (name,), "en", resamples=200)
    (again,) = evaluate(hypotheses, references, (name,), "en", resamples=200)
    (other,) = evaluate(hypotheses, references, (name,), "en", resamples=200, seed=1)
    assert first == again
    assert first.low is not None
    assert first.high is not None
    assert first.low < first.value < first.high
    assert (first.low, first.high) != (other.low, other.high)
    assert "bs:200|seed:12345" in first.signature


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU), ("chrf", CHRF), ("ter", TER)])
def test_the_interval_is_as_wide_as_sacrebleu_finds_it(
    name: str, metric: type[BLEU] | type[CHRF] | type[TER], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    hypotheses, references = corpus(60, noise=0.2)
    theirs = metric()
    expected = theirs.corpus_score(hypotheses, [references], n_bootstrap=300)
    (score,) = evaluate(hypotheses, references, (name,), "en", resamples=300)
    assert score.low is not None
    assert score.high is not None
    assert (score.high - score.low) / 2 == pytest.approx(expected._ci, abs=1e-4)  # they sum in float32
    assert score.signature == str(theirs.get_signature())


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says() -> None:
    """Two hundred test sets of 100 coin tosses: about 95% of their intervals hold the probability 0.3."""
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        tosses = (generator.random((100, 1)) < 0.3).astype(np.float64)
        low, high = interval(bootstrap_values(tosses, lambda sums: float(sums[0]) / 100, 200, seed))
        held += low <= 0.3 <= high
    assert 178 <= held <= 200  # 190 expected; four standard deviations (3.1) below


def test_without_confidence_there_is_no_interval_and_the_same_value() -> None:
    hypotheses, references = corpus(20, noise=0.1)
    for score in evaluate(hypotheses, references, confidence=False):
        assert score.low is None
        assert score.high is None
        assert score.value == corpus_score(score.name, hypotheses, references)
        assert "bs:" not in score.signature


def test_a_better_system_is_told_from_a_worse_one() -> None:
    worse, references = corpus(100, noise=0.3)
    better, same_references = corpus(100, noise=0.1)
    assert references == same_references
    bleu, ter = compare(worse, better, references, ("bleu", "ter"), "en", resamples=300)
    assert bleu.difference == bleu.system - bleu.baseline
    assert 0 < bleu.low < bleu.difference < bleu.high
    assert ter.low < ter.difference < ter.high < 0
    assert bleu.p_value == ter.p_value == 1 / 301
    reverse, _ = compare(better, worse, references, ("bleu", "ter"), "en", resamples=300)
    assert (reverse.low, reverse.high, reverse.p_value) == (-bleu.high, -bleu.low, bleu.p_value)


def test_a_system_does_not_differ_from_itself() -> None:
    hypotheses, references = corpus(50, noise=0.2)
    (same,) = compare(hypotheses, hypotheses, references, ("bleu",), resamples=100)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_pairing_finds_what_two_intervals_cannot() -> None:
    """One more right word in every fifth line: the intervals overlap, the paired difference excludes zero."""
    system, references = corpus(200, noise=0.3)
    baseline = [line.replace("a", "x", 1) if i % 5 == 0 else line for i, line in enumerate(system)]
    (first,) = evaluate(baseline, references, ("bleu",), resamples=200)
    (second,) = evaluate(system, references, ("bleu",), resamples=200)
    (paired,) = compare(baseline, system, references, ("bleu",), resamples=200)
    assert first.high is not None
    assert second.low is not None
    assert second.low < first.high
    assert paired.low > 0
    assert paired.p_value < 0.05


def test_p_value_counts_both_directions() -> None:
    differences = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) + 3.0
    assert p_value(differences, 2.0) == pytest.approx(3 / 6)
    assert p_value(differences, -2.0) == pytest.approx(3 / 6)
    assert p_value(differences, 3.0) == pytest.approx(1 / 6)


def test_empty_lines_are_lines() -> None:
    for score in evaluate(["", "a b c d e"], ["x y", "a b c d e"], tuple(METRICS), "en", resamples=100):
        assert np.isfinite(score.value)
        assert score.value != 100
    for score in evaluate(["", ""], ["", ""], tuple(METRICS), "en", resamples=100):
        assert score.value == (100 if score.name == "exact-match" else 0)


@pytest.mark.parametrize("name", METRICS)
def test_unequal_or_empty_corpora_are_refused_with_their_counts(name: str) -> None:
    with pytest.raises(DataError, match="2 hypotheses but 1 references"):
        evaluate(["a", "b"], ["a"], (name,), "en")
    with pytest.raises(DataError, match="nothing to score"):
        corpus_score(name, [], [], "en")
    with pytest.raises(DataError, match="1 hypotheses of the system but 2 references"):
        compare(["a", "b"], ["a"], ["a", "b"], (name,), "en")


def test_a_string_is_not_a_corpus() -> None:
    with pytest.raises(TypeError, match="hypotheses are one string"):
        evaluate("abc", ["a", "b", "c"])
    with pytest.raises(TypeError, match="references are one string"):
        evaluate(["a", "b", "c"], "abc")


def test_nothing_is_scored_when_one_of_the_metrics_is_unknown() -> None:
    with pytest.raises(RecipeError, match="did you mean 'ter'"):
        evaluate(["a"], ["a"], ("bleu", "terr"))


def test_scores_go_to_json_and_to_a_table() -> None:
    hypotheses, references = corpus(20, noise=0.1)
    scores = evaluate(hypotheses, references, ("bleu", "bleu-moses-lc"), "en", resamples=100)
    assert json.loads(json.dumps(scores[0].to_dict()))["signature"] == scores[0].signature
    console = Console(file=io.StringIO(), width=160)
    console.print(table([*scores, *evaluate(hypotheses, references, ("ter",), confidence=False)]))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for score in scores:
        assert f"{score.value:.2f}" in text
        assert f"{score.low:.2f} to {score.high:.2f}" in text
        assert score.label in text
        assert score.signature in text
    assert "lower is better" in text
