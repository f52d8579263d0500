r"""Byte-pair encoding: words become sequences of the pieces that occur most often.

Learning alternates two steps, as EM does. With n(w) the count of word w, and words written as sequences of
symbols:

- *expect*: how often would each pair of neighbouring symbols be merged?
  c(a, b) = sum over w of n(w) * (occurrences of a b in w, left to right, without overlap)
- *maximize*: merge the k pairs with the greatest c, in that order, everywhere: a b becomes ab. A pair is
  counted again before it is merged, as merges before it in the same step can have used up its symbols; it
  is passed over when it has become rarer than the minimum frequency.

It stops after the number of merges asked for, or when no pair is frequent enough. k = 1 is the usual
algorithm. The result is the ordered list of merges; a word, seen in learning or not, is encoded by
replaying them.

>>> counts = {"high": 12, "higher": 14, "highest": 10, "low": 12, "lower": 11, "lowest": 13}
>>> encoding = learn(counts, merges=10)
>>> [str(symbol) for symbol in encoding.encode("lowest")]
['low', 'est[EoW]']
>>> [str(symbol) for symbol in encoding.encode("slower")]
['s', 'low', 'er[EoW]']
>>> encoding.decode(encoding.encode("slower"))
'slower'

The end of a word is a symbol of its own: the one without text that ends a word. Being a field and not a
spelling, no text can be mistaken for it; "[EoW]" is only how it is printed.

Ties are broken by spelling, never by the order in which words were given: of two equally frequent pairs the
one that stands first in a dictionary (left symbol, then right) is merged first. The alphabet of that
dictionary runs from the most frequent character of the corpus to the rarest, by code point among equals.

Sources: Gage, "A New Algorithm for Data Compression" (1994); Sennrich, Haddow and Birch, "Neural Machine
Translation of Rare Words with Subword Units" (ACL 2016); told as expectation and maximization in Emory's
NLP Essentials.

What it does not do: split text into words, normalise it, number the symbols, spell unseen characters as
bytes, drop merges at random, or read and write files. That is `heedful.text.tokenizer`, the one that models
are trained with. Here `trace` is the definition, to read and to watch, and `learn` arrives at the same
merges quickly (`heedful.text.bpe_incremental`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from heedful.errors import TokenizerError
from heedful.text.bpe_incremental import learn_merges


class Symbol(NamedTuple):
    """A piece of a word: its text, and whether the word ends with it."""

    text: str
    ends_word: bool = False

    def __str__(self) -> str:
        r"""The text, then "[EoW]" if the word ends; what could be misread is escaped.

        No two symbols print alike.

        >>> print(Symbol("er", ends_word=True), Symbol("[EoW]"), Symbol("a b"))
        er[EoW] \x5bEoW] a\x20b
        """
        text = repr(self.text)[1:-1].replace(" ", r"\x20").replace("[", r"\x5b")
        return text + "[EoW]" * self.ends_word


END_OF_WORD = Symbol("", ends_word=True)

Word = tuple[Symbol, ...]
Pair = tuple[Symbol, Symbol]
Vocabulary = dict[Word, int]


class Choice(NamedTuple):
    """A pair that a step chose, how often it was to be merged, and how often it was (0: passed over)."""

    pair: Pair
    expected: int
    merged: int


class Step(NamedTuple):
    """One iteration: its number from 1, the pairs chosen, best first, and the vocabulary afterwards."""

    number: int
    choices: tuple[Choice, ...]
    vocabulary: Vocabulary

    @property
    def merges(self) -> tuple[Pair, ...]:
        """The pairs that were merged, in order."""
        return tuple(choice.pair for choice in self.choices if choice.merged)

    def render(self, words: int | None = None) -> str:
        """The step as text for people, with the `words` most frequent words (None: all), most frequent first.

        >>> for step in trace({"low": 5, "lower": 2, "slow": 1}, merges=2):
        ...     print(step.render(words=2))
        step 1: l + o = lo (8 times)
                5  lo w [EoW]
                2  lo w e r [EoW]
        step 2: lo + w = low (8 times)
                5  low [EoW]
                2  low e r [EoW]
        """
        lines: list[str] = []
        for choice in self.choices:
            left, right = choice.pair
            outcome = f"{choice.merged} times" if choice.merged else "passed over"
            if choice.merged != choice.expected:
                outcome += f", {choice.expected} expected"
            lines.append(f"step {self.number}: {left} + {right} = {join(choice.pair)} ({outcome})")
        for word, count in sorted(self.vocabulary.items(), key=lambda item: (-item[1], item[0]))[:words]:
            lines.append(f"{count:9}  " + " ".join(map(str, word)))
        return "\n".join(lines)


def join(pair: Pair) -> Symbol:
    """The symbol that a pair is merged into.

    >>> str(join((Symbol("e"), Symbol("r", ends_word=True))))
    'er[EoW]'
    """
    left, right = pair
    return Symbol(left.text + right.text, right.ends_word)


def merge(word: Word, pair: Pair) -> Word:
    """Replace every occurrence of the pair, left to right and without overlap.

    >>> " ".join(map(str, merge(spell("aaa"), (Symbol("a"), Symbol("a")))))
    'aa a [EoW]'
    """
    merged: list[Symbol] = []
    place = 0
    while place < len(word):
        if word[place : place + 2] == pair:
            merged.append(join(pair))
            place += 2
        else:
            merged.append(word[place])
            place += 1
    return tuple(merged)


def spell(word: str) -> Word:
    """The characters of a word, then the end of the word."""
    return (*map(Symbol, word), END_OF_WORD)


def initialize(word_counts: Mapping[str, int]) -> Vocabulary:
    """The vocabulary before any merge: every word spelled out, with its count."""
    return {spell(word): count for word, count in word_counts.items()}


def expect(vocabulary: Vocabulary) -> Counter[Pair]:
    """How often merging each pair would replace it.

    >>> expect(initialize({"aaaa": 1}))[Symbol("a"), Symbol("a")]
    2
    """
    counts: Counter[Pair] = Counter()
    for word, count in vocabulary.items():
        previous = None
        for pair in pairwise(word):
            if pair == previous:  # a a a: the second (a, a) overlaps the first, which takes its symbol
                previous = None
            else:
                counts[pair] += count
                previous = pair
    return counts


def maximize(
    vocabulary: Vocabulary, counts: Mapping[Pair, int], top: int = 1, min_frequency: int = 2
) -> tuple[tuple[Choice, ...], Vocabulary]:
    """Merge the most frequent pairs, one after the other.

    Args:
        vocabulary: the words as segmented so far.
        counts: what `expect` counted in them.
        top: how many pairs to choose, at most.
        min_frequency: pairs rarer than this are left alone.

    Returns:
        the pairs chosen (none: the vocabulary is exhausted) and the vocabulary after merging them.
    """
    order = spelling_order(vocabulary)
    frequent = [pair for pair, count in counts.items() if count >= min_frequency]
    best = sorted(frequent, key=lambda pair: (-counts[pair], order(pair[0]), order(pair[1])))[:top]
    choices: list[Choice] = []
    for pair in best:
        merged = {merge(word, pair): count for word, count in vocabulary.items()}
        replaced = length(vocabulary) - length(merged)
        if replaced >= min_frequency:
            vocabulary = merged
        choices.append(Choice(pair, counts[pair], replaced if replaced >= min_frequency else 0))
    return tuple(choices), vocabulary


def length(vocabulary: Vocabulary) -> int:
    """How many symbols the corpus is long; each replacement of a pair shortens it by one."""
    return sum(len(word) * count for word, count in vocabulary.items())


def alphabet(word_counts: Mapping[str, int]) -> dict[str, int]:
    """The place of each character, from the most frequent to the rarest, then by code point.

    >>> alphabet({"low": 3, "lower": 1})
    {'l': 0, 'o': 1, 'w': 2, 'e': 3, 'r': 4}
    """
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    ordered = sorted(counts, key=lambda character: (-counts[character], character))
    return {character: place for place, character in enumerate(ordered)}


def spelling_order(vocabulary: Vocabulary) -> Callable[[Symbol], tuple[list[int], bool]]:
    """The key that sorts symbols as a dictionary in the corpus's own alphabet does; it breaks ties."""
    places = alphabet({"".join(symbol.text for symbol in word): count for word, count in vocabulary.items()})
    return lambda symbol: ([places[character] for character in symbol.text], symbol.ends_word)


def trace(
    word_counts: Mapping[str, int], merges: int, *, top: int = 1, min_frequency: int = 2
) -> Iterator[Step]:
    """Learn step by step, recounting everything each time: the definition, slow on large vocabularies.

    Arguments and errors are those of `learn`. Steps come as they are made.
    """
    check(word_counts, merges, top, min_frequency)
    vocabulary = initialize(word_counts)
    number = learned = 0
    while learned < merges:
        choices, vocabulary = maximize(
            vocabulary, expect(vocabulary), min(top, merges - learned), min_frequency
        )
        if not choices:
            return
        step = Step(number := number + 1, choices, vocabulary)
        learned += len(step.merges)
        yield step


def check(word_counts: Mapping[str, int], merges: int, top: int, min_frequency: int) -> None:
    """Refuse what learning has no meaning with, or would not end with."""
    for word, count in word_counts.items():
        if count < 0:
            raise ValueError(f"the word {word!r} has the count {count}; counts start at 0")
    for name, value, least in (("merges", merges, 0), ("top", top, 1), ("min_frequency", min_frequency, 1)):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


@dataclass(frozen=True)
class BytePairEncoding:
    """Segments words by the merges given, in the order in which they were learned."""

    merges: tuple[Pair, ...]

    @cached_property
    def _ranks(self) -> dict[Pair, int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    def encode(self, word: str) -> Word:
        """Replay learning on a word: of the merges that apply, always the one learned first.

        A word that was learned from gets the very segmentation it had when learning ended. Characters that no
        merge mentions stay as they are, so that every string has an encoding.
        """
        symbols = spell(word)
        while ranks := [self._ranks[pair] for pair in pairwise(symbols) if pair in self._ranks]:
            symbols = merge(symbols, self.merges[min(ranks)])
        return symbols

    def decode(self, symbols: Iterable[Symbol]) -> str:
        """The word that was encoded.

        Raises:
            TokenizerError: the symbols are not exactly one word.
        """
        words = self.decode_words(symbols)
        if len(words) != 1:
            raise TokenizerError(
                f"decode: the symbols spell {len(words)} words, not one; decode_words takes several."
            )
        return words[0]

    def decode_words(self, symbols: Iterable[Symbol]) -> list[str]:
        """The words whose encodings, one after the other, are these symbols.

        >>> encoding = BytePairEncoding(merges=())
        >>> encoding.decode_words(encoding.encode("a b") + encoding.encode("") + encoding.encode("[EoW]"))
        ['a b', '', '[EoW]']

        Raises:
            TokenizerError: the last word has no end.
        """
        words: list[str] = []
        text = ""
        ended = True
        for symbol in symbols:
            text += symbol.text
            ended = symbol.ends_word
            if ended:
                words.append(text)
                text = ""
        if not ended:
            raise TokenizerError(f"decode: the symbols stop inside the word {text!r}, before an end of word.")
        return words


def learn(
    word_counts: Mapping[str, int], merges: int, *, top: int = 1, min_frequency: int = 2
) -> BytePairEncoding:
    """Learn byte-pair encoding from words and their counts.

    Args:
        word_counts: how often each word occurs; any string is a word. Its order does not matter.
        merges: stop after this many, or earlier when nothing is left to merge.
        top: how many pairs are merged for each time of counting.
        min_frequency: pairs rarer than this are not merged. 2 as in Sennrich's subword-nmt: a pair seen once
            tells of one word, not of the language.

    Raises:
        ValueError: a negative count or number of merges, or `top` or `min_frequency` below 1.
    """
    check(word_counts, merges, top, min_frequency)
    # The private alphabet of the fast way has its code points in the order that breaks ties, the end of the
    # word before all of them.
    places = alphabet(word_counts)
    table = {ord(character): place + 1 for character, place in places.items()}
    characters = list(places)

    def symbol(spelling: str) -> Symbol:
        ends_word = spelling.endswith("\0")
        return Symbol("".join(characters[ord(code) - 1] for code in spelling.removesuffix("\0")), ends_word)

    words = {word.translate(table) + "\0": count for word, count in word_counts.items()}
    learned = learn_merges(words, merges, top, min_frequency)
    return BytePairEncoding(tuple((symbol(left), symbol(right)) for left, right in learned))
