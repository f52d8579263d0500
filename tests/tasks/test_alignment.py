"""Alignments are the attention of the position that reads a token, word by word."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedful.attention import observe
from heedful.decoding import SearchSettings
from heedful.errors import DataError, HeedfulError
from heedful.models import LuongSettings, RNNsearchSettings
from heedful.tasks import AlignmentSettings, Translator
from heedful.tasks.alignment import NO_WORD, align_words, cross_attention, words_of_tokens
from heedful.text import END, PAD, START, Tokenizer, TokenizerSettings, byte_level
from tests.tasks.small_model import ENGLISH, GERMAN, SETTINGS, random_model

LONG = " ".join(ENGLISH)
SOURCE = torch.tensor([[301, 302, 303, END], [304, 305, END, PAD]])
TARGET = torch.tensor([[310, 311, 312, 313, 314], [315, 316, PAD, PAD, PAD]])


@pytest.mark.parametrize(
    ("layer", "number"), [("middle", 1), ("penultimate", 1), ("last", 2), (0, 0), (2, 2)]
)
def test_shift_takes_the_position_that_reads_a_token_and_plain_the_one_that_predicts_it(model, layer, number):
    start = torch.full((2, 1), START)
    with observe(model) as seen:
        model(SOURCE, torch.cat([start, TARGET], 1))
    every = seen[f"decoder.layers.{number}.cross_attention"].weights()
    shift = cross_attention(model, SOURCE, TARGET, AlignmentSettings(method="shift", layer=layer))
    plain = cross_attention(model, SOURCE, TARGET, AlignmentSettings(method="plain", layer=layer))
    assert shift.shape == plain.shape == (2, SETTINGS.heads, 5, 4)
    torch.testing.assert_close(shift, every[:, :, 1:])
    torch.testing.assert_close(plain, every[:, :, :-1])
    torch.testing.assert_close(shift.sum(-1), torch.ones(2, SETTINGS.heads, 5))
    assert shift[1, :, :, 3].max() == 0  # padding


def test_a_target_of_the_longest_length_lacks_the_row_that_cannot_be_read(model):
    target = torch.full((1, SETTINGS.maximum_length), 310)
    shift = AlignmentSettings(method="shift")
    assert cross_attention(model, SOURCE[:1], target, shift).shape[2] == SETTINGS.maximum_length - 1
    plain = AlignmentSettings(method="plain")
    assert cross_attention(model, SOURCE[:1], target, plain).shape[2] == SETTINGS.maximum_length


def test_words_are_linked_by_the_largest_weight_of_their_tokens():
    # Three source tokens: word 0, a space on its own, word 1 (twice); three target tokens, of words 0, 1 and 1.
    weights = torch.tensor([[0.6, 0.9, 0.1, 0.2], [0.0, 0.8, 0.3, 0.2], [0.1, 0.0, 0.2, 0.5]])
    assert align_words([weights], [0, NO_WORD, 1, 1], [0, 1, 1]) == (
        (0, 0, pytest.approx(0.6)),
        (1, 1, pytest.approx(0.5)),
    )
    # A second part goes on where the first ended; a row of zeros and a target outside of words have no link.
    second = torch.tensor([[0.0, 0.0], [0.3, 0.7], [0.9, 0.1]])
    links = align_words([weights, second], [0, NO_WORD, 1, 1, 2, 3], [0, 1, 1, 2, 3, NO_WORD])
    assert [link[:2] for link in links] == [(0, 0), (1, 1), (3, 3)]
    assert align_words([torch.zeros(0, 2)], [0, 1], []) == ()
    assert align_words([torch.ones(2, 1)], [NO_WORD], [0, 1]) == ()


def test_pharaoh_lines_name_words_that_are_there(translator: Translator):
    texts = [*ENGLISH, "", "Snow, bridge; and   water!", LONG]
    search = SearchSettings(beam=3, n_best=2, maximum_length_add=4)
    for answer in translator.answers(texts, search=search, alignment=AlignmentSettings()):
        for candidate in answer.candidates:
            assert re.fullmatch(r"(\d+-\d+( \d+-\d+)*)?", candidate.pharaoh)
            pairs = [tuple(map(int, link.split("-"))) for link in candidate.pharaoh.split()]
            assert pairs == sorted(set(pairs))
            assert {source for source, _ in pairs} <= set(range(len(answer.source.split())))
            # Every word of the translation that a token can be read of is aligned.
            aligned = {target for _, target in pairs}
            assert aligned <= set(range(len(candidate.text.split())))
            if candidate.finished:
                assert len(aligned) == len(candidate.text.split())
            assert all(0 < weight <= 1 for _, _, weight in candidate.alignment or ())


def test_alignments_do_not_depend_on_batches(translator: Translator):
    both = [
        [
            answer.candidates[0]
            for answer in translator.answers(
                [*ENGLISH, LONG], alignment=AlignmentSettings(), batch_tokens=tokens
            )
        ]
        for tokens in (1, 4096)
    ]
    for alone, together in zip(*both, strict=True):
        assert alone.pharaoh == together.pharaoh
    assert sum(bool(alone.pharaoh) for alone in both[0]) >= 4


def test_without_the_wish_there_is_no_alignment(translator: Translator):
    (answer,) = translator.answers([ENGLISH[0]])
    assert answer.candidates[0].alignment is None
    assert "alignment" not in answer.to_json()["candidates"][0]


# Which word a token belongs to


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters", "words"])
def test_tokens_belong_to_the_words_that_they_spell(kind):
    tokenizer = Tokenizer.train(
        ENGLISH, TokenizerSettings(kind=kind, vocabulary_size=330, min_frequency=1), "en"
    )
    text = "The woman, who wears a red hat, hates xylophones ▁ here."
    if kind != "words":  # to which a space on its own is unknown
        text = text.replace(" who", "   who")
    ids = tokenizer.encode(text)
    words = words_of_tokens(tokenizer, ids, text)
    assert len(words) == len(ids)
    for number, word in enumerate(text.split()):
        mine = [token for token, of in zip(ids, words, strict=True) if of == number]
        assert mine == [token for token in tokenizer.encode(word) if tokenizer.pieces([token]) != ["▁"]]


def test_bytes_of_a_character_belong_to_its_word():
    settings = TokenizerSettings(kind="byte-bpe", vocabulary_size=270, min_frequency=1)
    tokenizer = Tokenizer.train(ENGLISH, settings, "en")
    text = "I saw a very small café at the sea, é 猫は 🐈 là où Zoë was"
    ids = tokenizer.encode(text)
    found = dict.fromkeys(range(len(text.split())), b"")
    for piece, word in zip(tokenizer.pieces(ids), words_of_tokens(tokenizer, ids, text), strict=True):
        if word != NO_WORD:
            found[word] += byte_level.spelt(piece).strip()
    assert [spelt.decode(errors="replace") for spelt in found.values()] == text.split()


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\t"), max_size=30))
def test_places_of_words_never_go_back_and_stay_inside(text):
    tokenizer = _bytes()
    ids = tokenizer.encode(text)
    words = [word for word in words_of_tokens(tokenizer, ids, text) if word != NO_WORD]
    assert words == sorted(words)
    assert set(words) <= set(range(len(text.split())))


def test_normalised_words_are_found_in_the_raw_text():
    settings = TokenizerSettings(
        vocabulary_size=360, min_frequency=1, normalization=("nfkc", "lowercase", "moses")
    )
    text = "Die Frau, „die“ ﬁnden… einen Hut."
    tokenizer = Tokenizer.train([*GERMAN, text], settings, "de")
    ids = tokenizer.encode(text)
    found: dict[int, str] = {}
    for piece, word in zip(tokenizer.pieces(ids), words_of_tokens(tokenizer, ids, text), strict=True):
        if word != NO_WORD:
            found[word] = found.get(word, "") + piece.replace("▁", "")
    assert [found[word] for word in range(6)] == ["die", "frau,", '"die"', "finden...", "einen", "hut."]


def _bytes() -> Tokenizer:
    global _TOKENIZER
    if _TOKENIZER is None:
        _TOKENIZER = Tokenizer.train(ENGLISH, TokenizerSettings(vocabulary_size=300, min_frequency=1), "en")
    return _TOKENIZER


_TOKENIZER: Tokenizer | None = None


# Pictures


def test_attention_for_a_picture_has_a_row_for_each_target_token_and_a_column_for_each_source_token(
    translator,
):
    seen = translator.attention(ENGLISH[0], GERMAN[0])
    assert seen.source_pieces == (
        *translator.source_tokenizer.pieces(translator.source_tokenizer.encode(ENGLISH[0])),
        "</s>",
    )
    assert seen.target_pieces == tuple(
        translator.target_tokenizer.pieces(translator.target_tokenizer.encode(GERMAN[0]))
    )
    assert seen.weights.shape == (len(seen.target_pieces), len(seen.source_pieces))
    torch.testing.assert_close(seen.weights.sum(-1), torch.ones(len(seen.target_pieces)))


def test_the_mean_of_heads_is_the_mean_of_the_heads(translator):
    mean = translator.attention(ENGLISH[0], GERMAN[0], layer=2)
    heads = [translator.attention(ENGLISH[0], GERMAN[0], layer=2, head=head).weights for head in range(2)]
    torch.testing.assert_close(mean.weights, (heads[0] + heads[1]) / 2)


def test_without_a_target_attention_is_that_of_the_models_own_translation(translator):
    own = translator.attention(ENGLISH[0])
    assert own.target_pieces == translator.answers([ENGLISH[0]])[0].candidates[0].pieces
    assert own.weights.shape == (len(own.target_pieces), len(own.source_pieces))


@pytest.mark.parametrize("method", ["shift", "plain"])
def test_an_empty_translation_has_a_picture_without_rows(translator, method):
    assert translator.attention("Red", "", method=method).weights.shape[0] == 0


def test_what_is_not_there_is_refused(translator):
    with pytest.raises(HeedfulError, match=r"no decoder layer 3: the model has 3, counted from 0"):
        translator.attention("Red", layer=3)
    with pytest.raises(HeedfulError, match=r"no head 2: the layer has 2, counted from 0"):
        translator.attention("Red", head=2)
    with pytest.raises(DataError, match=r"The source has \d+ tokens"):
        translator.attention(LONG)


# Recurrent models attend step by step, or, without input feeding, at once


@pytest.mark.parametrize(
    "settings",
    [
        RNNsearchSettings(
            d_embedding=8, d_hidden=8, d_attention=8, d_readout=8, maximum_length=48, start="glorot"
        ),
        LuongSettings(d_embedding=8, d_hidden=8, layers=1, maximum_length=48, start="glorot"),
        LuongSettings(d_embedding=8, d_hidden=8, layers=1, maximum_length=48, input_feeding=False),
    ],
    ids=["rnnsearch", "luong", "luong without feeding"],
)
def test_a_recurrent_model_aligns_and_pays_for_coverage(settings, tokenizer):
    model = random_model(settings, len(tokenizer), len(tokenizer))
    weights = cross_attention(model, SOURCE, TARGET, AlignmentSettings(method="plain", layer="last"))
    assert weights.shape == (2, 1, 5, 4)
    assert weights[1, 0, :, 3].max() == 0  # padding
    shift = cross_attention(model, SOURCE, TARGET, AlignmentSettings(method="shift"))
    torch.testing.assert_close(shift[:, :, :-1], weights[:, :, 1:])
    translator = Translator(model, tokenizer, tokenizer.for_language("de"), languages=("en", "de"))
    search = SearchSettings(beam=3, coverage_penalty=0.2, maximum_length_add=4)
    for answer in translator.answers(ENGLISH, search=search, alignment=AlignmentSettings()):
        assert re.fullmatch(r"(\d+-\d+( \d+-\d+)*)?", answer.candidates[0].pharaoh)


def test_a_model_without_attention_has_nothing_to_align_by(tokenizer):
    settings = RNNsearchSettings(
        d_embedding=8, d_hidden=8, d_readout=8, attention="none", maximum_length=48, start="glorot"
    )
    model = random_model(settings, len(tokenizer), len(tokenizer))
    with pytest.raises(HeedfulError, match="no attention to the source"):
        cross_attention(model, SOURCE, TARGET)
