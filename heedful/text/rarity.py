"""How rare words are, and by their rare words how alike two texts are (TF-IDF; Spärck Jones 1972).

    rare = rarities([{"the", "food", "was", "great"}, {"the", "wine"}])      # (BUCKETS,), from 0 to 1
    likeness({"great", "wine"}, {"the", "wine"}, rare)                        # the cosine, from 0 to 1

A word has log((1 + N) / (1 + n)) / log(1 + N): 0 if it is in all N texts, 1 if it is in none.
"""

import math
from collections.abc import Iterable, Set

import numpy as np

from heedful.text.hashing import BUCKETS, bucket


def rarities(texts: Iterable[Set[str]]) -> np.ndarray:
    """How rare each word is, by the number of its bucket, (BUCKETS,), float32.

    texts: the words of each, none twice
    """
    with_word, count = np.zeros(BUCKETS, np.int64), 0
    for words in texts:
        count += 1
        with_word[list({bucket(word) for word in words})] += 1
    return (np.log((1 + count) / (1 + with_word)) / math.log(1 + max(count, 1))).astype(np.float32)


def likeness(one: Set[str], other: Set[str], rare: np.ndarray) -> float:
    """The cosine of two sets of words, each word weighed by how rare it is; 0 where no word weighs anything."""

    def square(words: Set[str]) -> float:
        return sum(float(rare[bucket(word)]) ** 2 for word in words)

    shared = square(one & other)
    return shared / math.sqrt(square(one) * square(other)) if shared else 0.0
