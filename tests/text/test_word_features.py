"""What is known of a word by its spelling and its neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from heedful.text.hashing import BUCKETS, bucket
from heedful.text.word_features import COUNT, numbers, shape

SENTENCE = ("We", "saw", "Berlin-based", "U2", "twice", "in", "2026", ".")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("Berlin-based", "Xx-x"), ("2026", "9"), ("U2", "X9"), ("#NYC!!", "#X!"), ("Ünal", "Xx"), ("東京", "x")],
)
def test_the_shape_of_a_word(word, expected):
    assert shape(word) == expected


def test_the_features_of_a_word_by_name():
    named = [
        *("word=berlin-based", "shape=Xx-x"),
        *("begin1=b", "begin2=be", "begin3=ber", "begin4=berl", "end1=d", "end2=ed", "end3=sed", "end4=ased"),
        *("word-2=we", "word-1=saw", "word+1=u2", "word+2=twice"),
        *("shape-2=Xx", "shape-1=x", "shape+1=X9", "shape+2=x"),
        *("pair-1=saw berlin-based", "pair+1=berlin-based u2"),
    ]
    assert numbers(SENTENCE)[2].tolist() == [bucket(each) for each in named]


def test_the_ends_of_a_sentence_look_like_no_word():
    (alone,) = numbers(["a"])
    named = [
        "word-2= ",
        "word-1= ",
        "word+1= ",
        "word+2= ",
        "shape-2= ",
        "shape-1= ",
        "shape+1= ",
        "shape+2= ",
    ]
    assert alone[10:18].tolist() == [bucket(each) for each in named]
    assert numbers([]).shape == (0, COUNT)


words = some.lists(some.text(min_size=1, max_size=8), min_size=1, max_size=12)


@given(words, words)
def test_only_two_words_on_each_side_are_seen(first, second):
    found = numbers([*first, "x", "y", *second])
    assert found.shape == (len(first) + len(second) + 2, COUNT)
    assert found.min() >= 0
    assert found.max() < BUCKETS
    other = numbers([*first, "x", "y", "z"])
    assert np.array_equal(found[: len(first)], other[: len(first)])
