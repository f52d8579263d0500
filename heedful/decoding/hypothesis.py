"""An answer that a search gives, and the order of answers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One answer, with what the model thinks of it."""

    tokens: tuple[int, ...]
    """Token ids, without START and END."""

    log_probability: float
    """log P(tokens, END | source) under the model itself: before temperature, penalties and constraints."""

    score: float
    """What the search ranks by: the log-probability after penalties for repetition, length and coverage."""

    token_log_probabilities: tuple[float, ...]
    """The terms of `log_probability`: one for each token, and one for END if the hypothesis is finished."""

    finished: bool
    """Whether it ended with END; False means that the length limit cut it."""


def hypotheses(
    tokens: NDArray[np.int64],
    log_probabilities: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    finished: NDArray[np.bool_],
) -> list[Hypothesis]:
    """Make hypotheses of tokens (hypotheses, 1 + length) that begin with START, and end with END where
    finished.

    The log-probabilities (hypotheses, length) are those of the tokens after START; the scores are
    (hypotheses,).
    """
    return [
        Hypothesis(
            tokens=tuple(row[1:-1] if ended else row[1:]),
            log_probability=math.fsum(terms),
            score=score,
            token_log_probabilities=tuple(terms),
            finished=ended,
        )
        for row, terms, score, ended in zip(
            tokens.tolist(), log_probabilities.tolist(), scores.tolist(), finished.tolist(), strict=True
        )
    ]


def ranked(found: list[Hypothesis], count: int) -> list[Hypothesis]:
    """Give the best `count`: finished ones before those that were cut, then by score; among equals the first
    found.
    """
    return sorted(found, key=lambda hypothesis: (not hypothesis.finished, -hypothesis.score))[:count]
