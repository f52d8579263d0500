"""Reading parallel text: what is read is what was written, and each mistake is named by file and line."""

import gzip
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from heedful.data.corpus import MAXIMUM_LINE, CorpusSettings, read_lines, read_pairs
from heedful.errors import DataError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
# Everything that str.splitlines would take for the end of a line, inside a sentence.
TRAPS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\rj"
PAIRS = [("one", "eins"), (TRAPS, "zwei"), ("", "leer"), (" three ", "drei\u00a0"), ("四", "🦊")]


def write(path: Path, data: bytes | str) -> Path:
    data = data.encode() if isinstance(data, str) else data
    path.write_bytes(COMPRESS[path.suffix if path.suffix in COMPRESS else ""](data))
    return path


def lines(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def aligned(folder: Path, source: bytes | str, target: bytes | str, compression: str = "") -> CorpusSettings:
    return CorpusSettings(
        source=write(folder / f"a.en{compression}", source),
        target=write(folder / f"a.de{compression}", target),
    )


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("kind", ["aligned", ".tsv", ".jsonl"])
def test_what_was_written_is_read_in_every_format_and_compression(tmp_path, kind, compression):
    if kind == "aligned":
        sources, targets = zip(*PAIRS, strict=True)
        corpus = aligned(tmp_path, lines(sources), lines(targets), compression)
    else:
        rows = [f"{s}\t{t}" if kind == ".tsv" else json.dumps({"source": s, "target": t}) for s, t in PAIRS]
        corpus = CorpusSettings(pairs=write(tmp_path / f"a{kind}{compression}", lines(rows)))
    assert list(read_pairs(corpus)) == PAIRS


@pytest.mark.parametrize("compression", COMPRESS)
@settings(max_examples=30)
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])), max_size=10),
    length=st.integers(2**16 - 9, 2**16 + 9),
)
def test_lines_come_back_whole_whatever_they_hold(tmp_path_factory, compression, texts, length):
    # The first line ends about where a block does, so that seams fall between lines and within characters.
    texts = ["x" * length, *(text.rstrip("\r") for text in texts), "é" * 2**16, "end"]
    path = write(tmp_path_factory.mktemp("lines") / f"a{compression}", lines(texts))
    assert list(read_lines(path)) == texts


def test_the_last_line_needs_no_line_feed_and_carriage_returns_and_byte_order_marks_are_dropped(tmp_path):
    assert list(read_lines(write(tmp_path / "a", b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree"))) == [
        "one",
        "two",
        "",
        "three",
    ]
    assert list(read_lines(write(tmp_path / "b", b"one\n\xef\xbb\xbftwo"))) == [
        "one",
        "\ufefftwo",
    ]  # only at the start
    for empty in (b"", b"\xef\xbb\xbf"):
        assert list(read_lines(write(tmp_path / "c", empty))) == []
    assert list(read_lines(write(tmp_path / "d", b"\n"))) == [""]


def test_several_frames_of_zstd_and_members_of_gzip_are_one_text(tmp_path):
    for suffix in (".gz", ".zst"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"".join(COMPRESS[suffix](f"{number}\n".encode()) for number in range(1000)))
        assert list(read_lines(path)) == [str(number) for number in range(1000)]


def test_columns_and_keys_are_chosen(tmp_path):
    tsv = write(tmp_path / "a.tsv", "0\ten\tde\n")
    assert list(read_pairs(CorpusSettings(pairs=tsv, source_field=2, target_field="1"))) == [("de", "en")]
    jsonl = write(tmp_path / "a.jsonl", '{"en": "one", "de": "eins", "source": 3}\n')
    corpus = CorpusSettings(pairs=jsonl, source_field="de", target_field="en")
    assert list(read_pairs(corpus)) == [("eins", "one")]


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({}, "needs `source` and `target`"),
        ({"source": "a"}, "needs `source` and `target`"),
        ({"source": "a", "target": "a"}, "the same file"),
        ({"source": "a", "target": "b", "pairs": "c.tsv"}, "both were given"),
        ({"source": "a", "pairs": "c.tsv"}, "both were given"),
        ({"source": "a", "target": "b", "source_field": 0}, "belong to `pairs`"),
        ({"pairs": "a.txt"}, "must be a .tsv or .jsonl file"),
        ({"pairs": "a.gz"}, "must be a .tsv or .jsonl file"),
        ({"pairs": "a.tsv", "source_field": "en"}, "a column number from 0, not 'en'"),
        ({"pairs": "a.tsv", "source_field": -1}, "a column number from 0, not -1"),
        ({"pairs": "a.tsv", "source_field": 1}, "are the same, 1"),
        ({"pairs": "a.jsonl.gz", "source_field": 0}, "a key"),
        ({"pairs": "a.jsonl", "source_field": "target"}, "are the same, 'target'"),
        ({"pairs": "a.tsv", "weight": 0}, "greater than 0"),
        ({"pairs": "a.tsv", "weight": "inf"}, "finite"),
        ({"pairs": "a.tsv", "factor": 2}, "factor"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given_settings, message):
    with pytest.raises(ValidationError, match=message):
        CorpusSettings(**given_settings)


def gzipped(keep: slice, corrupt: bool = False) -> bytes:
    data = bytearray(gzip.compress(lines(str(number) for number in range(100_000)).encode()))
    if corrupt:
        data[len(data) // 2] ^= 255
    return bytes(data[keep])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.tsv", b"x\ty\n\xff\ty\n", r"a\.tsv, line 2 is not UTF-8 \(byte 1 is 0xff\)"),
        ("a.tsv", b"x\ty\n" * 50_000 + b"stra\xdfe\ty", r"line 50001 is not UTF-8 \(byte 5 is 0xdf\)"),
        ("a.tsv", b"x\ty\nx\0\ty\n", r"line 2 contains a NUL byte: it looks like a binary file"),
        ("a.tsv", b"x\ty\n" + b"x" * (MAXIMUM_LINE + 1), r"line 2 is over 16,777,216 bytes long"),
        ("a.tsv", "x\ty\n".encode("utf-16"), r"UTF-16; convert it"),
        ("a.tsv", gzip.compress(b"x\ty\n", mtime=0), r"rename it"),
        ("a.tsv", COMPRESS[".zst"](b"x\ty\n"), r"rename it"),
        ("a.tsv", b"PK\x03\x04 and so on", r"zip archive"),
        ("a.tsv", b"", r"a\.tsv is empty"),
        ("a.tsv", b"x\ty\nx y\n", r"line 2 has 1 column\(s\) separated by tabs; 2 are needed"),
        ("a.tsv", b"x\ty\n\n", r"line 2 has 1 column"),
        ("a.tsv.gz", b"x\ty\n", r"is not a gzip file though its name ends in \.gz"),
        ("a.tsv.gz", gzipped(slice(0, -5000)), r"ends too early \(truncated\)"),
        ("a.tsv.gz", gzipped(slice(None), corrupt=True), r"is damaged|ends too early"),
        ("a.tsv.zst", b"x\ty\n", r"is damaged"),
        ("a.tsv.zst", COMPRESS[".zst"](b"x\ty\n" * 9)[:-3], r"ends too early \(truncated\)"),
        ("a.jsonl", b'{"source": "x", "target": "y"}\n{"source": "x",\n', r"a\.jsonl, line 2 is not JSON: "),
        ("a.jsonl", b'{"source": "x", "target": "y"}\n\n', r"line 2 is not JSON: the line is empty"),
        ("a.jsonl", b"[" * 100_000 + b"\n", r"line 1 is not JSON"),
        ("a.jsonl", b'["x", "y"]\n', r"line 1 is not a JSON object .* but a list"),
        (
            "a.jsonl",
            b'{"source": "x", "goal": "y"}\n',
            r"line 1 has no key 'target'; its keys are: 'source', 'goal'",
        ),
        ("a.jsonl", b'{"source": "x", "target": null}\n', r"the value of 'target' must be text, not null"),
        ("a.jsonl", b'{"source": "x", "target": "\\ud800"}\n', r"'target' holds half of a surrogate pair"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    if name.endswith(".tsv.gz") and data[:2] == b"\x1f\x8b":
        reading = read_lines(tmp_path / name)
    else:
        reading = read_pairs(CorpusSettings(pairs=tmp_path / name))
    with pytest.raises(DataError, match=message) as caught:
        list(reading)
    assert str(tmp_path / name) in str(caught.value)


def test_what_comes_before_the_mistake_is_still_read(tmp_path):
    reading = read_lines(write(tmp_path / "a", b"one\r\ntwo\nthr\xe9e\n"))
    assert list(islice(reading, 2)) == ["one", "two"]
    with pytest.raises(DataError, match="line 3"):
        next(reading)


@pytest.mark.parametrize(("sources", "targets"), [(3, 2), (2, 300_000), (0, 1)])
def test_unequal_counts_are_both_given(tmp_path, sources, targets):
    corpus = aligned(tmp_path, "x\n" * sources, "y\n" * targets)
    with pytest.raises(
        DataError, match=rf"a\.en has {sources:,} lines but .*a\.de has {targets:,}; they must be aligned"
    ):
        list(read_pairs(corpus))


def test_missing_files_folders_and_files_that_may_not_be_opened_are_named(tmp_path):
    write(tmp_path / "train.en", "x\n")
    with pytest.raises(
        DataError, match=r"trai\.en does not exist; the nearest name in its folder is train\.en"
    ):
        next(read_lines(tmp_path / "trai.en"))
    with pytest.raises(DataError, match=r"does not exist: there is no folder .*nowhere"):
        next(read_lines(tmp_path / "nowhere" / "train.en"))
    with pytest.raises(DataError, match=r"is a folder; a file is needed"):
        next(read_lines(tmp_path))
    with pytest.raises(DataError, match=r"cannot be opened"):
        next(read_lines(Path("a\0b")))


def test_a_missing_extra_says_how_to_install_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zst", "x\n")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(DataError, match=r"pip install 'heedful\[zst\]'"):
        next(read_lines(path))


@pytest.mark.parametrize("compression", COMPRESS)
def test_memory_does_not_grow_with_the_file(tmp_path, compression):
    def peak(count: int) -> int:
        numbers = lines(str(number * 7919) for number in range(count))
        corpus = aligned(tmp_path, numbers, numbers, compression)
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_pairs(corpus)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(100_000) < peak(20_000) + 100_000  # bytes, for 700,000 bytes more in each file
