"""Watching a search: what it looked at in each step, and what became of it.

    steps = []
    search(model, source, settings, watch=steps.append)

A search that is watched gives the same answers; one that is not pays nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heedful.decoding.choices import Floats, Ids
from heedful.models.face import Choices

# How many continuations of each hypothesis greedy search has looked at, for whoever watches it.
LOOKED_AT = 8


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One step of a search: each of its live hypotheses is read, and what may follow is compared.

    Live hypotheses stand beside each other, as many for each sentence, `width`; rows that stand for none have
    candidates of value -inf only. The candidates of a sentence are those that were compared, the best first.
    """

    length: int
    """|Y| of the hypotheses that the step makes, END included."""

    sentences: Ids
    """(sentences,): the rows of the source that are still searched; in greedy search and sampling, for each live
    hypothesis its row."""

    choices: Choices
    """What may follow each live hypothesis, (sentences * width, count)."""

    parent: Ids
    """(sentences, candidates): the row of `choices` that a candidate continues."""

    choice: Ids
    """(sentences, candidates): the column of `choices` that it is."""

    value: Floats
    """(sentences, candidates): log-probability of the whole candidate, by which live ones are compared."""

    score: Floats
    """(sentences, candidates): the same after penalties for length and coverage, by which finished ones are."""

    finished: NDArray[np.bool_]
    """(sentences, candidates): whether it ended, or was cut at the length limit, and so may be an answer."""

    kept: Ids
    """(sentences, candidates): the row that it is among the live hypotheses of the next step, or -1."""


Watch = Callable[[Step], object]
