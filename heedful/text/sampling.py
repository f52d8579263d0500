"""Random segmentations of a word, for training only, that are the same in every process.

BPE-dropout (Provilkov et al. 2020, algorithm 1) and sampling from a unigram model (Kudo 2018, section 3)
show a model many segmentations of the same word. Here a segmentation is a pure function of the word and a
variant number: the random numbers come from a hash of the two, not from a generator with a state.
"""

import hashlib
import heapq
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

_ONE = 1 << 32
_BLOCK = struct.Struct("<16I")
_GONE = -1


def draws(word: str, variant: int) -> Iterator[int]:
    """Uniform integers in [0, 2^32), a stream that depends on `word` and `variant` only."""
    seed = hashlib.blake2b(word.encode(), salt=variant.to_bytes(16, "little"))
    yield from _BLOCK.unpack(seed.digest())
    block = 0
    while True:
        block += 1
        more = seed.copy()
        more.update(b"\xff" + block.to_bytes(8, "little"))  # no UTF-8 text contains the byte 0xFF
        yield from _BLOCK.unpack(more.digest())


def happens(probability: float, random: Iterator[int]) -> bool:
    """Whether something of this probability happens, by the next draw."""
    return next(random) < round(probability * _ONE)


def bpe_dropout(
    symbols: Sequence[int],
    merges: Mapping[tuple[int, int], tuple[int, int]],
    dropout: float,
    random: Iterator[int],
) -> list[int]:
    """Segments by BPE in which each possible merge is dropped with probability `dropout`, anew at every step.

    The paper draws for every possible merge and applies the best one that is left. Here the merges are
    drawn for from the best on, until one is left: the same distribution, with fewer draws and in
    O(n log n) steps for n symbols.

    Args:
        symbols: ids of the characters of a word.
        merges: (left, right) -> (rank, merged), the lowest rank first.
        dropout: 0 gives ordinary BPE, 1 leaves the characters.
        random: see `draws`.
    """
    ids = list(symbols)
    length = len(ids)
    # A linked list of the symbols that are left, so that a merge moves nothing.
    following = list(range(1, length + 1))
    preceding = list(range(-1, length - 1))
    threshold = round(dropout * _ONE)
    candidates = [
        (merge[0], position)
        for position, pair in enumerate(pairwise(ids))
        if (merge := merges.get(pair)) is not None
    ]
    heapq.heapify(candidates)
    dropped: list[tuple[int, int]] = []
    while candidates:
        candidate = heapq.heappop(candidates)
        rank, left = candidate
        right = following[left]
        if right >= length:
            continue
        merge = merges.get((ids[left], ids[right]))
        if merge is None or merge[0] != rank:
            continue  # one of the two has been merged with its other neighbour since
        if next(random) < threshold:
            dropped.append(candidate)
            continue
        for candidate in dropped:  # dropped for this step only
            heapq.heappush(candidates, candidate)
        dropped.clear()
        ids[left], ids[right] = merge[1], _GONE
        after = following[left] = following[right]
        if after < length:
            preceding[after] = left
            if (merge := merges.get((ids[left], ids[after]))) is not None:
                heapq.heappush(candidates, (merge[0], left))
        before = preceding[left]
        if before >= 0 and (merge := merges.get((ids[before], ids[left]))) is not None:
            heapq.heappush(candidates, (merge[0], before))
    return [symbol for symbol in ids if symbol != _GONE]


def unigram_sample(
    word: str,
    scores: Mapping[str, float],
    longest: int,
    unknown_score: float,
    alpha: float,
    random: Iterator[int],
) -> list[str]:
    """Draws a segmentation x of `word` with probability proportional to P(x)^alpha, P the unigram model.

    Forward filtering, backward sampling: exact over all segmentations, in O(n longest) steps for n
    characters.

    Args:
        word: at least one character.
        scores: log probability of each piece.
        longest: length of the longest piece, in characters.
        unknown_score: log probability of a character that is no piece.
        alpha: 0 draws all segmentations alike, a large one gives the most probable.
        random: see `draws`.
    """
    forward = [0.0]  # forward[end]: log of the summed weights of all segmentations of word[:end]
    choices: list[list[tuple[int, float]]] = [[]]  # choices[end]: (start of the last piece, log weight)
    for end in range(1, len(word) + 1):
        here = []
        for start in range(max(0, end - longest), end):
            score = scores.get(word[start:end])
            if score is None and start == end - 1:
                score = unknown_score
            if score is not None:
                here.append((start, forward[start] + alpha * score))
        largest = max(weight for _, weight in here)
        forward.append(largest + math.log(sum(math.exp(weight - largest) for _, weight in here)))
        choices.append(here)
    pieces = []
    end = len(word)
    while end > 0:
        rest = next(random) / _ONE
        start = 0
        for choice, weight in choices[end]:
            start = choice
            rest -= math.exp(weight - forward[end])
            if rest < 0:
                break
        pieces.append(word[start:end])
        end = start
    pieces.reverse()
    return pieces
