"""Where a command's input comes from: a file, standard input, or the command itself."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from heedful.data.corpus import CorpusSettings, nearest, read_lines
from heedful.errors import DataError


def lines(path: Path | None) -> Iterator[str]:
    """The lines of a file (plain, .gz or .zst), or of standard input for None, as they come, without line ends.

    Only a line feed ends a line. Raises DataError, with the number of the line, for what is not text in UTF-8.
    """
    if path is not None and str(path) != "-":
        yield from read_lines(path)
        return
    for number, line in enumerate(sys.stdin.buffer, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in line:
            raise DataError(f"Standard input, line {number} contains a NUL byte: is it text?")
        try:
            yield line.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(
                f"Standard input, line {number} is not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x}); "
                "convert it first, for example: iconv -f ISO-8859-1 -t UTF-8."
            ) from error


@contextmanager
def named(path: Path | None) -> Iterator[None]:
    """Say in which file a line is that a model cannot read: what reads a stream of lines does not know."""
    try:
        yield
    except DataError as error:
        said = str(error)
        if path is None or str(path) == "-" or not said.lower().startswith("line "):
            raise
        raise DataError(f"{path}, l{said[1:]}") from error


def corpus_of(**files: Path | None) -> CorpusSettings:
    """The files of a corpus, `pairs` or `source` and `target`; DataError where they can be none."""
    try:
        return CorpusSettings.model_validate(files)
    except ValidationError as error:
        named = ", ".join(str(path) for path in files.values())
        raise DataError(f"{named}: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from error


def text_or_file(given: str) -> str:
    """Read the file of this name where there is one; else this is the text itself. Which of the two is told.

    Of a text that is nearly the name of a file that too.

    Raises DataError for a file that cannot be read, or is not UTF-8.
    """
    path = Path(given)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL
        is_file = False
    if not is_file:
        similar = (
            nearest(path) if len(given) <= 255 and len(given.split()) == 1 and path.parent.is_dir() else ""
        )
        beside = f" (no file has this name{similar})" if similar else ""
        print(f"text: {given if len(given) <= 60 else given[:59] + '…'!r}{beside}", file=sys.stderr)
        return given
    try:
        found = path.read_text(encoding="utf-8-sig").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}.") from error
    print(f"text: the file {path}, {len(found):,} characters", file=sys.stderr)
    return found
