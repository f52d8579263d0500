"""Scores of labels and of numbers, each with the 95% interval of a bootstrap over the examples.

accuracy    percentage of examples whose label is right
macro-f1    the mean over the labels of 2 right / (predicted + there), in percent; a label that neither is there nor
            is predicted does not count
pearson     correlation of numbers; spearman: of their ranks, ties having their mean rank; both times 100
rmse        root of the mean squared error, in the unit of the numbers; lower is better
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.evaluation.confidence import RESAMPLES, SEED, interval
from heedful.evaluation.scores import Score

OF_LABELS = {
    "accuracy": "percentage of labels that are right",
    "macro-f1": "F1 of a label in percent, the mean over the labels",
}
OF_NUMBERS = {
    "pearson": "Pearson's correlation times 100",
    "spearman": "Spearman's correlation of ranks times 100",
    "rmse": "root of the mean squared error, lower is better",
}
Values = NDArray[np.float64 | np.int64]


def value(name: str, found: Values, right: Values) -> float:
    """One score. found, right: what was predicted and what is right, (examples,); labels by their numbers."""
    return float(_SCORES[name](np.asarray(found), np.asarray(right)))


def scores(metrics: Sequence[str], found: Values, right: Values) -> list[Score]:
    """Each of `metrics`, with its interval."""
    found, right = np.asarray(found), np.asarray(right)
    generator = np.random.default_rng(SEED)
    draws = [generator.integers(len(right), size=len(right)) for _ in range(RESAMPLES)]
    signature = f"examples:{len(right)}|bs:{RESAMPLES}|seed:{SEED}"
    given: list[Score] = []
    for name in metrics:
        drawn = np.array([value(name, found[draw], right[draw]) for draw in draws])
        low, high = interval(drawn)
        label = (OF_LABELS | OF_NUMBERS)[name]
        given.append(Score(name, value(name, found, right), low, high, signature, label))
    return given


def _accuracy(found: Values, right: Values) -> float:
    return 100 * float((found == right).mean())


def _macro_f1(found: Values, right: Values) -> float:
    labels = int(max(found.max(), right.max())) + 1
    whole = found.astype(np.int64), right.astype(np.int64)
    predicted, there = (np.bincount(each, minlength=labels) for each in whole)
    correct = np.bincount(whole[1][whole[0] == whole[1]], minlength=labels)
    counts = predicted + there
    return float(100 * (2 * correct[counts > 0] / counts[counts > 0]).mean())


def _pearson(found: Values, right: Values) -> float:
    one, two = found - found.mean(), right - right.mean()
    norm = np.sqrt((one**2).sum() * (two**2).sum())
    # Numbers that are all alike go with nothing.
    return float(100 * (one * two).sum() / norm) if norm > 0 else 0.0


def _spearman(found: Values, right: Values) -> float:
    return _pearson(_ranks(found), _ranks(right))


def _ranks(values: Values) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[place]


def _rmse(found: Values, right: Values) -> float:
    return float(np.sqrt(((found - right) ** 2).mean()))


_SCORES: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": _accuracy,
    "macro-f1": _macro_f1,
    "pearson": _pearson,
    "spearman": _spearman,
    "rmse": _rmse,
}
