"""From what a public source publishes to the files that are trained on.

Tatoeba's archive is split without leaking a sentence; the archives of WMT give up the files of one language pair;
pieces are put together. Each function writes into the cache (`fetch.writing`) and nowhere else.
"""

import gzip
import hashlib
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from heedful.data.fetch import Remote, fetch, find, writing
from heedful.errors import DataError

_CHUNK = 2**20
# One <seg> a line, as in sacreBLEU's reading of the WMT test sets; the text is taken as it stands.
_SEGMENT = re.compile(r"<seg[^>]*>(.*)</seg>")


def split_by_component(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """For each pair the split it belongs to, "train", "dev" or "test"; no sentence, on either side, is in two.

    Pairs that share a sentence form a component, and a component goes whole to one split, which the SHA-256 of
    its smallest source sentence decides: of 1,000 components about 14 are test and 14 dev.

    >>> split_by_component([("Hi.", "Hallo!"), ("Hello!", "Hallo!"), ("Go.", "Geh.")])
    ['train', 'train', 'train']
    """
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(node: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for source, target in pairs:
        parent[root((0, source))] = root((1, target))
    smallest: dict[tuple[int, str], str] = {}
    for source, _ in pairs:
        component = root((0, source))
        smallest[component] = min(smallest.get(component, source), source)
    split_of = {component: _split(source) for component, source in smallest.items()}
    return [split_of[root((0, source))] for source, _ in pairs]


def split_archive(archive: Path, member: str, paths: Mapping[str, str]) -> None:
    """Write the pairs of a manythings.org archive, split, as .tsv.gz to `paths` (split -> path in the cache)."""
    try:
        with zipfile.ZipFile(archive) as opened:
            text = opened.read(member).decode("utf-8")
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(archive, error) from error
    rows = [line.removesuffix("\r").split("\t") for line in text.removesuffix("\n").split("\n")]
    if any(len(row) < 2 for row in rows):
        raise _damaged(archive, f"{member} has a line without a tab")
    pairs = [(row[0], row[1]) for row in rows]
    splits = split_by_component(pairs)
    for name, path in paths.items():
        with writing(path) as temporary, _compressed(temporary) as file:
            file.writelines(
                f"{source}\t{target}\n".encode()
                for (source, target), split in zip(pairs, splits, strict=True)
                if split == name
            )


def concatenate(pieces: Sequence[Path], path: str) -> None:
    """Write the pieces, one after the other and compressed, to `path` in the cache."""
    with writing(path) as temporary, _compressed(temporary) as file:
        for piece in pieces:
            with piece.open("rb") as opened:
                _copy(opened, file)


def compressed(remote: Remote, progress: bool = True) -> Path:
    """The file of a source as mirrors have it, `remote.path` with .gz; the checksum is of its text.

    Raises DataError where it cannot be had, or is another file.
    """
    assert remote.checksum is not None  # noqa: S101 -- what is not known cannot be found
    path = f"{remote.path}.gz"
    found = find(path, remote.checksum, of_content=True)
    if found is None:
        concatenate([fetch(remote, progress)], path)
        found = find(path, remote.checksum, of_content=True)
    if found is None:
        raise DataError(f"{path} was fetched and is gone; does something clear the cache?")
    return found


def extract(archive: Path, members: Mapping[str, str]) -> None:
    """Write members of a tar archive (name -> path in the cache) as .gz text files.

    A member that is gzip already is only decompressed and compressed anew; of an .sgm member, the segments are
    taken, one a line. Raises DataError if the archive is damaged or lacks a member.
    """
    wanted = dict(members)
    try:
        with tarfile.open(archive, "r|*") as opened:  # read once from front to back: archives have gigabytes
            for entry in opened:
                path = wanted.pop(entry.name.removeprefix("./"), None)
                if path is None:
                    continue
                stream = opened.extractfile(entry)
                if stream is None:
                    raise _damaged(archive, f"{entry.name} is not a file")
                with stream, writing(path) as temporary, _compressed(temporary) as file:
                    _extract_member(entry.name, stream, file)
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise _damaged(archive, error) from error
    raise _damaged(archive, f"it lacks {', '.join(wanted)}")


def _extract_member(name: str, stream: IO[bytes], file: IO[bytes]) -> None:
    if name.endswith(".sgm"):
        for line in stream:
            if match := _SEGMENT.search(line.decode("utf-8")):
                file.write(" ".join(match[1].split()).encode() + b"\n")
    elif name.endswith(".gz"):
        with gzip.GzipFile(fileobj=stream) as opened:
            _copy(opened, file)
    else:
        _copy(stream, file)


def _split(smallest: str) -> str:
    number = int(hashlib.sha256(smallest.encode()).hexdigest()[:8], 16) % 1000
    return "test" if number < 14 else "dev" if number < 28 else "train"


def _copy(source: IO[bytes] | gzip.GzipFile, target: IO[bytes]) -> None:
    while chunk := source.read(_CHUNK):
        target.write(chunk)


@contextmanager
def _compressed(path: Path) -> Iterator[IO[bytes]]:
    """A gzip file to write to, lightly compressed; equal contents give equal bytes."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=3, fileobj=raw, mtime=0) as compressed,
        io.BufferedWriter(compressed) as file,
    ):
        yield file


def _damaged(archive: Path, why: object) -> DataError:
    return DataError(f"{archive} cannot be used: {why}. Delete it, so that it is fetched anew.")
