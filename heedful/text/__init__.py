"""Text to sequences of integers and back."""

from heedful.text.settings import SidesSettings
from heedful.text.special import END, PAD, SPECIAL_TOKENS, START, UNKNOWN
from heedful.text.tokenizer import Tokenizer, TokenizerSettings

__all__ = [
    "END",
    "PAD",
    "SPECIAL_TOKENS",
    "START",
    "UNKNOWN",
    "SidesSettings",
    "Tokenizer",
    "TokenizerSettings",
]
