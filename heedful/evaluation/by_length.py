"""A corpus score for each length of source: does a system hold up where sentences are long?

    scores = by_length(hypotheses, references, lengths, bounds=(10, 20, 30), metric="bleu", language="de")

Bahdanau et al. 2014, figure 2, asked it of encoder-decoders with one context vector (BLEU falls with length) and with
attention (it holds). Lines are put into buckets by the length of their source, and each bucket is a corpus of its own,
scored with its own bootstrap interval. The figure of the paper is drawn by `heedful.viewing.lengths`.

A BLEU score here is that of a bucket; scores of buckets do not average to that of the whole corpus.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from heedful.errors import DataError
from heedful.evaluation.confidence import RESAMPLES, SEED
from heedful.evaluation.scores import Score, evaluate

LEAST = 50
"""Lines: with fewer in a bucket an interval of BLEU is wider than any difference one looks for."""


@dataclass(frozen=True)
class LengthScore:
    """The score of the lines whose source has from `shortest` to `longest` tokens; `mean` is their mean length."""

    shortest: int
    longest: int
    mean: float
    lines: int
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def equal_steps(lengths: Sequence[int], step: int, least: int = LEAST) -> tuple[int, ...]:
    """Bounds of buckets `step` tokens wide, the last as wide as it takes to have `least` lines.

    >>> equal_steps([3] * 60 + [8] * 60 + [14] * 60 + [40], step=5)
    (5, 10)
    """
    sizes = np.asarray(lengths)
    bounds = range(step, int(sizes.max(initial=0)), step)
    return tuple(bound for bound in bounds if (sizes > bound).sum() >= least)


def by_length(
    hypotheses: Sequence[str],
    references: Sequence[str],
    lengths: Sequence[int],
    bounds: Sequence[int],
    metric: str = "bleu",
    language: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[LengthScore]:
    """Score the lines of each bucket of source lengths; buckets without a line are left out.

    Args:
        hypotheses: raw text, one a line.
        references: likewise.
        lengths: of the sources, in whatever one counts: words, characters.
        bounds: ascending; a bucket ends with each, included, and after the last there is one more.
        metric: a name of METRICS.
        language: the code of the target language, see `evaluate`.
        resamples: of each bucket's bootstrap.
        seed: of the bootstrap.

    Raises DataError for no lines, unequal numbers of them, or bounds that do not ascend; RecipeError as `evaluate`.
    """
    if len(lengths) != len(references):
        raise DataError(f"There are {len(lengths)} sources but {len(references)} references.")
    if any(low >= high for low, high in pairwise(bounds)):
        raise DataError(
            f"The bounds of buckets must ascend, and they are {', '.join(map(str, bounds))}; sort them."
        )
    if len(hypotheses) != len(references) or not references:
        evaluate(hypotheses, references, (metric,), language, confidence=False)  # says what is wrong
    sizes = np.asarray(lengths)
    bucket_of = np.searchsorted(
        np.asarray(bounds), sizes, side="left"
    )  # a bound belongs to the bucket it ends
    found: list[LengthScore] = []
    for bucket in range(len(bounds) + 1):
        rows = np.flatnonzero(bucket_of == bucket).tolist()
        if not rows:
            continue
        (score,) = evaluate(
            [hypotheses[row] for row in rows],
            [references[row] for row in rows],
            (metric,),
            language,
            resamples=resamples,
            seed=seed,
        )
        here = sizes[rows]
        found.append(LengthScore(int(here.min()), int(here.max()), float(here.mean()), len(rows), score))
    return found
