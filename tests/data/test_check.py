"""The check before training: everything is counted, named, and left out exactly as said."""

import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from heedful.data.check import CheckSettings, Report, _Digests, add_unknown_rate, check_corpora, checked_pairs
from heedful.data.corpus import CorpusSettings
from heedful.errors import DataError


def corpus(folder: Path, name: str, pairs: Iterable[tuple[str, str]]) -> CorpusSettings:
    path = folder / f"{name}.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8", newline="\n")
    return CorpusSettings(pairs=path)


GOOD = [("one", "eins"), ("two", "zwei"), ("three", "drei")]
FAULTY = [
    *GOOD,
    ("", "leer"),  # 4
    ("blank", " \u3000"),  # 5
    ("x" * 21, "ganz lang"),  # 6
    ("w" * 6, "vierzehn Zeichen..."),  # 7: 19 characters for 6
    ("same", "same"),  # 8
    ("bell\x07", "Glocke"),  # 9
    ("non\u00a0breaking", "untrennbar\u200b"),  # 10: unprintable to Python, and no fault
    ("broken \ufffd", "kaputt"),  # 11
    ("two", "zwei"),  # 12: repeats 2
    ("two", "zweie"),  # 13
    ("valid", "gilt"),  # 14: in validation
    ("valid", "gültig"),  # 15: its source is
    ("asked", "gefragt"),  # 16: in test
    ("", "leer"),  # 17
]
LINES = {
    ("empty", None): [4, 5, 17],
    ("long", None): [6],
    ("ratio", None): [7],
    ("identical", None): [8],
    ("control", None): [9, 11],
    ("duplicate", None): [12],
    ("pair_overlap", "validation"): [14],
    ("source_overlap", "validation"): [14, 15],
    ("pair_overlap", "test"): [16],
    ("source_overlap", "test"): [16],
}
ALWAYS = {("empty", None), ("long", None)}


def run(folder: Path, **settings: object) -> tuple[Report, list[tuple[str, str]]]:
    report = Report(CheckSettings.model_validate({"maximum_length": 20, "maximum_ratio": 3.0} | settings))
    for part, pairs in (("validation", [("valid", "gilt"), ("", "x")]), ("test", [("asked", "gefragt")])):
        assert list(checked_pairs(corpus(folder, part, pairs), report, part)) == pairs  # never thinned
    return report, list(checked_pairs(corpus(folder, "train", FAULTY), report))


def test_every_fault_is_counted_named_by_its_line_and_left_out_only_if_asked(tmp_path):
    report, kept = run(tmp_path)
    train = report.sections[-1]
    assert {key: finding.lines for key, finding in train.findings.items()} == LINES
    assert {key: finding.count for key, finding in train.findings.items()} == {
        key: len(at) for key, at in LINES.items()
    }
    assert {key for key, finding in train.findings.items() if finding.left_out} == ALWAYS
    left = {line for key in ALWAYS for line in LINES[key]}
    assert kept == [pair for line, pair in enumerate(FAULTY, 1) if line not in left]
    assert (train.part, train.read, train.kept) == ("train", len(FAULTY), len(kept))
    assert report.sections[0].findings["empty", None].left_out is False


@pytest.mark.parametrize(
    "kind", ["ratio", "identical", "control", "duplicate", "pair_overlap", "source_overlap"]
)
def test_what_leave_out_names_is_left_out(tmp_path, kind):
    report, kept = run(tmp_path, leave_out=[kind])
    train = report.sections[-1]
    wanted = {key for key in LINES if key in ALWAYS or key[0] == kind}
    assert {key for key, finding in train.findings.items() if finding.left_out} == wanted
    left = {line for key in wanted for line in LINES[key]}
    assert kept == [pair for line, pair in enumerate(FAULTY, 1) if line not in left]
    assert train.kept == len(kept)


def test_a_clean_corpus_passes_whole_and_nothing_is_told(tmp_path):
    report = check_corpora(
        [corpus(tmp_path, "train", GOOD)], {"validation": corpus(tmp_path, "dev", [("six", "sechs")])}
    )
    assert [(section.read, section.kept, section.findings) for section in report.sections] == [
        (1, 1, {}),
        (3, 3, {}),
    ]


def test_limits_still_pass_and_a_short_side_counts_as_five_characters(tmp_path):
    pairs = [("x" * 20, "y" * 20), ("x" * 20, "y" * 21), ("Go.", "z" * 15), ("Go.", "z" * 16)]
    settings = CheckSettings(maximum_length=20, maximum_ratio=3.0)
    section = check_corpora([corpus(tmp_path, "train", pairs)], {}, settings).sections[-1]
    found = {kind: finding.lines for (kind, _), finding in section.findings.items()}
    assert found == {"long": [2], "ratio": [4]}


def test_several_corpora_are_one_train_set_with_a_section_each(tmp_path):
    first, second = corpus(tmp_path, "first", GOOD), corpus(tmp_path, "second", [("new", "neu"), *GOOD[:2]])
    report = check_corpora([first, second], {}, CheckSettings(leave_out=("duplicate",)))
    assert [section.kept for section in report.sections] == [3, 1]
    assert report.sections[1].findings["duplicate", None].lines == [2, 3]


def test_train_comes_last(tmp_path):
    report = Report()
    list(checked_pairs(corpus(tmp_path, "train", GOOD), report))
    with pytest.raises(ValueError, match="validation must be checked before train"):
        next(checked_pairs(corpus(tmp_path, "dev", GOOD), report, "validation"))


def test_findings_are_the_same_beyond_one_chunk(tmp_path):
    count = 20_000  # more than two chunks
    pairs = [(f"source {number}", f"target {number}") for number in range(count)]
    pairs[15_000] = pairs[3]
    pairs[19_999] = ("", "")
    held_out = {"validation": corpus(tmp_path, "dev", [pairs[17_000]])}
    section = check_corpora([corpus(tmp_path, "train", pairs)], held_out).sections[-1]
    assert {key: finding.lines for key, finding in section.findings.items()} == {
        ("duplicate", None): [15_001],
        ("pair_overlap", "validation"): [17_001],
        ("source_overlap", "validation"): [17_001],
        ("empty", None): [20_000],
    }
    assert (section.read, section.kept) == (count, count - 1)


def test_only_the_first_lines_are_named_and_all_are_counted(tmp_path):
    report = check_corpora([corpus(tmp_path, "train", [("", "x")] * 1234 + GOOD)], {})
    finding = report.sections[0].findings["empty", None]
    assert (finding.count, finding.lines) == (1234, [1, 2, 3, 4, 5])


def test_errors_of_reading_pass_through(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"one\teins\ntwo\n")
    with pytest.raises(DataError, match="line 2 has 1 column"):
        check_corpora([CorpusSettings(pairs=tmp_path / "a.tsv")], {})


class Letters:
    """A tokenizer that knows the letters from a to m."""

    def encode(self, text: str) -> list[int]:
        return [identity for word in self.words(text) for identity in self.segment(word)]

    def words(self, text: str) -> list[str]:
        return text.split()

    def segment(self, word: str) -> list[int]:
        return [4 if letter <= "m" else 3 for letter in word]


def test_the_unknown_rate_counts_tokens_and_names_the_first_words(tmp_path):
    report = Report()
    data = corpus(tmp_path, "dev", [("abc xyz", "a"), ("def", "a"), ("xyz zu", "a")])
    add_unknown_rate(report, "validation", data, Letters(), None)
    (rate,) = report.unknown
    assert (rate.side, rate.unknown, rate.tokens, rate.words) == ("source", 8, 14, ("xyz", "zu"))
    add_unknown_rate(report, "validation", data, None, Letters())
    assert (report.unknown[1].unknown, report.unknown[1].words) == (0, ())


def test_the_report_is_json_and_a_table(tmp_path):
    report, _ = run(tmp_path)
    add_unknown_rate(report, "test", corpus(tmp_path, "test", [("abc [/] z", "a")]), Letters(), None)
    stored = json.loads(json.dumps(report.to_dict()))
    assert stored["settings"]["maximum_length"] == 20
    assert [entry["part"] for entry in stored["corpora"]] == ["validation", "test", "train"]
    assert stored["corpora"][2]["findings"][0] == {
        "kind": "empty", "other": None, "left_out": True, "count": 3, "lines": [4, 5, 17]
    }  # fmt: skip
    assert stored["unknown"][0]["words"] == ["z"]
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(report.table())
    text = console.export_text()
    for piece in (
        "train: train.tsv",
        "13 kept",
        "a side is empty, left out",
        "4, 5, 17",
        "source also in validation",
    ):
        assert piece in text
    assert "unknown to the tokenizer, source tokens" in text


@pytest.mark.parametrize(
    "settings",
    [{"maximum_length": 0}, {"maximum_ratio": 1.0}, {"leave_out": ["duplicates"]}, {"drop_duplicates": True}],
)
def test_settings_are_checked(settings):
    with pytest.raises(ValidationError):
        CheckSettings.model_validate(settings)


@given(st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), max_size=20), max_size=20))
def test_digests_are_a_set(chunks):
    digests, plain = _Digests(), set()
    for chunk in chunks:
        array = np.array(chunk, dtype=np.uint64)
        assert digests.contains(array).tolist() == [number in plain for number in chunk]
        assert digests.repeated(array).tolist() == [
            number in plain or number in chunk[:place] for place, number in enumerate(chunk)
        ]
        digests.add(array)
        plain.update(chunk)


def test_memory_grows_by_a_few_bytes_a_pair(tmp_path):
    def held(count: int) -> int:
        data = corpus(
            tmp_path, "train", ((f"source {number}", f"target {number}") for number in range(count))
        )
        tracemalloc.start()
        try:
            report = check_corpora([data], {})
            assert report.sections[0].kept == count
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert held(32_768) - held(8_192) < 10 * (32_768 - 8_192)  # bytes
