"""The production tokenizer: nothing lost, nothing special in plain text, the same everywhere, and its settings."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from heedful.errors import TokenizerError
from heedful.text import END, PAD, SPECIAL_TOKENS, START, UNKNOWN, Tokenizer, TokenizerSettings
from heedful.text.byte_level import spelt
from heedful.text.settings import Kind, SidesSettings
from heedful.text.words import LONGEST, mark, unmark
from tests.text.tokenizers import KINDS, SPELLING_BYTES, TEXTS, lines, trained

# Whatever means something to some part of the machinery, and characters that are easily lost.
AWKWARD = [*SPECIAL_TOKENS, "▁", "␛", "␛_", "_", " ", "  ", "\t", "\n", "\r\n", "\x00", "\u00a0", "\u200d"]
AWKWARD += [
    "<0x41>",
    "<0xE2>",
    "##",
    "@@",
    "'s",
    "N'T",
    "👩‍👩‍👧",
    "e\u0301",
    "\u0301",
    "\ufffd",
    "a" * 200,
    "3" * 200,
]
UNICODE = st.text() | st.lists(st.sampled_from(AWKWARD) | st.text(max_size=5)).map("".join)


# Nothing is lost


@given(UNICODE)
def test_marking_spaces_can_be_undone(text: str):
    assert unmark(mark(text)) == text


@pytest.mark.parametrize("split_digits", [False, True])
@pytest.mark.parametrize("kind", SPELLING_BYTES)
@given(text=UNICODE)
@example(text="")
@example(text="▁")
@example(text=" ␛ ▁_␛_")
def test_every_unicode_string_survives_with_byte_fallback(kind: Kind, split_digits: bool, text: str):
    tokenizer = trained(kind, split_digits=split_digits)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not {PAD, START, END, UNKNOWN}.intersection(ids)


@pytest.mark.parametrize("kind", KINDS)
@given(text=UNICODE)
def test_without_byte_fallback_what_is_known_survives(kind: Kind, text: str):
    tokenizer = trained(kind, byte_fallback=False)
    ids = tokenizer.encode(text)
    assert UNKNOWN in ids or tokenizer.decode(ids) == text
    assert not {PAD, START, END}.intersection(ids)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "characters", "wordpiece"])
@given(text=st.text("".join(sorted(set("".join(TEXTS))))))
def test_known_characters_are_never_unknown(kind: Kind, text: str):
    tokenizer = trained(kind, byte_fallback=False, vocabulary_size=1000)
    ids = tokenizer.encode(text)
    assert UNKNOWN not in ids
    assert tokenizer.decode(ids) == text


def test_words_knows_the_words_it_has_seen_often_enough():
    tokenizer = trained("words", min_frequency=1)
    assert [tokenizer.decode(tokenizer.encode(text)) for text in TEXTS] == TEXTS
    assert tokenizer.encode("The zebra") == [tokenizer.encode("The")[0], UNKNOWN]
    tokenizer = Tokenizer.train(["seen seen once"], TokenizerSettings(kind="words"))
    assert tokenizer.pieces(tokenizer.encode("seen once")) == ["▁seen", "<unk>"]


def test_symbols_are_what_stands_between_spaces():
    text = "t͡ʃ aː˥˩ ʔ i.e. ˈn̩"
    tokenizer = Tokenizer.train([text], TokenizerSettings(kind="symbols", min_frequency=1))
    ids = tokenizer.encode(text)
    assert tokenizer.pieces(ids) == [f"▁{symbol}" for symbol in text.split()]
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("aː˥˩ a") == [ids[1], UNKNOWN]


def test_nfd_spells_korean_syllables_and_marks_apart():
    tokenizer = Tokenizer.train(
        ["한글 ā"], TokenizerSettings(kind="characters", normalization=("nfd",), byte_fallback=False)
    )
    assert tokenizer.pieces(tokenizer.encode("글ā")) == ["▁", *"\u1100\u1173\u11af", "a", "\u0304"]


@given(UNICODE)
def test_nfc_loses_nothing_but_the_way_characters_are_encoded(text: str):
    tokenizer = trained("bpe", normalization=("nfc",))
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("kind", SPELLING_BYTES)
@given(ids=st.lists(st.integers(0, 261)))
def test_any_ids_decode_to_unicode(kind: Kind, ids: list[int]):
    trained(kind).decode(ids).encode()  # raises if it were not


# Words are the unit


@pytest.mark.parametrize("kind", KINDS)
@given(text=UNICODE)
def test_an_encoding_is_the_segmentations_of_the_words(kind: Kind, text: str):
    tokenizer = trained(kind)
    words = tokenizer.words(text)
    ids = tokenizer.encode(text)
    assert [index for word in words for index in tokenizer.segment(word)] == ids
    assert tokenizer.encode_batch([text, "", text]) == [ids, [], ids]
    assert tokenizer.decode_batch([ids, []]) == [tokenizer.decode(ids), ""]
    if kind == "byte-bpe":
        assert spelt("".join(words)) == text.encode()
        return
    assert "".join(words) == mark(text)
    assert max(map(len, words), default=0) <= LONGEST + 1


@pytest.mark.parametrize("kind", KINDS)
@given(text=UNICODE)
def test_words_are_found_again_in_ids(kind: Kind, text: str):
    tokenizer = trained(kind)
    segments = [tokenizer.segment(word) for word in tokenizer.words(text)]
    ids = [index for segment in segments for index in segment]
    starts = tokenizer.word_starts(ids)
    if UNKNOWN not in ids:  # whose text is not known
        assert starts == [place == 0 for segment in segments for place in range(len(segment))]
    with_ends = tokenizer.word_starts([START, *ids, END])
    assert with_ends[0]
    assert with_ends[-1]
    for first in range(min(len(ids), 5)):  # wherever it is cut, in the middle of a character too
        assert tokenizer.word_starts(ids[first:])[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ein Pferd.", ["▁Ein", "▁Pferd", "."]),
        ("Pferd, Pferd", ["▁Pferd", ",", "▁Pferd"]),
        ('"Wow!" ...', ['▁"', "Wow", "!", '"', "▁..."]),
        ("the man's, don't L'homme", ["▁the", "▁man", "'s", ",", "▁don", "'t", "▁L", "'", "homme"]),
        (" a  b\t\nc ", ["▁", "▁a", "▁", "▁b", "\t\n", "c", "▁"]),
        ("2019年3月3日", ["▁2019", "年", "3", "月", "3", "日"]),
        ("रविवार, ३", ["▁रविवार", ",", "▁३"]),
        ("می‌روم", ["▁می‌روم"]),
        ("<s>", ["▁<", "s", ">"]),
        ("a▁", ["▁a", "␛", "_"]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]):
    assert trained("bpe").words(text) == words


def test_digits_can_be_words_of_their_own():
    tokenizer = trained("bpe", split_digits=True)
    assert tokenizer.words("am 30.12.2019") == ["▁am", "▁3", "0", ".", "1", "2", ".", "2", "0", "1", "9"]


def test_punctuation_does_not_make_another_word():
    tokenizer = trained("bpe")
    pieces = tokenizer.pieces(tokenizer.encode("Pferd."))
    assert pieces == ["▁Pferd", "."]
    assert tokenizer.encode("Pferd")[0] == tokenizer.encode("Ein Pferd.")[1]


def test_pieces_can_be_read_in_any_script():
    tokenizer = trained("bpe", vocabulary_size=1000)
    assert tokenizer.pieces(tokenizer.encode("воскресенье 2019年")) == ["▁воскресенье", "▁2019", "年"]
    assert tokenizer.pieces(tokenizer.encode("é")) == ["▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.pieces([PAD, START, END, UNKNOWN]) == list(SPECIAL_TOKENS)


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_spells_a_special_token_is_text(kind: Kind):
    tokenizer = trained(kind, min_frequency=1)
    for text in [*SPECIAL_TOKENS, "<0x41>", "a<s>b", "<s> <pad>"]:
        assert not {PAD, START, END}.intersection(tokenizer.encode(text))
        assert len(tokenizer.encode(text)) >= 2


def test_special_ids_say_nothing_in_text():
    tokenizer = trained("bpe")
    ids = tokenizer.encode("Ein Pferd.")
    assert tokenizer.decode([START, *ids[:1], UNKNOWN, *ids[1:], END, PAD, PAD]) == "Ein Pferd."


@pytest.mark.parametrize("index", [-1, 500, 10**9])
def test_an_id_outside_the_vocabulary_is_a_mistake_of_the_program(index: int):
    with pytest.raises(ValueError, match=rf"id {index} is not in this vocabulary of \d+ entries"):
        trained("bpe").decode([5, index])


def test_half_a_surrogate_pair_is_refused_by_position():
    with pytest.raises(TokenizerError, match="half a surrogate pair at character 2"):
        trained("bpe").encode("ab\ud800")
    with pytest.raises(TokenizerError, match="half a surrogate pair"):
        Tokenizer.train(["\udfff"])


@pytest.mark.parametrize("kind", KINDS)
def test_very_long_lines(kind: Kind):
    for text in ["horse " * 20_000, "年" * 100_000]:
        tokenizer = Tokenizer.train(
            [text], TokenizerSettings(kind=kind, vocabulary_size=300, min_frequency=1)
        )
        assert tokenizer.decode(tokenizer.encode(text)) == text


# Vocabularies


@pytest.mark.parametrize("kind", KINDS)
def test_ids_start_with_special_tokens_then_bytes(kind: Kind):
    assert (PAD, START, END, UNKNOWN) == (0, 1, 2, 3)
    tokenizer = trained(kind)
    pieces = tokenizer.vocabulary.pieces
    assert pieces[:4] == SPECIAL_TOKENS
    assert (pieces[4:260] == tuple(f"<0x{byte:02X}>" for byte in range(256))) is (kind in SPELLING_BYTES)
    assert len(set(pieces)) == len(pieces) == len(tokenizer)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [5, 12, 60, 150, 100_000])
def test_a_vocabulary_is_never_larger_than_asked(kind: Kind, size: int):
    if kind == "byte-bpe" and size < 260:
        with pytest.raises(ValidationError, match="256 bytes"):
            TokenizerSettings(kind=kind, vocabulary_size=size)
        return
    tokenizer = trained(kind, vocabulary_size=size, byte_fallback=False)
    assert len(tokenizer) <= size
    assert (
        len(tokenizer) == size
        or size == 100_000
        or kind in ("unigram", "words", "symbols", "wordpiece", "characters")
    )
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert UNKNOWN in ids or tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_little_text_gives_a_small_vocabulary(kind: Kind):
    tokenizer = Tokenizer.train(["a b"], TokenizerSettings(kind=kind, min_frequency=1))
    assert len(tokenizer) < 270
    assert tokenizer.decode(tokenizer.encode("a b")) == "a b"


def test_a_number_of_merges():
    for merges in (0, 1, 50):
        vocabulary = trained("bpe", merges=merges).vocabulary
        assert len(vocabulary.merges) == merges
        characters = set().union(*map(mark, TEXTS))
        assert len(vocabulary.pieces) == 260 + len(characters) + merges


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_is_refused(kind: Kind, texts: list[str]):
    with pytest.raises(TokenizerError, match="no text to learn a vocabulary from"):
        Tokenizer.train(texts, TokenizerSettings(kind=kind))


_PRINT_FINGERPRINTS = """
import json, sys
from heedful.text import Tokenizer, TokenizerSettings
texts = json.load(sys.stdin)
for kind in ("bpe", "byte-bpe", "unigram", "characters", "wordpiece", "words", "symbols"):
    print(Tokenizer.train(texts, TokenizerSettings(kind=kind, vocabulary_size=500)).fingerprint())
"""


def test_training_gives_the_same_in_every_process_and_order(repository: Path):
    expected = [trained(kind).fingerprint() for kind in KINDS]
    for seed, texts in (("1", TEXTS), ("2", TEXTS[::-1])):
        done = subprocess.run(
            [sys.executable, "-c", _PRINT_FINGERPRINTS],
            input=json.dumps(texts),
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == expected


def test_texts_are_read_once_as_a_stream():
    assert Tokenizer.train(iter(TEXTS), trained("bpe").settings).fingerprint() == trained("bpe").fingerprint()


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "words", "byte_fallback": True}, "byte_fallback is not possible with kind='words'"),
        ({"kind": "wordpiece", "byte_fallback": True}, "byte_fallback is not possible with kind='wordpiece'"),
        ({"kind": "characters", "dropout": 0.1}, "dropout=0.1 needs kind 'bpe', 'byte-bpe' or 'unigram'"),
        ({"kind": "wordpiece", "dropout": 0.1}, "dropout=0.1 needs kind 'bpe', 'byte-bpe' or 'unigram'"),
        (
            {"kind": "words", "dropout": 0.1},
            "a 'words' tokenizer has one segmentation only; set dropout to 0",
        ),
        ({"kind": "unigram", "merges": 5}, "merges is for kind 'bpe'"),
        (
            {"vocabulary_size": 260},
            "vocabulary_size=260 leaves no room beside the 260 special and byte tokens",
        ),
        ({"normalization": ["nfc", "nfc"]}, "normalization names a step twice"),
        ({"normalization": ["nfkd"]}, "'nfc', 'nfkc', 'nfd', 'lowercase', 'moses', 'bert' or 'bert-uncased'"),
        ({"dropout": 1.5}, "less than or equal to 1"),
        ({"vocab_size": 5}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        TokenizerSettings(**settings)


def test_the_sides_may_differ_in_everything_but_not_share_a_vocabulary_then():
    alike = SidesSettings(kind="characters", dropout=0.0)
    assert alike.sides == (TokenizerSettings(kind="characters"),) * 2
    assert not alike.sampling
    own = TokenizerSettings(kind="unigram", dropout=0.1)
    apart = SidesSettings(kind="characters", joint=False, target=own)
    assert apart.sides == (TokenizerSettings(kind="characters", joint=False), own)
    assert apart.sampling
    with pytest.raises(ValidationError, match="set joint to false"):
        SidesSettings(kind="characters", target=own)
    # What recipes and runs said before there was a target of its own still reads.
    assert SidesSettings.model_validate(TokenizerSettings(kind="words").model_dump()).target is None


def test_kinds_that_cannot_spell_bytes_do_not():
    assert TokenizerSettings().byte_fallback
    assert not TokenizerSettings(kind="symbols").byte_fallback
    assert not TokenizerSettings(kind="words").byte_fallback
    settings = TokenizerSettings(kind="wordpiece")
    assert TokenizerSettings.model_validate(settings.model_dump(mode="json")) == settings


# Real text


def test_multi30k_survives(mirror: Path):
    texts = lines(mirror, "raw/val.de") + lines(mirror, "raw/val.en")
    for kind in SPELLING_BYTES:
        tokenizer = Tokenizer.train(texts, TokenizerSettings(kind=kind, vocabulary_size=2000))
        for unseen in ("raw/test_2016_flickr.fr", "raw/test_2016_flickr.de"):
            more = lines(mirror, unseen)
            assert tokenizer.decode_batch(tokenizer.encode_batch(more)) == more
