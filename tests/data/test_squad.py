"""SQuAD's format and JSON lines: places in characters, every mistake by file and field, folds, named sets."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from heedful.data.squad import (
    ABSENT,
    MOVED,
    OVERLAP,
    Answer,
    check_questions,
    folds,
    locate,
    parse_lines,
    question,
    read_squad,
)
from heedful.errors import DataError

CONTEXT = "Ann ate an apple. Then Ann left."


def squad(*qas, context=CONTEXT):
    return {
        "version": "2.0",
        "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(qas)}]}],
    }


@pytest.fixture
def write(tmp_path):
    def written(content, name="qa.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return written


def test_answers_are_places_in_characters(write):
    path = write(
        squad(
            {"id": "1", "question": "Who left?", "answers": [{"text": "Ann", "answer_start": 23}]},
            {"id": "2", "question": "Who sang?", "answers": [], "is_impossible": True},
        )
    )
    first, second = read_squad(path)
    assert first.answers == (Answer("Ann", 23),)
    assert CONTEXT[23 : first.answers[0].end] == "Ann"
    assert (second.answers, second.id) == ((), "2")
    assert second.place == f"{path}, data[0].paragraphs[0].qas[1]"


def test_json_lines_say_the_same(write):
    row = {"question": "Who?", "context": CONTEXT, "answers": {"text": ["Ann"], "answer_start": [23]}}
    other = {"question": "Who?", "context": CONTEXT, "answers": ["apple"]}
    asked = {"question": "Who?", "context": CONTEXT}
    lines = "\n".join(map(json.dumps, (row, other, asked)))
    first, second, third = read_squad(path := write(lines, "qa.jsonl"))
    assert (first.answers, second.answers, third.answers) == (
        (Answer("Ann", 23),),
        (Answer("apple", 11),),
        (),
    )
    assert third.place == f"{path}, line 3"
    (again,) = parse_lines([("line 1", first.to_json())])
    assert again[:3] == first[:3]


def test_what_is_at_another_place_is_moved_and_what_is_nowhere_is_told():
    moved = question("Who?", CONTEXT, [("Ann", 20)])
    assert (moved.answers, moved.odd) == ((Answer("Ann", 23),), (MOVED,))
    other_case = question("What?", CONTEXT, [(" AN APPLE", None)])
    assert other_case.answers == (Answer("an apple", 8),)
    absent = question("Who?", CONTEXT, [("Bob", 3)])
    assert (absent.found, absent.odd) == ((), (ABSENT,))
    assert absent.answers == (Answer("Bob", None),)


@given(some.text(max_size=12), some.text(min_size=1, max_size=3), some.integers(-2, 14))
def test_a_located_answer_stands_where_it_says(context, answer, start):
    found = locate(context, answer, start)
    if found.start is not None:
        assert context[found.start : found.end] == found.text
    elif answer.strip():
        assert answer.strip() not in context


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [', r"qa.json, line 1, column \d+: .* this is not JSON"),
        ('{"question": "a"}\n{"question": "b"}', r"line 2.*name ends in .jsonl"),
        ({"questions": []}, r'the file must be an object with a list "data"'),
        ({"data": [{"title": "t"}]}, r'data\[0\] .*list "paragraphs"'),
        ({"data": []}, "there is no question"),
        (squad({"question": "Who?", "answers": [{"start": 3}]}), r"qas\[0\]: an answer is"),
        (squad({"answers": []}), r"qas\[0\] needs 'question'"),
    ],
)
def test_mistakes_are_told_by_field(write, content, message):
    with pytest.raises(DataError, match=message):
        read_squad(write(content))


def test_a_line_that_is_no_object_is_told_by_line(write):
    with pytest.raises(DataError, match=r"line 2 is not a JSON object"):
        read_squad(write(f"{json.dumps({'question': 'a', 'context': 'b'})}\n[]", "qa.jsonl"))


def test_no_context_is_in_two_folds():
    questions = [question(f"{at}?", f"text {at // 3}", [], id=str(at)) for at in range(30)]
    for fold in range(5):
        parts = folds(questions, fold, 5)
        contexts = [{each.context for each in part} for part in parts]
        assert len(set.union(*contexts)) == sum(map(len, contexts)) == 10
        assert sorted(each.id for part in parts for each in part) == sorted(each.id for each in questions)
    assert {each.context for each in folds(questions, 0, 5).test} == {"text 0", "text 1"}


def test_the_check_counts(write):
    questions = read_squad(
        write(squad({"question": "Who?", "answers": []}, {"question": "Who?", "answers": [{"text": "Bob"}]}))
    )
    train, test = check_questions({"train": questions, "test": questions[:1]})
    assert (train.questions, train.unanswerable, train.contexts, train.words) == (2, 1, 1, (7.0, 7))
    assert train.findings[ABSENT].count == 1
    assert test.findings[OVERLAP].count == 1


def test_the_named_sets(mirror, monkeypatch):
    from heedful.data.reading import reading_set

    monkeypatch.setenv("HEEDFUL_DATA", str(mirror))
    xquad = reading_set("xquad", 4)
    assert sum(map(len, (xquad.train, xquad.validation, xquad.tests["test"]))) == 1190
    subjqa = reading_set("subjqa-grocery")
    assert [len(subjqa.train), len(subjqa.validation), len(subjqa.tests["test"])] == [1124, 218, 591]
    for each in subjqa.train:
        assert not each.context.endswith("ANSWERNOTFOUND")
        for answer in each.found:
            assert each.context[answer.start : answer.end] == answer.text
