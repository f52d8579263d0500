"""Mirror, cache, network: which is used, and that nothing wrong or half is ever taken."""

import hashlib
import io
import os
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from heedful.data import fetch as fetching
from heedful.data.fetch import Remote, UnreachableError, cache_folder, fetch, find, mirror_folder
from heedful.errors import DataError

DATA = random.Random(0).randbytes(3_000_000)
SUM = hashlib.sha256(DATA).hexdigest()
PATH = "set/train.gz"

pytestmark = pytest.mark.usefixtures("own_cache")


def remote(site, checksum: str | None = SUM, size: int | None = len(DATA)) -> Remote:
    site.files.setdefault("train.gz", DATA)
    return Remote(PATH, f"{site.address}/train.gz", checksum, size)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [len(DATA), None])
@pytest.mark.parametrize("checksum", [SUM, hashlib.md5(DATA).hexdigest(), None])
def test_a_file_is_downloaded_once_and_then_taken_from_the_cache(site, checksum, size, capsys):
    wanted = remote(site, checksum, size)
    path = fetch(wanted)
    assert path == cache_folder() / PATH
    assert path.read_bytes() == DATA
    assert fetch(wanted) == path
    assert site.asked == ["train.gz"]
    assert (
        cache_folder() / "set/train.gz.sha256"
    ).read_text() == f"{SUM}  train.gz\n"  # as sha256sum writes it
    assert files(cache_folder()) == [PATH, f"{PATH}.sha256"]
    assert capsys.readouterr() == ("", "")  # not a terminal


def test_the_mirror_is_looked_at_first_and_used_in_place(site, tmp_path, monkeypatch):
    (tmp_path / "mirror/set").mkdir(parents=True)
    (tmp_path / "mirror" / PATH).write_bytes(DATA)
    monkeypatch.setenv("HEEDFUL_DATA", str(tmp_path / "mirror"))
    assert fetch(remote(site)) == tmp_path / "mirror" / PATH
    assert site.asked == []
    assert files(tmp_path) == [f"mirror/{PATH}"]


@pytest.mark.parametrize("place", ["HEEDFUL_DATA", "HEEDFUL_CACHE"])
def test_a_file_put_there_by_hand_is_used_if_it_is_right_and_refused_if_not(
    site, tmp_path, monkeypatch, place
):
    monkeypatch.setenv(place, str(tmp_path / "here"))
    (tmp_path / "here/set").mkdir(parents=True)
    (tmp_path / "here" / PATH).write_bytes(DATA)
    assert fetch(remote(site)) == tmp_path / "here" / PATH
    (tmp_path / "here" / PATH).write_bytes(DATA[:-1])
    with pytest.raises(
        DataError, match=r"here/set/train\.gz is not the expected file: the sha256 sum .* delete it"
    ):
        fetch(remote(site))
    assert site.asked == []  # never passed over


@pytest.mark.parametrize("large", [0, 10 * len(DATA)])
def test_what_was_trusted_at_first_use_must_stay_the_same(site, monkeypatch, large):
    monkeypatch.setattr(fetching, "_LARGE", large)
    path = fetch(remote(site, checksum=None))
    path.write_bytes(DATA[1:])
    with pytest.raises(DataError, match="not the expected file"):
        find(PATH)


def test_a_large_file_is_hashed_again_only_if_it_changed(site, monkeypatch):
    monkeypatch.setattr(fetching, "_LARGE", len(DATA) - 1)
    path = fetch(remote(site))
    monkeypatch.setattr(fetching, "digest", lambda *_: pytest.fail("hashed again"))
    assert find(PATH, SUM) == path
    monkeypatch.undo()
    os.environ["HEEDFUL_CACHE"] = str(path.parent.parent)
    monkeypatch.setattr(fetching, "_LARGE", len(DATA) - 1)
    path.write_bytes(DATA[::-1])
    with pytest.raises(DataError, match="not the expected file"):
        find(PATH, SUM)


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        ("missing", UnreachableError, r"the server answers 404 Not Found"),
        ("broken", UnreachableError, r"the transfer broke off after 1,500,000 of 3,000,000 bytes"),
        ("other", DataError, r"gave a file with the wrong checksum: [0-9a-f]{64} instead of [0-9a-f]{64}"),
        ("larger", UnreachableError, r"is larger than the 3,000,000 bytes expected"),
        ("unreachable", UnreachableError, r"[Rr]efused"),
        ("nowhere", UnreachableError, r"Cannot download"),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_says_both_ways_out(site, spoil, kind, message):
    wanted = remote(site)
    match spoil:
        case "missing":
            del site.files["train.gz"]
        case "broken":
            site.broken.add("train.gz")
        case "other":
            site.files["train.gz"] = DATA[::-1]
        case "larger":
            site.files["train.gz"] = DATA + b"!"
        case "unreachable":
            wanted = Remote(PATH, "http://127.0.0.1:9/train.gz", SUM)
        case _:
            wanted = Remote(PATH, "https://heedful.invalid/train.gz", SUM)
    with pytest.raises(kind, match=message) as caught:
        fetch(wanted)
    said = str(caught.value)
    assert "either connect to the network" in said
    assert f"{PATH} below an offline mirror that HEEDFUL_DATA names (now unset)" in said
    assert f"below the cache, {cache_folder()} (HEEDFUL_CACHE)" in said
    assert files(cache_folder()) == []


def test_folders_that_cannot_be_used_are_named(site, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        DataError, match=r"file/set/train\.gz cannot be written: .*set HEEDFUL_CACHE to another folder"
    ):
        fetch(remote(site))
    monkeypatch.setenv("HEEDFUL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"HEEDFUL_DATA is .*nowhere, which is not a folder"):
        mirror_folder()


def test_without_an_announced_length_what_is_shorter_than_its_known_size_is_a_broken_transfer(monkeypatch):
    class Response(io.BytesIO):
        headers = SimpleNamespace(get=lambda name, default: default)  # chunked: no Content-Length

    monkeypatch.setattr(fetching, "_open", lambda remote: Response(b"half"))
    with pytest.raises(UnreachableError, match="broke off after 4 of 8 bytes"):
        fetch(Remote("set/a", "https://heedful.invalid/a", None, 8))
    assert files(cache_folder()) == []
