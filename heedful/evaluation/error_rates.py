"""Error rates of transduction, in percent; lower is better.

    wer  lines that are not their reference, letter for letter, of all lines: what SIGMORPHON's shared tasks call the
         word error rate, because a line there is a word. It and `exact-match` sum to 100.
    per  edits between tokens, which stand between spaces (phonemes), for each token of the references
    cer  edits between characters, the spaces inside a line included, for each character of the references

An edit is an insertion, a deletion or a substitution of one token; the least number of them that makes one line of the
other is the distance of Levenshtein 1966. Edits and tokens are summed over all lines before one is divided by the
other: long lines weigh more, and a rate can exceed 100. Spaces at the ends of a line do not count.

The script published with the SIGMORPHON tasks begins the first row and column of its table with ones in place of
0, 1, 2, ..., so its phoneme error rates are not of this distance. Its word error rates are those given here.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.evaluation.confidence import Statistics

Split = Callable[[str], Sequence[str]]


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The least number of insertions, deletions and substitutions that make `other` of `one`.

    >>> edit_distance("kitten", "sitting"), edit_distance("a b".split(), [])
    (3, 2)
    """
    number: dict[str, int] = {}
    rows, columns = (
        np.array([number.setdefault(token, len(number)) for token in tokens], dtype=np.int64)
        for tokens in (one, other)
    )
    across = np.arange(len(columns) + 1)
    row = across  # d(0, j) = j
    for i, token in enumerate(rows, start=1):
        # d(i, j) = min(d(i-1, j-1) + [differ], d(i-1, j) + 1, d(i, j-1) + 1): the first two for all j at once.
        best = np.append(i, np.minimum(row[:-1] + (columns != token), row[1:] + 1))
        # The third is a walk to the right that costs 1 a step: d(i, j) = j + the least of best(k) - k with k <= j.
        row = np.minimum.accumulate(best - across) + across
    return int(row[-1])


class EditRateScorer:
    """Edits for each token of the references, in percent; `unit` says what a token is, in the signature."""

    def __init__(self, split: Split, unit: str) -> None:
        self.split, self.unit = split, unit

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> Statistics:
        """See `Scorer`: edits, and tokens of the reference."""
        rows: list[tuple[int, int]] = []
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            ours, theirs = self.split(hypothesis.strip()), self.split(reference.strip())
            rows.append((edit_distance(ours, theirs), len(theirs)))
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def value(self, sums: NDArray[np.float64]) -> float:
        """See `Scorer`. Without a token in any reference, each edit counts as one of one."""
        return float(100 * sums[0] / max(sums[1], 1))

    def signature(self, **extra: object) -> str:
        """See `Scorer`."""
        return _signature(self.unit, extra)


class LineErrorScorer:
    """Percentage of lines that do not equal their reference, spaces at the ends aside."""

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> Statistics:
        """See `Scorer`: whether the lines differ, and 1."""
        pairs = zip(hypotheses, references, strict=True)
        wrong = [hypothesis.strip() != reference.strip() for hypothesis, reference in pairs]
        return np.array([wrong, np.ones(len(wrong))], dtype=np.float64).T

    def value(self, sums: NDArray[np.float64]) -> float:
        """See `Scorer`."""
        return float(100 * sums[0] / sums[1])

    def signature(self, **extra: object) -> str:
        """See `Scorer`."""
        return _signature("line", extra)


def word_error_rate(language: str | None) -> LineErrorScorer:
    """`wer`; the language makes no difference."""
    return LineErrorScorer()


def phoneme_error_rate(language: str | None) -> EditRateScorer:
    """`per`; the language makes no difference."""
    return EditRateScorer(str.split, "between-spaces")


def character_error_rate(language: str | None) -> EditRateScorer:
    """`cer`: of Unicode code points as they stand; the language makes no difference."""
    return EditRateScorer(list, "character")


def _signature(unit: str, extra: dict[str, object]) -> str:
    entries = {"nrefs": 1, **extra, "case": "mixed", "unit": unit, "strip": "yes"}
    return "|".join(f"{key}:{entry}" for key, entry in entries.items())
