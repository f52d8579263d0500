"""Normalisation as named steps, applied in order; what can be undone is undone on the way out.

- `nfc`, `nfkc`, `nfd`: Unicode normalisation forms (UAX 15). NFC only changes how a character is encoded; NFD sets
  letters apart from their marks (ā is a and ¯) and spells Korean syllables by their letters. None is undone.
- `lowercase`: Unicode lower case. Not undone.
- `moses`: the Moses scripts `normalize-punctuation` and `tokenizer` (`text/moses.py`), as the
  translation literature prepares its data. Undone by the Moses detokeniser, which is right for running text
  and, like the scripts, does not keep what is unusual: runs of spaces, kinds of quotation marks.
"""

import unicodedata
from collections.abc import Callable
from typing import Literal

from heedful.errors import TokenizerError
from heedful.text import moses

Normalization = Literal["nfc", "nfkc", "nfd", "lowercase", "moses"]


class Normalizer:
    """Applies `steps` in order, and undoes the one that can be undone.

    Raises `TokenizerError` where `moses` is among the steps and no language is given.
    """

    def __init__(self, steps: tuple[Normalization, ...], language: str | None):
        self._steps = [_step(name, language) for name in steps]
        self._moses_language = _moses_language(language) if "moses" in steps else None

    def apply(self, text: str) -> str:
        """The normalised text."""
        for step in self._steps:
            text = step(text)
        return text

    def undo(self, text: str) -> str:
        """Running text again: detokenised where `moses` was applied, else unchanged."""
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
