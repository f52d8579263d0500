"""The Moses text pipeline that papers scored with, line for line as the Perl scripts write it.

BLEU in papers is often measured on Moses-tokenised text, so that comparing with it needs the same tokens. Two
such texts are made here from raw lines, for hypotheses and references alike:

    lowercased_text      lowercase.perl | normalize-punctuation.perl -l LANG | tokenizer.perl -l LANG
                         (the order of the authors of Multi30k)
    compound_split_text  replace-unicode-punctuation.perl | tokenizer.perl -l LANG | hyphens split
                         (get_ende_bleu.sh of tensor2tensor, the scorer of "Attention Is All You Need")

`sacremoses` does the work; where it departs from Perl it is put right here. Given the raw files of Multi30k
(German, French, English), `lowercased_text` gives the tokenised files of its authors, every line the same.
XML entities (`&apos;`, `&quot;`) are escaped, as `tokenizer.perl` does unless told otherwise.
What it does not do: turn tokens back into text. A text made here is for counting n-grams only.
"""

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

# sacremoses takes 0.4 s to import: it is imported where first used, so that reading settings stays quick.

_QUOTES_BY_NAME = ("en", "cs", "cz", "de", "es", "fr")
_HYPHENATED = re.compile(r"(\S)-(\S)")


@cache
def _normalizer(language: str) -> "MosesPunctNormalizer":
    from sacremoses import MosesPunctNormalizer

    normalizer = MosesPunctNormalizer(language, perl_parity=True)
    if language not in _QUOTES_BY_NAME:
        # Perl moves quotes before commas and full stops in every language but English and Czech;
        # sacremoses does so for German, Spanish and French only.
        substitutions: list[Any] = normalizer.substitutions
        substitutions.extend(MosesPunctNormalizer.DE_ES_FR_QUOTATION_FOLLOWED_BY_COMMA)
    return normalizer


@cache
def _tokenizer(language: str) -> "MosesTokenizer":
    from sacremoses import MosesTokenizer

    return MosesTokenizer(language)  # an unknown language gets the English prefixes, as in tokenizer.perl


def normalize_punctuation(text: str, language: str) -> str:
    """One line as `normalize-punctuation.perl -l LANGUAGE` writes it, without spaces at its ends."""
    # Perl sees the line with its newline, and so moves a closing quote before a full stop at the line's end
    # (`komm."` -> `komm".`) in every language but English and Czech.
    return _normalizer(language).normalize(text + "\n")


def tokenize(text: str, language: str) -> str:
    """One line as `tokenizer.perl -l LANGUAGE` writes it: tokens between single spaces, XML escaped."""
    return str(_tokenizer(language).tokenize(text, return_str=True))


def lowercased_text(text: str, language: str) -> str:
    """One raw line, lowercased, punctuation-normalised and tokenised: "l'Été." -> "l&apos; été ."."""
    return tokenize(normalize_punctuation(text.lower(), language), language)


def compound_split_text(text: str, language: str) -> str:
    """One raw line, tokenised and with hyphens inside words set apart.

    "rich-text format" -> "rich ##AT##-##AT## text format". Case is kept. A compound then counts as three
    words instead of one, which raises BLEU: a score on this text is comparable only with another one on it.
    """
    tokens = tokenize(_normalizer(language).replace_unicode_punct(text), language)
    return _HYPHENATED.sub(r"\1 ##AT##-##AT## \2", tokens)
