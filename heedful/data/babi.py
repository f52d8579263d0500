"""Questions over stories on disk: the text format of bAbI, and JSON lines.

bAbI (Weston et al. 2015): a line has a number and a statement, or a number and a question, a tab, its answer, and
perhaps a tab and the numbers of the statements that it follows from. Numbers begin at 1 with each story.

    1 Mary moved to the bathroom.
    2 John went to the hallway.
    3 Where is Mary?	bathroom	1

JSON lines: a question a line, with the facts that it may be answered from, the oldest first. A fact is a text, or a key
that it is found by and a value that it tells.

    {"story": ["Mary moved to the bathroom."], "question": "Where is Mary?", "answer": "bathroom"}
    {"story": [{"key": "Harper Lee wrote", "value": "To Kill a Mockingbird"}], "question": "...", "answer": "..."}

Every mistake is named by file and line. What is odd but can be read is counted by `check_stories`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.table import Table

from heedful.data.corpus import checked_text, read_lines
from heedful.data.findings import Section
from heedful.errors import DataError

# Letters, digits and what joins them inside a word; other signs part words and are not read.
_WORD = re.compile(r"\w+(?:['’.-]\w+)*")


@dataclass(frozen=True, slots=True)
class Fact:
    """What is remembered: a text; `key` is what it is found by, the text itself if None."""

    text: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question after a story.

    story: the facts told before it, the oldest first
    answer: what is right; None where that is not known
    supporting: the places in the story, from 0, of the facts that the answer follows from, where they are given
    number: which story of its file it belongs to, from 0
    place: file and line
    """

    story: tuple[Fact, ...]
    text: str
    answer: str | None = None
    supporting: tuple[int, ...] = ()
    number: int = 0
    place: str = ""

    def to_json(self) -> str:
        """Give the line of JSON that it can be read from."""
        facts = (
            fact.text if fact.key is None else {"key": fact.key, "value": fact.text} for fact in self.story
        )
        row: dict[str, Any] = {"story": list(facts), "question": self.text}
        if self.answer is not None:
            row["answer"] = self.answer
        if self.supporting:
            row["supporting"] = self.supporting
        return json.dumps(row, ensure_ascii=False)


@lru_cache(maxsize=2**16)
def words(text: str) -> tuple[str, ...]:
    """Give the words of a text, in lower case.

    >>> words("Where is Mary's football?")
    ('where', 'is', "mary's", 'football')
    """
    return tuple(_WORD.findall(text.lower()))


def read_questions(path: Path) -> Iterator[Question]:
    """Read the questions of a file with their answers: .jsonl, or bAbI text by any other name; also .gz and .zst.

    Raises DataError, when the place is reached, for a file that cannot be read or has no question, and for a line that
    is not of its format.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    lines = ((f"{path}, line {number}", line) for number, line in enumerate(read_lines(path), start=1))
    questions = parse_json(lines) if ".jsonl" in suffixes[-2:] else parse_babi(lines)
    none = True
    for question in questions:
        none = False
        if question.answer is None:
            raise DataError(
                f"{question.place}: the question has no answer; give one to learn from or score by."
            )
        yield question
    if none:
        raise DataError(
            f"{path} has no question. In bAbI text a question is a line such as '3 Where is Mary?<tab>bathroom<tab>1'."
        )


def parse_babi(lines: Iterable[tuple[str, str]]) -> Iterator[Question]:
    """Give the questions of lines (place, text) of bAbI text.

    A line that ends in a question mark, without a tab, is a question whose answer is not known. Raises DataError for a
    line that is not of the format.
    """
    story: list[Fact] = []
    at: dict[int, int] = {}  # the places in the story, by the numbers of lines
    number, last = -1, 0
    for place, line in lines:
        start, _, rest = line.strip().partition(" ")
        if not (start.isascii() and start.isdecimal() and rest):
            raise DataError(
                f"{place} must begin with a number, a space and a sentence, such as '1 Mary moved to the bathroom.'"
            )
        counted = int(start)
        if counted == 1:
            story, at, number = [], {}, number + 1
        elif counted != last + 1 or number < 0:
            expected = "1" if number < 0 else f"{last + 1}, or 1 for a new story"
            raise DataError(f"{place} has the number {counted}; it should be {expected}.")
        last = counted
        text, *columns = (column.strip() for column in rest.split("\t"))
        if columns or text.endswith("?"):
            answer, facts = _answer(place, columns, at)
            yield Question(tuple(story), text, answer, facts, number, place)
        else:
            at[counted] = len(story)
            story.append(Fact(text))


def _answer(place: str, columns: list[str], at: dict[int, int]) -> tuple[str | None, tuple[int, ...]]:
    """What stands behind the tabs of a question: its answer, and the facts that it follows from."""
    if not columns:
        return None, ()
    if len(columns) > 2:
        raise DataError(
            f"{place} has {len(columns)} tabs; a question has an answer after the first tab, and perhaps the numbers "
            "of the statements that it follows from after a second one."
        )
    if not columns[0]:
        raise DataError(f"{place}: there is no answer after the tab.")
    numbers = columns[1].split() if len(columns) > 1 else []
    for number in numbers:
        if not number.isdecimal() or int(number) not in at:
            raise DataError(
                f"{place}: {number!r} is not the number of a statement told before in this story."
            )
    return columns[0], tuple(at[int(number)] for number in numbers)


def parse_json(lines: Iterable[tuple[str, str]]) -> Iterator[Question]:
    """Give the questions of lines (place, text) of JSON. Raises DataError for a line that is not of the format."""
    for number, (place, line) in enumerate(lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "the line is empty" if not line.strip() else error
            raise DataError(f"{place} is not JSON: {reason}.") from error
        if not isinstance(row, dict):
            raise DataError(f"{place} is not a JSON object ({{...}}) but a {type(row).__name__}.")
        for key, kind in (("story", list), ("question", str)):
            if not isinstance(row.get(key), kind):
                there = ", ".join(map(repr, list(row)[:8])) or "none"
                raise DataError(
                    f"{place} needs {key!r}, {'a list of facts' if kind is list else 'a text'}; its keys are: {there}."
                )
        answer = row.get("answer")
        if answer is not None and not (
            isinstance(answer, str) and checked_text(answer, f"{place}: 'answer'").strip()
        ):
            raise DataError(f"{place}: 'answer' must be a text that is not empty.")
        story = tuple(_fact(place, fact) for fact in row["story"])
        supporting = row.get("supporting", [])
        if not isinstance(supporting, list) or not all(
            isinstance(index, int) and 0 <= index < len(story) for index in supporting
        ):
            raise DataError(
                f"{place}: 'supporting' must be a list of places in the story, from 0 to {len(story) - 1}."
            )
        question = checked_text(row["question"], f"{place}: 'question'")
        yield Question(story, question, answer, tuple(supporting), number, place)


def _fact(place: str, fact: Any) -> Fact:
    match fact:
        case str():
            return Fact(checked_text(fact, f"{place}: a fact"))
        case {"key": str(key), "value": str(value)}:
            return Fact(checked_text(value, f"{place}: a fact"), checked_text(key, f"{place}: a key"))
    raise DataError(
        f'{place}: a fact of the story is a text, or {{"key": "...", "value": "..."}}, not {json.dumps(fact)[:60]}.'
    )


# --- the check before any training


@dataclass
class Stories(Section):
    """What was found in a part."""

    questions: int = 0


EMPTY, NO_STORY, LONG = "empty question", "no story before it", "story longer than the memory"
DUPLICATE, OVERLAP, UNSEEN_WORD, UNSEEN_ANSWER = (
    "same as one before",
    "also in train",
    "word not in train",
    "answer not in train",
)


def check_stories(parts: Mapping[str, Sequence[Question]], memories: int) -> list[Stories]:
    """Count what is odd in the questions of each part; "train" among them is what the others are compared with.

    memories: how many facts are remembered; of a longer story the last
    """
    seen_words, seen_answers = set[str](), set[str]()
    for question in parts.get("train", ()):
        seen_answers.add(normal(question.answer))
        seen_words.update(words(question.text), *map(_words_of, question.story))
    trained = {_same(question) for question in parts.get("train", ())}
    return [
        _section(part, questions, memories, None if part == "train" else (trained, seen_words, seen_answers))
        for part, questions in parts.items()
    ]


def _section(
    part: str, questions: Sequence[Question], memories: int, train: tuple[set[Any], set[str], set[str]] | None
) -> Stories:
    section, before = Stories(part, len(questions)), set[Any]()
    for question in questions:
        same = _same(question)
        odd = {
            EMPTY: not words(question.text),
            NO_STORY: not question.story,
            LONG: len(question.story) > memories,
            DUPLICATE: same in before,
        }
        if train is not None:
            trained, seen_words, seen_answers = train
            told = set(words(question.text)).union(*map(_words_of, question.story))
            odd |= {
                OVERLAP: same in trained,
                UNSEEN_WORD: not told <= seen_words,
                UNSEEN_ANSWER: normal(question.answer) not in seen_answers,
            }
        before.add(same)
        for what, found in odd.items():
            if found:
                section.note(what, question.place)
    return section


def stories_table(sections: Sequence[Stories]) -> Table:
    """What was found, for people: a line for each part, and below it one for each thing found in it."""
    table = Table("data", "questions", "share", "first places")
    table.columns[1].justify = table.columns[2].justify = "right"
    for section in sections:
        table.add_row(section.part, f"{section.questions:,}")
        for finding in section.findings.values():
            share = f"{finding.count / section.questions:.1%}"
            table.add_row(f"  {finding.what}", f"{finding.count:,}", share, finding.first())
    return table


def normal(answer: str | None) -> str:
    """An answer as it is compared: in lower case, with single spaces. Several words are one answer."""
    return " ".join((answer or "").lower().split())


@lru_cache(maxsize=2**16)
def _words_of(fact: Fact) -> tuple[str, ...]:
    return words(fact.text) if fact.key is None else words(fact.key) + words(fact.text)


def _same(question: Question) -> int:
    return hash((question.story, question.text, normal(question.answer)))
