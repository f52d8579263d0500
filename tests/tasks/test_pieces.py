"""A text that is too long is parted where it hurts least, and all of it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.errors import DataError
from heedful.tasks.pieces import split


def at_most(length: int):
    return lambda text: len(text) <= length


@pytest.mark.parametrize(
    ("text", "length", "pieces"),
    [
        ("short", 9, ["short"]),
        ("   ", 2, []),
        ("One two. Three four. Five six.", 21, ["One two.", "Three four. Five six."]),
        ('He said: "No!" Then he left.', 20, ['He said: "No!"', "Then he left."]),
        ("no sentence ends in here", 13, ["no sentence", "ends in here"]),
        ("3.14 is not the end", 12, ["3.14 is", "not the end"]),
        ("abcdefgh", 4, ["abcd", "efgh"]),
        ("他来了。她走了！你呢？", 8, ["他来了。", "她走了！你呢？"]),
        ("「行こう。」と言った。", 7, ["「行こう。」", "と言った。"]),
        ("क ख। ग घ।", 5, ["क ख।", "ग घ।"]),
    ],
)
def test_a_text_is_parted_at_sentences_else_spaces_else_characters(text, length, pieces):
    assert split(text, at_most(length)) == pieces


@given(st.text(alphabet="ab .!。\n", max_size=200), st.integers(1, 40))
def test_nothing_is_lost_and_every_piece_fits(text, length):
    pieces = split(text, at_most(length))
    assert all(0 < len(piece) <= length for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_word_is_only_parted_where_it_must_be():
    words = [letter * 4 for letter in "abcdefghijkl"]
    assert " ".join(split(" ".join(words), at_most(11))).split() == words


def test_a_character_that_does_not_fit_is_refused():
    with pytest.raises(DataError, match="'b' alone"):
        split("aba", lambda text: "b" not in text)
