"""Tagged sentences in CoNLL's format: a token a line, its columns between tabs or spaces; blank lines end sentences.

    Empire    B-location
    State     I-location
    Building  I-location
    .         O

The token is the first column and the tag the last; others in between (parts of speech) are passed over. A line with a
tab is split at tabs, so that a token may hold a space. A line that begins with -DOCSTART- is no token. There are no
comments: a line that begins with # is a token.

Tags are read as conlleval reads them (heedful.text.tags), whichever of IOB1, IOB2 and IOBES they are written in, and
learnt as IOB2. What is written neither way is counted and told by file and line.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from heedful.data.corpus import read_lines
from heedful.data.findings import Section
from heedful.errors import DataError
from heedful.text import tags as tagging

_DOCUMENT = "-DOCSTART-"


class Tagged(NamedTuple):
    """A sentence with a tag for each token, and where it begins in its file.

    tags: as IOB2, whatever the file has
    odd: (line, what) of tags that are no IOB2 and no IOB1
    document: how many lines with -DOCSTART- stand before it
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    place: str = ""
    odd: tuple[tuple[str, str], ...] = ()
    document: int = 0

    @property
    def spans(self) -> list[tagging.Span]:
        """Its spans."""
        return tagging.spans(self.tags)


class _Line(NamedTuple):
    place: str
    token: str
    tag: str
    document: int


def read_conll(path: Path) -> list[Tagged]:
    """Read a file: plain, .gz or .zst.

    Raises DataError, with file and line, for a line without a tag, a tag that is none, and an empty file, and as
    `heedful.data.corpus.read_lines` does.
    """
    numbered = enumerate(read_lines(path), start=1)
    sentences = list(parse_conll((f"{path}, line {number}", line) for number, line in numbered))
    if not sentences:
        raise DataError(f"{path} is empty: there is no tagged sentence in it.")
    return sentences


def parse_conll(lines: Iterable[tuple[str, str]]) -> Iterator[Tagged]:
    """Give the sentences of lines (place, text). Raises DataError for a line that is not of the format."""
    read = list(_sentences(lines))
    scheme = tagging.scheme([line.tag for line in sentence] for sentence in read)
    for sentence in read:
        written = [line.tag for line in sentence]
        odd = () if scheme in ("IOB1", "IOBES") else tuple(_odd(sentence))
        tags = tagging.tags(tagging.spans(written), len(written))
        yield Tagged(
            tuple(line.token for line in sentence), tuple(tags), sentence[0].place, odd, sentence[0].document
        )


def _sentences(lines: Iterable[tuple[str, str]]) -> Iterator[list[_Line]]:
    sentence: list[_Line] = []
    document = 0
    for place, line in lines:
        document += line.startswith(_DOCUMENT)
        if line.strip() and not line.startswith(_DOCUMENT):
            sentence.append(_line(place, line, document))
        elif sentence:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _line(place: str, line: str, document: int) -> _Line:
    # Only at plain spaces: a token may hold others, such as the one in 10\u00a0000.
    columns = line.split("\t") if "\t" in line else [part for part in line.split(" ") if part]
    if len(columns) < 2:
        raise DataError(
            f"{place}: {line.strip()!r} has no tag. A line is a token and its tag, with a tab or a space between."
        )
    token, tag = columns[0], columns[-1].strip()
    if tagging.parse(tag) is None:
        raise DataError(
            f"{place}: {tag!r} is not a tag. Tags are O, and B-, I- (or E-, S-) and a type, such as B-person."
        )
    return _Line(place, token, tag, document)


def _odd(sentence: Sequence[_Line]) -> Iterator[tuple[str, str]]:
    """What is not IOB2, and where."""
    before = tagging.OUTSIDE
    for place, _, tag, _ in sentence:
        if not tagging.follows(tag, before):
            yield place, AFTER_OUTSIDE if before == tagging.OUTSIDE else AFTER_OTHER
        before = tag


def to_lines(sentence: Tagged) -> str:
    """A sentence in the format, with the blank line after it."""
    pairs = zip(sentence.tokens, sentence.tags, strict=True)
    return "".join(f"{token}\t{tag}\n" for token, tag in pairs) + "\n"


class Folds(NamedTuple):
    """Sentences to learn from, to choose by, and to be scored on."""

    train: list[Tagged]
    validation: list[Tagged]
    test: list[Tagged]


def folds(files: Iterable[Sequence[Tagged]], number: int, count: int) -> Folds:
    """Cut data without a split into fold `number`, from 0, of `count`: a function of the data and nothing else.

    Every file is cut into `count` parts of neighbouring documents, or, where it tells of fewer documents than parts,
    of neighbouring sentences, which are often of one text: that must not be both learnt and asked. Part `number` of
    each file is the test, the next is the validation, the rest is train.
    """
    parts: list[list[Tagged]] = [[] for _ in range(count)]
    for sentences in files:
        documents = [list(group) for _, group in groupby(sentences, key=lambda each: each.document)]
        whole = documents if len(documents) >= count else [[sentence] for sentence in sentences]
        for part in range(count):
            for group in whole[len(whole) * part // count : len(whole) * (part + 1) // count]:
                parts[part] += group
    held = number, (number + 1) % count
    train = [sentence for part in range(count) if part not in held for sentence in parts[part]]
    return Folds(train, parts[held[1]], parts[held[0]])


# --- the check before any training

AFTER_OUTSIDE = "I- without a B- before it: read as the start of a span"
AFTER_OTHER = "I- after another type: read as the start of a span"
DUPLICATE, OVERLAP, LONG = "same as one before", "also in train", "longer than the model reads"
UNSEEN_TYPE = "type not in train"


@dataclass
class Sentences(Section):
    """What a part is made of.

    spans: how many of each type
    """

    sentences: int = 0
    tokens: int = 0
    spans: dict[str, int] = field(default_factory=dict)


def check_tagged(parts: Mapping[str, Sequence[Tagged]]) -> list[Sentences]:
    """Count what each part is made of and what is odd in it; the others are compared with "train"."""
    trained = {sentence.tokens for sentence in parts.get("train", ())}
    types = {span.type for sentence in parts.get("train", ()) for span in sentence.spans}
    sections: list[Sentences] = []
    for part, sentences in parts.items():
        section, before = Sentences(part, len(sentences)), set[tuple[str, ...]]()
        counts = Counter[str]()
        for sentence in sentences:
            section.tokens += len(sentence.tokens)
            found = sentence.spans
            counts.update(span.type for span in found)
            for place, what in sentence.odd:
                section.note(what, place)
            if sentence.tokens in before:
                section.note(DUPLICATE, sentence.place)
            if part != "train" and sentence.tokens in trained:
                section.note(OVERLAP, sentence.place)
            if part != "train" and any(span.type not in types for span in found):
                section.note(UNSEEN_TYPE, sentence.place)
            before.add(sentence.tokens)
        section.spans = dict(sorted(counts.items()))
        sections.append(section)
    return sections


def tagged_table(sections: Sequence[Sentences]) -> Table:
    """What was found, for people."""
    table = Table("data", "count", "of what")
    table.columns[1].justify = "right"
    for section in sections:
        table.add_row(section.part, f"{section.sentences:,}", f"sentences with {section.tokens:,} tokens")
        for kind, count in section.spans.items():
            table.add_row("", f"{count:,}", kind)
        for finding in section.findings.values():
            table.add_row("", f"{finding.count:,}", f"{finding.what}: {finding.first()}")
    return table
