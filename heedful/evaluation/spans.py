"""Scores of spans: a predicted entity is right if its type, its first and its last token are (conlleval, seqeval).

    precision = right / predicted     recall = right / true     f1 = 2 right / (predicted + true)

in percent, over all types together (micro-averaged, what is published), and of each type by itself. Tags are read as
conlleval reads them: see heedful.text.tags. Where there is nothing to divide by, a score is 0, as in conlleval.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.errors import DataError
from heedful.evaluation.confidence import RESAMPLES, SEED, Statistics, bootstrap_values, interval
from heedful.evaluation.scores import Score
from heedful.text.tags import spans

METRICS = {
    "f1": "F1 of spans, type and both ends right, over all types (conlleval)",
    "precision": "percentage of predicted spans that are right",
    "recall": "percentage of true spans that are found",
    "accuracy": "percentage of tokens with the right tag",
    "macro-f1": "mean of the F1 of the types",
}
Value = Callable[[NDArray[np.float64]], float]
_OF_TYPE = "F1 of spans of type {}"


def span_counts(
    true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], types: Sequence[str]
) -> Statistics:
    """Count in each sentence, for each type: true spans, predicted ones, right ones. (sentences, 3 x types).

    true, predicted: tags. Raises DataError for sentences of unequal number or length.
    """
    if len(true) != len(predicted):
        raise DataError(f"There are {len(true)} tagged sentences, but predictions for {len(predicted)}.")
    column = {kind: number for number, kind in enumerate(types)}
    counts = np.zeros((len(true), len(types), 3))
    for row, (gold, guess) in enumerate(zip(true, predicted, strict=True)):
        if len(gold) != len(guess):
            raise DataError(f"Sentence {row + 1} has {len(gold)} tags, but {len(guess)} are predicted.")
        gold_spans, guessed = set(spans(gold)), set(spans(guess))
        for place, found in enumerate((gold_spans, guessed, gold_spans & guessed)):
            for span in found:
                counts[row, column[span.type], place] += 1
    return counts.reshape(len(true), -1)


def f1(counts: NDArray[np.float64]) -> float:
    """F1 in percent of true, predicted, right spans, (..., 3)."""
    true, predicted, right = counts.reshape(-1, 3).sum(0)
    return float(200 * right / (true + predicted)) if true + predicted else 0.0


def precision(counts: NDArray[np.float64]) -> float:
    """Precision in percent of counts (..., 3)."""
    _, predicted, right = counts.reshape(-1, 3).sum(0)
    return float(100 * right / predicted) if predicted else 0.0


def recall(counts: NDArray[np.float64]) -> float:
    """Recall in percent of counts (..., 3)."""
    true, _, right = counts.reshape(-1, 3).sum(0)
    return float(100 * right / true) if true else 0.0


def macro_f1(counts: NDArray[np.float64]) -> float:
    """Mean of the types' F1 in percent of counts (types x 3); types that are nowhere do not count."""
    rows = counts.reshape(-1, 3)
    values = [f1(row) for row in rows if row[:2].any()]
    return float(np.mean(values)) if values else 0.0


_SPAN_VALUES = {"f1": f1, "precision": precision, "recall": recall, "macro-f1": macro_f1}


def span_value(metric: str, true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """One metric of METRICS as one number, in percent. Raises as `span_counts`."""
    counts = span_counts(true, predicted, types_of(true, predicted))
    if metric == "accuracy":
        return _accuracy(_token_counts(true, predicted).sum(0))
    return _SPAN_VALUES[metric](counts.sum(0))


def span_scores(
    true: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    metrics: Sequence[str] = ("f1", "precision", "recall"),
    per_type: bool = True,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Score]:
    """Score tags by each of `metrics`, then F1 of each type, with the 95% intervals of a bootstrap over sentences.

    Raises as `span_counts`.
    """
    types = types_of(true, predicted)
    counts = span_counts(true, predicted, types)
    tokens = _token_counts(true, predicted)
    signature = (
        f"sentences:{len(true)}|spans:{int(counts[:, 0::3].sum())}|bs:{resamples}|seed:{seed}|read:conlleval"
    )

    def score(name: str, label: str, statistics: Statistics, value: Value) -> Score:
        drawn = bootstrap_values(statistics, value, resamples, seed)
        return Score(name, value(statistics.sum(0)), *interval(drawn), signature, label)

    scores = [
        score(name, METRICS[name], tokens, _accuracy)
        if name == "accuracy"
        else score(name, METRICS[name], counts, _SPAN_VALUES[name])
        for name in metrics
    ]
    if per_type:
        scores += [
            score(f"f1 {kind}", _OF_TYPE.format(kind), counts[:, 3 * place : 3 * place + 3], f1)
            for place, kind in enumerate(types)
        ]
    return scores


def types_of(*tagged: Sequence[Sequence[str]]) -> list[str]:
    """All types that tags have, in alphabetical order."""
    return sorted({tag.partition("-")[2] for part in tagged for tags in part for tag in tags if "-" in tag})


def _token_counts(true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Statistics:
    return np.array(
        [
            [sum(a == b for a, b in zip(gold, guess, strict=True)), len(gold)]
            for gold, guess in zip(true, predicted, strict=True)
        ],
        dtype=np.float64,
    )


def _accuracy(counts: NDArray[np.float64]) -> float:
    right, tokens = counts
    return float(100 * right / tokens) if tokens else 0.0
