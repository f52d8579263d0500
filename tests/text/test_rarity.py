"""How rare words are, and how alike texts are by them."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from heedful.text.hashing import BUCKETS, bucket
from heedful.text.rarity import likeness, rarities

texts = some.lists(some.sets(some.sampled_from("abcdefgh"), max_size=5), max_size=8)


@given(texts)
def test_rarity_is_the_logarithm_of_the_share_of_texts(texts):
    rare = rarities(texts)
    assert rare.shape == (BUCKETS,)
    assert rare.dtype == np.float32
    for word in "abcdefgh":
        with_word = sum(word in text for text in texts)
        of_none = math.log(1 + max(1, len(texts)))
        assert math.isclose(
            rare[bucket(word)], math.log((1 + len(texts)) / (1 + with_word)) / of_none, abs_tol=1e-6
        )


def test_words_of_no_text_are_rarest_and_words_of_all_weigh_nothing():
    rare = rarities([{"a", "b"}, {"a"}])
    assert rare[bucket("a")] == 0
    assert rare[bucket("never")] == 1
    assert likeness({"a"}, {"a"}, rare) == 0
    assert likeness({"never"}, {"never"}, rare) == 1


words = some.sets(some.sampled_from("abcdefgh"), max_size=8)


@given(texts, words, words)
def test_likeness_is_the_cosine_of_rarities(texts, one, other):
    rare = rarities(texts)
    first, second = (
        np.array([float(rare[bucket(word)]) * (word in each) for word in "abcdefgh"]) for each in (one, other)
    )
    product = np.linalg.norm(first) * np.linalg.norm(second)
    expected = first @ second / product if product else 0.0
    assert math.isclose(likeness(one, other, rare), expected, abs_tol=1e-6)
