"""What the spelling of a word and of the words beside it tells: the usual features of a tagger, as numbers.

    numbers(["Visit", "Berlin", "!"])      # (3, COUNT), each from 0 to before hashing.BUCKETS

The features are those that conditional random fields for names are given (Lafferty et al. 2001; the tutorial of
sklearn-crfsuite): a word without case, its shape, its first and last one to four characters, the two words on each
side and their shapes, and the pairs with the next ones. Each is a string such as "end3=lin"; the string's hash is its
number, so that there is no list to learn or to keep.
"""

import re
from collections.abc import Sequence

import numpy as np

from heedful.text.hashing import bucket

COUNT = 20
_ENDS = (1, 2, 3, 4)
_BESIDE = (-2, -1, 1, 2)


def shape(word: str) -> str:
    """The kinds of a word's characters, runs as one: Berlin-based -> Xx-x, 2026 -> 9."""
    kinds = re.sub(r"[^\W\d_]", lambda found: "X" if found[0].isupper() else "x", word)
    return re.sub(r"(.)\1+", r"\1", re.sub(r"\d", "9", kinds))


def numbers(words: Sequence[str]) -> np.ndarray:
    """The features of each word of a sentence, (words, COUNT), int32."""
    lower, shapes = [word.lower() for word in words], [shape(word) for word in words]
    hashed = [[bucket(each) for each in _features(lower, shapes, at)] for at in range(len(words))]
    return np.array(hashed, np.int32).reshape(len(words), COUNT)


def _features(lower: Sequence[str], shapes: Sequence[str], at: int) -> list[str]:
    word = lower[at]

    def beside(rows: Sequence[str], away: int) -> str:
        # A space is in no word, so nothing beside the sentence's ends looks like it.
        return rows[at + away] if 0 <= at + away < len(rows) else " "

    return [
        f"word={word}",
        f"shape={shapes[at]}",
        *(f"begin{size}={word[:size]}" for size in _ENDS),
        *(f"end{size}={word[-size:]}" for size in _ENDS),
        *(f"word{away:+d}={beside(lower, away)}" for away in _BESIDE),
        *(f"shape{away:+d}={beside(shapes, away)}" for away in _BESIDE),
        f"pair-1={beside(lower, -1)} {word}",
        f"pair+1={word} {beside(lower, 1)}",
    ]
