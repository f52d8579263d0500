"""From texts to what the search is given: a text that is too long for the model comes in pieces, nothing is cut off."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from heedful.errors import DataError
from heedful.text.tokenizer import Tokenizer

# What ends a sentence, with the quotation marks and brackets that close after it, up to the next one. Scripts
# that are written without spaces end theirs without one.
_SENTENCE_END = re.compile(r"""[.!?…؟।]["'”’»)\]]*\s+|[。！？｡]["”’»）」』】]*\s*""")
_SPACE = re.compile(r"\s+")

# Far beyond any line number: the pieces of a text have numbers of their own.
_PIECE = 1 << 48


@dataclass(frozen=True, slots=True)
class Part:
    """A text, or a piece of a long one, as the search is given it."""

    text: int
    """Index of the text that it is a part of."""

    ids: list[int]
    """Source tokens, without END."""

    prefix: Sequence[int] = ()
    """Target tokens that its translation must begin with."""

    number: int = 1
    """What samples are drawn by: unlike that of any other part of the whole input."""

    first: bool = True
    """Whether it is the beginning of its text."""


def parts_of(
    texts: Sequence[str],
    prefixes: Sequence[str] | None,
    tokenizers: tuple[Tokenizer, Tokenizer],
    maximum: int,
    *,
    long: Literal["split", "refuse"],
    before: int = 0,
) -> list[Part]:
    """Give what there is to translate, in order: nothing of an empty text, several parts of a long one.

    prefixes: for each text what its translation must begin with; that of a long one goes with its first part
    tokenizers: of source and target
    maximum: how many tokens the model reads and writes, with END
    long: split a text that is longer, or refuse it
    before: how many texts came before these; lines are numbered from there

    Raises DataError, with the number of the line, for a text or prefix that is too long.
    """
    source, target = tokenizers
    if prefixes is not None and len(prefixes) != len(texts):
        raise DataError(
            f"There are {before + len(texts):,} lines but {before + len(prefixes):,} prefixes: give one for each, "
            "an empty one for none."
        )
    starts: list[list[int]] = [[] for _ in texts] if prefixes is None else target.encode_batch(prefixes)
    parts: list[Part] = []
    for index, (text, ids) in enumerate(zip(texts, source.encode_batch(texts), strict=True)):
        if not ids or not text.strip():
            continue
        number = before + index + 1
        check_length(f"Line {number:,}: the prefix", starts[index], maximum)
        pieces = [ids]
        if len(ids) >= maximum:
            if long == "refuse":
                check_length(f"Line {number:,}", ids, maximum)
            pieces = source.encode_batch(split(text, partial(_fits, source, maximum)))
        for place, piece in enumerate(pieces):
            prefix = () if place else starts[index]
            parts.append(Part(index, piece, prefix, number + place * _PIECE, first=place == 0))
    return parts


def check_length(what: str, ids: Sequence[int], maximum: int) -> None:
    """Raise DataError where `ids` and END are more than `maximum` tokens."""
    if len(ids) >= maximum:
        raise DataError(
            f"{what} has {len(ids):,} tokens, but the model takes at most {maximum - 1:,}; split or shorten it."
        )


def split(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Give the pieces of `text`, each of which `fits`, in order; together they have all of its words.

    A text that does not fit is parted in two: at the end of a sentence, else at a space, else between two characters;
    each time at the place nearest to its middle, so that no piece is left with a word or two.

    Raises DataError where a single character does not fit.

    >>> split("One. Two and three. Four.", lambda text: len(text) <= 14)
    ['One.', 'Two and three.', 'Four.']
    """
    text = text.strip()
    if fits(text):
        return [text] if text else []
    if len(text) == 1:
        raise DataError(f"The character {text!r} alone has more tokens than the model can read.")
    place = _nearest_to_middle(text, _SENTENCE_END) or _nearest_to_middle(text, _SPACE) or len(text) // 2
    return [*split(text[:place], fits), *split(text[place:], fits)]


def _fits(tokenizer: Tokenizer, maximum: int, text: str) -> bool:
    return len(tokenizer.encode(text)) < maximum


def _nearest_to_middle(text: str, boundary: re.Pattern[str]) -> int | None:
    """The place after a boundary inside `text` that is nearest to its middle."""
    places = [match.end() for match in boundary.finditer(text) if match.end() < len(text)]
    return min(places, key=lambda place: abs(2 * place - len(text)), default=None)
