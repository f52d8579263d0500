"""`heedful translate`: text in, text out, line by line, in every format."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import heedful as package
from heedful.decoding import SearchSettings

LINES = ["1 2 3", "", "7 29 11 4", "   ", "5"]


def as_bytes(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.fixture(scope="module")
def expected(talking: Path) -> list[str]:
    return package.load(talking).translate(LINES)


def test_line_n_of_the_output_belongs_to_line_n_of_the_input(heedful, typed, talking: Path, expected):
    typed(as_bytes(LINES))
    ran = heedful("translate", talking)
    assert (ran.status, ran.out.split("\n")) == (0, [*expected, ""])
    assert (expected[1], expected[3]) == ("", "")
    assert len(set(expected)) == 4  # each line that is not empty has an answer of its own


@pytest.mark.parametrize("terminal", [False, True])
def test_at_a_terminal_a_translation_is_there_before_the_next_line_is_read(
    heedful, talking: Path, expected, monkeypatch: pytest.MonkeyPatch, terminal
):
    seen, screen = [], io.BytesIO()

    def read() -> Iterator[bytes]:
        for line in LINES:
            seen.append(screen.getvalue().decode().split("\n")[:-1])
            yield f"{line}\n".encode()

    output = io.TextIOWrapper(screen)  # shows what is flushed
    output.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=read(), isatty=output.isatty))
    monkeypatch.setattr(sys, "stdout", output)
    assert heedful("translate", talking).status == 0
    output.flush()
    assert screen.getvalue().decode().split("\n")[:-1] == expected
    # Elsewhere all lines are read first, to be translated together.
    assert seen == [expected[:number] if terminal else [] for number in range(len(LINES))]


@pytest.mark.parametrize("tokens", [1, 4, 10_000])
def test_the_size_of_batches_changes_nothing(heedful, typed, talking: Path, expected, tokens):
    typed(as_bytes(LINES))
    assert heedful("translate", talking, "--batch-tokens", tokens).out.split("\n")[:-1] == expected


def test_files_are_read_and_written_whole_and_not_overwritten(heedful, talking: Path, folder: Path, expected):
    (folder / "in").write_bytes(as_bytes(LINES))
    command = ["translate", talking, "--source", "in", "--output", "out", "--alignments", "links"]
    assert heedful(*command).status == 0
    assert (folder / "out").read_text("utf-8").split("\n")[:-1] == expected
    links = (folder / "links").read_text("utf-8").split("\n")[:-1]
    assert len(links) == len(LINES)
    assert all(links[row] for row in (0, 2, 4))
    for line, link in zip(LINES, links, strict=True):
        assert all(int(pair.split("-")[0]) < len(line.split()) for pair in link.split())
    again = heedful(*command)
    assert (again.status, again.err) == (
        2,
        "error: out is there already; choose another name, or replace it with --overwrite.\n",
    )
    assert heedful(*command, "--overwrite").status == 0


def test_a_failure_leaves_no_output(heedful, talking: Path, folder: Path):
    (folder / "in").write_bytes(b"1 2\n" * 4100 + b"\xff\n")
    ran = heedful("translate", talking, "--source", "in", "--output", "out", "--beam", "1")
    assert (ran.status, "in, line 4101 is not UTF-8" in ran.err) == (2, True)
    assert not [path.name for path in folder.iterdir() if "out" in path.name]


def test_standard_input_that_is_not_utf_8_is_told_with_its_line(heedful, typed, talking: Path):
    typed(b"1 2\n3 \xe4\n")
    ran = heedful("translate", talking)
    assert ran.status == 2
    assert ran.err.startswith("error: Standard input, line 2 is not UTF-8 (byte 3 is 0xe4)")


def test_n_best_has_the_format_of_moses(heedful, typed, talking: Path):
    typed(as_bytes(LINES))
    ran = heedful("translate", talking, "--format", "nbest", "--n-best", "2")
    rows = [line.split(" ||| ") for line in ran.out.splitlines()]
    assert [row[0] for row in rows] == ["0", "0", "2", "2", "4", "4"]
    typed(as_bytes(LINES))
    told = heedful("translate", talking, "--format", "jsonl", "--n-best", "2").out.splitlines()
    candidates = [candidate for line in told for candidate in json.loads(line)["candidates"]]
    assert [row[1:] for row in rows] == [[one["text"], f"{one['score']:.6f}"] for one in candidates]
    # What the length limit cut comes after what ended.
    order = [(one["finished"], one["score"]) for one in candidates]
    assert all(first >= second for first, second in zip(order[::2], order[1::2], strict=True))
    assert len({row[1] for row in rows}) > 3


def test_json_lines_hold_tokens_scores_and_alignment(heedful, typed, talking: Path, expected):
    typed(as_bytes(LINES))
    answers = [
        json.loads(line) for line in heedful("translate", talking, "--format", "jsonl").out.splitlines()
    ]
    assert [answer["translation"] for answer in answers] == expected
    assert [answer["source"] for answer in answers] == LINES
    (best,) = answers[0]["candidates"]
    assert best["log_probability"] == pytest.approx(sum(best["token_log_probabilities"]))
    assert "alignment" in best


def test_options_of_the_search_reach_it(heedful, typed, talking: Path):
    typed(as_bytes(LINES))
    ran = heedful("translate", talking, "--sample", "--top-k", "5", "--temperature", "0.7", "--seed", "3")
    search = SearchSettings(
        **package.load(talking).search.model_dump()
        | {"method": "sample", "top_k": 5, "temperature": 0.7, "seed": 3}
    )
    assert ran.out.split("\n")[:-1] == package.load(talking).translate(LINES, search=search)


def test_a_translation_begins_with_its_prefix(heedful, typed, talking: Path, folder: Path):
    typed(as_bytes(["1 2", "3 4"]))
    ran = heedful("translate", talking, "--prefix", "9 8")
    assert [line[:3] for line in ran.out.splitlines()] == ["9 8", "9 8"]
    (folder / "begin").write_text("5\n6\n")
    typed(as_bytes(["1 2", "3 4"]))
    ran = heedful("translate", talking, "--prefixes", "begin")
    assert [line[:1] for line in ran.out.splitlines()] == ["5", "6"]


def test_a_line_translated_in_pieces_is_told(heedful, typed, talking: Path):
    typed(as_bytes(["1 2", "3 " * 40]))
    ran = heedful("translate", talking)
    assert "note: 1 line was longer than the model reads and was translated in pieces: line 2" in ran.err
    typed(as_bytes(["1 2", "3 " * 40]))
    assert "note:" not in heedful("translate", talking, "--quiet").err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--beam", "0"], "--beam: beam is 0, but must be at least 1."),
        (["--n-best", "9"], "n_best=9 answers cannot come from beam=2 hypotheses"),
        (["--top-k", "3"], "--top-k is for sampling: add --sample."),
        (["--seed", "3"], "--seed is for sampling: add --sample."),
        (["--n-best", "2"], "--n-best gives several translations of a line: add --format nbest"),
        (["--prefix", "a", "--prefixes", "b"], "--prefix and --prefixes are both given"),
        (["--output", "a", "--alignments", "a"], "--output and --alignments are the same file, a."),
        (["--output", "no/such/file"], "There is no folder"),
        (["--output", "."], "is a folder"),
        (["--device", "cuda:77"], "The device 'cuda:77' cannot be used here"),
    ],
)
def test_options_that_make_no_sense_are_told(heedful, typed, talking: Path, folder: Path, options, said):
    typed(b"1\n")
    ran = heedful("translate", talking, *options)
    assert (ran.status, ran.err.startswith("error: "), said in ran.err) == (2, True, True), ran.err
