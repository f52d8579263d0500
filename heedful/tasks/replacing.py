"""Replacing a folder so that a complete one is there at every instant, whenever the process or the machine stops.

The new folder is written beside its place as `.NAME.writing` and flushed to the disk. Then the old one is renamed to
`.NAME.previous`, the new one takes its place, and the previous one is deleted. In the instant between the two renames,
or for good after a crash just then, nothing stands at NAME; `standing` then gives the previous one.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from heedful.durable import flush


def standing(folder: Path) -> Path | None:
    """Give what stands at `folder`: itself, or the previous one where a replacement stopped half-way, or None."""
    if folder.exists():
        return folder
    previous = _previous(folder)
    return previous if previous.is_dir() else None


@contextmanager
def replacing(folder: Path, own: Collection[str]) -> Iterator[Path]:
    """Give an empty folder to write to; it takes the place of `folder` (absolute) when the context ends well.

    own: names that belong to the new content; whatever else the old folder holds (notes, figures) is carried over

    After an exception what stood there before is still there, found by `standing`. Raises OSError.
    """
    writing, previous = folder.with_name(f".{folder.name}.writing"), _previous(folder)
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        yield writing
        old = standing(folder)
        if old is not None:
            _carry_over(old, writing, own)
        for parent, _, files in os.walk(writing):
            for name in files:
                flush(Path(parent, name))
            flush(Path(parent))
        if folder.exists():
            # Left by a crash after the last rename; what stands at `folder` is complete and newer.
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        writing.rename(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _carry_over(old: Path, new: Path, own: Collection[str]) -> None:
    for entry in old.iterdir():
        if entry.name in own:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, new / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, new / entry.name, follow_symlinks=False)
