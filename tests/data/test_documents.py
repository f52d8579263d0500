"""Documents out of text files: what one is, in bounded pieces, and what the check finds."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heedful.data import documents
from heedful.data.documents import TextSettings, check_documents, documents_table, read_documents, read_pieces
from heedful.errors import DataError

TEXT = "\n  \nFirst line\nsecond line\n\n\nNext.\n \n"


def settings(*paths: Path, **more: str) -> TextSettings:
    return TextSettings.model_validate({"text": paths, **more})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("file", [("First line\nsecond line\n\n\nNext.", 3)]),
        ("paragraph", [("First line\nsecond line", 3), ("Next.", 7)]),
        ("line", [("First line", 3), ("second line", 4), ("Next.", 7)]),
    ],
)
def test_a_document_is_a_file_a_paragraph_or_a_line(
    file: Path, unit: str, expected: list[tuple[str, int]]
) -> None:
    found = list(read_documents(settings(file, documents=unit)))
    assert [(document.text, document.line) for document in found] == expected
    assert found[0].place == f"{file}, line 3"


def test_patterns_compressed_files_and_json(tmp_path: Path) -> None:
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"two"))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one"))
    (tmp_path / "c.jsonl").write_text('{"body": "three\\n\\nparts\\n"}\n{"body": "four"}\n{"body": " "}\n')
    text = settings(tmp_path / "*.txt.gz", tmp_path / "a.txt.gz", tmp_path / "c.jsonl", field="body")
    assert [document.text for document in read_documents(text)] == ["one", "two", "three\n\nparts", "four"]


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].txt"
    path.write_text("text")
    assert settings(path).files() == (path,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\n \n", "has no text"),
        ("a.jsonl", "{]", "line 1 is not JSON"),
        (
            "a.jsonl",
            '{"text": "a"}\n{"txt": "b"}',
            r"line 2 is not a JSON object with text under 'text'; .*'txt'",
        ),
        ("a.jsonl", "[1]", "it is none"),
        ("a.jsonl", '{"text": 5}', "line 1: the value of 'text' must be text, not 5"),
        ("a.jsonl", '{"text": "\\ud800"}', "surrogate"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        list(read_documents(settings(tmp_path / name)))


def test_missing_files_and_patterns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No file matches"):
        settings(tmp_path / "*.txt").files()
    with pytest.raises(DataError, match="does not exist"):
        list(read_documents(settings(tmp_path / "none.txt")))
    with pytest.raises(ValidationError, match="at least 1"):
        settings()


@given(st.lists(st.text("ab \t", max_size=5), max_size=30), st.sampled_from(["file", "paragraph"]))
def test_pieces_make_up_the_document_and_begin_at_white_space(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], unit: str
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "a.txt"
    path.write_text("\n".join([*lines, "end"]))
    whole = [document.text for document in read_documents(settings(path, documents=unit))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PIECE", 4)
        pieces = list(read_pieces(settings(path, documents=unit)))
        assert [document.text for document in read_documents(settings(path, documents=unit))] == whole
    for before, piece in pairwise(pieces):
        if not piece.first:
            assert piece.text[0] == "\n"
            assert not before.text[-1].isspace()


def test_the_check_counts_what_occurs_twice_and_what_train_and_validation_share(tmp_path: Path) -> None:
    long = "a line that is long enough to be told from a chance repetition"
    (tmp_path / "train.txt").write_text(f"one\n\none\n\n{long}\nand more\n\nsame here")
    (tmp_path / "validation.txt").write_text(f"same here\n\n{long}\n\nnew")
    parts = {
        name: settings(tmp_path / f"{name}.txt", documents="paragraph") for name in ("train", "validation")
    }
    train, validation = check_documents(parts)
    assert (train.documents, train.lines, train.words) == (4, 5, 19)
    assert train.characters == sum(len(document.text) for document in read_documents(parts["train"]))
    assert (validation.documents, validation.lines) == (3, 3)
    assert train.told() == ["1 there twice: train.txt, line 3"]
    assert validation.told() == [
        "1 in train too: validation.txt, line 1",
        "1 lines of 40 characters and more in train too: validation.txt, line 3",
    ]
    (repeated,) = json.loads(json.dumps(train.to_dict()))["findings"]
    assert repeated == {"what": "there twice", "count": 1, "places": [f"{tmp_path / 'train.txt'}, line 3"]}
    assert documents_table([train, validation]).row_count == 2
