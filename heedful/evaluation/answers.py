"""Scores of answers cut out of a text: exact match and F1 of words, as SQuAD's own script computes them.

Answers are compared without case, punctuation, the English articles and surplus white space (Rajpurkar et al. 2016,
section 6.1). A question's score is the best over its true answers; for one without an answer, only the empty answer is
right (Rajpurkar, Jia and Liang 2018).
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.errors import DataError
from heedful.evaluation.confidence import RESAMPLES, SEED, Statistics, bootstrap_values, interval
from heedful.evaluation.scores import Score

METRICS = {
    "f1": "F1 of the words of an answer, mean over questions (SQuAD)",
    "exact-match": "percentage of answers equal to a true one, case, punctuation and articles aside (SQuAD)",
}
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normal(answer: str) -> str:
    """An answer as it is compared.

    >>> normal("The  Cat's pyjamas!")
    'cats pyjamas'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact(answer: str, true: str) -> float:
    """1 if two answers are equal as they are compared, else 0."""
    return float(normal(answer) == normal(true))


def word_f1(answer: str, true: str) -> float:
    """F1 of the words of an answer, 0 to 1; where either has none, whether both have none."""
    found, wanted = normal(answer).split(), normal(true).split()
    if not found or not wanted:
        return float(found == wanted)
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted))


def best(measure: Callable[[str, str], float], answer: str, true: Sequence[str]) -> float:
    """The best score over the true answers; of none, and of those with nothing but articles, "" is the one."""
    return max(measure(answer, each) for each in [each for each in true if normal(each)] or [""])


def answer_counts(answers: Sequence[str], true: Sequence[Sequence[str]]) -> Statistics:
    """Of each question: exact match, F1, and whether it has an answer. (questions, 3).

    answers: "" for none; true: the true answers of each question. Raises DataError for unequal numbers.
    """
    if len(answers) != len(true):
        raise DataError(f"There are {len(answers)} answers, but {len(true)} questions.")
    if not true:
        raise DataError("There is nothing to score: there is no question.")
    rows = [
        (best(exact, answer, each), best(word_f1, answer, each), float(any(map(normal, each))))
        for answer, each in zip(answers, true, strict=True)
    ]
    return np.array(rows, dtype=np.float64)


def answer_scores(
    answers: Sequence[str],
    true: Sequence[Sequence[str]],
    metrics: Sequence[str] = ("exact-match", "f1"),
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Score]:
    """Score answers by each of `metrics`, and where some questions have an answer and some not, each kind by itself.

    With the 95% intervals of a bootstrap over questions. Raises as `answer_counts`.
    """
    counts = answer_counts(answers, true)
    answerable = counts[:, 2] == 1
    kinds = [("", "", counts)]
    if answerable.any() and not answerable.all():
        kinds += [
            (" answerable", ", of questions with an answer", counts[answerable]),
            (" unanswerable", ", of questions without one", counts[~answerable]),
        ]
    scores: list[Score] = []
    for metric in metrics:
        column = ("exact-match", "f1").index(metric)
        for name, label, rows in kinds:
            # (questions, 2): what a question scores, and one, so that sums give a mean.
            counted = np.stack([rows[:, column], np.ones(len(rows))], axis=1)
            drawn = bootstrap_values(counted, _mean, resamples, seed)
            signature = f"questions:{len(rows)}|norm:squad|bs:{resamples}|seed:{seed}"
            scores.append(
                Score(
                    metric + name, _mean(counted.sum(0)), *interval(drawn), signature, METRICS[metric] + label
                )
            )
    return scores


def _mean(sums: NDArray[np.float64]) -> float:
    return float(100 * sums[0] / sums[1])


def best_threshold(
    margins: NDArray[np.float64], answered: NDArray[np.float64], silent: NDArray[np.float64]
) -> tuple[float, float]:
    """Give the threshold with the best mean score, and that score, where a question is answered if margin > threshold.

    margins: by how much the best answer of each question scores above none; answered, silent: what each question's
    answer scores, and no answer. All (questions,). Of equally good thresholds the one that answers most.
    """
    order = np.argsort(-margins, kind="stable")
    # Position k answers the k questions with the largest margins.
    totals = np.concatenate([[0.0], (answered - silent)[order].cumsum()]) + silent.sum()
    ranked = margins[order]
    # Questions with equal margins are answered all or none.
    cuts = np.array([0, *(np.flatnonzero(np.diff(ranked)) + 1), len(ranked)])
    chosen = int(cuts[len(cuts) - 1 - int(totals[cuts][::-1].argmax())])
    if chosen == len(ranked):
        threshold = float(ranked[-1]) - 1.0
    elif chosen == 0:
        threshold = float(ranked[0])
    else:
        threshold = float(ranked[chosen - 1] + ranked[chosen]) / 2
    return threshold, float(totals[chosen] / len(ranked))
