"""The files of bAbI (Weston et al. 2015): 20 tasks of 1,000 questions to learn from, of which 100 are for validation.

From a stored copy of the official archive, version 1.2, folder en-valid: the 1,000 training questions of folder en,
cut into 900 and 100. They are fetched file by file, or taken from `babi/en-valid.tar.gz` of the mirror (see fetch.py),
and then checked all together by one sum.
"""

import gzip
import hashlib
from functools import cache
from pathlib import Path

from heedful.data.fetch import Remote, fetch, find
from heedful.data.prepare import concatenate, extract
from heedful.errors import DataError

TASKS = tuple(range(1, 21))
TITLES = (
    "single supporting fact", "two supporting facts", "three supporting facts", "two-argument relations",
    "three-argument relations", "yes/no questions", "counting", "lists and sets", "simple negation",
    "indefinite knowledge", "basic coreference", "conjunction", "compound coreference", "time reasoning",
    "basic deduction", "basic induction", "positional reasoning", "size reasoning", "path finding",
    "agent's motivations",
)  # fmt: skip
SPLITS = ("train", "valid", "test")

_URL = "https://raw.githubusercontent.com/errdaychill/MemN2N-PyTorch/e2f94ba704fe9d64f04c0da2737c83202e1b32d9/data"
_FOLDER = "tasks_1-20_v1-2/en-valid"
_ARCHIVE = "babi/en-valid.tar.gz", "ffb5e67dff831494a8c24572235d4678714683a5dbc8a8cbb8b63900931c3298"
# SHA-256 of the texts of all files, one after the other: the splits of task 1, of task 2, ...
_SUM = "a74e7eb4c271a1258d5a226826d33e7262cfc49693fca3e9ac880830595cf5a8"


def babi_file(task: int, split: str, progress: bool = True) -> Path:
    """The file of a task, 1 to 20, and a split of SPLITS; all files are fetched if they are not there.

    Raises DataError for files that cannot be had, or are not those of the archive.
    """
    return _all_files(progress)[task, split]


def _all_files(progress: bool) -> dict[tuple[int, str], Path]:
    names = {(task, split): f"qa{task}_{split}.txt" for task in TASKS for split in SPLITS}
    paths = {key: f"babi/en-valid/{name}.gz" for key, name in names.items()}
    if any(find(path) is None for path in paths.values()):
        archive = find(*_ARCHIVE)
        if archive is not None:
            extract(archive, {f"{_FOLDER}/{name}": paths[key] for key, name in names.items()})
        else:
            for key, name in names.items():
                remote = Remote(f"babi/en-valid/{name}", f"{_URL}/{_FOLDER}/{name}")
                concatenate([fetch(remote, progress)], paths[key])
    files = {key: found for key, path in paths.items() if (found := find(path)) is not None}
    _check(tuple(files.values()))
    return files


@cache
def _check(files: tuple[Path, ...]) -> None:
    """Raise DataError unless these are the files of the archive; once in a process."""
    total = hashlib.sha256()
    for file in files:
        with gzip.open(file, "rb") as opened:
            total.update(opened.read())
    if total.hexdigest() != _SUM:
        raise DataError(
            f"The files of bAbI in {files[0].parent} are not those of the archive: the SHA-256 sum of all their texts "
            f"is {total.hexdigest()} instead of {_SUM}. Delete the folder, so that they are fetched anew."
        )
