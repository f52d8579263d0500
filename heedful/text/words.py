"""Text as a sequence of words, with nothing lost: the units inside which segmentation happens.

    mark("Ein pferd.") == "▁Ein▁pferd."   split into   "▁Ein" "▁pferd" "."

A space becomes ▁ (U+2581, as in SentencePiece), and one ▁ is put in front of a text, so that its first word
is the same as elsewhere. Punctuation, numbers and other white space are words of their own: "pferd." shares
"pferd". A ▁ that stands in the text itself is escaped, so `unmark(mark(x)) == x` for every string.

No word mixes `<` with a letter, so a text that spells `<s>` or `<0x41>` never meets the entry of that name.
"""

import re

from tokenizers import Regex
from tokenizers.pre_tokenizers import PreTokenizer, Split

SPACE = "▁"
_ESCAPE = "␛"  # U+241B, the picture of the escape character: readable, and rarer than anything on a keyboard
_MARKED = re.compile(f"{SPACE}|{_ESCAPE}([{_ESCAPE}_])")

# The longest word; a longer one is cut (nothing is lost). It bounds what one word can cost in time.
LONGEST = 128
_UP_TO = f"{{1,{LONGEST}}}"

# Letters with their marks, and the two joiners that Persian and Indic scripts write inside words.
_LETTER = r"\p{L}\p{M}\x{200C}\x{200D}"


def mark(text: str) -> str:
    """The text with spaces made visible; the empty text stays empty."""
    if not text:
        return ""
    text = text.replace(_ESCAPE, _ESCAPE + _ESCAPE).replace(SPACE, _ESCAPE + "_")
    return SPACE + text.replace(" ", SPACE)


def unmark(text: str) -> str:
    """The inverse of `mark`; total, since a model may write what `mark` never does."""
    return _MARKED.sub(_unmark_one, text.removeprefix(SPACE))


def _unmark_one(found: re.Match[str]) -> str:
    match found.group(1):
        case None:
            return " "
        case "_":
            return SPACE
        case escaped:
            return escaped


def splitter(*, split_digits: bool, at_spaces_only: bool) -> PreTokenizer:
    """The pre-tokenizer that splits marked text into words.

    Args:
        split_digits: every digit is a word.
        at_spaces_only: for text that already is tokenised (by Moses, or symbols): words are what stands between
            spaces.
    """
    spaces = f"{SPACE}{_UP_TO}(?={SPACE})"  # a run of spaces but for the last, which belongs to what follows
    if at_spaces_only:
        alone = r"<\p{N}" if split_digits else "<"
        alternatives = [spaces, rf"{SPACE}?(?:[^{SPACE}\s{alone}]{_UP_TO}|[{alone}])", SPACE, rf"\s{_UP_TO}"]
    else:
        alternatives = [
            spaces,
            # English contractions as units (the list of GPT-2), since an apostrophe alone says little
            rf"{SPACE}?'(?i:[sdmt]|ll|ve|re)(?![{_LETTER}\p{{N}}])",
            f"{SPACE}?[{_LETTER}]{_UP_TO}",
            rf"{SPACE}?\p{{N}}" + ("" if split_digits else _UP_TO),
            # punctuation and symbols: a run of the same one ("...") or one alone
            rf"{SPACE}?([^{_LETTER}\p{{N}}{SPACE}\s])\1{{0,{LONGEST - 1}}}",
            SPACE,
            rf"\s{_UP_TO}",
        ]
    return Split(Regex("|".join(alternatives)), behavior="isolated")
