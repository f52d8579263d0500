"""Files that are there whole or not at all, whenever the process or the machine stops.

What is written is written beside its place, flushed to the disk and renamed.
"""

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ABANDONED = 3600.0  # seconds


def flush(path: Path) -> None:
    """Make sure that a file, or the list of files in a folder, is on the disk."""
    if path.is_symlink() or (path.is_dir() and os.name == "nt"):  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new file to write to; it takes the place of `path` when the block ends well.

    Makes missing folders. After an exception what stood at `path` before is still there. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    # A folder rather than a file, so that what is written gets the usual permissions.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        writing = Path(folder) / path.name
        yield writing
        flush(writing)
        writing.replace(path)
    flush(path.parent)


def _remove_abandoned(path: Path) -> None:
    """Remove what writers of `path` left that were killed: folders in which nothing has been written for an hour."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.????????"):
        try:
            written = max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
        except OSError:  # no folder, or another writer's that has just finished
            continue
        if time.time() - written > _ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, in place of one that is there. Raises OSError."""
    with replacing(path) as writing:
        writing.write_text(text, encoding="utf-8", newline="\n")
