"""Where words stand in a text, and the pieces that a tokenizer makes of each: so that an answer can be cut out of it.

    words("It's hot.")                      ->  [(0, 2), (2, 4), (5, 8), (8, 9)]
    Pieces(tokenizer).of("hot", spaced=True)  ->  the ids of "▁hot"

The words are those of the tokenizer (`heedful.text.words`), each without the white space before it, and in scripts
that write no spaces every character: their pieces, one after the other, are the encoding of the text, but for white
space other than single spaces, which is passed over. A text is normalised word by word, so that the place of a word
is known whatever its normalisation makes of it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache

from tokenizers.pre_tokenizers import PreTokenizer

from heedful.text import byte_level
from heedful.text.special import UNKNOWN
from heedful.text.tokenizer import Tokenizer
from heedful.text.words import SPACE, splitter

Place = tuple[int, int]
"""The first character and the one after the last."""

# Han, kana, Thai, Lao, Myanmar, Khmer: written without spaces.
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
)


@cache
def _splitter() -> PreTokenizer:
    return splitter(split_digits=False, at_spaces_only=False)


def words(text: str) -> list[Place]:
    """The places of the words of a text."""
    # As long as the text, so that places are the same.
    return [
        place
        for _, cut in _splitter().pre_tokenize_str(text.replace(" ", SPACE))
        for place in _bare(text, *cut)
    ]


def _bare(text: str, first: int, end: int) -> Iterator[Place]:
    """The words of what the splitter gives for one: without white space; several where the script has no spaces."""
    while first < end and (text[first].isspace() or text[first] == SPACE):
        first += 1
    if first == end:
        return
    if _UNSPACED.search(text, first, end) is None:
        yield first, end
        return
    for place in range(first, end):
        yield place, place + 1


def spaced(text: str, places: Sequence[Place]) -> list[bool]:
    """For each word, whether white space or nothing stands before it."""
    return [first == 0 or text[first - 1].isspace() for first, _ in places]


class Pieces:
    """The pieces of words, each worked out once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._apart, self._of_bytes = tokenizer.settings.apart, tokenizer.settings.kind == "byte-bpe"
        self._known: dict[tuple[str, bool], tuple[int, ...]] = {}
        pieces = tokenizer.vocabulary.pieces
        space = byte_level.SPACE if self._of_bytes else SPACE
        self._bare = pieces.index(space) if space in pieces else None

    def of(self, word: str, spaced: bool) -> tuple[int, ...]:
        """The ids of a word; at least one, whatever normalisation leaves of it.

        spaced: whether a space stands before it
        """
        key = word, spaced
        if key not in self._known:
            # Only in byte-bpe no space is put before a text.
            found = self.tokenizer.words(f" {word}" if self._of_bytes and spaced else word)
            if found and not (spaced or self._apart or self._of_bytes):
                found[0] = found[0].removeprefix(SPACE)
            ids = [index for each in found for index in self.tokenizer.segment(each)]
            self._known[key] = tuple(ids) or (UNKNOWN,)
        return self._known[key]

    def lead(self, ids: Sequence[int]) -> int:
        """Which of a word's pieces is the first to spell something of it: the second where a space is a piece alone."""
        return int(len(ids) > 1 and ids[0] == self._bare)


# --- tokens of which nobody knows any more whether spaces stood between them

_CLOSING = re.compile(r"[.,;:!?%)\]}…»”’]+|n't|'(?:s|re|ve|ll|d|m)|\.\.\.", re.IGNORECASE)
_OPENING = re.compile(r"[(\[{«“‘$£€#¿¡]+")


def likely_spaced(tokens: Sequence[str]) -> list[bool]:
    """For each token of a tokenised sentence, whether a space stood before it where it was written, by its looks.

    >>> likely_spaced(["It", "'s", "hot", "(", "very", ")", "."])
    [True, False, True, True, False, False, False]
    """
    before = [None, *tokens]
    return [
        last is None or not (_CLOSING.fullmatch(token) or _OPENING.fullmatch(last))
        for last, token in zip(before, tokens, strict=False)
    ]


_TOKEN = re.compile(
    r"""
    (?:https?://|www\.)\S*[^\s.,;:!?)\]}'"»”]      # an address
    | [@#]\w[\w-]*                                    # a name, a topic
    | [\w.+-]+@\w[\w.-]*\w                            # an e-mail address
    | (?:[^\W\d_]\.){2,}                              # U.S.
    | [^\W\d_]+(?=n't\b)                              # do | n't
    | n't\b
    | '(?:s|re|ve|ll|d|m)\b
    | \w+(?:[.,:/]\d+)+                               # 3.5, 12:30
    | \w+(?:[-&]\w+)*                                 # well-known, AT&T
    | \.{2,} | ([^\w\s])\1*                           # ..., !!
    """,
    re.VERBOSE | re.IGNORECASE,
)


def tokens(text: str) -> list[Place]:
    """The places of the tokens of running text, cut as corpora of tagged English mostly are.

    Text that is tokenised already stays as it is, for the most part: what stands between spaces is cut further only
    where punctuation touches words.
    """
    return [found.span() for found in _TOKEN.finditer(text)]
