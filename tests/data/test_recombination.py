"""Recombination: alignments of a made-up spelling are found, and what is made of parts is made of them only."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.data.recombination import align, recombine
from heedful.errors import DataError

# A spelling that is plain: a silent h, an x for two sounds, and c before i is another sound than before the rest.
SOUNDS = {"a": "a", "i": "i", "k": "k", "c": "k", "t": "t", "h": "", "x": "k s", "ʃ": "ʃ"}


def pronounced(word: str) -> tuple[str, ...]:
    return tuple(
        sound
        for letter, following in pairwise(word + ".")
        for sound in ("ts" if letter + following == "ci" else SOUNDS[letter]).split()
    )


def words(count: int) -> list[str]:
    draw = random.Random(3)
    return ["".join(draw.choices("aaiikcthx", k=draw.randint(1, 8))) for _ in range(count)]


PAIRS = [(word, pronounced(word)) for word in words(200)]


def test_each_letter_is_given_what_it_is_read_as():
    for word, readings in zip(words(200), align(PAIRS), strict=True):
        expected = [tuple(("ts" if a + b == "ci" else SOUNDS[a]).split()) for a, b in pairwise(word + ".")]
        assert readings == list(zip(word, expected, strict=True))


def test_new_words_are_read_as_the_spelling_has_it():
    """Here what a letter is read as depends on the next one at most, and that is what recombination keeps."""
    new = recombine(PAIRS, 500, seed=1)
    assert len(new) == 500
    assert len({source for source, _ in new} | {tuple(word) for word, _ in PAIRS}) == 500 + len(
        set(words(200))
    )
    for source, target in new:
        assert target == pronounced("".join(source))


def test_the_same_seed_gives_the_same_and_another_one_others():
    assert recombine(PAIRS, 20, seed=1) == recombine(PAIRS, 20, seed=1) != recombine(PAIRS, 20, seed=2)


@given(
    st.lists(st.tuples(st.text("ab", max_size=4), st.lists(st.sampled_from("xy"), max_size=6)), max_size=8)
)
def test_readings_spell_both_sides_of_every_pair_that_can_be_cut(pairs: list[tuple[str, list[str]]]):
    for (source, target), readings in zip(pairs, align(pairs), strict=True):
        if readings:
            assert "".join(symbol for symbol, _ in readings) == source
            assert [symbol for _, read in readings for symbol in read] == target
        else:
            assert len(target) > 2 * len(source) or not source


def test_what_cannot_be_recombined_is_said():
    with pytest.raises(DataError, match="at most 2 symbols for each"):
        recombine([("a", ["b", "c", "d"])], 5)
    assert recombine([("ab", ["x", "y"])], 5) == []  # one word alone gives nothing new
