"""How far word alignments are from those that people made: precision, recall and the alignment error rate.

    precision = |A & P| / |A|     recall = |A & S| / |S|     AER = 1 - (|A & S| + |A & P|) / (|A| + |S|)

(Och and Ney 2003, "A Systematic Comparison of Various Statistical Alignment Models", section 6.) A are the links that
were found, S those that are sure, P those that are possible, the sure ones among them. All are counted over the whole
corpus, as the paper does, not averaged over sentences. AER does not punish a missing link that is only possible.
"""

import gzip
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from heedful.attention.alignment import Link, Links, swapped
from heedful.errors import DataError

# A sure link 3-4, a possible one 3p4.
_LINK = re.compile(r"(\d+)([-p])(\d+)")


@dataclass(frozen=True, slots=True)
class GoldAlignment:
    """The links of one pair of sentences that people made, (source, target) counted from 0."""

    sure: Links
    possible: Links
    """Those that may be linked or not, and the sure ones."""

    def within(self, source_length: int, target_length: int) -> "GoldAlignment":
        """Give it without links of words that the sentences do not have: some published files have a few."""

        def inside(links: Links) -> Links:
            return frozenset(link for link in links if link[0] < source_length and link[1] < target_length)

        return GoldAlignment(inside(self.sure), inside(self.possible))

    @property
    def swapped(self) -> "GoldAlignment":
        """The same for the other direction of translation."""
        return GoldAlignment(swapped(self.sure), swapped(self.possible))


@dataclass(frozen=True, slots=True)
class AlignmentError:
    """The counts over a corpus, and the rates made of them."""

    found: int
    sure: int
    found_sure: int
    """|A & S|"""

    found_possible: int
    """|A & P|"""

    @property
    def precision(self) -> float:
        """The share of the links found that are possible, 0 to 1; 1 if none was found."""
        return self.found_possible / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """The share of the sure links that were found, 0 to 1; 1 if none is sure."""
        return self.found_sure / self.sure if self.sure else 1.0

    @property
    def rate(self) -> float:
        """AER, 0 (best) to 1; 0 if none is sure and none was found."""
        total = self.found + self.sure
        return 1 - (self.found_sure + self.found_possible) / total if total else 0.0

    def __str__(self) -> str:
        return (
            f"AER {100 * self.rate:.1f}, precision {100 * self.precision:.1f}, recall {100 * self.recall:.1f} "
            f"({self.found:,} links, {self.sure:,} sure)"
        )


def alignment_error(found: Sequence[Set[Link]], gold: Sequence[GoldAlignment]) -> AlignmentError:
    """Compare the links found for each pair of sentences with those that people made.

    Raises DataError unless there are as many of both, and at least one.
    """
    if len(found) != len(gold) or not gold:
        raise DataError(
            f"Alignments of {len(found):,} pairs of sentences, but {len(gold):,} made by people: each needs one."
        )
    pairs = list(zip(found, gold, strict=True))
    return AlignmentError(
        found=sum(len(links) for links, _ in pairs),
        sure=sum(len(truth.sure) for _, truth in pairs),
        found_sure=sum(len(links & truth.sure) for links, truth in pairs),
        found_possible=sum(len(links & truth.possible) for links, truth in pairs),
    )


def read_gold(path: Path, first: int = 1) -> list[GoldAlignment]:
    """Read alignments that people made, a line for each pair of sentences, compressed (.gz) or not.

    A sure link is written 3-4, a possible one 3p4, source word first; words are counted from `first`. Raises DataError
    for a file that is missing or not text, and, with the number of the line, for what is no link.
    """
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as alignments: {error}") from error
    return [_gold(line.split(), first, f"{path}, line {number:,}") for number, line in enumerate(lines, 1)]


def _gold(words: Iterable[str], first: int, where: str) -> GoldAlignment:
    sure, possible = set[Link](), set[Link]()
    for word in words:
        match = _LINK.fullmatch(word)
        if match is None or min(int(match[1]), int(match[3])) < first:
            raise DataError(
                f"{where}: a link is written 3-4 or 3p4, words counted from {first}, got {word!r}."
            )
        link = int(match[1]) - first, int(match[3]) - first
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
    return GoldAlignment(frozenset(sure), frozenset(possible))
