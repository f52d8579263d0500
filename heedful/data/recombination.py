"""New pairs out of few: words that agree in two letters, and in how these are read, exchange what follows them.

    о т р о к   o t r ɔ k           о т р | о ш к а   o t r | ɔ ʃ k a
    д р о ш к а   d r ɔ ʃ k a   ->  д р | о к         d r | ɔ k

Jia and Liang 2016, "Data recombination for neural semantic parsing" (P16-1002), made new examples from parts of old
ones. Where reading goes from left to right, as from spelling to sound, the parts are what stands before and after a
place, and a model that has seen each part in many surroundings learns how letters are read rather than whole words by
heart. It helps where words are few. What depends on the whole word (one stress in each) is not kept.

Which symbols of the target a symbol of the source is read as is learnt from the pairs alone. Each is read as none, one
or two of them, independently of the others, and EM finds the probabilities that make the pairs most probable, summed
over all ways to cut a target into such pieces (Ristad and Yianilos 1998, with the pieces of Jiampojamarn et al. 2007,
N07-1047). Each pair is then cut in its most probable way.
"""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from heedful.errors import DataError

VERSION = 1  # counts up whenever the same pairs give others
LONGEST = 2
"""Target symbols that one source symbol is read as at most."""
PASSES = 8
_FIRST_GUESS = (
    0.1,
    1.0,
    0.1,
)  # of reading as none, one, two: else EM may begin with all of a word in one place

Pair = tuple[Sequence[str], Sequence[str]]
Reading = tuple[str, tuple[str, ...]]
"""A source symbol and what it is read as."""


def recombine(
    pairs: Sequence[Pair], count: int, seed: int = 0
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Make `count` new pairs, or as many as are found.

    None has the source of a given pair or is longer than all of them, and none is there twice.

    The same pairs and seed give the same. Raises DataError if no pair can be cut: targets are more than twice as
    long as their sources, or sides are empty.
    """
    cut = [readings for readings in align(pairs) if readings]
    if not cut:
        raise DataError(
            f"No pair can be recombined: a target may have at most {LONGEST} symbols for each of its source."
        )
    draw = random.Random(seed)
    # Where a pair of neighbouring readings stands: in which word, and before which place the second one.
    places: defaultdict[tuple[Reading, Reading], list[tuple[int, int]]] = defaultdict(list)
    for word, readings in enumerate(cut):
        for place in range(1, len(readings)):
            places[readings[place - 1], readings[place]].append((word, place))
    longest = max(map(len, cut))
    given = {tuple(source) for source, _ in pairs}
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    # Most draws give something new, unless there is hardly anything to be had.
    for _ in range(max(20 * count, 1000)):
        if len(found) == count:
            break
        readings = draw.choice(cut)
        if len(readings) < 2:
            continue
        place = draw.randrange(1, len(readings))
        word, other = draw.choice(places[readings[place - 1], readings[place]])
        new = readings[:place] + cut[word][other:]
        source = tuple(symbol for symbol, _ in new)
        if len(new) <= longest and source not in given:
            found.setdefault(source, tuple(symbol for _, read in new for symbol in read))
    return list(found.items())


def recombined_words(words: Iterable[tuple[str, str]], count: int, seed: int = 0) -> list[tuple[str, str]]:
    """`recombine` for text: words letter by letter, and what they are read as, symbols between spaces.

    >>> recombined_words([("otrok", "o t r ɔ k"), ("droška", "d r ɔ ʃ k a")], 1)
    [('drok', 'd r ɔ k')]
    """
    found = recombine([(word, symbols.split()) for word, symbols in words], count, seed)
    return [("".join(source), " ".join(target)) for source, target in found]


def align(pairs: Sequence[Pair]) -> list[list[Reading]]:
    """For each pair the most probable reading of each of its source symbols; nothing for a pair that has none."""
    probability: dict[Reading, float] = {}
    for _ in range(PASSES):
        counts: defaultdict[Reading, float] = defaultdict(float)
        for source, target in pairs:
            _count(source, tuple(target), probability, counts)
        totals: defaultdict[str, float] = defaultdict(float)
        for (symbol, _), share in counts.items():
            totals[symbol] += share
        probability = {reading: share / totals[reading[0]] for reading, share in counts.items()}
    return [_best(source, tuple(target), probability) for source, target in pairs]


def _edges(
    source: Sequence[str], target: tuple[str, ...], probability: dict[Reading, float]
) -> list[list[list[tuple[int, Reading, float]]]]:
    """From each (source place, target place) the steps: target place after it, reading, probability."""
    n, m = len(source), len(target)
    edges: list[list[list[tuple[int, Reading, float]]]] = []
    for i, symbol in enumerate(source):
        rows: list[list[tuple[int, Reading, float]]] = [[] for _ in range(m + 1)]
        # From other places the rest of the target could not be reached, or not be read.
        for j in range(max(0, m - LONGEST * (n - i)), min(m, LONGEST * i) + 1):
            for size in range(min(LONGEST, m - j) + 1):
                reading = (symbol, target[j : j + size])
                share = probability.get(reading, 0.0) if probability else _FIRST_GUESS[size]
                if share > 0:
                    rows[j].append((j + size, reading, share))
        edges.append(rows)
    return edges


def _count(
    source: Sequence[str],
    target: tuple[str, ...],
    probability: dict[Reading, float],
    counts: defaultdict[Reading, float],
) -> None:
    """Add the expected number of times that each reading is used in one pair (forward and backward sums)."""
    n, m = len(source), len(target)
    edges = _edges(source, target, probability)
    after = [[0.0] * (m + 1) for _ in range(n + 1)]
    after[n][m] = 1.0
    for i in range(n - 1, -1, -1):
        for j, steps in enumerate(edges[i]):
            after[i][j] = sum(share * after[i + 1][to] for to, _, share in steps)
    if not after[0][0]:
        return
    before = [0.0] * (m + 1)
    before[0] = 1.0 / after[0][0]
    for i in range(n):
        following = [0.0] * (m + 1)
        for j, steps in enumerate(edges[i]):
            for to, reading, share in steps:
                counts[reading] += before[j] * share * after[i + 1][to]
                following[to] += before[j] * share
        before = following


def _best(source: Sequence[str], target: tuple[str, ...], probability: dict[Reading, float]) -> list[Reading]:
    """The most probable readings (Viterbi)."""
    n, m = len(source), len(target)
    edges = _edges(source, target, probability)
    score = {0: 0.0}
    ways: list[dict[int, tuple[int, Reading]]] = []
    for i in range(n):
        following: dict[int, float] = {}
        way: dict[int, tuple[int, Reading]] = {}
        for j, so_far in score.items():
            for to, reading, share in edges[i][j]:
                total = so_far + math.log(share)
                if total > following.get(to, -math.inf):
                    following[to], way[to] = total, (j, reading)
        score = following
        ways.append(way)
    if m not in score:
        return []
    readings: list[Reading] = []
    for way in reversed(ways):
        m, reading = way[m]
        readings.append(reading)
    return readings[::-1]
