"""Places of words: what is cut out at them is the text, and the pieces are those of the tokenizer."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from heedful.text.places import Pieces, likely_spaced, spaced, tokens, words
from heedful.text.settings import TokenizerSettings
from heedful.text.special import UNKNOWN
from heedful.text.tokenizer import Tokenizer

TEXT = "It's hot (isn't it?) at Müller's... 3.5 degrees, naïve -- well-known AT&T!! I'd say."


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT] * 3, TokenizerSettings(vocabulary_size=320))


def pieces_of(tokenizer, text):
    pieces, places = Pieces(tokenizer), words(text)
    pairs = zip(places, spaced(text, places), strict=True)
    return [piece for (first, end), space in pairs for piece in pieces.of(text[first:end], space)]


def test_the_pieces_of_all_words_are_the_encoding_of_the_text(tokenizer):
    assert pieces_of(tokenizer, TEXT) == tokenizer.encode(TEXT)
    odd = TEXT.replace(" ", " \n\t ")
    assert pieces_of(tokenizer, odd) == tokenizer.encode(TEXT)


@pytest.mark.parametrize(
    "settings",
    [
        TokenizerSettings(kind="wordpiece", vocabulary_size=60, normalization=("nfkc", "lowercase")),
        TokenizerSettings(vocabulary_size=320, normalization=("bert",)),
    ],
)
def test_so_they_are_with_other_kinds_and_when_text_is_normalised(settings):
    tokenizer = Tokenizer.train([TEXT] * 3, settings)
    assert pieces_of(tokenizer, TEXT) == tokenizer.encode(TEXT)


def test_pieces_of_bytes_hold_the_space_before_a_word_where_there_is_one():
    tokenizer = Tokenizer.train([TEXT] * 3, TokenizerSettings(kind="byte-bpe", vocabulary_size=320))
    pieces = Pieces(tokenizer)
    assert list(pieces.of("hot", spaced=True)) == tokenizer.encode(" hot")
    assert list(pieces.of("hot", spaced=False)) == tokenizer.encode("hot")


def test_a_space_that_is_a_piece_alone_does_not_lead_a_word(tokenizer):
    pieces, space = Pieces(tokenizer), tokenizer.vocabulary.pieces.index("▁")
    ids = pieces.of("Q", spaced=True)  # no merge joins it with the space
    assert ids[0] == space
    assert pieces.lead(ids) == 1
    assert pieces.lead(ids[1:]) == pieces.lead([space]) == 0


@given(some.text(alphabet="ab1 ▁.,'’\n\t\u00a0́é東は␛<>", max_size=20))
def test_words_cover_all_but_white_space(text):
    places = words(text)
    assert all(first < end for first, end in places)
    assert all(one[1] <= other[0] for one, other in pairwise(places))
    covered = {at for place in places for at in range(*place)}
    assert all(text[at].isspace() or text[at] == "▁" for at in range(len(text)) if at not in covered)
    assert not any(text[at].isspace() for place in places for at in (place[0], place[1] - 1))


def test_scripts_without_spaces_are_cut_into_characters():
    assert words("京都は Kyoto") == [(0, 1), (1, 2), (2, 3), (4, 9)]
    assert words("T京") == [(0, 1), (1, 2)]


def test_a_word_has_at_least_one_piece():
    tokenizer = Tokenizer.train(["a b"], TokenizerSettings(kind="words", vocabulary_size=20, min_frequency=1))
    assert Pieces(tokenizer).of("", spaced=True) == (UNKNOWN,)
    assert Pieces(tokenizer).of("unseen", spaced=True) == (UNKNOWN,)


def test_tokens_of_running_text():
    text = "Isn't @you's cat (U.S.) at http://t.co/a, 3.5 km off? \"Yes...\" #wow-wow AT&T."
    assert [text[first:end] for first, end in tokens(text)] == [
        "Is", "n't", "@you", "'s", "cat", "(", "U.S.", ")", "at", "http://t.co/a", ",", "3.5", "km", "off", "?",
        '"', "Yes", "...", '"', "#wow-wow", "AT&T", ".",
    ]  # fmt: skip


def test_tokenised_text_stays_as_it_is():
    text = "I 'm at the Empire State Building = ESB ."
    assert [text[first:end] for first, end in tokens(text)] == text.split()


def test_spaces_are_guessed_from_the_looks_of_tokens():
    assert likely_spaced(["He", "ca", "n't", ",", "he", "said", "(", "twice", ")", "."]) == [
        True, True, False, False, True, True, True, False, False, False,
    ]  # fmt: skip
