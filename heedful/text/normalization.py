"""Normalisation as named steps, applied in order; what can be undone is undone on the way out.

- `nfc`, `nfkc`, `nfd`: Unicode normalisation forms (UAX 15). NFC only changes how a character is encoded; NFD sets
  letters apart from their marks (ā is a and ¯) and spells Korean syllables by their letters. None is undone.
- `lowercase`: Unicode lower case. Not undone.
- `moses`: the Moses scripts `normalize-punctuation` and `tokenizer` (`text/moses.py`), as the
  translation literature prepares its data. Undone by the Moses detokeniser, which is right for running text
  and, like the scripts, does not keep what is unusual: runs of spaces, kinds of quotation marks.
- `bert`, `bert-uncased`: what BERT's authors do before their WordPiece: control characters left away, punctuation and
  Chinese characters set apart, and (uncased) accents left away and lower case. Of a word of more than 100 characters
  nothing is kept, as theirs is unknown whatever its pieces. English punctuation is joined again on the way out.
"""

import unicodedata
from collections.abc import Callable
from typing import Literal

from tokenizers import normalizers, pre_tokenizers

from heedful.errors import TokenizerError
from heedful.text import moses

Normalization = Literal["nfc", "nfkc", "nfd", "lowercase", "moses", "bert", "bert-uncased"]

_LONGEST_OF_BERT = 100  # characters of a word
_REPLACED = "\ufffd"  # which BERT's own cleaning takes out of any text
# As BertTokenizer of transformers cleans up what it decodes.
_JOINED = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")


class Normalizer:
    """Applies `steps` in order, and undoes the one that can be undone.

    Raises `TokenizerError` where `moses` is among the steps and no language is given.
    """

    def __init__(self, steps: tuple[Normalization, ...], language: str | None):
        self._steps = [_step(name, language) for name in steps]
        self._moses_language = _moses_language(language) if "moses" in steps else None
        self._bert = "bert" in steps or "bert-uncased" in steps

    def apply(self, text: str) -> str:
        """The normalised text."""
        for step in self._steps:
            text = step(text)
        return text

    def undo(self, text: str) -> str:
        """Running text again: detokenised where `moses` or `bert` was applied, else unchanged."""
        if self._bert:
            for parted in _JOINED:
                text = text.replace(parted, parted[1:])
        if self._moses_language is None:
            return text
        return moses.detokenize(text, self._moses_language)


def _step(name: Normalization, language: str | None) -> Callable[[str], str]:
    match name:
        case "nfc":
            return lambda text: unicodedata.normalize("NFC", text)
        case "nfkc":
            return lambda text: unicodedata.normalize("NFKC", text)
        case "nfd":
            return lambda text: unicodedata.normalize("NFD", text)
        case "lowercase":
            return str.lower
        case "moses":
            moses_language = _moses_language(language)
            return lambda text: _moses_tokenize(text, moses_language)
        case "bert" | "bert-uncased":
            return _bert(uncased=name == "bert-uncased")


def _bert(uncased: bool) -> Callable[[str], str]:
    cleaner = normalizers.BertNormalizer(strip_accents=uncased, lowercase=uncased)
    cutter = pre_tokenizers.BertPreTokenizer()

    def apply(text: str) -> str:
        words = (word for word, _ in cutter.pre_tokenize_str(cleaner.normalize_str(text)))
        return " ".join(word if len(word) <= _LONGEST_OF_BERT else _REPLACED for word in words)

    return apply


def _moses_language(language: str | None) -> str:
    if not language:
        raise TokenizerError(
            "moses normalisation depends on the language and none was given; name it (such as 'en'), "
            "or leave 'moses' out of the normalization"
        )
    return language


def _moses_tokenize(text: str, language: str) -> str:
    # Not escaped as XML: entities such as &apos; serve the Moses decoder, not a model.
    tokens = moses.tokenize(moses.normalize_punctuation(text, language), language, escape=False)
    return " ".join(tokens.split())
