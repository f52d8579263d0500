"""The Moses text pipeline that papers scored with, line for line as the Perl scripts write it.

BLEU in papers is often measured on Moses-tokenised text, so that comparing with it needs the same tokens. Two
such texts are made here from raw lines, for hypotheses and references alike:

    lowercased_text      lowercase.perl | normalize-punctuation.perl -l LANG | tokenizer.perl -l LANG
                         (the order of the authors of Multi30k)
    compound_split_text  replace-unicode-punctuation.perl | tokenizer.perl -l LANG | hyphens split
                         (get_ende_bleu.sh of tensor2tensor, the scorer of "Attention Is All You Need")

`heedful.text.moses` has the scripts. Given the raw files of Multi30k
(German, French, English), `lowercased_text` gives the tokenised files of its authors, every line the same.
XML entities (`&apos;`, `&quot;`) are escaped, as `tokenizer.perl` does unless told otherwise.
What it does not do: turn tokens back into text. A text made here is for counting n-grams only.
"""

import re

from heedful.text.moses import normalize_punctuation, replace_unicode_punctuation, tokenize

_HYPHENATED = re.compile(r"(\S)-(\S)")


def lowercased_text(text: str, language: str) -> str:
    """One raw line, lowercased, punctuation-normalised and tokenised: "l'Été." -> "l&apos; été ."."""
    return tokenize(normalize_punctuation(text.lower(), language), language)


def compound_split_text(text: str, language: str) -> str:
    """One raw line, tokenised and with hyphens inside words set apart.

    "rich-text format" -> "rich ##AT##-##AT## text format". Case is kept. A compound then counts as three
    words instead of one, which raises BLEU: a score on this text is comparable only with another one on it.
    """
    tokens = tokenize(replace_unicode_punctuation(text, language), language)
    return _HYPHENATED.sub(r"\1 ##AT##-##AT## \2", tokens)
