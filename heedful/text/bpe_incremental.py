"""The merges of byte-pair encoding, found without counting the corpus again after every merge.

What is computed is defined by `heedful.text.bpe.trace`; this file is only a faster way to it. Three ideas:

- A word is a string in which every symbol, however long its spelling, is *one* character of a private
  alphabet. Then `word.count(pair)` is the number of occurrences that `word.replace(pair, symbol)` replaces,
  left to right and without overlap, and both run at the speed of C.
- A pair knows the words that contain it, so that a merge visits those and no others, and corrects only the
  counts of the pairs beside it, as Sennrich et al. (2016, section 3.2) suggest.
- The most frequent pair comes from a heap. Once a pair is there its count can only fall: a merge adds to no
  pairs but those of the symbol that it makes, and that symbol is always new, as words that could make abc
  from ab + c and from a + bc are all cut alike. So the heap holds each pair once, perhaps too high, and an
  entry is corrected when it reaches the top.

It knows neither how words end nor what breaks ties: whoever calls it spells the words so that both come out
right.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from itertools import pairwise
from operator import add
from sys import maxunicode

from heedful.errors import TokenizerError


def pairs_in(word: str) -> set[str]:
    """The distinct pairs of neighbouring characters.

    >>> sorted(pairs_in("banana"))
    ['an', 'ba', 'na']
    """
    return set(map(add, word, word[1:]))


class IncrementalCounts:
    """Words, and how often each pair of neighbouring symbols occurs in them, kept right from merge to merge.

    Args:
        words: how often each word occurs. The characters are the first symbols; of two equally frequent pairs
            the one whose spelling (left, then right) is smaller by code point comes first.
        min_frequency: pairs rarer than this are never offered by `pop`.
    """

    def __init__(self, words: Mapping[str, int], min_frequency: int) -> None:
        self.words = list(words)
        self.frequencies = list(words.values())
        self.min_frequency = min_frequency
        last = max((ord(character) for word in words for character in word), default=0)
        self.spelling = [chr(code) for code in range(last + 1)]
        self.counts: dict[str, int] = defaultdict(int)
        self.places: dict[str, set[int]] = defaultdict(set)  # words that contain a pair, or once did
        for place, (word, frequency) in enumerate(zip(self.words, self.frequencies, strict=True)):
            for pair in pairs_in(word):
                self.counts[pair] += word.count(pair) * frequency
                self.places[pair].add(place)
        self.heap: list[tuple[int, str, str, str]] = []
        self._offer(self.counts)

    def spell(self, pair: str) -> tuple[str, str]:
        """What the two symbols of a pair stand for, in the characters of the words as they were given."""
        left, right = pair
        return self.spelling[ord(left)], self.spelling[ord(right)]

    def pop(self, top: int) -> list[str]:
        """Take the `top` most frequent pairs, fewer when fewer are frequent enough, most frequent first."""
        best: list[str] = []
        while self.heap and len(best) < top:
            count, _, _, pair = heappop(self.heap)
            if -count == self.counts[pair]:
                best.append(pair)
            else:
                self._offer([pair])
        return best

    def merge(self, pair: str) -> None:
        """Replace the pair by one symbol in every word, and correct the counts of the pairs around it."""
        left, right = pair
        if len(self.spelling) > maxunicode:
            raise TokenizerError(f"more than {maxunicode + 1} different symbols; ask for fewer merges.")
        symbol = chr(len(self.spelling))
        self.spelling.append("".join(self.spell(pair)))
        changes: dict[str, int] = defaultdict(int)
        for place in self.places.pop(pair):
            before = self.words[place]
            pieces = before.split(pair)
            if len(pieces) == 1:
                continue  # an earlier merge has used the pair up here
            self.words[place] = after = symbol.join(pieces)
            # Only pairs beside a replaced one can change, and those of two replaced ones in a row.
            beside = {pair, right + left, symbol + symbol}
            for head, tail in pairwise(pieces):
                if head:
                    beside.add(head[-1] + left)
                    beside.add(head[-1] + symbol)
                if tail:
                    beside.add(right + tail[0])
                    beside.add(symbol + tail[0])
            for each in beside:
                change = after.count(each) - before.count(each)
                if change:
                    changes[each] += change * self.frequencies[place]
                    if change > 0:
                        self.places[each].add(place)
        for each, change in changes.items():
            self.counts[each] += change
        self._offer(each for each, change in changes.items() if change > 0)

    def _offer(self, pairs: Iterable[str]) -> None:
        for pair in pairs:
            if self.counts[pair] >= self.min_frequency:
                heappush(self.heap, (-self.counts[pair], *self.spell(pair), pair))


def learn_merges(
    words: Mapping[str, int], merges: int, top: int, min_frequency: int
) -> list[tuple[str, str]]:
    """At most `merges` pairs (left spelling, right spelling), as learned, `top` of them from each count.

    >>> learn_merges({"aaaa": 5, "aab": 3}, merges=9, top=1, min_frequency=2)
    [('a', 'a'), ('aa', 'aa'), ('aa', 'b')]
    """
    counts = IncrementalCounts(words, min_frequency)
    learned: list[tuple[str, str]] = []
    while best := counts.pop(min(top, merges - len(learned))):
        for pair in best:
            if counts.counts[pair] >= min_frequency:  # merges of this step may have used it up
                learned.append(counts.spell(pair))
                counts.merge(pair)
    return learned
