"""Text as bytes that can be seen: the alphabet of GPT-2 (Radford et al. 2019, section 2.2, and the authors' code).

    " Müller" is cut into words as it stands, and a word is spelt by a character for each of its bytes:  "ĠMÃ¼ller"

Printable bytes of Latin-1 stand for themselves, the 68 others for the characters from U+0100 on, in their order: a
space is Ġ, a line feed Ċ. So 256 entries spell every text, and none is unknown.
"""

from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

ALPHABET = {chr(byte): byte for byte in _PRINTABLE} | {chr(0x100 + n): byte for n, byte in enumerate(_OTHERS)}
"""The byte that each character stands for."""

SPACE = "Ġ"


def spelt(piece: str) -> bytes:
    """The bytes of an entry. Raises KeyError for a character that stands for none."""
    return bytes(ALPHABET[character] for character in piece)


def splitter() -> PreTokenizer:
    """The pre-tokenizer that cuts text into words, and spells them."""
    return ByteLevel(add_prefix_space=False, use_regex=True)
