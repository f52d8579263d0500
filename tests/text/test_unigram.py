"""Learning a unigram model: the E step against enumeration, what EM and pruning promise, small cases by hand."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.text.unigram import _Lattice, learn_unigram

WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 9), min_size=1, max_size=8)


def segmentations(word: str, pieces: dict[str, float]) -> Iterator[tuple[str, ...]]:
    if not word:
        yield ()
    for end in range(1, len(word) + 1):
        if word[:end] in pieces:
            yield from ((word[:end], *rest) for rest in segmentations(word[end:], pieces))


def log_probability(segmentation: tuple[str, ...], pieces: dict[str, float]) -> float:
    return sum(pieces[piece] for piece in segmentation)


@given(WORDS, st.data())
def test_expectations_are_those_over_all_segmentations(counts: dict[str, int], data: st.DataObject):
    substrings = sorted(
        {word[i:j] for word in counts for i in range(len(word)) for j in range(i + 1, len(word) + 1)}
    )
    kept = [piece for piece in substrings if len(piece) == 1 or data.draw(st.booleans())]
    pieces = {piece: -1.0 - 0.37 * (7 * index % 11) for index, piece in enumerate(kept)}
    ids = {piece: index for index, piece in enumerate(kept)}
    scores = np.array(list(pieces.values()))

    expected = np.zeros(len(kept))
    best = []
    for word, count in counts.items():
        weights = {x: math.exp(log_probability(x, pieces)) for x in segmentations(word, pieces)}
        best.append(math.log(max(weights.values())))
        for segmentation, weight in weights.items():
            for piece in segmentation:
                expected[ids[piece]] += count * weight / sum(weights.values())

    lattice = _Lattice(list(counts), ids)
    np.testing.assert_allclose(
        lattice.expected(scores, np.array(list(counts.values()), float)), expected, atol=1e-9
    )
    np.testing.assert_allclose(lattice.best(scores), best, atol=1e-12)


def test_an_alternative_is_never_the_whole_word():
    pieces = {"a": -3.0, "b": -3.0, "ab": -1.0, "aba": -1.0}
    lattice = _Lattice(["ab", "aba"], {piece: index for index, piece in enumerate(pieces)}, whole=False)
    assert lattice.best(np.array(list(pieces.values()))).tolist() == [-6.0, -4.0]


@given(WORDS, st.integers(1, 12))
def test_pieces_are_characters_and_a_distribution(counts: dict[str, int], size: int):
    learned = dict(learn_unigram(counts, size))
    assert len(learned) <= size
    characters = Counter(character for word, count in counts.items() for character in word * count)
    kept = sorted(characters, key=lambda character: (-characters[character], character))[:size]
    assert {piece for piece in learned if len(piece) == 1} == set(kept)
    assert sum(math.exp(score) for score in learned.values()) == pytest.approx(1.0)
    assert list(learned.values()) == sorted(learned.values(), reverse=True)


@given(WORDS, st.integers(3, 12))
def test_the_order_of_words_does_not_matter(counts: dict[str, int], size: int):
    assert learn_unigram(counts, size) == learn_unigram(dict(reversed(counts.items())), size)


def test_where_there_is_room_every_word_is_a_piece():
    # One piece a word makes the words as probable as they can be.
    counts = {"low": 12, "lower": 11, "lowest": 13, "high": 12, "higher": 14, "highest": 10}
    learned = learn_unigram(counts, 16)
    assert {piece for piece, _ in learned[:6]} == set(counts)


def test_what_is_pruned_is_what_the_text_misses_least():
    counts = {"ab": 100, "cd": 20, "ef": 5}
    for kept, pieces in enumerate([set(), {"ab"}, {"ab", "cd"}, {"ab", "cd", "ef"}]):
        learned = {piece for piece, _ in learn_unigram(counts, 6 + kept) if len(piece) > 1}
        assert learned == pieces
