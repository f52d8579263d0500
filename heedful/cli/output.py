"""Where a command's output goes: standard output, or a file that is there whole or not at all."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from heedful import durable
from heedful.errors import DataError


@contextmanager
def writing(path: Path | None, overwrite: bool = False) -> Iterator[IO[str]]:
    """Give a text file to write to; UTF-8, lines end with a line feed. None is standard output.

    A file takes its name when the context ends well; after an error nothing is left of it. Raises DataError if there
    is a file already (unless `overwrite`) or it cannot be written.
    """
    if path is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # pyright: ignore[reportAttributeAccessIssue]
        yield sys.stdout
        return
    check(path, overwrite)
    try:
        with (
            durable.replacing(path) as unfinished,
            unfinished.open("w", encoding="utf-8", newline="\n") as file,
        ):
            yield file
    except BrokenPipeError:  # of the standard output, to whose reader it is no error
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error


def check(path: Path, overwrite: bool) -> None:
    """Refuse, before any work, what could not be written afterwards."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file to write to.")
    if path.exists() and not overwrite:
        raise DataError(f"{path} is there already; choose another name, or replace it with --overwrite.")
    if not path.absolute().parent.is_dir():
        raise DataError(
            f"There is no folder {path.absolute().parent} to write {path.name} to; make it first."
        )


def check_figure(path: Path, overwrite: bool) -> None:
    """The same for a figure that is drawn at the end: it is an .svg, and there is what draws it."""
    from heedful.viewing.plotting import matplotlib

    if path.suffix != ".svg":
        raise DataError(f"This figure is written as .svg; {path.name} does not end so.")
    check(path, overwrite)
    matplotlib()


def size(path: Path) -> str:
    """Say how large a file has become."""
    return f"{path}: {max(1, round(path.stat().st_size / 1e3))} kB"


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse, before any work, to replace a model that a folder holds already."""
    if (folder.expanduser() / "config.json").exists() and not overwrite:
        raise DataError(
            f"{folder} holds a model already; choose another name, or replace it with --overwrite."
        )


def flush(file: IO[str]) -> None:
    """Let whoever is waiting at a terminal see what there is so far."""
    if file.isatty():
        file.flush()
