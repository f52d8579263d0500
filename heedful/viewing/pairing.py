"""Which tokens of two texts are the same: the longest common subsequence, with what only one of them has in between.

    paired(units(axis, words=False), units(other, words=False))       # [[0, 0], [1, -1], [-1, 1], [2, 2]]

Units are tokens, or words where two tokenizers cut the same text differently.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heedful.errors import HeedfulError
from heedful.viewing.letters import together
from heedful.viewing.scene import Axis

# The table of the longest common subsequence has so many cells; what is equal at both ends needs none.
TABLE = 2**26


class Unit(NamedTuple):
    """A token, or a word of several: its text, and the numbers of its tokens, which follow each other."""

    text: str
    tokens: Sequence[int]


def units(axis: Axis, words: bool) -> list[Unit]:
    """Give the tokens of an axis, or its words; a token outside every word is alone."""
    found: list[Unit] = []
    last = None
    for number, token in enumerate(axis.tokens):
        if words and token.word is not None and token.word == last:
            text, tokens = found[-1]
            found[-1] = Unit(together((text, token.text)), [*tokens, number])
        else:
            found.append(Unit(token.text, [number]))
        last = token.word
    return found


def paired(left: Sequence[Unit], right: Sequence[Unit]) -> NDArray[np.int64]:
    """Put the units of two sides into one order, (units, 2): their numbers on both sides, -1 where one has none.

    Raises HeedfulError for texts that differ over too great a length.
    """
    one, other = [unit.text for unit in left], [unit.text for unit in right]
    ends = min(len(one), len(other))
    first = next((place for place in range(ends) if one[place] != other[place]), ends)
    ends -= first
    after = next((place for place in range(ends) if one[-1 - place] != other[-1 - place]), ends)
    inner = one[first : len(one) - after], other[first : len(other) - after]
    found = [(place, place) for place in range(first)]
    found += [(a + first if a >= 0 else -1, b + first if b >= 0 else -1) for a, b in _common(*inner)]
    found += [(len(one) - place, len(other) - place) for place in range(after, 0, -1)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _common(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    if len(one) * len(other) > TABLE:
        raise HeedfulError(
            f"These texts differ over {max(len(one), len(other)):,} tokens: too many to find out which are the same."
        )
    numbers = {text: number for number, text in enumerate(dict.fromkeys((*one, *other)))}
    mine, yours = (np.array([numbers[text] for text in side], dtype=np.int64) for side in (one, other))
    # lengths[i, j]: of the longest common subsequence of the first i and the first j
    lengths = np.zeros((len(one) + 1, len(other) + 1), np.int32)
    for row, text in enumerate(mine):
        step = np.maximum(lengths[row, 1:], lengths[row, :-1] + (yours == text))
        lengths[row + 1, 1:] = np.maximum.accumulate(step)
    found: list[tuple[int, int]] = []
    i, j = len(one), len(other)
    while i or j:
        if i and j and mine[i - 1] == yours[j - 1] and lengths[i, j] == lengths[i - 1, j - 1] + 1:
            i, j = i - 1, j - 1
            found.append((i, j))
        elif j and (not i or lengths[i, j - 1] >= lengths[i - 1, j]):
            j -= 1
            found.append((-1, j))
        else:
            i -= 1
            found.append((i, -1))
    return found[::-1]
