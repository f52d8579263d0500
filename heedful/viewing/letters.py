"""What tokens look like: bytes that are no whole character, and characters that are not seen.

    readable(b"\\xe7\\x8c") == "<0xE7><0x8C>"           two of the three bytes of 猫, a token of byte-level BPE
    together(["<0xE7><0x8C>", "<0xAB>は"]) == "猫は"    once they stand together
    visible("a\\u200fb") == "aU+200Fb"                  a mark that would turn the text around it

A byte is written as SentencePiece writes it, so that tokens that differ look different; `shown` and `joined` of the
page's tokens.js say the same.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterable

_AS_BYTES = "heedful-as-bytes"
# Only of characters of several bytes: all of these are 0x80 and above.
_BYTES = re.compile("(?:<0x[89A-F][0-9A-F]>)+")
# These say how their neighbours are drawn or joined, in Persian and Indic scripts and in emoji; tags are of flags.
_JOINERS = frozenset("\u200c\u200d") | frozenset(map(chr, range(0xE0020, 0xE0080)))


def _named(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_AS_BYTES, _named)


def readable(spelt: bytes) -> str:
    """Give UTF-8 as text; a byte that is of no whole character is named."""
    return spelt.decode("utf-8", errors=_AS_BYTES)


def together(texts: Iterable[str]) -> str:
    """Give the text of tokens that follow each other: bytes that are a character once they stand together become it."""
    return _BYTES.sub(
        lambda run: readable(bytes.fromhex(run[0].replace("<0x", "").replace(">", ""))), "".join(texts)
    )


def visible(text: str) -> str:
    """Give a text in which everything is seen: spaces alone, ends of lines, and what has no picture by its number."""
    if not text.strip(" "):
        return "␣" * len(text)
    text = text.replace("\n", "⏎").replace("\t", "⇥")
    if all(map(_is_joined, text)):  # on nothing that could be seen
        return "".join(map(_number, text))
    return "".join(each if each.isprintable() or each in _JOINERS else _number(each) for each in text)


def isolated(text: str) -> str:
    """Give a text so that Arabic or Hebrew in it does not turn what it stands between around."""
    turns = any(unicodedata.bidirectional(each) in ("R", "AL", "AN") for each in text)
    return f"\u2068{text}\u2069" if turns else text


def _is_joined(character: str) -> bool:
    return character in _JOINERS or "\ufe00" <= character <= "\ufe0f"


def _number(character: str) -> str:
    return f"U+{ord(character):04X}"
