"""Files that named data sets are made of: from an offline mirror, from the cache, or from the network.

`$HEEDFUL_DATA` (the mirror: read, never written) and the cache (`$HEEDFUL_CACHE`, else the user's cache folder)
have one layout, so a file can be put into either by hand. They are looked at in this order, and only a file with
the right sum is used; a wrong one is an error, never passed over. A download is checked for its length and sum,
then written, fsynced and renamed: what is in the cache is whole.

Beside each cached file lies `NAME.sha256` in the format of `sha256sum -c`. Where no sum has been published, the
first download is trusted, and this record says later whether the file is still the same.
"""

import gzip
import hashlib
import http.client
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from heedful.durable import replacing, write_text
from heedful.errors import DataError

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**20
_BOUND = 64 * 2**20  # bytes: the most that is taken from the network where the size is not known
_LARGE = 64 * 2**20  # bytes: a bigger file is hashed again only if it changed since its record was written
_ALGORITHMS = {64: "sha256", 32: "md5"}  # by the number of hexadecimal digits


class UnreachableError(DataError):
    """A file is neither in the mirror nor in the cache, and the network does not give it."""


@dataclass(frozen=True)
class Remote:
    """A file of a public source.

    `path` is its place below the mirror or the cache; `checksum` the hexadecimal SHA-256 (or MD5, where the
    publisher gives nothing else) of its bytes, None if none is known; `size` in bytes, None if it is not known.
    """

    path: str
    url: str
    checksum: str | None = None
    size: int | None = None


def cache_folder() -> Path:
    """`$HEEDFUL_CACHE`, or heedful's folder in the user's cache folder."""
    chosen = os.environ.get("HEEDFUL_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("heedful"))


def mirror_folder() -> Path | None:
    """`$HEEDFUL_DATA`, the offline mirror, or None. Raises DataError if it is set to what is not a folder."""
    chosen = os.environ.get("HEEDFUL_DATA")
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"HEEDFUL_DATA is {chosen}, which is not a folder; set it to an offline mirror or unset it."
        )
    return folder


def fetch(remote: Remote, progress: bool = True) -> Path:
    """The local path of a file: in the mirror, in the cache, or downloaded into the cache.

    Raises UnreachableError if it cannot be had, DataError if what is there has the wrong sum.
    """
    found = find(remote.path, remote.checksum)
    if found is not None:
        return found
    with writing(remote.path) as temporary:
        _download(remote, temporary, progress)
        if remote.checksum is not None and (actual := digest(temporary, remote.checksum)) != remote.checksum:
            raise DataError(
                f"{remote.url} gave a file with the wrong checksum: {actual} instead of {remote.checksum}. "
                f"Try again; if it stays so, the source has changed: {ways_out(remote.path)}"
            )
    return cache_folder() / remote.path


def find(path: str, checksum: str | None = None, of_content: bool = False) -> Path | None:
    """The file `path` of the mirror or of the cache, checked; None if neither has it.

    `of_content`: the checksum is that of the uncompressed text of a .gz file. Raises DataError for a wrong sum.
    """
    mirror = mirror_folder()
    if mirror is not None and (mirror / path).is_file():
        _require(mirror / path, checksum, of_content)
        return mirror / path
    cached = cache_folder() / path
    if not cached.is_file():
        return None
    if checksum is None:
        checksum, of_content = _record(cached), False
    if checksum is None:
        _write_record(cached)  # first use of a file whose sum nobody has published
    elif not _vouched_for(cached, checksum):
        _require(cached, checksum, of_content)
    return cached


@contextmanager
def writing(path: str) -> Iterator[Path]:
    """A temporary file that becomes the file `path` of the cache, with its record, when the block ends well."""
    final = cache_folder() / path
    try:
        with replacing(final) as temporary:
            yield temporary
        _write_record(final)
    except OSError as error:
        if (
            error.errno is None
        ):  # not the system's: gzip.BadGzipFile of what is read inside the block, for one
            raise
        raise _unwritable(final, error) from error


def digest(path: Path, like: str = "0" * 64, of_content: bool = False) -> str:
    """The hexadecimal sum of a file's bytes, by the algorithm whose sums are as long as `like`."""
    algorithm = hashlib.new(_ALGORITHMS[len(like)], usedforsecurity=False)
    with gzip.open(path, "rb") if of_content and path.suffix == ".gz" else path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            algorithm.update(chunk)
    return algorithm.hexdigest()


def ways_out(path: str) -> str:
    """What to do without the network, naming the exact file."""
    mirror = os.environ.get("HEEDFUL_DATA")
    return (
        f"either connect to the network, or put the file there by hand, as {path} below an offline mirror that "
        f"HEEDFUL_DATA names (now {mirror or 'unset'}) or below the cache, {cache_folder()} (HEEDFUL_CACHE)."
    )


def _download(remote: Remote, to: Path, progress: bool) -> None:
    """Write what `remote.url` gives to the file `to`; raises UnreachableError with both ways out."""
    bound = remote.size or _BOUND
    received = 0
    with _open(remote) as response, to.open("wb") as file, _bar(progress) as bar:
        announced = response.headers.get("Content-Length", "")
        expected = int(announced) if announced.isdecimal() else remote.size
        task = bar.add_task(Path(remote.path).name, total=expected)
        while chunk := _read(remote, response):
            received += len(chunk)
            if received > bound:
                raise UnreachableError(
                    f"{remote.url} is larger than the {bound:,} bytes expected; {ways_out(remote.path)}"
                )
            file.write(chunk)
            bar.advance(task, len(chunk))
    if expected is not None and received != expected:
        raise _unreachable(remote, f"the transfer broke off after {received:,} of {expected:,} bytes")


def _open(remote: Remote) -> http.client.HTTPResponse:
    request = urllib.request.Request(remote.url, headers={"User-Agent": "heedful"})  # noqa: S310 (https)
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        raise _unreachable(remote, f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _unreachable(remote, str(error.reason)) from error
    except (http.client.HTTPException, OSError) as error:
        raise _unreachable(remote, str(error) or type(error).__name__) from error


def _read(remote: Remote, response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _unreachable(remote, f"the transfer broke off ({error or type(error).__name__})") from error


def _bar(shown: bool) -> Progress:
    """A progress bar on standard error; nothing where that is not a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))


def _require(path: Path, checksum: str | None, of_content: bool) -> None:
    if checksum is None:
        return
    try:
        actual = digest(path, checksum, of_content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it or replace it.") from error
    if actual != checksum:
        raise DataError(
            f"{path} is not the expected file: the {_ALGORITHMS[len(checksum)]} sum of its "
            f"{'uncompressed text' if of_content else 'bytes'} is {actual} instead of {checksum}; "
            "delete it or replace it."
        )


def _vouched_for(path: Path, checksum: str) -> bool:
    """Whether a large file's own record says that it had the right sum and it has not changed since."""
    return (
        path.stat().st_size > _LARGE
        and _record(path) == checksum
        and path.stat().st_mtime_ns <= _record_path(path).stat().st_mtime_ns
    )


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _record(path: Path) -> str | None:
    """The sum recorded beside a cached file, None if there is no record."""
    try:
        words = _record_path(path).read_text("utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    return words[0] if words and len(words[0]) == 64 else None


def _write_record(path: Path) -> None:
    record = _record_path(path)
    try:
        write_text(record, f"{digest(path)}  {path.name}\n")
    except OSError as error:
        raise _unwritable(record, error) from error


def _unreachable(remote: Remote, why: str) -> UnreachableError:
    return UnreachableError(f"Cannot download {remote.url}: {why}; {ways_out(remote.path)}")


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be written: {error.strerror or error}. Free the disk, or set HEEDFUL_CACHE to another folder."
    )
