"""Tokens for people: without the tokenizer's marks, each with the word that it is a part of."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from heedful.tasks.alignment import NO_WORD, words_of_tokens
from heedful.text import byte_level
from heedful.text.special import END, MASK, PAD, START
from heedful.text.tokenizer import Tokenizer
from heedful.text.words import SPACE, unmark
from heedful.viewing.letters import readable
from heedful.viewing.scene import Token

SPECIAL = (PAD, START, END)
"""What a reader may want to take out of a picture; an unknown word is part of the text, and so is a mask."""


def of_text(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[Token]:
    """Give the tokens `ids` of a text, special ones among them wherever they stand.

    Words are what white space separates; in a text without any, what the tokenizer takes for words. A space that is a
    token of its own belongs to the word after it.
    """
    ordinary = [token for token in ids if token not in SPECIAL]
    words = words_of(tokenizer, ordinary, text)
    for place in reversed(range(len(words) - 1)):
        if words[place] == NO_WORD and shown(tokenizer, ordinary[place]) == " ":
            words[place] = words[place + 1]
    found = iter(words)
    return [
        special(tokenizer, token)
        if token in SPECIAL
        else Token(shown(tokenizer, token), None if (word := next(found)) == NO_WORD else word)
        for token in ids
    ]


def shown(tokenizer: Tokenizer, token: int) -> str:
    """Give the text of one token: the space before a word is left out, and one alone is a space.

    Bytes that are no whole character are named, <0xE7>: the tokens of a rare character look different.
    """
    (piece,) = tokenizer.pieces([token])
    if token in SPECIAL:
        return piece
    if token == MASK and tokenizer.settings.mask:
        return "[MASK]"
    if tokenizer.settings.kind == "byte-bpe":
        return readable(byte_level.spelt(piece)).removeprefix(" ") or " "
    return unmark(piece) or " "


def begins_word(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token begins with the space before a word."""
    (piece,) = tokenizer.pieces([token])
    return len(piece) > 1 and piece.startswith(
        byte_level.SPACE if tokenizer.settings.kind == "byte-bpe" else SPACE
    )


def special(tokenizer: Tokenizer, token: int) -> Token:
    """Give a special token: <s>, </s>, <pad>."""
    return Token(shown(tokenizer, token), special=True)


def words_of(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[int]:
    """Give of each token the number of its word, NO_WORD outside every word."""
    if len(text.split()) > 1:
        return words_of_tokens(tokenizer, ids, text)
    starts = tokenizer.word_starts(ids)
    return [number - 1 for number in accumulate(map(int, starts))]


def count_words(tokens: Collection[Token]) -> int:
    """Give the number that the next word has."""
    return 1 + max((token.word for token in tokens if token.word is not None), default=-1)


def later(tokens: Iterable[Token], before: int) -> list[Token]:
    """Give tokens whose words are counted from `before`."""
    return [token if token.word is None else replace(token, word=token.word + before) for token in tokens]
