"""What is done to a text before it is cut into tokens: the steps in their order, and Moses' tokens, there and back."""

import html
from pathlib import Path

import pytest

from heedful.errors import TokenizerError
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.normalization import Normalizer
from tests.text.tokenizers import TEXTS, lines


def test_steps_apply_in_the_order_given():
    assert Normalizer(("nfkc", "lowercase"), None).apply("ﬁ Ⅷ K") == "fi viii k"
    # ℡ becomes TEL, in capitals, after lowercase has been
    assert Normalizer(("lowercase", "nfkc"), None).apply("℡") == "TEL"
    assert Normalizer(("nfkc", "lowercase"), None).apply("℡") == "tel"
    assert Normalizer(("nfc",), None).apply("e\u0301") == "é"


def test_bert_sets_punctuation_apart_and_joins_it_again():
    cased, uncased = Normalizer(("bert",), None), Normalizer(("bert-uncased",), None)
    assert cased.apply("Über\x00all, it's naïve. 京都") == "Überall , it ' s naïve . 京 都"
    assert uncased.apply("Über\x00all, it's naïve. 京都") == "uberall , it ' s naive . 京 都"
    for normalizer in (cased, uncased):
        assert normalizer.undo("it 's hot , is n't it ?") == "it's hot, isn't it?"
    assert cased.apply("a" * 100) == "a" * 100
    assert cased.apply("b " + "a" * 101) == "b \ufffd"


def test_moses_needs_a_language():
    settings = TokenizerSettings(normalization=("moses",))
    with pytest.raises(TokenizerError, match="moses normalisation depends on the language"):
        Tokenizer.train(TEXTS, settings)


def test_moses_tokens_are_the_words_and_running_text_comes_out():
    settings = TokenizerSettings(normalization=("lowercase", "moses"), vocabulary_size=500)
    tokenizer = Tokenizer.train({"en": TEXTS, "fr": TEXTS}, settings)
    assert tokenizer.language == "en"
    assert Tokenizer.train({"en": TEXTS, "fr": TEXTS}, settings, language="fr").language == "fr"
    assert tokenizer.words("The man's t-shirt, (blue).") == [
        "▁the", "▁man", "▁'s", "▁t-shirt", "▁,", "▁(", "▁blue", "▁)", "▁."
    ]  # fmt: skip
    assert tokenizer.decode(tokenizer.encode("The man's t-shirt, (blue).")) == "the man's t-shirt, (blue)."
    french = tokenizer.for_language("fr")
    assert french.words("L'homme") == ["▁l'", "▁homme"]
    assert french.decode(french.encode("L'homme monte.")) == "l'homme monte."
    assert french.vocabulary is tokenizer.vocabulary


@pytest.mark.parametrize("language", ["de", "en", "fr"])
def test_moses_gives_the_published_tokens_of_multi30k(mirror: Path, language: str):
    raw = lines(mirror, f"raw/val.{language}")
    published = lines(mirror, f"tok/val.lc.norm.tok.{language}")
    normalizer = Normalizer(("lowercase", "moses"), language)
    assert [normalizer.apply(text) for text in raw] == [html.unescape(text) for text in published]


@pytest.mark.parametrize("language", ["de", "en", "fr"])
def test_moses_is_undone_for_running_text(mirror: Path, language: str):
    raw = lines(mirror, f"raw/val.{language}")
    normalizer = Normalizer(("moses",), language)
    same = sum(normalizer.undo(normalizer.apply(text)) == text for text in raw)
    assert same / len(raw) > 0.98  # the rest: double spaces, no-break spaces, lone apostrophes
