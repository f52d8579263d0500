r"""Learning a unigram model of words: Kudo, "Subword Regularization" (ACL 2018), section 3.2.

A word is a sequence of pieces, drawn independently: P(x) = prod_i p(x_i). The pieces are not observed, so

1. start from more pieces than wanted: the substrings with the greatest count * length;
2. EM: expect how often each piece is used, over all segmentations (forward-backward); maximize p(piece);
3. loss(piece) = expected count * (log p(piece) - log P(its best segmentation into other pieces)), how much
   likelihood goes with it; keep the three quarters with the greatest loss, and every single character;
4. back to 2, until few enough are left.

The `tokenizers` library learns the same kind of model, but a different one each time (it sums in an order
that changes, and prunes by the sums). Here equal counts give equal pieces and scores, on one machine. All
words are handled at once in numpy, as the edges of one lattice.

It does not segment text: that is the library's Viterbi search, and `sampling.unigram_sample`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

_LONGEST_PIECE = 16  # characters; SentencePiece's default
_SEEDS = 8  # times the pieces wanted, to start from
_SEED_WORDS = 100_000  # the most frequent words stand for all; it bounds memory on very large corpora
_KEPT_EACH_ROUND = 0.75  # SentencePiece's shrinking factor
_EM_STEPS = 2  # between prunings, as in SentencePiece
_LEAST_EXPECTED = 0.5  # a piece that is expected less often goes at once, as in SentencePiece

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def learn_unigram(counts: Mapping[str, int], size: int) -> list[tuple[str, float]]:
    """At most `size` pieces with their log probabilities, the most probable first.

    Every character becomes a piece; where there are more than `size`, the rarest do not.

    Args:
        counts: how often each word occurs.
        size: at least 1.
    """
    words = _without_rare_characters(counts, size)
    frequent = _ranked(words)[:_SEED_WORDS]
    seeds = _seeds(frequent, words, _SEEDS * size)
    single = np.array([len(piece) == 1 for piece in seeds])
    longer = np.flatnonzero(~single)
    weights = np.array([words[word] for word in frequent], dtype=np.float64)

    ids = {piece: index for index, piece in enumerate(seeds)}
    corpus = _Lattice(frequent, ids)
    alternatives = _Lattice([seeds[index] for index in longer], ids, whole=False)

    alive = np.ones(len(seeds), dtype=bool)
    scores = _log_probabilities(corpus.occurrences(weights))
    while True:
        expected = np.zeros(len(seeds))
        for _ in range(_EM_STEPS):
            # A character stays, however rarely it is needed.
            expected = np.maximum(corpus.expected(scores, weights), single * _LEAST_EXPECTED)
            alive &= expected >= _LEAST_EXPECTED
            scores = _log_probabilities(np.where(alive, expected, 0.0))
        if alive.sum() <= size:
            break
        loss = np.where(alive, np.inf, -np.inf)
        candidates = alive[longer]
        chosen = longer[candidates]
        loss[chosen] = expected[chosen] * (scores[chosen] - alternatives.best(scores)[candidates])
        kept = max(size, int(alive.sum() * _KEPT_EACH_ROUND))
        # Stable: of equal losses, the order of the seeds decides, which depends on the counts alone.
        alive[np.argsort(-loss, kind="stable")[kept:]] = False
        scores = np.where(alive, scores, -np.inf)
        corpus.keep(alive)
        alternatives.keep(alive)
    learned = [(seeds[index], float(scores[index])) for index in np.flatnonzero(alive)]
    return sorted(learned, key=lambda entry: (-entry[1], entry[0]))


def _ranked(counts: Mapping[str, int]) -> list[str]:
    """The most frequent first, by spelling among equals."""
    return sorted(counts, key=lambda entry: (-counts[entry], entry))


def _without_rare_characters(counts: Mapping[str, int], size: int) -> Counter[str]:
    """The words, cut where a character is not among the `size` most frequent."""
    characters = Counter[str]()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    rare = {ord(character): " " for character in _ranked(characters)[size:]}  # no word contains a space
    if not rare:
        return Counter(counts)
    words = Counter[str]()
    for word, count in counts.items():
        for part in word.translate(rare).split():
            words[part] += count
    return words


def _seeds(words: Iterable[str], counts: Mapping[str, int], most: int) -> list[str]:
    """Every character, then the substrings that occur more than once, those with the greatest count * length."""
    occurrences = Counter[str]()
    for word in words:
        count = counts[word]
        for start, end in _spans(len(word)):
            occurrences[word[start:end]] += count
    characters = [piece for piece in occurrences if len(piece) == 1]
    gain = {piece: count * len(piece) for piece, count in occurrences.items() if len(piece) > 1 and count > 1}
    return sorted(characters) + _ranked(gain)[:most]


@cache
def _spans(length: int) -> list[tuple[int, int]]:
    """Start and end of every possible piece in a word of this length."""
    return [
        (start, end)
        for start in range(length)
        for end in range(start + 1, min(start + _LONGEST_PIECE, length) + 1)
    ]


def _log_probabilities(expected: Floats) -> Floats:
    scores = np.full(len(expected), -np.inf)
    np.log(expected / expected.sum(), out=scores, where=expected > 0)
    return scores


@dataclass(frozen=True)
class _Level:
    """Edges that lead from known nodes to nodes of one distance; those to the same node are neighbours."""

    known: Integers
    pieces: Integers
    first: Integers  # index of the first edge of each node
    nodes: Integers


class _Lattice:
    """All segmentations of many words: a node between any two characters, an edge for each piece.

    Args:
        words: at least one character each, all of them pieces.
        ids: index of each piece.
        whole: whether a word may be one piece itself.
    """

    def __init__(self, words: Sequence[str], ids: Mapping[str, int], *, whole: bool = True):
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        # Word, start, end, piece of every edge; words of one length at a time, as these have the same spans.
        columns: list[Integers] = [np.empty((4, 0), dtype=np.int64)]
        for length in np.unique(lengths):
            numbers = np.flatnonzero(lengths == length)
            spans = [span for span in _spans(int(length)) if whole or span != (0, length)]
            found = [
                ids.get(words[number][start:end], -1) for number in numbers.tolist() for start, end in spans
            ]
            pieces = np.array(found, dtype=np.int64)
            starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
            repeated = (
                np.repeat(numbers, len(spans)),
                np.tile(starts, len(numbers)),
                np.tile(ends, len(numbers)),
            )
            columns.append(np.stack([*repeated, pieces])[:, pieces >= 0])
        self._word, self._start, self._end, self._piece = np.concatenate(columns, axis=1)
        self._final = np.cumsum(lengths + 1) - 1  # node at the end of each word
        self._initial = self._final - lengths
        self._number_of_pieces = len(ids)
        self._index()

    def keep(self, alive: Booleans) -> None:
        """Leaves the edges of these pieces only."""
        kept = alive[self._piece]
        self._word, self._start = self._word[kept], self._start[kept]
        self._end, self._piece = self._end[kept], self._piece[kept]
        self._index()

    def occurrences(self, weights: Floats) -> Floats:
        """How often each piece occurs in the words, each word counted `weights` times."""
        return _sum_by(self._piece, weights[self._word], self._number_of_pieces)

    def expected(self, scores: Floats, weights: Floats) -> Floats:
        """How often each piece is used, in expectation over all segmentations (the E step)."""
        forward = self._reach(self._initial, self._forward, scores, _log_sum)
        backward = self._reach(self._final, self._backward, scores, _log_sum)
        log = forward[self._left] + scores[self._piece] + backward[self._right]
        used = np.exp(log - forward[self._final][self._word])
        return _sum_by(self._piece, used * weights[self._word], self._number_of_pieces)

    def best(self, scores: Floats) -> Floats:
        """The log probability of the best segmentation of each word."""
        return self._reach(self._initial, self._forward, scores, np.maximum.reduceat)[self._final]

    def _index(self) -> None:
        self._left = self._initial[self._word] + self._start
        self._right = self._initial[self._word] + self._end
        self._forward = self._levels(self._end, self._left, self._right)
        self._backward = self._levels(-self._start, self._right, self._left)

    def _levels(self, distance: Integers, known: Integers, reached: Integers) -> list[_Level]:
        order = np.lexsort((reached, distance))
        levels = []
        for edges in np.split(order, np.flatnonzero(np.diff(distance[order])) + 1):
            nodes, first = np.unique(reached[edges], return_index=True)
            levels.append(_Level(known[edges], self._piece[edges], first, nodes))
        return levels

    def _reach(
        self,
        origins: Integers,
        levels: list[_Level],
        scores: Floats,
        combine: Callable[[Floats, Integers], Floats],
    ) -> Floats:
        """The log weight with which each node is reached from the origins."""
        reached = np.full(int(self._final[-1]) + 1 if len(self._final) else 0, -np.inf)
        reached[origins] = 0.0
        for level in levels:
            if len(level.nodes):
                reached[level.nodes] = combine(reached[level.known] + scores[level.pieces], level.first)
        return reached


def _sum_by(groups: Integers, values: Floats, number: int) -> Floats:
    """The sum of the values of each group."""
    return np.bincount(groups, values, number).astype(np.float64)


def _log_sum(values: Floats, first: Integers) -> Floats:
    """log(sum(exp(values))) of each run of values; `first` are the indices at which runs begin."""
    largest = np.maximum.reduceat(values, first)
    runs = np.repeat(largest, np.diff(np.append(first, len(values))))
    return largest + np.log(np.add.reduceat(np.exp(values - runs), first))
