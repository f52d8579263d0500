"""Questions whose answers stand in a text: SQuAD's JSON (1.1 and 2.0), and the same as JSON lines.

    {"data": [{"title": "...", "paragraphs": [{"context": "...", "qas": [
        {"id": "1", "question": "...", "answers": [{"text": "...", "answer_start": 34}], "is_impossible": false}]}]}]}

    {"question": "...", "context": "...", "answers": [{"text": "...", "answer_start": 34}]}        a line of .jsonl

In JSON lines "id" and "answer_start" may be missing, and "answers" too, of a question that is only to be asked;
{"text": [...], "answer_start": [...]}, as `datasets` writes answers, is read as well. No answers: the text has none.

Answers are places in the text, in characters. Where the text at the place is another, the answer is moved to the
nearest place where its text stands; both this, and an answer that stands nowhere, is counted and told.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from heedful.data.corpus import checked_text, read_lines
from heedful.data.findings import Section
from heedful.errors import DataError


class Answer(NamedTuple):
    """A true answer; `start` is its place in the context in characters, None where it stands nowhere."""

    text: str
    start: int | None

    @property
    def end(self) -> int | None:
        """The place after its last character."""
        return None if self.start is None else self.start + len(self.text)


class Question(NamedTuple):
    """A question about a text.

    answers: the true ones, by several people; none where the text has no answer
    place: file and line, or file and field
    odd: what had to be put right
    """

    text: str
    context: str
    answers: tuple[Answer, ...] = ()
    id: str = ""
    place: str = ""
    odd: tuple[str, ...] = ()

    @property
    def found(self) -> tuple[Answer, ...]:
        """The answers that stand in the context."""
        return tuple(answer for answer in self.answers if answer.start is not None)

    def to_json(self) -> str:
        """As a line of JSON."""
        answers = [{"text": answer.text, "answer_start": answer.start} for answer in self.answers]
        row = {"id": self.id, "question": self.text, "context": self.context, "answers": answers}
        return json.dumps(row, ensure_ascii=False)


MOVED, ABSENT = "answer was not at its place: moved to where it stands", "answer does not stand in the text"


def question(
    text: str, context: str, answers: Iterable[tuple[str, int | None]], id: str = "", place: str = ""
) -> Question:
    """Make a question from its answers and where they are said to stand; what is not so is put right and noted."""
    found, odd = dict[Answer, None](), dict[str, None]()
    for answer, start in answers:
        located = locate(context, answer, start)
        if located.start is None:
            odd[ABSENT] = None
        elif start is not None and (start, answer) != (located.start, located.text):
            odd[MOVED] = None
        found[located] = None
    return Question(text, context, tuple(found), id, place, tuple(odd))


def locate(context: str, answer: str, start: int | None) -> Answer:
    """Give an answer as it stands in a context: at `start`, else at the nearest place, if need be in other case."""
    if start is not None and start >= 0 and answer and context.startswith(answer, start):
        return Answer(answer, start)
    wanted = answer.strip()
    if not wanted:
        return Answer(answer, None)
    for text, sought in ((context, wanted), (context.lower(), wanted.lower())):
        if len(text) != len(context):  # a letter whose lower case is two: places would be others
            continue
        places = list(_places(text, sought))
        if places:
            nearest = min(places, key=lambda place: abs(place - (start or 0)))
            return Answer(context[nearest : nearest + len(wanted)], nearest)
    return Answer(answer, None)


def _places(text: str, sought: str) -> Iterator[int]:
    place = text.find(sought)
    while place >= 0:
        yield place
        place = text.find(sought, place + 1)


def read_squad(path: Path) -> list[Question]:
    """Read a file: .json or .jsonl, each also with .gz or .zst.

    Raises DataError, with file and line or field, for what is not of the format, and as `read_lines` does.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst")]
    if suffixes[-1:] == [".jsonl"]:
        numbered = enumerate(read_lines(path), start=1)
        found = list(parse_lines((f"{path}, line {number}", line) for number, line in numbered))
    else:
        found = list(parse_squad(path, "\n".join(read_lines(path))))
    if not found:
        raise DataError(f"{path} is empty: there is no question in it.")
    return found


def parse_lines(lines: Iterable[tuple[str, str]]) -> Iterator[Question]:
    """Give the questions of lines (place, text) of JSON; empty lines are passed over. Raises DataError."""
    for place, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place} is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise DataError(f"{place} is not a JSON object ({{...}}) but a {type(row).__name__}.")
        context, text = _text(row, "context", place), _text(row, "question", place)
        yield question(text, context, _answers(row, place), str(row.get("id") or place), place)


def parse_squad(path: Path, text: str) -> Iterator[Question]:
    """Give the questions of SQuAD's JSON. Raises DataError, with the field, for what is not of the format."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        hint = (
            " JSON lines are read from a file whose name ends in .jsonl." if error.msg == "Extra data" else ""
        )
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: {error.msg}; this is not JSON.{hint}"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path} is not SQuAD's JSON: it is nested too deeply.") from error
    for article_place, article in _listed(document, "data", str(path), "", "the file"):
        for paragraph_place, paragraph in _listed(article, "paragraphs", str(path), article_place):
            context = _text(paragraph, "context", f"{path}, {paragraph_place}")
            for place, entry in _listed(paragraph, "qas", str(path), paragraph_place):
                full = f"{path}, {place}"
                answers = [] if entry.get("is_impossible") else _answers(entry, full)
                yield question(
                    _text(entry, "question", full), context, answers, str(entry.get("id", full)), full
                )


def _listed(
    row: Any, key: str, path: str, place: str, what: str = "it"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in the list under a key, each with its place."""
    where = f"{path}, {place}" if place else path
    entries = row.get(key) if isinstance(row, dict) else None
    if not isinstance(entries, list):
        raise DataError(f'{where} is not of SQuAD\'s format: {what} must be an object with a list "{key}".')
    for number, entry in enumerate(entries):
        here = f"{place}.{key}[{number}]" if place else f"{key}[{number}]"
        if not isinstance(entry, dict):
            raise DataError(f"{path}, {here} is not an object ({{...}}) but a {type(entry).__name__}.")
        yield here, entry


def _text(row: Mapping[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        there = ", ".join(map(repr, list(row)[:8])) or "none"
        raise DataError(f"{place} needs {key!r}, a text that is not empty; its keys are: {there}.")
    return checked_text(value, f"{place}: {key!r}")


def _answers(row: Mapping[str, Any], place: str) -> list[tuple[str, int | None]]:
    given = row.get("answers") or []
    if isinstance(given, dict):  # columns, as `datasets` has them
        texts = given.get("text") or []
        starts = given.get("answer_start") or [None] * len(texts)
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise DataError(f"{place}: 'answers' must have as many in 'answer_start' as in 'text'.")
        given = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    found: list[tuple[str, int | None]] = []
    for answer in given if isinstance(given, list) else [given]:
        match answer:
            case str(text):
                found.append((text, None))
            case {"text": str(text)} if isinstance(answer.get("answer_start"), int | None):
                found.append((text, answer.get("answer_start")))
            case _:
                raise DataError(
                    f'{place}: an answer is {{"text": "...", "answer_start": 34}}, not {json.dumps(answer)[:60]}.'
                )
    return [(checked_text(text, f"{place}: an answer"), start) for text, start in found if text.strip()]


class Folds(NamedTuple):
    """Questions to learn from, to choose by, and to be scored on."""

    train: list[Question]
    validation: list[Question]
    test: list[Question]


def folds(questions: Sequence[Question], number: int, count: int) -> Folds:
    """Cut data without a split into fold `number`, from 0, of `count`: a function of the data and nothing else.

    Contexts are cut into `count` runs of neighbours, which are often of one article; no context is in two parts.
    """
    contexts = list(dict.fromkeys(question.context for question in questions))
    part = {context: place * count // len(contexts) for place, context in enumerate(contexts)}
    parts: list[list[Question]] = [[] for _ in range(count)]
    for each in questions:
        parts[part[each.context]].append(each)
    held = number, (number + 1) % count
    train = [each for place in range(count) if place not in held for each in parts[place]]
    return Folds(train, parts[held[1]], parts[held[0]])


# --- the check before any training

DUPLICATE, OVERLAP = "same as one before", "context also in train"


@dataclass
class Questions(Section):
    """What a part is made of.

    words: of its contexts, white space between: the mean and the longest
    """

    questions: int = 0
    unanswerable: int = 0
    contexts: int = 0
    words: tuple[float, int] = (0.0, 0)
    answer_words: float = 0.0


def check_questions(parts: Mapping[str, Sequence[Question]]) -> list[Questions]:
    """Count what each part is made of and what is odd in it; the others are compared with "train"."""
    trained = {question.context for question in parts.get("train", ())}
    sections: list[Questions] = []
    for part, questions in parts.items():
        section, before = Questions(part, len(questions)), set[tuple[str, str]]()
        contexts = {question.context: len(question.context.split()) for question in questions}
        lengths = [len(answer.text.split()) for question in questions for answer in question.answers]
        section.unanswerable = sum(not question.answers for question in questions)
        section.contexts = len(contexts)
        if contexts:
            section.words = sum(contexts.values()) / len(contexts), max(contexts.values())
        section.answer_words = sum(lengths) / len(lengths) if lengths else 0.0
        for each in questions:
            for what in each.odd:
                section.note(what, each.place)
            if (each.text, each.context) in before:
                section.note(DUPLICATE, each.place)
            if part != "train" and each.context in trained:
                section.note(OVERLAP, each.place)
            before.add((each.text, each.context))
        sections.append(section)
    return sections


def questions_table(sections: Sequence[Questions]) -> Table:
    """What was found, for people."""
    table = Table("data", "count", "of what")
    table.columns[1].justify = "right"
    for section in sections:
        table.add_row(section.part, f"{section.questions:,}", "questions")
        if section.unanswerable:
            table.add_row("", f"{section.unanswerable:,}", "without an answer")
        mean, longest = section.words
        table.add_row("", f"{section.contexts:,}", f"contexts of {mean:.0f} words, at most {longest:,}")
        if section.answer_words:
            table.add_row("", f"{section.answer_words:.1f}", "words an answer")
        for finding in section.findings.values():
            table.add_row("", f"{finding.count:,}", f"{finding.what}: {finding.first()}")
    return table
