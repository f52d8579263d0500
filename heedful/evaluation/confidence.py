"""Bootstrap confidence: how far a corpus score would move on another test set of the same kind.

Lines are drawn with replacement, as many as there are, `resamples` times; each draw is scored from the
per-line statistics, summed (Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation",
W04-3250). Two systems are compared on the same draws (paired). With the same seed the draws are those of
`sacrebleu --confidence`. It tells of the choice of test lines only, not of the random seed of the training.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000  # sacreBLEU's default
SEED = 12345  # sacreBLEU's default

Statistics = NDArray[np.float64]  # (lines, statistics): what a metric counts on each line


def bootstrap_values(
    statistics: Statistics, value: Callable[[NDArray[np.float64]], float], resamples: int, seed: int
) -> NDArray[np.float64]:
    """The scores of `resamples` random test sets: `(resamples,)`.

    `statistics (lines, statistics)` are summed over the drawn lines, and `value` makes a score of the sums.
    Two calls with the same number of lines and the same seed draw the same lines. Memory is linear in lines.
    """
    lines = len(statistics)
    generator = np.random.default_rng(seed)
    draws = (generator.integers(lines, size=lines) for _ in range(resamples))
    return np.array([value(statistics[draw].sum(axis=0)) for draw in draws])


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% percentile interval of bootstrapped values: one fortieth is cut off at either end."""
    ordered = np.sort(values)
    cut = len(ordered) // 40
    return float(ordered[cut]), float(ordered[-1 - cut])


def p_value(differences: NDArray[np.float64], observed: float) -> float:
    """How often chance alone gives a difference as large as the observed one, in either direction.

    The bootstrapped differences `(resamples,)` are shifted to mean zero, as if both systems were equally good
    (Riezler and Maxwell 2005, W05-0908). Never 0: the least is 1 / (resamples + 1).
    """
    by_chance = np.abs(differences - differences.mean()) >= abs(observed)
    return (int(by_chance.sum()) + 1) / (len(differences) + 1)
