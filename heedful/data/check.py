"""The check before any training: what is wrong with the text, counted and named.

`checked_pairs` reads a corpus once, counts into a `Report` what it finds, and passes on what can be trained on. Left
out of train are always pairs with an empty side and pairs that are too long, and whatever else
`CheckSettings.leave_out` names. Validation and test sets are looked at in the same way and never thinned: a score
must be over all of its sentences. They are checked before train, so that train can be compared with them.

Pairs are compared by 64-bit digests: 8 bytes of memory for each training pair (160 MB at most for 10 million, while
two runs are merged), and for 10 million pairs a chance of 3 in a million that two different ones are taken for equal.

Line numbers, here as everywhere in heedful, start at 1. Errors of reading (`corpus.py`) pass through.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rich.table import Table

from heedful.data.corpus import CorpusSettings, read_pairs
from heedful.settings import Settings
from heedful.text.special import UNKNOWN

TRAIN = "train"
_FIRST = 5  # how many places of each finding are named
_CHUNK = 8192  # pairs looked at together
_SHORT = 5  # characters: a side counts as at least this long in a ratio, or "Go." would be an outlier to most
# C0 and C1 controls but for the tab, and line and paragraph separators.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

Optional = Literal["ratio", "identical", "control", "duplicate", "pair_overlap", "source_overlap"]
Kind = Literal["empty", "long", Optional]


class CheckSettings(Settings):
    """What counts as wrong with a pair, and what is then left out of train."""

    # About 500 subwords; a "sentence" beyond that is nearly always a failed split, and attention is quadratic.
    maximum_length: int | None = Field(
        default=2000,
        ge=1,
        description="characters of a side; a longer pair is left out of train; unset: no limit",
    )
    # The default of Moses' clean-corpus-n.perl, there in words.
    maximum_ratio: float = Field(
        default=9.0,
        gt=1,
        description="characters of the longer side for one of the shorter; more is an outlier",
    )
    # By default nothing goes that may be meant: repetition is a kind of weight, a name is its own translation.
    leave_out: tuple[Optional, ...] = Field(
        default=(),
        description="what else is left out of train: ratio, identical, control, duplicate, pair_overlap, "
        "source_overlap (a pair, a source that is also in validation or test)",
    )


@dataclass
class Finding:
    """How many pairs of a corpus have one fault. `other`: the part that an overlap is with. `lines`: the first ones."""

    kind: Kind
    other: str | None
    left_out: bool
    count: int = 0
    lines: list[int] = field(default_factory=list)


@dataclass
class Section:
    """What was found in one corpus of a part ("train", "validation", the name of a test set)."""

    part: str
    files: tuple[str, ...]
    read: int = 0
    kept: int = 0
    findings: dict[tuple[Kind, str | None], Finding] = field(default_factory=dict)

    def count(self, kind: Kind) -> int:
        """How many pairs have this fault, whatever part an overlap is with."""
        return sum(finding.count for finding in self.findings.values() if finding.kind == kind)


@dataclass(frozen=True)
class UnknownRate:
    """How many tokens of one side of a corpus the tokenizer does not know; `words` are the first words with one."""

    part: str
    side: str
    unknown: int
    tokens: int
    words: tuple[str, ...]


@dataclass
class Report:
    """What the check found; `to_dict` is what a run stores, `table` what people see.

    While it is filled it also holds the digests of all pairs, so keep the dictionary rather than the report.
    """

    settings: CheckSettings = field(default_factory=CheckSettings)
    sections: list[Section] = field(default_factory=list)
    unknown: list[UnknownRate] = field(default_factory=list)
    _pairs: dict[str, "_Digests"] = field(default_factory=dict, repr=False)
    _sources: dict[str, "_Digests"] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values that JSON can hold."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "corpora": [
                {
                    "part": section.part,
                    "files": list(section.files),
                    "read": section.read,
                    "kept": section.kept,
                    "findings": [
                        vars(finding) | {"lines": list(finding.lines)}
                        for finding in section.findings.values()
                    ],
                }
                for section in self.sections
            ],
            "unknown": [vars(rate) | {"words": list(rate.words)} for rate in self.unknown],
        }

    def table(self) -> Table:
        """A short table: a line for each corpus, and below it one for each thing found in it."""
        table = Table("data", "pairs", "share", "first lines")
        table.columns[1].justify = table.columns[2].justify = "right"
        for section in self.sections:
            names = " + ".join(Path(file).name for file in section.files)
            kept = "all kept" if section.kept == section.read else f"{section.kept:,} kept"
            table.add_row(f"{section.part}: {names}", f"{section.read:,}", "", kept)
            for finding in section.findings.values():
                table.add_row(
                    f"  {_describe(finding, self.settings)}{', left out' if finding.left_out else ''}",
                    f"{finding.count:,}",
                    _percent(finding.count, section.read),
                    ", ".join(map(str, finding.lines))
                    + (", ..." if finding.count > len(finding.lines) else ""),
                )
        for rate in self.unknown:
            what = f"{rate.part}: unknown to the tokenizer, {rate.side} tokens"
            table.add_row(
                what, f"{rate.unknown:,}", _percent(rate.unknown, rate.tokens), " ".join(rate.words)
            )
        return table


class Tokenizer(Protocol):
    """What is asked of a tokenizer here; see `heedful.text.tokenizer`."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...

    def words(self, text: str) -> list[str]:
        """The words that are segmented, one by one."""
        ...

    def segment(self, word: str) -> list[int]:
        """The ids of a word."""
        ...


def check_corpora(
    train: Sequence[CorpusSettings],
    held_out: Mapping[str, CorpusSettings],
    settings: CheckSettings | None = None,
) -> Report:
    """Read everything once and report; `held_out` maps "validation" and the names of test sets to their corpora."""
    report = Report(settings or CheckSettings())
    for part, corpus in [*held_out.items(), *((TRAIN, corpus) for corpus in train)]:
        for _ in checked_pairs(corpus, report, part):
            pass
    return report


def checked_pairs(corpus: CorpusSettings, report: Report, part: str = TRAIN) -> Iterator[tuple[str, str]]:
    """The pairs of a corpus that can be used, in order, while what is found is counted in a new section of `report`.

    `part` "train" is thinned as `report.settings` says; every other part is passed on whole. Raises ValueError for a
    part that is checked after train, which could no longer be compared with it; DataError for what cannot be read.
    """
    training = part == TRAIN
    if not training and TRAIN in report._pairs:
        raise ValueError(f"{part} must be checked before train, so that train can be compared with it")
    settings = report.settings
    section = Section(part, tuple(map(str, corpus.files)))
    report.sections.append(section)
    left_out: set[Kind] = {"empty", "long", *settings.leave_out} if training else set()
    others = [other for other in report._pairs if other != part]
    seen = report._pairs.setdefault(part, _Digests())
    seen_sources = None if training else report._sources.setdefault(part, _Digests())

    def note(kind: Kind, line: int, other: str | None = None) -> bool:
        """Count a finding; whether the pair is left out for it."""
        finding = section.findings.get((kind, other))
        if finding is None:
            finding = section.findings[kind, other] = Finding(kind, other, kind in left_out)
        finding.count += 1
        if len(finding.lines) < _FIRST:
            finding.lines.append(line)
        return finding.left_out

    pairs = read_pairs(corpus)
    while chunk := list(islice(pairs, _CHUNK)):
        keep = np.ones(len(chunk), dtype=bool)
        for row, (source, target) in enumerate(chunk):
            for kind in _faults(source, target, settings):
                if note(kind, section.read + row + 1):
                    keep[row] = False
        rows = np.flatnonzero(keep)  # what is left out already is neither repeated nor shared
        source_digests, pair_digests = _digest(chunk[row] for row in rows)
        comparisons: list[tuple[Kind, str | None, NDArray[np.bool_]]] = []
        for other in others:
            comparisons.append(("pair_overlap", other, report._pairs[other].contains(pair_digests)))
            comparisons.append(("source_overlap", other, report._sources[other].contains(source_digests)))
        comparisons.append(("duplicate", None, seen.repeated(pair_digests)))
        for kind, other, hits in comparisons:
            for row in rows[hits].tolist():
                if note(kind, section.read + row + 1, other):
                    keep[row] = False
        seen.add(pair_digests)
        if seen_sources is not None:
            seen_sources.add(source_digests)
        section.read += len(chunk)
        section.kept += int(keep.sum())
        yield from (pair for pair, good in zip(chunk, keep.tolist(), strict=True) if good)


def add_unknown_rate(
    report: Report, part: str, corpus: CorpusSettings, source: Tokenizer | None, target: Tokenizer | None
) -> None:
    """Add to the report how many tokens of a corpus the trained tokenizers do not know; None skips a side."""
    for side, tokenizer in enumerate((source, target)):
        if tokenizer is None:
            continue
        unknown = tokens = 0
        words: dict[str, None] = {}  # in the order of their first appearance
        for pair in read_pairs(corpus):
            ids = tokenizer.encode(pair[side])
            tokens += len(ids)
            if UNKNOWN in ids:
                unknown += ids.count(UNKNOWN)
                if len(words) < _FIRST:
                    words |= {
                        word: None
                        for word in tokenizer.words(pair[side])
                        if UNKNOWN in tokenizer.segment(word)
                    }
        report.unknown.append(
            UnknownRate(part, ("source", "target")[side], unknown, tokens, tuple(islice(words, _FIRST)))
        )


def _faults(source: str, target: str, settings: CheckSettings) -> Iterator[Kind]:
    """What is wrong with a pair by itself."""
    if not source.strip() or not target.strip():
        yield "empty"
        return
    shorter, longer = sorted((len(source), len(target)))
    if settings.maximum_length is not None and longer > settings.maximum_length:
        yield "long"
    if longer > settings.maximum_ratio * max(shorter, _SHORT):
        yield "ratio"
    if source == target:
        yield "identical"
    if _has_control(source) or _has_control(target):
        yield "control"


def _has_control(text: str) -> bool:
    # `isprintable` is fast and nearly always true; it holds for the mark of a failed decoding, too.
    return "\ufffd" in text or (not text.isprintable() and _CONTROL.search(text) is not None)


def _digest(pairs: Iterable[tuple[str, str]]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """64-bit digests of the sources and of the pairs; the same in every process."""
    sources, whole = bytearray(), bytearray()
    for source, target in pairs:
        digest = blake2b(source.encode(), digest_size=8).digest()
        sources += digest
        whole += blake2b(digest + target.encode(), digest_size=8).digest()
    return np.frombuffer(sources, dtype=np.uint64), np.frombuffer(whole, dtype=np.uint64)


class _Digests:
    """A growing set of 64-bit numbers at 8 bytes each: sorted runs, each more than twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def contains(self, digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """For each number whether it is in the set."""
        found = np.zeros(len(digests), dtype=bool)
        for run in self._runs:
            places = np.searchsorted(run, digests)
            found |= run[np.minimum(places, len(run) - 1)] == digests
        return found

    def repeated(self, digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """For each number whether it is in the set or came before among `digests`."""
        first = np.zeros(len(digests), dtype=bool)
        first[np.unique(digests, return_index=True)[1]] = True
        return ~first | self.contains(digests)

    def add(self, digests: NDArray[np.uint64]) -> None:
        """Put numbers into the set."""
        if not len(digests):
            return
        self._runs.append(np.unique(digests))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            merged = np.concatenate((self._runs.pop(), self._runs.pop()))
            merged.sort(kind="stable")  # two sorted runs: one pass
            self._runs.append(merged)


def _describe(finding: Finding, settings: CheckSettings) -> str:
    descriptions: dict[Kind, str] = {
        "empty": "a side is empty",
        "long": f"a side over {settings.maximum_length or 0:,} characters",
        "ratio": f"one side over {settings.maximum_ratio:g} times as long",
        "identical": "source equals target",
        "control": "control characters",
        "duplicate": "repeated pair",
        "pair_overlap": f"pair also in {finding.other}",
        "source_overlap": f"source also in {finding.other}",
    }
    return descriptions[finding.kind]


def _percent(count: int, of: int) -> str:
    """A share for people; what is not zero does not look like zero."""
    share = 100 * count / of if of else 0.0
    return f"{share:.2f} %" if share >= 0.01 or not count else "< 0.01 %"
