"""Texts with labels: every format, and every mistake with its place."""

import gzip
import json
import zipfile

import pytest
from pydantic import ValidationError

from heedful.data.labelled import Labelled, LabelledSettings, read_labelled
from heedful.data.labelled_check import check_labelled, labelled_table
from heedful.errors import DataError


def read(**settings) -> list[tuple]:
    examples = list(read_labelled(LabelledSettings(**settings)))
    assert all(Labelled.from_json(example.to_json()) == example for example in examples)
    return [(example.text, example.second, example.label) for example in examples]


BOTH = [("Good, really.", None, "pos"), ("Bad.", None, "neg")]


@pytest.mark.parametrize(
    ("content", "choices"),
    [
        ("Good, really.\tpos\nBad.\tneg\n", {}),
        ("pos\tGood, really.\nneg\tBad.\n", {"text": 1, "label": 0}),
        ("pos\tGood, really.\nneg\tBad.\n", {"label": 0}),
        ("Text\tLabel\nGood, really.\tpos\nBad.\tneg\n", {}),
        ("id\tlabel\tsentence\n1\tpos\tGood, really.\n2\tneg\tBad.\n", {}),
        ("id\tlabel\treview\n1\tpos\tGood, really.\n2\tneg\tBad.\n", {"text": "review"}),
        ("a\tb\tc\n1\tpos\tGood, really.\n2\tneg\tBad.\n", {"text": "c", "label": "b"}),
    ],
)
def test_tsv_by_number_and_by_name(tmp_path, content, choices):
    (tmp_path / "a.tsv").write_text(content)
    assert read(tsv=tmp_path / "a.tsv", **choices) == BOTH
    with gzip.open(tmp_path / "a.tsv.gz", "wt") as file:
        file.write(content)
    assert read(tsv=tmp_path / "a.tsv.gz", **choices) == BOTH


def test_the_other_formats(tmp_path):
    rows = [{"text": text, "label": label} for text, _, label in BOTH]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(jsonl=tmp_path / "a.jsonl") == BOTH
    (tmp_path / "a.txt").write_text("pos Good, really.\nneg Bad.\n")
    assert read(lines=tmp_path / "a.txt") == BOTH
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for text, _, label in BOTH:
            (tmp_path / "folder" / label).mkdir(parents=True)
            (tmp_path / "folder" / label / "1.txt").write_text(text)
            archive.writestr(f"reviews/{label}/1.txt", text)
    assert read(folder=tmp_path / "folder") == sorted(BOTH)
    assert read(folder=tmp_path / "a.zip") == sorted(BOTH)


def test_the_outermost_folder_is_the_label_and_what_macos_adds_is_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("reviews/readme.txt", "What these are.")
        archive.writestr("__MACOSX/reviews/pos/._1.txt", "\0")
        for text, _, label in BOTH:
            archive.writestr(f"reviews/{label}/part/1.txt", text)
            (tmp_path / "folder" / label / "part").mkdir(parents=True)
            (tmp_path / "folder" / label / "part" / "1.txt").write_text(text)
            (tmp_path / "folder" / label / ".1.txt").write_text("hidden")
    assert read(folder=tmp_path / "a.zip") == sorted(BOTH)
    assert read(folder=tmp_path / "folder") == sorted(BOTH)
    (tmp_path / "folder" / "pos" / "2.txt").write_bytes(b"\0")
    with pytest.raises(DataError, match=r"pos/2\.txt holds a zero byte"):
        read(folder=tmp_path / "folder")


def test_a_label_is_one_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One.", "label": "go\\nod"}\n')
    with pytest.raises(DataError, match=r"line 1: the label 'go\\nod' has a line end or a tab in it"):
        read(jsonl=tmp_path / "a.jsonl")


def test_pairs_and_labels_that_are_numbers(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": "One.", "b": "Two.", "score": 4.5}\n')
    choices = {"text": "a", "second": "b", "label": "score"}
    assert read(jsonl=tmp_path / "a.jsonl", **choices) == [("One.", "Two.", "4.5")]
    (tmp_path / "a.tsv").write_text("One.\tTwo.\tsame\n")
    assert read(tsv=tmp_path / "a.tsv", text=0, second=1) == [("One.", "Two.", "same")]


@pytest.mark.parametrize(
    ("kind", "content", "choices", "message"),
    [
        ("tsv", "a\tb\n\nc\n", {}, "line 3 has 1 column.* 2 are needed .text in column 0, label in column 1"),
        (
            "tsv",
            "a\tb\n",
            {"text": "c"},
            "line 1 names no column 'c' for the text; its columns are: 'a', 'b'",
        ),
        ("tsv", "a\tb\n \tc\n", {}, "line 2: the text is empty"),
        ("tsv", "a\tb\nc\t \n", {}, "line 2: the label is empty"),
        ("tsv", "", {}, "is empty: there is no example in it"),
        ("jsonl", "{}\n", {}, "line 1 has no key 'text' for the text; its keys are: none"),
        ("jsonl", "[]\n", {}, "line 1 is not a JSON object"),
        ("jsonl", "{\n", {}, "line 1 is not JSON"),
        ("jsonl", '{"text": 1, "label": "a"}\n', {}, "the value of 'text' must be text, not 1"),
        ("lines", "pos Good.\nneg\n", {}, "line 2: the text is empty"),
        ("lines", None, {}, "does not exist"),
        ("folder", "no zip", {}, "cannot be read as a folder or a .zip"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path, kind, content, choices, message):
    path = tmp_path / f"a.{kind}"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        list(read_labelled(LabelledSettings(**{kind: path}, **choices)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give one of tsv, jsonl, lines, folder"),
        ({"tsv": "a", "jsonl": "b"}, "tsv and jsonl are given"),
        ({"lines": "a", "text": 0}, "which `lines` has not"),
        ({"jsonl": "a", "text": 0}, "a field is a key"),
        ({"tsv": "a", "text": 0, "label": "b"}, "not both ways"),
        ({"tsv": "a", "text": -1}, "counted from 0"),
        ({"tsv": "a", "text": 1, "label": 1}, "are in one place"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        LabelledSettings.model_validate(settings)


def examples(*pairs: tuple[str, str]) -> list[Labelled]:
    return [Labelled(text, None, label, f"line {number}") for number, (text, label) in enumerate(pairs, 1)]


def test_the_check_counts_labels_and_finds_what_is_there_twice():
    train = examples(("a", "10"), ("b", "9"), ("a ", "10"), ("b", "10"))
    (first, second), labels = check_labelled({"train": train, "test": examples(("a", "9"), ("c", "9"))})
    assert labels == ("9", "10")  # numbers by their value
    assert first.labels == {"9": 1, "10": 3}
    places = {what: finding.places for what, finding in first.findings.items()}
    assert places == {"there twice": ["line 3"], "there with another label too": ["line 4"]}
    assert second.to_dict()["findings"] == [{"what": "in train too", "count": 1, "places": ["line 1"]}]
    assert labelled_table([first, second]).row_count == 2


@pytest.mark.parametrize(
    ("parts", "numbers", "message"),
    [
        ({"train": [("a", "x"), ("b", "x")]}, False, "have the label 'x': there is nothing to tell apart"),
        (
            {"train": [("a", "x"), ("b", "y")], "test": [("c", "z")]},
            False,
            "line 1 has the label 'z', which no training example has; the labels are x, y",
        ),
        ({"train": [("a", "1.5"), ("b", "two")]}, True, "line 2: the label 'two' is no number"),
        ({"train": [("a", "1.5"), ("b", "nan")]}, True, "'nan' is no number"),
    ],
)
def test_what_cannot_be_learnt_is_refused(parts, numbers, message):
    with pytest.raises(DataError, match=message):
        check_labelled({part: examples(*pairs) for part, pairs in parts.items()}, numbers)


def test_pairs_and_single_texts_are_not_mixed():
    mixed = [Labelled("a", None, "x", "line 1"), Labelled("b", "c", "y", "line 2")]
    with pytest.raises(DataError, match=r"line 2: pairs of texts and single texts cannot be mixed"):
        check_labelled({"train": mixed})
