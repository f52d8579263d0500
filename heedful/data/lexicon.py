"""A translation lexicon learnt from parallel text: how probable is each target token, given a source token.

IBM Model 1 (Brown et al. 1993, "The mathematics of statistical machine translation", section 4.2). Each token f_j of
a target is the translation of one token of its source, or of NULL (e_0), all of them equally likely beforehand. EM
finds the t(f|e) that make the text most probable; from uniform ones it has one maximum to climb to. In each pass

    count(f|e)  =  sum over all places of f, and of e in the source beside it, of  t(f|e) / sum_i t(f|e_i)
    t(f|e)      =  count(f|e) / sum over f' of count(f'|e)

Only pairs of tokens that occur together have a number, and where there are more of them than memory is meant for, the
least probable ones are dropped (`ENTRIES`). Text is read in chunks (`LINKS`), so memory does not grow with the corpus.

It knows nothing of words: a token is whatever the tokenizers made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from heedful.data.store import Ragged
from heedful.errors import DataError

PASSES = 5
"""Of EM, after the first one over uniform probabilities."""
LINKS = 4_000_000
"""Pairs of a source and a target position that are looked at together: about 300 MB."""
ENTRIES = 16_000_000
"""Probabilities that wait to be added up at most, some 600 MB; half as many are kept."""
_REMEMBERED = 32_000_000  # links whose entries need not be looked up again in the next pass

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


class Pairs(Protocol):
    """Parallel text as ids: a PairStore."""

    def __len__(self) -> int: ...

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Of all sources and of all targets, each (pairs,)."""
        ...

    def gather(self, indices: np.ndarray) -> tuple[Ragged, Ragged]:
        """The sources and targets of some pairs; `indices` ascend."""
        ...


@dataclass(frozen=True)
class Lexicon:
    """The probabilities t(f|e), entry by entry: by ascending source, and for each source the most probable first.

    source: (entries,) ids; target: (entries,) ids; probability: (entries,), in (0, 1]
    source_vocabulary: entries of the source tokenizer
    """

    source: Integers
    target: Integers
    probability: Floats
    source_vocabulary: int

    def best(self, count: int) -> Integers:
        """The `count` most probable translations of each source token, (source_vocabulary, count); -1 where fewer."""
        rank = _within(self.source, self.source_vocabulary)
        chosen = rank < count
        best = np.full((self.source_vocabulary, count), -1, dtype=np.int32)
        best[self.source[chosen], rank[chosen]] = self.target[chosen]
        return best


def learn(
    texts: Sequence[Pairs], source_vocabulary: int, target_vocabulary: int, *, passes: int = PASSES
) -> Lexicon:
    """Learn t(target token | source token) from parallel text.

    texts: one or more corpora, all of which count
    source_vocabulary, target_vocabulary: how many ids there can be
    passes: of EM after the first

    A pair whose positions make more than LINKS links is left out. Raises DataError where no pair is left, or an id is
    not in its vocabulary.
    """
    # NULL is one more source token, after the last.
    sizes = source_vocabulary + 1, target_vocabulary
    table = _counted(texts, sizes)
    text = _LinkedText(texts, sizes, table.keys)
    for _ in range(passes):
        counts = np.zeros(len(table.keys))
        for links in text:
            shares = links.shares(table.probability)
            counts += np.bincount(links.entry, weights=shares, minlength=len(counts) + 1)[:-1]
        table = _Table(table.keys, _normalised(counts, table.keys // target_vocabulary, sizes[0]))
    source, target = np.divmod(table.keys, target_vocabulary)
    kept = (source < source_vocabulary) & (table.probability > 0)
    source, target, probability = source[kept], target[kept], table.probability[kept]
    order = np.lexsort((target, -probability, source))
    return Lexicon(
        source[order].astype(np.int32),
        target[order].astype(np.int32),
        probability[order].astype(np.float32),
        source_vocabulary,
    )


class _Table(NamedTuple):
    """Probabilities by key, source * target_vocabulary + target, ascending."""

    keys: NDArray[np.int64]
    probability: Floats


class _Links(NamedTuple):
    """The links of some pairs: from each target position to each position of its source, and to NULL.

    entry: (links,) where the table has the link's probability; its length where it has none any more
    starts: (target positions,) where the links of each begin; widths: how many they are
    """

    entry: Integers
    starts: Integers
    widths: Integers

    def shares(self, probability: Floats) -> Floats:
        """How much of its target position each link accounts for: the E step, (links,)."""
        of_link = np.concatenate([probability, np.zeros(1)])[self.entry]
        total = np.add.reduceat(of_link, self.starts)
        # A position all of whose entries were dropped is accounted for by nothing.
        of_link /= np.repeat(np.where(total > 0, total, 1.0), self.widths)
        return of_link


def _counted(texts: Sequence[Pairs], sizes: tuple[int, int]) -> _Table:
    """The first pass, in which a target position is shared out evenly, and with it the keys that there are."""
    keys: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    counts: list[Floats] = [np.zeros(0)]
    waiting = 0
    for chunk, _, widths in _chunks(texts, sizes):
        found, inverse = _distinct(chunk)
        keys.append(found)
        even = np.repeat(1.0 / widths, widths)
        counts.append(np.bincount(inverse, weights=even).astype(np.float64, copy=False))
        waiting += len(found)
        if waiting > ENTRIES:
            merged, total = _pruned(*_summed(keys, counts), sizes)
            keys, counts, waiting = [merged], [total], len(merged)
    merged, total = _pruned(*_summed(keys, counts), sizes)
    if not len(merged):
        raise DataError("No pair has both a source and a target; there is nothing to learn a lexicon from.")
    return _Table(merged, _normalised(total, merged // sizes[1], sizes[0]))


def _distinct(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """What numpy.unique gives with return_inverse, in a third of its time: numpy sorts numbers by vector
    instructions, but not their places, so a place travels in the low bits of its key.
    """
    bits = len(keys).bit_length()
    packed = (keys << bits) | np.arange(len(keys))
    packed.sort()
    ordered = packed >> bits
    first = np.diff(ordered, prepend=-1) > 0
    inverse = np.empty(len(keys), dtype=np.int32)
    inverse[packed & ((1 << bits) - 1)] = np.cumsum(first, dtype=np.int32) - 1
    return ordered[first], inverse


def _summed(keys: list[NDArray[np.int64]], counts: list[Floats]) -> tuple[NDArray[np.int64], Floats]:
    """Add up the counts of equal keys; the keys ascend."""
    joined = np.concatenate(keys)
    order = np.argsort(joined, kind="stable")  # which is fast where sorted runs are to be merged
    joined = joined[order]
    starts = np.flatnonzero(np.diff(joined, prepend=-1))
    if not len(starts):
        return joined, np.zeros(0)
    return joined[starts], np.add.reduceat(np.concatenate(counts)[order], starts)


def _pruned(
    keys: NDArray[np.int64], counts: Floats, sizes: tuple[int, int]
) -> tuple[NDArray[np.int64], Floats]:
    """Drop the least probable entries where there are more than half of ENTRIES."""
    excess = len(keys) - ENTRIES // 2
    if excess <= 0:
        return keys, counts
    # Of each source's own: a rare token has small counts, and translations all the same.
    probability = _normalised(counts, keys // sizes[1], sizes[0])
    kept = probability > np.partition(probability, excess)[excess]
    return keys[kept], counts[kept]


def _normalised(counts: Floats, source: Integers, sources: int) -> Floats:
    """The M step: counts as probabilities of each source."""
    total = np.bincount(source, weights=counts, minlength=sources)
    return counts / np.where(total > 0, total, 1.0)[source]


class _LinkedText:
    """All links, chunk by chunk, once for each pass; those of a small corpus are sorted in the first pass only."""

    def __init__(self, texts: Sequence[Pairs], sizes: tuple[int, int], keys: NDArray[np.int64]) -> None:
        self.texts, self.sizes, self.keys = texts, sizes, keys
        self._remembered: list[_Links] | None = None

    def __iter__(self) -> Iterator[_Links]:
        if self._remembered is not None:
            yield from self._remembered
            return
        remembered, count = [], 0
        for chunk, starts, widths in _chunks(self.texts, self.sizes):
            found, inverse = _distinct(chunk)
            entry = np.minimum(np.searchsorted(self.keys, found), len(self.keys) - 1)
            entry = np.where(self.keys[entry] == found, entry, len(self.keys)).astype(np.int32)
            links = _Links(entry[inverse], starts, widths)
            yield links
            count += len(inverse)
            if count <= _REMEMBERED:
                remembered.append(links)
        if count <= _REMEMBERED:
            self._remembered = remembered


def _chunks(
    texts: Sequence[Pairs], sizes: tuple[int, int]
) -> Iterator[tuple[NDArray[np.int64], Integers, Integers]]:
    """Give the keys of about LINKS links at a time, with the starts and widths of their target positions."""
    for text in texts:
        source_lengths, target_lengths = (lengths.astype(np.int64) for lengths in text.lengths())
        links = (source_lengths + 1) * target_lengths
        usable = np.flatnonzero((source_lengths > 0) & (target_lengths > 0) & (links <= LINKS))
        number = np.cumsum(links[usable]) // LINKS
        for indices in np.split(usable, np.flatnonzero(np.diff(number)) + 1):
            if len(indices):
                yield _keys(*text.gather(indices), sizes)


def _keys(
    sources: Ragged, targets: Ragged, sizes: tuple[int, int]
) -> tuple[NDArray[np.int64], Integers, Integers]:
    for side, ids, size in (("source", sources.values, sizes[0] - 1), ("target", targets.values, sizes[1])):
        if ids.max() >= size:
            raise DataError(f"The {side} has an id {ids.max()}, but its vocabulary has {size} entries.")
    # Each source with NULL at its end.
    with_null = np.insert(sources.values.astype(np.int64), sources.starts + sources.lengths, sizes[0] - 1)
    begins = sources.starts + np.arange(len(sources))
    # Row by row: a target position of pair p has the links begins[p] to begins[p] + widths.
    widths = np.repeat(sources.lengths + 1, targets.lengths)
    ends = np.cumsum(widths)
    starts = ends - widths
    positions = np.arange(ends[-1]) + np.repeat(np.repeat(begins, targets.lengths) - starts, widths)
    return with_null[positions] * sizes[1] + np.repeat(targets.values, widths), starts, widths


def _within(groups: Integers, count: int) -> Integers:
    """The rank of each member within its group, of groups (0 to count - 1) that ascend: 0, 1, 0, 1, 2, ..."""
    sizes = np.bincount(groups, minlength=count)
    return np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
