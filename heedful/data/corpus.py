"""Parallel text on disk, read one pair at a time.

A corpus is either two files aligned line by line, or one file of pairs (.tsv or .jsonl); each plain, .gz or
.zst. Reading streams: memory does not grow with the file. Every mistake in the text is named by file and line
number, and nothing is skipped here: pair `n` always comes from line `n` (`check.py` says what to leave out).

Only a line feed ends a line (a carriage return before it is dropped), so that U+2028, U+0085 or a form feed
inside a sentence cannot shift one side against the other, as `str.splitlines` would. A byte order mark at the
start is dropped. TSV is split at tabs and nothing else: no quoting, no header.
"""

import difflib
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Self

from pydantic import Field, model_validator

from heedful.errors import DataError
from heedful.settings import Settings

# Bytes: a longer line is no sentence, and to hold it whole would not be streaming.
MAXIMUM_LINE = 16 * 2**20
_BLOCK = 64 * 2**10  # bytes read at a time
_CHUNK = 4 * 2**10  # bytes of .zst decompressed at a time
_COMPRESSIONS = (".gz", ".zst")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What a file that is not plain text begins with, and what to tell its owner.
_NOT_PLAIN = {
    b"\x1f\x8b": "is compressed with gzip but its name does not end in .gz; rename it",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd but its name does not end in .zst; rename it",
    b"PK\x03\x04": "is a zip archive; unpack it first",
    b"\xff\xfe": "looks like UTF-16; convert it first: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "looks like UTF-16; convert it first: iconv -f UTF-16 -t UTF-8",
}


class CorpusSettings(Settings):
    """Where sentence pairs are: `source` and `target` (line-aligned files), or `pairs` (.tsv or .jsonl)."""

    source: Path | None = Field(default=None, description="source sentences, one a line; plain, .gz or .zst")
    target: Path | None = Field(
        default=None, description="target sentences, line n being the translation of line n of `source`"
    )
    pairs: Path | None = Field(
        default=None, description="one file of pairs instead: .tsv or .jsonl, also with .gz or .zst"
    )
    source_field: int | str | None = Field(
        default=None,
        description="where the source stands in `pairs`: a column from 0 (.tsv: 0), a key (.jsonl: 'source')",
    )
    target_field: int | str | None = Field(
        default=None,
        description="where the target stands in `pairs`: a column from 0 (.tsv: 1), a key (.jsonl: 'target')",
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="how often a pair is drawn, relative to the other corpora's pairs",
    )

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Self:
        if self.pairs is None:
            if self.source is None or self.target is None:
                raise ValueError(
                    "a corpus needs `source` and `target` (line-aligned files), or `pairs` (.tsv, .jsonl)"
                )
            if self.source == self.target:
                raise ValueError(f"`source` and `target` are the same file, {self.source}")
            if self.source_field is not None or self.target_field is not None:
                raise ValueError(
                    "`source_field` and `target_field` belong to `pairs`, not to `source` and `target`"
                )
            return self
        if self.source is not None or self.target is not None:
            raise ValueError("a corpus is either `source` and `target`, or `pairs`; both were given")
        if self.pairs_format not in (".tsv", ".jsonl"):
            raise ValueError(
                f"`pairs` must be a .tsv or .jsonl file (or that with .gz or .zst), not {self.pairs.name}"
            )
        if self.fields[0] == self.fields[1]:
            raise ValueError(f"`source_field` and `target_field` are the same, {self.fields[0]!r}")
        return self

    @property
    def pairs_format(self) -> str | None:
        """.tsv or .jsonl (or whatever the name says before .gz or .zst); None for line-aligned files."""
        if self.pairs is None:
            return None
        suffixes = [suffix.lower() for suffix in self.pairs.suffixes]
        if suffixes and suffixes[-1] in _COMPRESSIONS:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @property
    def fields(self) -> tuple[int | str, int | str]:
        """Where source and target stand in a line of `pairs`: two columns (.tsv) or two keys (.jsonl)."""
        if self.pairs_format == ".jsonl":
            return _key(self.source_field, "source"), _key(self.target_field, "target")
        return _column(self.source_field, 0), _column(self.target_field, 1)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read: one or two."""
        return tuple(path for path in (self.source, self.target, self.pairs) if path is not None)

    def __str__(self) -> str:
        return " + ".join(str(path) for path in self.files)


def read_pairs(corpus: CorpusSettings) -> Iterator[tuple[str, str]]:
    """The pairs of a corpus in file order, `(source, target)`; pair n comes from line n.

    Raises DataError, when the place is reached, for a file that is missing, a folder, empty, not text, not
    UTF-8 or damaged; for sides of unequal length (both counts are given); for a TSV line with too few columns
    and a JSONL line that is not an object with text under both keys.
    """
    if corpus.pairs is None:
        pairs = _aligned(*corpus.files)
    elif corpus.pairs_format == ".jsonl":
        pairs = _json_pairs(corpus.pairs, *(str(key) for key in corpus.fields))
    else:
        pairs = _tab_pairs(corpus.pairs, *(int(column) for column in corpus.fields))
    empty = True
    for pair in pairs:
        empty = False
        yield pair
    if empty:
        raise DataError(f"{corpus} is empty: there is no pair in it.")


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file without their line ends; an empty file has none.

    Raises DataError, when the place is reached, for a file that is missing, a folder, not text, not UTF-8 or
    damaged.
    """
    number = 0
    with _open(path) as stream:
        try:
            # A block and the rest of its last line, decoded at once: many times as fast as line by line.
            while block := stream.read(_BLOCK):
                block += stream.readline(MAXIMUM_LINE)
                if number == 0:
                    block = _check_start(path, block)
                for line in _lines(path, number, block):
                    number += 1
                    yield line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(path, number, error) from error
        except OSError as error:
            raise DataError(
                f"{path} cannot be read after line {number}: {error.strerror or error}."
            ) from error


def _lines(path: Path, number: int, block: bytes) -> Iterator[str]:
    """The lines of a block of whole lines, `number` lines having come before it."""
    if not block:  # a file with a byte order mark and nothing else
        return
    if len(block) <= MAXIMUM_LINE and b"\0" not in block:
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            pass  # below, line by line, to say where
        else:
            lines = text.removesuffix("\n").split("\n")
            yield from lines if "\r" not in text else (line.removesuffix("\r") for line in lines)
            return
    for line in block.removesuffix(b"\n").split(b"\n"):
        number += 1
        if len(line) >= MAXIMUM_LINE:
            raise DataError(
                f"{path}, line {number} is over {MAXIMUM_LINE:,} bytes long: is it text, line by line?"
            )
        if b"\0" in line:
            raise DataError(
                f"{path}, line {number} contains a NUL byte: it looks like a binary file, not text."
            )
        try:
            yield line.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number} is not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x}); "
                "convert the file first, for example: iconv -f ISO-8859-1 -t UTF-8."
            ) from error


def _aligned(source_file: Path, target_file: Path) -> Iterator[tuple[str, str]]:
    """Pairs of two line-aligned files; the longer is read to its end, so that an error gives both counts."""
    sources = targets = 0
    for source, target in zip_longest(read_lines(source_file), read_lines(target_file)):
        sources += source is not None
        targets += target is not None
        if source is not None and target is not None:
            yield source, target
    if sources != targets:
        raise DataError(
            f"{source_file} has {sources:,} lines but {target_file} has {targets:,}; "
            "they must be aligned line by line."
        )


def _tab_pairs(path: Path, source: int, target: int) -> Iterator[tuple[str, str]]:
    needed = max(source, target) + 1
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) < needed:
            raise DataError(
                f"{path}, line {number} has {len(columns)} column(s) separated by tabs; {needed} are needed "
                f"(source in column {source}, target in column {target}, counted from 0)."
            )
        yield columns[source], columns[target]


def _json_pairs(path: Path, source: str, target: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "the line is empty" if not line.strip() else error
            raise DataError(f"{path}, line {number} is not JSON: {reason}.") from error
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, line {number} is not a JSON object ({{...}}) but a {type(row).__name__}."
            )
        yield _text(path, number, row, source), _text(path, number, row, target)


def _text(path: Path, number: int, row: dict[str, Any], key: str) -> str:
    """The text under `key` of a JSON object, or the DataError that says why there is none."""
    if key not in row:
        there = ", ".join(repr(name) for name in list(row)[:8]) or "none"
        raise DataError(f"{path}, line {number} has no key {key!r}; its keys are: {there}.")
    value = row[key]
    if not isinstance(value, str):
        raise DataError(
            f"{path}, line {number}: the value of {key!r} must be text, not {json.dumps(value)[:40]}."
        )
    return checked_text(value, f"{path}, line {number}: {key!r}")


def checked_text(text: str, place: str) -> str:
    """Give a text of JSON, where "\\ud800" is valid but no Unicode. Raises DataError, which begins with `place`."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{place} holds half of a surrogate pair; it is not text.") from error
    return text


def _column(field: int | str | None, default: int) -> int:
    if (isinstance(field, str) and not field.isdecimal()) or (isinstance(field, int) and field < 0):
        raise ValueError(f"in a .tsv file a field is a column number from 0, not {field!r}")
    return default if field is None else int(field)


def _key(field: int | str | None, default: str) -> str:
    if isinstance(field, int):
        raise ValueError(f"in a .jsonl file a field is a key (text), not the number {field}")
    return default if field is None else field


def _check_start(path: Path, block: bytes) -> bytes:
    """The first block without its byte order mark; refuses what is plainly another kind of file."""
    for start, what in _NOT_PLAIN.items():
        if block.startswith(start):
            raise DataError(f"{path} {what}.")
    return block.removeprefix(_BYTE_ORDER_MARK)


def _open(path: Path) -> IO[bytes]:
    """A buffered stream of a file's uncompressed bytes."""
    path = path.expanduser()
    if path.is_dir():
        raise DataError(f"{path} is a folder; a file is needed.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".gz":
            return io.BufferedReader(gzip.GzipFile(path, "rb"), _BLOCK)
        return io.BufferedReader(_Zstandard(path), _BLOCK) if suffix == ".zst" else path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist{nearest(path)}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error


def nearest(path: Path) -> str:
    """The end of a sentence about a file that is missing: the most similar name in its folder, or which folder is."""
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    similar = difflib.get_close_matches(path.name, names, n=1)
    return f"; the nearest name in its folder is {similar[0]}" if similar else ""


def _damaged(path: Path, number: int, error: Exception) -> DataError:
    if isinstance(error, gzip.BadGzipFile) and number == 0:
        return DataError(f"{path} is not a gzip file though its name ends in .gz ({error}).")
    what = "ends too early (truncated)" if isinstance(error, EOFError) else f"is damaged ({error})"
    return DataError(
        f"{path} {what}: it cannot be decompressed beyond line {number}. Copy or download it again."
    )


class _Zstandard(io.RawIOBase):
    """The uncompressed bytes of a .zst file, frame after frame.

    `zstandard`'s own stream reader takes a truncated file for a complete one; here it is an EOFError.
    """

    def __init__(self, path: Path) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise DataError(
                f"Reading {path} needs the package zstandard: pip install 'heedful[zst]'."
            ) from error
        self._file, self._failure = path.open("rb"), zstandard.ZstdError
        # Files of `zstd --long=31` too; the default refuses windows over 128 MiB.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
        self._frame = self._decompressor.decompressobj()
        self._compressed = b""
        self._output, self._given = b"", 0  # what came out last, and how much of it has been handed on
        self._inside = False  # whether a frame has begun that has not ended

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._given == len(self._output):
            chunk = self._compressed or self._file.read(_CHUNK)
            if not chunk:
                if self._inside:
                    raise EOFError
                return 0
            self._decompress(chunk)
        size = min(len(buffer), len(self._output) - self._given)
        buffer[:size] = memoryview(self._output)[self._given : self._given + size]
        self._given += size
        return size

    def _decompress(self, chunk: bytes) -> None:
        try:
            self._output, self._given = self._frame.decompress(chunk), 0
        except self._failure as error:
            raise zlib.error(str(error)) from error
        self._inside, self._compressed = not self._frame.eof, b""
        if self._frame.eof:
            self._compressed = self._frame.unused_data
            self._frame = self._decompressor.decompressobj()

    def close(self) -> None:
        self._file.close()
        super().close()
