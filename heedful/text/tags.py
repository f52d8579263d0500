"""Spans of tokens as tags: B-person I-person O, and how a sequence of tags is read.

    spans(["B-PER", "I-PER", "O", "I-LOC"])  ->  [Span("PER", 0, 2), Span("LOC", 3, 4)]
    tags([Span("PER", 0, 2)], 3)             ->  ["B-PER", "I-PER", "O"]

Tags are read as conlleval reads them (Tjong Kim Sang and Buchholz 2000; seqeval's default mode does the same), which
gives every sequence a meaning: a span begins at B-, at an I- or E- after O or after another type, and at S-; it ends
before O, before another span, and after E- and S-. IOB1 (B- only where two spans of one type meet), IOB2 (B- on every
first token) and IOBES are all read rightly by this one rule; BILOU's L- and U- are taken for E- and S-. What is
written is IOB2.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"
_PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"}


class Span(NamedTuple):
    """Tokens `first` to before `end`, of a type."""

    type: str
    first: int
    end: int


class Tag(NamedTuple):
    """A tag taken apart: place in the span (B, I, E, S, or O for none), and type."""

    place: str
    type: str


def parse(tag: str) -> Tag | None:
    """Take a tag apart; None for what is neither O nor a prefix, a hyphen and a type.

    Types may have hyphens themselves: I-creative-work.
    """
    if tag == OUTSIDE:
        return Tag(OUTSIDE, "")
    prefix, hyphen, kind = tag.partition("-")
    return Tag(_PREFIXES[prefix], kind) if prefix in _PREFIXES and hyphen and kind else None


def spans(tags: Iterable[str]) -> list[Span]:
    """Read tags as conlleval does. Raises ValueError for what is no tag."""
    found: list[Span] = []
    first, before = 0, Tag(OUTSIDE, "")
    # The O at the end ends what is open there.
    for place, text in enumerate([*tags, OUTSIDE]):
        tag = parse(text)
        if tag is None:
            raise ValueError(f"tag {place}, {text!r}, is neither O nor like B-person")
        inside = before.place != OUTSIDE
        begins = tag.place != OUTSIDE and (
            not inside or tag.type != before.type or tag.place in "BS" or before.place in "ES"
        )
        if inside and (begins or tag.place == OUTSIDE):
            found.append(Span(before.type, first, place))
        if begins:
            first = place
        before = tag
    return found


def tags(spans: Iterable[Span], length: int) -> list[str]:
    """Write spans, none of which may overlap, as the IOB2 tags of `length` tokens."""
    written = [OUTSIDE] * length
    for span in spans:
        written[span.first] = f"B-{span.type}"
        for place in range(span.first + 1, span.end):
            written[place] = f"I-{span.type}"
    return written


def labels(types: Iterable[str]) -> list[str]:
    """Give all IOB2 tags of some types: O, then B- and I- of each type in alphabetical order."""
    return [OUTSIDE, *(f"{place}-{kind}" for kind in sorted(set(types)) for place in "BI")]


def follows(tag: str, before: str | None) -> bool:
    """Whether IOB2 lets a tag stand after another, or at the start for None: I- goes on with its own type only."""
    return not tag.startswith("I-") or (before is not None and before[1:] == tag[1:])


def scheme(sentences: Iterable[Sequence[str]]) -> str:
    """Name what tags are written in: "IOB1", "IOB2", "IOBES", or "mixed" where one is IOB1 only, another IOB2 only.

    Of tags that are right in both, IOB2 is named.
    """
    first_inside = first_begun = False
    for sentence in sentences:
        before = OUTSIDE
        for tag in sentence:
            if tag[:1] in "ESLU" and tag != OUTSIDE:
                return "IOBES"
            if not follows(tag, before):
                first_inside = True
            # IOB1 writes B- only after a span of the same type.
            if tag.startswith("B-") and before[1:] != tag[1:]:
                first_begun = True
            before = tag
    if first_inside:
        return "mixed" if first_begun else "IOB1"
    return "IOB2"
