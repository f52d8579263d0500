"""The Moses scripts that prepare text for translation, line for line as the Perl originals write it.

`normalize-punctuation.perl`, `tokenizer.perl`, `detokenizer.perl` and `replace-unicode-punctuation.perl`. `sacremoses`
does the work; where it departs from Perl it is put right here. An unknown language gets the English rules, as in Perl.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer

# sacremoses is imported where it is used: compiling its tables takes half a second, which only its users should pay.

_QUOTES_BY_NAME = ("en", "cs", "cz", "de", "es", "fr")


@lru_cache(maxsize=8)
def _normalizer(language: str) -> "MosesPunctNormalizer":
    from sacremoses import MosesPunctNormalizer

    normalizer = MosesPunctNormalizer(language, perl_parity=True)
    if language not in _QUOTES_BY_NAME:
        # Perl moves quotes before commas and full stops in every language but English and Czech;
        # sacremoses does so for German, Spanish and French only.
        substitutions: list[Any] = normalizer.substitutions
        substitutions.extend(MosesPunctNormalizer.DE_ES_FR_QUOTATION_FOLLOWED_BY_COMMA)
    return normalizer


@lru_cache(maxsize=8)
def _tokenizer(language: str) -> "MosesTokenizer":
    from sacremoses import MosesTokenizer

    return MosesTokenizer(language)


@lru_cache(maxsize=8)
def _detokenizer(language: str) -> "MosesDetokenizer":
    from sacremoses import MosesDetokenizer

    return MosesDetokenizer(language)


def normalize_punctuation(text: str, language: str) -> str:
    """One line as `normalize-punctuation.perl -l LANGUAGE` writes it, without spaces at its ends."""
    # Perl sees the line with its newline, and so moves a closing quote before a full stop at the line's end
    # (`komm."` -> `komm".`) in every language but English and Czech.
    return _normalizer(language).normalize(text + "\n")


def replace_unicode_punctuation(text: str, language: str) -> str:
    """One line as `replace-unicode-punctuation.perl` writes it: full-width and typographic marks in ASCII."""
    return _normalizer(language).replace_unicode_punct(text)


def tokenize(text: str, language: str, *, escape: bool = True) -> str:
    """One line as `tokenizer.perl -l LANGUAGE` writes it: tokens between spaces, XML escaped if `escape`."""
    # As a text, not as a list: the script leaves some double spaces, and so do published files.
    return str(_tokenizer(language).tokenize(text, escape=escape, return_str=True))


def detokenize(text: str, language: str) -> str:
    """Running text of tokens between spaces, as `detokenizer.perl -l LANGUAGE` writes it."""
    return _detokenizer(language).detokenize(text.split())
