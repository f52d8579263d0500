"""Questions over stories: both formats, every mistake by file and line, what is odd, and the files of bAbI."""

import gzip
from pathlib import Path

import pytest

from heedful.data import babi_files
from heedful.data.babi import Fact, Question, check_stories, parse_babi, parse_json, read_questions, words
from heedful.errors import DataError

STORY = """1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Daniel went back to the hallway.
5 Who is in the hallway?\tJohn,Daniel\t2 4
1 Sandra left.
2 Where is Sandra?\tnowhere
"""


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str, name: str = "qa.txt") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_stories_grow_with_their_statements_and_begin_anew_at_one(write):
    first, second, third = read_questions(path := write(STORY))
    mary, john, daniel = map(
        Fact, ("Mary moved to the bathroom.", "John went to the hallway.", "Daniel went back to the hallway.")
    )
    assert first == Question((mary, john), "Where is Mary?", "bathroom", (0,), 0, f"{path}, line 3")
    assert (second.story, second.answer, second.supporting) == ((mary, john, daniel), "John,Daniel", (1, 2))
    assert (third.story, third.supporting, third.number) == ((Fact("Sandra left."),), (), 1)


def test_what_is_written_as_json_is_read_as_the_same(write):
    questions = list(read_questions(write(STORY)))
    questions.append(Question((Fact("To Kill a Mockingbird", "Harper Lee wrote"),), "What?", "A Book"))
    again = list(read_questions(write("".join(f"{each.to_json()}\n" for each in questions), "qa.jsonl")))
    for one, other in zip(questions, again, strict=True):
        assert (one.story, one.text, one.answer, one.supporting) == (
            other.story,
            other.text,
            other.answer,
            other.supporting,
        )


def test_a_question_without_an_answer_is_one_to_be_asked():
    lines = [("line 1", "1 Mary left."), ("line 2", "2 Where is Mary?")]
    (question,) = parse_babi(lines)
    assert question.answer is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mary left.\n", r"qa\.txt, line 1 must begin with a number"),
        ("1\n", r"line 1 must begin with a number, a space and a sentence"),
        ("2 Mary left.\n", "line 1 has the number 2; it should be 1"),
        ("1 Mary left.\n3 John left.\n", "line 2 has the number 3; it should be 2, or 1 for a new story"),
        ("1 Mary left.\n", r"qa\.txt has no question"),
        ("", r"qa\.txt has no question"),
        ("1 A.\n2 Who?\t\t1\n", "line 2: there is no answer after the tab"),
        ("1 A.\n2 Who?\n", "line 2: the question has no answer"),
        ("1 A.\n2 Who?\tA\t7\n", "line 2: '7' is not the number of a statement told before"),
        ("1 A.\n2 Who?\tA\tone\n", "line 2: 'one' is not the number"),
        ("1 A.\n2 Who?\tA\t1\t1\n", "line 2 has 3 tabs"),
    ],
)
def test_mistakes_in_babi_text_are_named_by_line(write, text, message):
    with pytest.raises(DataError, match=message):
        list(read_questions(write(text)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("", "line 1 is not JSON: the line is empty"),
        ("[]", "line 1 is not a JSON object"),
        ('{"story": [], "answer": "a"}', "line 1 needs 'question', a text; its keys are: 'story', 'answer'"),
        ('{"story": "A", "question": "q"}', "line 1 needs 'story', a list of facts"),
        ('{"story": [1], "question": "q", "answer": "a"}', "line 1: a fact of the story is a text, or"),
        ('{"story": ["A"], "question": "q", "answer": " "}', "'answer' must be a text that is not empty"),
        (
            '{"story": ["A"], "question": "q", "answer": "a", "supporting": [1]}',
            "'supporting' must be a list of places in the story, from 0 to 0",
        ),
    ],
)
def test_mistakes_in_json_are_named_by_line(line, message):
    with pytest.raises(DataError, match=message):
        list(parse_json([("line 1", line)]))


def test_words_are_lower_case_without_the_signs_between_them():
    assert words("Is Mary's well-known cat in St. Ives?") == (
        "is", "mary's", "well-known", "cat", "in", "st", "ives",
    )  # fmt: skip


def test_what_is_odd_is_counted_where_it_is():
    known = Question((Fact("Mary left."), Fact("John left.")), "Who left?", "Mary", place="a, line 1")
    odd = Question((), "...", "Nobody", place="b, line 1")
    parts = {
        "train": [known, known],
        "test": [known, odd, Question((Fact("Ann left."),), "Who left?", "mary")],
    }
    train, test = check_stories(parts, memories=1)
    counts = [{what: each.count for what, each in section.findings.items()} for section in (train, test)]
    assert counts[0] == {"story longer than the memory": 2, "same as one before": 1}
    assert counts[1] == {
        "story longer than the memory": 1,
        "also in train": 1,
        "empty question": 1,
        "no story before it": 1,
        "answer not in train": 1,
        "word not in train": 1,
    }
    assert test.findings["empty question"].places == ["b, line 1"]


def test_babi_is_the_published_one(mirror, monkeypatch, tmp_path):
    monkeypatch.setenv("HEEDFUL_DATA", str(mirror))
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path))
    counts = {split: len(list(read_questions(babi_files.babi_file(7, split)))) for split in babi_files.SPLITS}
    assert counts == {"train": 900, "valid": 100, "test": 1000}
    first = next(read_questions(babi_files.babi_file(1, "train")))
    assert (first.text, first.answer, first.supporting) == ("Where is Mary?", "bathroom", (0,))
    assert len(list((tmp_path / "babi/en-valid").glob("*.gz"))) == 60


def test_other_files_are_not_taken_for_babi(monkeypatch, tmp_path):
    monkeypatch.delenv("HEEDFUL_DATA", raising=False)
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path))
    folder = tmp_path / "babi/en-valid"
    folder.mkdir(parents=True)
    for task in babi_files.TASKS:
        for split in babi_files.SPLITS:
            with gzip.open(folder / f"qa{task}_{split}.txt.gz", "wb") as file:
                file.write(b"1 A.\n2 Who?\tA\n")
    with pytest.raises(DataError, match="are not those of the archive: the SHA-256 sum"):
        babi_files.babi_file(1, "train")
