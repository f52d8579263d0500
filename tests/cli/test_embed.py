"""`heedful embed`, `heedful nearest` and `heedful contexts`: vectors in and out of files, neighbours and words."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

LINES = ["3 4 5", "7 8", "", "9 10 11 12 13", "3 4 5 6", "7 3", "3 7 5", "7 7 3", "3 9"]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.txt"
    path.write_text("".join(line + "\n" for line in LINES))
    return path


def test_vectors_go_to_a_file_to_json_and_to_standard_output(heedful, trained, documents, tmp_path):
    common = ("embed", trained, "--input", documents, "--layer", "0+1", "--threads", 1)
    output = tmp_path / "vectors.npy"
    ran = heedful(*common, "--output", output)
    assert ran.status == 0, ran.err
    vectors = np.load(output, allow_pickle=False)
    assert (vectors.shape, vectors.dtype) == ((len(LINES), 16), np.float32)
    assert not vectors[2].any()
    assert "is there already" in heedful(*common, "--output", output).err
    told = [json.loads(line) for line in heedful(*common, "--json").out.splitlines()]
    assert [row["document"] for row in told] == LINES
    assert np.array([row["vector"] for row in told], np.float32) == pytest.approx(vectors)


def test_the_array_goes_through_a_pipe_whole(tmp_path):
    from heedful.cli.embed import write_npy
    from heedful.tasks.embedding import Embedded

    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    file = io.BytesIO()
    write_npy(file, (Embedded("", row) for row in rows), 2)
    assert np.array_equal(np.load(io.BytesIO(file.getvalue()), allow_pickle=False), rows)
    empty = io.BytesIO()
    write_npy(empty, iter(()), 2)
    assert np.load(io.BytesIO(empty.getvalue())).shape == (0, 2)


def test_the_nearest_is_the_document_itself(heedful, trained, documents, tmp_path):
    ran = heedful("nearest", trained, documents, "7 8", "-n", 2, "--threads", 1)
    assert ran.status == 0, ran.err
    first, second = (line.split("\t") for line in ran.out.splitlines())
    assert first == ["1.000", "2", "7 8"]
    vectors = tmp_path / "vectors.npy"
    assert heedful("embed", trained, "--input", documents, "--output", vectors).status == 0
    ran = heedful(
        "nearest", trained, documents, "7 8", "3 4 5", "--vectors", vectors, "--whiten", 0, "--json"
    )
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["nearest"][0]["line"] for row in told] == [2, 1]
    assert len(told[0]["nearest"]) == 5
    assert told[0]["nearest"][1]["cosine"] < float(second[0])  # without the mean all are less alike
    ran = heedful("nearest", trained, documents, "7 8", "--whiten", 0.5)
    assert (ran.status, ran.out) == (2, "")
    assert "to whiten vectors of 16 numbers takes more than 16 of them, got 9; leave --whiten out" in ran.err
    ran = heedful("nearest", trained, documents, "7 8", "--vectors", vectors, "--layer", "0,1")
    assert ran.status == 2
    assert "holds an array of shape (9, 16), but" in ran.err


def standard_input(monkeypatch: pytest.MonkeyPatch, *rows: str) -> None:
    content = "".join(row + "\n" for row in rows).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_standard_input_may_be_documents_or_what_is_counted_but_is_read_once(
    heedful, trained, documents, monkeypatch
):
    asked = ("embed", trained, "--json", "--pooling", "idf", "--threads", 1)
    in_files = heedful(*asked, "--input", documents, "--idf", documents)
    assert in_files.status == 0, in_files.err
    assert heedful(*asked, "--input", documents).out == in_files.out  # counted in the input file
    standard_input(monkeypatch, *LINES)
    assert heedful(*asked, "--idf", documents).out == in_files.out
    standard_input(monkeypatch, *LINES)
    assert heedful(*asked, "--input", documents, "--idf", "-").out == in_files.out
    for more in ((), ("--input", "-"), ("--idf", "-")):
        standard_input(monkeypatch, *LINES)
        ran = heedful(*asked, *more)
        assert (ran.status, ran.out) == (2, "")
        assert "Standard input can be read once: name the texts whose words are counted" in ran.err


def test_a_corpus_may_come_from_standard_input(heedful, trained, documents, monkeypatch):
    asked = ("7 8", "--pooling", "idf", "--threads", 1)
    standard_input(monkeypatch, *LINES)
    ran = heedful("nearest", trained, "-", *asked)
    assert ran.out == heedful("nearest", trained, documents, *asked).out
    assert ran.out.startswith("1.000\t2\t7 8\n")
    ran = heedful("nearest", trained, "-")
    assert (ran.status, ran.out) == (2, "")
    assert "Standard input can be read once: name what to look for" in ran.err


def test_words_are_followed_and_layers_measured(heedful, trained, documents, tmp_path):
    ran = heedful("contexts", trained, documents, "--json", "--threads", 1)
    assert ran.status == 0, ran.err
    assert len(json.loads(ran.out)) == 2  # one layer, and what it reads
    ran = heedful("contexts", trained, documents, "--word", "7", "--word", "3 4")
    assert "7 (5)" in ran.out
    assert "3 4 (2)" in ran.out
    assert "'8' stands once in the text" in heedful("contexts", trained, documents, "--word", "8").err
    assert "name them with --word" in heedful("contexts", trained, documents, "--figure", "a.svg").err


def test_no_more_sentences_are_read_than_asked_for(heedful, trained, documents):
    common = ("contexts", trained, documents, "--word", "3 4", "--json", "--threads", 1)
    ran = heedful(*common, "--sentences", 4)  # an empty line is none
    assert json.loads(ran.out)["3 4"]["sentences"] == [1, 4]
    assert "'3 4' stands once in the text" in heedful(*common, "--sentences", 3).err


def test_a_word_is_drawn(heedful, trained, documents, tmp_path):
    pytest.importorskip("matplotlib")
    figure = tmp_path / "seven.svg"
    ran = heedful("contexts", trained, documents, "--word", "7", "--figure", figure, "--json")
    assert ran.status == 0, ran.err
    drawn = figure.read_text(encoding="utf-8")
    assert "what layer 1 reads" in drawn
    assert "9 10 11" not in drawn  # sentences without the word are left out
    assert drawn.count("7 7 3") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "MODEL", "--layer", "2", "--json"], "There is no layer 2: this model has layers 0 to 1"),
        (
            ["embed", "MODEL", "--pooling", "max", "--json"],
            "pooling is one of mean, idf, cls, last, got 'max'",
        ),
        (["embed", "MODEL", "--idf", "EMPTY", "--json"], "--idf is for --pooling idf"),
        (["embed", "nowhere", "--json"], "There is no model folder nowhere"),
        (["nearest", "MODEL", "EMPTY", "7"], "has no documents: every line is empty"),
        (["nearest", "MODEL", "DOCUMENTS", "7", "--vectors", "DOCUMENTS"], "that `heedful embed` wrote.\n"),
    ],
)
def test_mistakes_are_told(heedful, trained, documents, tmp_path, arguments, message):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    places = {"MODEL": trained, "EMPTY": empty, "DOCUMENTS": documents}
    more = ["--input", documents] if arguments[0] == "embed" else []
    ran = heedful(*(places.get(argument, argument) for argument in arguments), *more)
    assert ran.status == 2
    assert message in ran.err
