"""Named data sets: the right files, split and cut out as said, and what is said when they cannot be had."""

import gzip
import hashlib
import io
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.data import named, sigmorphon
from heedful.data.corpus import read_pairs
from heedful.data.fetch import Remote, cache_folder, fetch
from heedful.data.named import list_names, resolve
from heedful.data.prepare import extract, split_archive, split_by_component
from heedful.errors import DataError

PARTS = ("train", "dev", "test")

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def offline(own_cache: None, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror and no network."""
    monkeypatch.setenv("HEEDFUL_DATA", str(mirror))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    # What reads the environment at its first request and keeps it, before this test and after it.
    monkeypatch.setattr(urllib.request, "_opener", None)


def sizes(data: named.NamedData) -> list[int]:
    return [
        sum(1 for _ in read_pairs(corpus)) for corpus in (*data.train, data.validation, *data.tests.values())
    ]


@pytest.mark.usefixtures("offline")
def test_multi30k_is_the_published_one_in_both_directions():
    data = resolve("multi30k-en-de")
    assert (data.source_language, data.target_language) == ("en", "de")
    assert sizes(data)[:4] == [29_000, 1_014, 1_000, 1_000]
    assert list(data.tests)[:2] == ["test_2016_flickr", "test_2017_flickr"]
    forth = next(read_pairs(data.train[0]))
    assert forth == (
        "Two young, White males are outside near many bushes.",
        "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    )
    assert next(read_pairs(resolve("multi30k-de-en").train[0])) == forth[::-1]
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]  # used in place


@pytest.mark.usefixtures("offline")
def test_a_test_set_that_cannot_be_had_is_named_and_the_rest_is_there(mirror, tmp_path, monkeypatch):
    part = tmp_path / "mirror"
    (part / "multi30k/raw").mkdir(parents=True)
    for file in (mirror / "multi30k/raw").iterdir():
        if "2017" not in file.name:
            (part / "multi30k/raw" / file.name).symlink_to(file)
    monkeypatch.setenv("HEEDFUL_DATA", str(part))
    data = resolve("multi30k-en-fr")
    assert list(data.tests) == ["test_2016_flickr"]
    assert list(data.unavailable) == ["test_2017_flickr", "test_2017_mscoco"]
    assert (
        "multi30k/raw/test_2017_flickr.en.gz below an offline mirror" in data.unavailable["test_2017_flickr"]
    )
    (part / "multi30k/raw/val.fr.gz").unlink()
    with pytest.raises(
        DataError, match=r"val\.fr\.gz: .*either connect to the network, or put the file there by hand"
    ):
        resolve("multi30k-en-fr")
    (part / "multi30k/raw/val.fr.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"val\.fr\.gz is not the expected file"):
        resolve("multi30k-en-fr")


def test_multi30k_is_downloaded_and_its_sums_are_those_of_the_source(mirror, site, monkeypatch):
    monkeypatch.setattr(named, "_MULTI30K_URL", site.address)
    for file in (mirror / "multi30k/raw").iterdir():
        site.files[file.name] = file.read_bytes()
    data = resolve("multi30k-en-de")
    assert sizes(data)[:4] == [29_000, 1_014, 1_000, 1_000]
    asked = list(site.asked)
    resolve("multi30k-en-de")
    assert [name for name in site.asked[len(asked) :] if name in site.files] == []  # all from the cache


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tatoeba-en-de", [164_344, 2_423, 2_430]),
        ("tatoeba-en-fr", [162_588, 2_279]),
        ("small-parallel-en-ja", [50_000, 500, 500]),
        ("multi30k-tatoeba-en-de", [29_000, 164_344, 1_014 + 2_423, 1_000, 1_000]),
        ("sigmorphon2021-g2p-eng_us", [33_344, 4_168, 4_168]),
        ("sigmorphon2021-g2p-kor", [8_000, 1_000, 1_000]),
        ("sigmorphon2021-g2p-ady", [800, 100, 100]),
        ("sigmorphon2021-g2p-ady-recombined", [800, 12_000, 100, 100]),
    ],
)
def test_the_other_sets_of_the_mirror_have_their_sizes(name, expected):
    assert sizes(resolve(name))[: len(expected)] == expected


@pytest.mark.usefixtures("offline")
def test_both_parts_of_a_set_are_held_out_and_tested():
    data = resolve("multi30k-tatoeba-de-en")
    assert list(data.tests)[-1] == "tatoeba.test"
    assert {"multi30k.test_2016_flickr", "multi30k.test_2017_flickr"} <= set(data.tests)
    validation = list(read_pairs(data.validation))
    assert validation[0] == next(read_pairs(resolve("multi30k-de-en").validation))
    assert validation[1014:] == list(read_pairs(resolve("tatoeba-de-en").validation))


@pytest.mark.parametrize("language", sigmorphon.LANGUAGES, ids=lambda language: language.code)
def test_g2p_is_downloaded_as_published_and_its_sums_are_those_of_the_source(
    language: sigmorphon.Language, mirror, site, monkeypatch
):
    monkeypatch.setattr(sigmorphon, "URL", site.address)
    for split in PARTS:
        name = f"{language.size}/{language.code}_{split}.tsv"
        site.files[name] = gzip.decompress((mirror / f"sigmorphon2021_g2p/{name}.gz").read_bytes())
    data = resolve(f"sigmorphon2021-g2p-{language.code}")
    assert sizes(data) == list(sigmorphon.PAIRS[language.size])
    assert len(site.asked) == 3
    for _, phonemes in read_pairs(data.train[0]):
        assert phonemes.split(" ") == phonemes.split()


def test_tatoeba_is_split_from_its_archive_into_the_very_files_of_the_mirror(mirror, site, monkeypatch):
    # The archive's order between the splits is not known here, and does not matter: inside each it is kept.
    text = b"".join(
        gzip.decompress((mirror / f"tatoeba/eng-deu.{part}.tsv.gz").read_bytes()) for part in PARTS
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("_about.txt", "about")
        opened.writestr("deu.txt", text)
    site.files["deu-eng.zip"] = archive.getvalue()
    monkeypatch.setitem(named._TATOEBA_ARCHIVES, "deu", f"{site.address}/deu-eng.zip")
    data = resolve("tatoeba-de-en")  # raises unless the sums of what was made are right
    assert sizes(data) == [164_344, 2_423, 2_430]
    assert next(read_pairs(data.train[0])) == ("Hallo!", "Hi.")
    resolve("tatoeba-en-de")
    assert site.asked == ["deu-eng.zip"]


@given(st.lists(st.tuples(st.integers(0, 99).map(str), st.integers(0, 99).map(str)), max_size=60))
def test_no_sentence_is_in_two_splits_and_order_does_not_matter(pairs):
    splits = split_by_component(pairs)
    for side in (0, 1):
        of: dict[str, set[str]] = {}
        for pair, split in zip(pairs, splits, strict=True):
            of.setdefault(pair[side], set()).add(split)
        assert all(len(found) == 1 for found in of.values())
    assert split_by_component(pairs[::-1]) == splits[::-1]


def test_components_are_split_by_the_digest_of_their_smallest_source():
    pairs = [(f"{number} b", str(number)) for number in range(3000)] + [
        (f"{number} a", str(number)) for number in range(3000)
    ]
    splits = split_by_component(pairs)
    for (source, _), split in zip(pairs, splits, strict=True):
        number = int(hashlib.sha256(f"{source.split()[0]} a".encode()).hexdigest()[:8], 16) % 1000
        assert split == ("test" if number < 14 else "dev" if number < 28 else "train")
    assert {split: splits.count(split) > 0 for split in PARTS} == dict.fromkeys(PARTS, True)


@pytest.mark.parametrize(
    ("content", "member"), [(b"Go.\tGeh.\nHi.\n", "deu.txt"), (b"\xff\tGeh.\n", "deu.txt"), (b"", "fra.txt")]
)
def test_an_archive_without_the_pairs_is_named(tmp_path, content, member):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("deu.txt", content)
    with pytest.raises(DataError, match=r"a\.zip cannot be used: .*fetched anew"):
        split_archive(tmp_path / "a.zip", member, {"train": "made/train.tsv.gz"})
    assert not (cache_folder() / "made").exists()


def test_small_parallel_is_put_together_from_its_pieces(mirror, site, monkeypatch):
    monkeypatch.setattr(named, "_ENJA_URL", site.address)
    for language in ("en", "ja"):
        for part in PARTS:
            text = gzip.decompress((mirror / f"small_parallel_enja/{part}.{language}.gz").read_bytes())
            rows = text.splitlines(keepends=True)
            if part == "train":
                for piece in range(5):
                    site.files[f"train.{language}.{piece:03}"] = b"".join(
                        rows[10_000 * piece : 10_000 * (piece + 1)]
                    )
            else:
                site.files[f"{part}.{language}"] = text
    assert sizes(resolve("small-parallel-ja-en")) == [50_000, 500, 500]


def tar(members: dict[str, bytes], mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as opened:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            opened.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def sgm(*segments: str) -> bytes:
    body = "\n".join(f'<seg id="{number}">{text}</seg>' for number, text in enumerate(segments, 1))
    return f'<refset setid="newstest2014">\n<doc docid="1">\n<p>\n{body}\n</p>\n</doc>\n</refset>\n'.encode()


def test_wmt14_is_cut_out_of_the_archives_of_the_shared_task(site, monkeypatch):
    def sides(stem: str, pairs: tuple[str, ...] = ("de-en", "fr-en")) -> dict[str, bytes]:
        return {
            f"{stem}.{pair}.{language}": f"{stem} {language}\n".encode()
            for pair in pairs
            for language in pair.split("-")
        }

    archives = {
        "training-parallel-europarl-v7.tgz": tar(sides("training/europarl-v7"), "w:gz"),
        "training-parallel-commoncrawl.tgz": tar({"x": b"", **sides("commoncrawl")}, "w:gz"),
        "training-parallel-nc-v9.tgz": tar(sides("training/news-commentary-v9"), "w:gz"),
        "training-parallel-un.tgz": tar(sides("un/undoc.2000", ("fr-en",)), "w:gz"),
        "training-giga-fren.tar": tar(
            {
                f"giga-fren.release2.fixed.{language}.gz": gzip.compress(f"giga {language}\n".encode())
                for language in ("en", "fr")
            },
            "w:",
        ),
        "dev.tgz": tar({f"dev/newstest2013.{side}": f"dev {side}\n".encode() for side in ("de", "en", "fr")}, "w:gz"),
        "test-full.tgz": tar(
            {
                "test-full/newstest2014-deen-src.en.sgm": sgm("Good  day&amp;\u00a0night", "Bye"),
                "test-full/newstest2014-deen-ref.de.sgm": sgm("Guten Tag", "Bis bald"),
                "test-full/newstest2014-deen-src.de.sgm": sgm("wrong"),
                "test-full/newstest2014-fren-src.fr.sgm": sgm("Bonjour"),
                "test-full/newstest2014-fren-ref.en.sgm": sgm("Hello"),
            },
            "w:gz",
        ),
    }  # fmt: skip
    site.files.update(archives)
    assert set(archives) == set(named._WMT_ARCHIVES)
    for name in archives:
        monkeypatch.setitem(named._WMT_ARCHIVES, name, (site.address, None, None))

    data = resolve("wmt14-en-de")
    assert [list(read_pairs(corpus)) for corpus in data.train] == [
        [("training/europarl-v7 en", "training/europarl-v7 de")],
        [("commoncrawl en", "commoncrawl de")],
        [("training/news-commentary-v9 en", "training/news-commentary-v9 de")],
    ]
    assert list(read_pairs(data.validation)) == [("dev en", "dev de")]
    # As sacreBLEU reads it: entities stay, white space is one space.
    assert list(read_pairs(data.tests["newstest2014"])) == [
        ("Good day&amp; night", "Guten Tag"),
        ("Bye", "Bis bald"),
    ]

    data = resolve("wmt14-fr-en")
    assert [next(read_pairs(corpus)) for corpus in data.train[3:]] == [
        ("un/undoc.2000 fr", "un/undoc.2000 en"),
        ("giga fr", "giga en"),
    ]
    assert list(read_pairs(data.tests["newstest2014"])) == [("Bonjour", "Hello")]
    assert sorted(site.asked) == sorted(archives)  # each once
    assert not list(cache_folder().rglob("*.partial"))


@pytest.mark.parametrize("spoil", ["truncated", "lacking", "not an archive", "a damaged member"])
def test_a_damaged_archive_is_named_and_leaves_nothing_half_made(site, spoil):
    data = tar({"a.gz": gzip.compress(b"one\n" * 99), "b": b"two\n" * 10_000}, "w:gz")
    if spoil == "truncated":
        data = data[:-100]
    elif spoil == "not an archive":
        data = b"<html>Sign in to this network</html>"
    elif spoil == "a damaged member":
        data = tar({"a.gz": b"no gzip", "b": b"two\n"}, "w:gz")
    site.files["a.tgz"] = data
    archive = fetch(Remote("a.tgz", f"{site.address}/a.tgz"))
    members = {"a.gz": "made/a.gz", "b": "made/b.gz"} | ({"c": "made/c.gz"} if spoil == "lacking" else {})
    with pytest.raises(DataError, match=r"a\.tgz cannot be used: "):
        extract(archive, members)
    assert all(gzip.decompress(path.read_bytes()) for path in (cache_folder() / "made").glob("*.gz"))
    assert not list(cache_folder().rglob("*.partial"))


@pytest.mark.parametrize("name", ["copy", "reverse", "dates"])
def test_generated_sets_are_written_once_and_need_nothing(name):
    data = resolve(name)
    source, target = next(read_pairs(data.train[0]))
    if name == "copy":
        assert source == target
    elif name == "reverse":
        assert source.split() == target.split()[::-1]
    else:
        assert len(target) == len("2019-03-03")
    written = data.train[0].files[0].stat().st_mtime_ns
    assert resolve(name).train[0].files[0].stat().st_mtime_ns == written


def test_every_name_is_described_and_an_unknown_one_is_told_the_nearest():
    names = [listing.name for listing in list_names()]
    assert len(set(names)) == len(names)
    assert {"multi30k-en-de", "multi30k-de-en", "multi30k-en-fr", "tatoeba-en-de", "tatoeba-en-fr"} <= set(
        names
    )
    assert {"wmt14-en-de", "wmt14-en-fr", "small-parallel-en-ja", "dates", "copy", "reverse"} <= set(names)
    for listing in list_names():
        assert listing.description
        assert "\n" not in listing.description
        assert listing.size
        assert listing.terms
    with pytest.raises(DataError, match=r"no data set named 'multi30k-en-d'; did you mean multi30k-en-de\?"):
        resolve("multi30k-en-d")
