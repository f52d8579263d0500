"""Documents out of plain text: what language models learn from.

    text = TextSettings(text=("books/*.txt.gz", "letters.txt"), documents="paragraph")
    for document in read_documents(text):
        document.text, document.place             # "To be, or not to be", "letters.txt, line 12"

A document is a file, a paragraph (what stands between blank lines) or a line; in .jsonl files it is the text that each
line holds. Files are plain, .gz or .zst. Lines end in a line feed; a document keeps those between its lines, and none
at its end. A document without any text is none.

`read_pieces` gives the same in pieces of bounded size, so that memory does not grow with a file that is one document.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from glob import glob, has_magic
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.table import Table

from heedful.data.corpus import checked_text, read_lines
from heedful.data.findings import Section
from heedful.errors import DataError
from heedful.settings import Settings

PIECE = 2**18
"""Characters from which on a piece ends at the next line that it can end at."""

_LONG = 40  # characters: a shorter line ("Exeunt.") may well occur twice
_IN_TRAIN = {"document": "in train too", "line": f"lines of {_LONG} characters and more in train too"}


class TextSettings(Settings):
    """Where plain text is, and what a document of it is."""

    text: tuple[Path, ...] = Field(
        min_length=1,
        description="files, or patterns of files such as corpus/*.txt.gz; plain, .gz or .zst, also .jsonl",
    )
    documents: Literal["file", "paragraph", "line"] = Field(
        default="file", description="a document is a file, what stands between blank lines, or a line"
    )
    field: str = Field(default="text", description=".jsonl: the key that the text of a document stands under")

    def files(self) -> tuple[Path, ...]:
        """Give the files, those of a pattern in the order of their names, each once.

        Raises DataError for a pattern that no file matches.
        """
        found: dict[Path, None] = {}
        for path in map(Path.expanduser, self.text):
            if path.exists() or not has_magic(str(path)):
                found[path] = None
                continue
            matched = sorted(Path(name) for name in glob(str(path), recursive=True))  # noqa: PTH207 -- of any root
            files = [name for name in matched if name.is_file()]
            if not files:
                raise DataError(f"No file matches {path}; is the folder right?")
            found.update(dict.fromkeys(files))
        return tuple(found)

    def __str__(self) -> str:
        return " + ".join(map(str, self.text))


@dataclass(frozen=True)
class Document:
    """A document: its text, the file and the line, from 1, that it begins in."""

    text: str
    file: Path
    line: int

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.file}, line {self.line}"


@dataclass(frozen=True)
class Piece(Document):
    """A part of a document. The texts of its pieces, one after the other, are that of the document.

    first: whether a document begins with it. Any other piece begins with the line feed before its first line, and what
    stands before that is no white space: tokenizers, which never put white space into one token with what stands before
    it, make of the pieces the same tokens as of the whole.
    """

    first: bool


def read_documents(text: TextSettings) -> Iterator[Document]:
    """Give the documents in the order of the files.

    Raises DataError, when the place is reached, for a file that is missing, not text, not UTF-8 or damaged, for a line
    of a .jsonl file that is no object with text under the key, and if there is no document at all.
    """
    number = 0

    def which(piece: Piece) -> int:
        nonlocal number
        number += piece.first
        return number

    for _, group in groupby(read_pieces(text), key=which):
        pieces = list(group)
        yield Document("".join(piece.text for piece in pieces), pieces[0].file, pieces[0].line)


def read_pieces(text: TextSettings) -> Iterator[Piece]:
    """Give the pieces of all documents. Raises as `read_documents`."""
    empty = True
    for path in text.files():
        for piece in _pieces(path, text):
            empty = False
            yield piece
    if empty:
        raise DataError(f"{text} has no text: there is nothing but blank lines in it.")


def _pieces(path: Path, text: TextSettings) -> Iterator[Piece]:
    if ".jsonl" in path.suffixes[-2:]:
        for number, line in enumerate(read_lines(path), start=1):
            document = _of_json(path, number, line, text.field).strip("\n")
            if document.strip():
                yield from _cut(((number, each) for each in document.split("\n")), path)
        return
    lines = enumerate(read_lines(path), start=1)
    if text.documents == "line":
        for number, line in lines:
            if line.strip():
                yield Piece(line, path, number, True)
    elif text.documents == "paragraph":
        for blank, paragraph in groupby(lines, key=lambda line: not line[1].strip()):
            if not blank:
                yield from _cut(paragraph, path)
    else:
        yield from _cut(_inner(lines), path)


def _inner(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The lines without the blank ones at the beginning and at the end."""
    began, waiting = False, list[tuple[int, str]]()
    for line in lines:
        if not line[1].strip():
            waiting.append(line)
            continue
        if began:
            yield from waiting
        waiting.clear()
        began = True
        yield line


def _cut(lines: Iterable[tuple[int, str]], path: Path) -> Iterator[Piece]:
    """The pieces of one document."""
    held: list[str] = []
    size, start, first = 0, 0, True
    for number, line in lines:
        if size >= PIECE and held[-1] and not held[-1][-1].isspace():
            yield Piece("\n".join(held), path, start, first)
            held, size, first = [""], 0, False
            start = number
        elif not held:
            start = number
        held.append(line)
        size += len(line) + 1
    if held:
        yield Piece("\n".join(held), path, start, first)


def _of_json(path: Path, number: int, line: str, key: str) -> str:
    """The text under a key of an object."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "the line is empty" if not line.strip() else error
        raise DataError(f"{path}, line {number} is not JSON: {reason}.") from error
    if isinstance(row, dict) and key in row and not isinstance(row[key], str):
        raise DataError(
            f"{path}, line {number}: the value of {key!r} must be text, not {json.dumps(row[key])[:40]}."
        )
    if not isinstance(row, dict) or key not in row:
        there = (
            f"its keys are {', '.join(map(repr, list(row)[:8]))}" if isinstance(row, dict) else "it is none"
        )
        raise DataError(
            f"{path}, line {number} is not a JSON object with text under {key!r}; {there}. Name the key that holds "
            "the text as `field`."
        )
    return checked_text(row[key], f"{path}, line {number}: {key!r}")


@dataclass
class TextSection(Section):
    """What was found in the documents of one part ("train", "validation", the name of a test set)."""

    files: tuple[str, ...]
    documents: int = 0
    characters: int = 0
    words: int = 0
    lines: int = 0


def check_documents(parts: Mapping[str, TextSettings]) -> list[TextSection]:
    """Count what there is in each part, what occurs twice, and what later parts share with the first.

    Texts are compared by 64-bit digests: some 100 bytes of memory for each document, and for each long line of the
    later parts. Raises as `read_documents`.
    """
    train, *others = parts
    sections = {name: TextSection(name, tuple(map(str, parts[name].files()))) for name in parts}
    # Where each document and long line of the later parts stands: (part, place).
    looked_for: dict[tuple[str, bytes], list[tuple[str, str]]] = {}
    for name in others:
        for key, place in _scan(parts[name], sections[name]):
            looked_for.setdefault(key, []).append((name, place))
    met = {key for key, _ in _scan(parts[train], sections[train]) if key in looked_for}
    for kind, digest in looked_for:
        if (kind, digest) not in met:
            continue
        for name, place in looked_for[kind, digest]:
            sections[name].note(_IN_TRAIN[kind], place)
    return list(sections.values())


def _scan(text: TextSettings, section: TextSection) -> Iterator[tuple[tuple[str, bytes], str]]:
    """Count into `section`; give the digest of each long line and each document, with its place."""
    seen: set[bytes] = set()

    def document() -> tuple[tuple[str, bytes], str]:
        key = whole.digest()
        if key in seen:
            section.note("there twice", place)
        seen.add(key)
        return ("document", key), place

    whole, place = blake2b(digest_size=8), ""
    for piece in read_pieces(text):
        if piece.first:
            if section.documents:
                yield document()
            section.documents += 1
            whole, place = blake2b(digest_size=8), piece.place
        whole.update(piece.text.encode())
        section.characters += len(piece.text)
        section.words += len(piece.text.split())
        lines = piece.text.removeprefix("" if piece.first else "\n").split("\n")
        inside = ".jsonl" in piece.file.suffixes[-2:]  # all lines of a document are then in one of the file
        for number, line in enumerate(lines):
            section.lines += 1
            if len(line) >= _LONG:
                key = blake2b(line.encode(), digest_size=8).digest()
                yield ("line", key), f"{piece.file}, line {piece.line if inside else piece.line + number}"
    yield document()


def documents_table(sections: Iterable[TextSection]) -> Table:
    """What was found, for the terminal."""
    shown = Table("text", title="Text")
    for column in ("documents", "words", "characters"):
        shown.add_column(column, justify="right")
    shown.add_column("found", overflow="fold")
    for section in sections:
        counted = (f"{count:,}" for count in (section.documents, section.words, section.characters))
        shown.add_row(section.part, *counted, "\n".join(section.told()))
    return shown
