"""What a translator answers: the translations of one text, with all that is known of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from heedful.attention.alignment import to_pharaoh

Alignment = tuple[tuple[int, int, float], ...]
"""Links (source word, target word, weight) of words as white space separates them, from 0; weights from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One translation of a text."""

    text: str
    pieces: tuple[str, ...]
    """The tokens, as the tokenizer writes them for people."""

    score: float
    """What the search ranks by (higher is better); the sum, of a text translated in parts."""

    log_probability: float
    """log P(translation | text) under the model itself."""

    token_log_probabilities: tuple[float, ...]
    """Its terms: one for each token, and one for the end of each finished part."""

    finished: bool
    """False if the length limit of the search cut it, or one of its parts."""

    alignment: Alignment | None = None
    """Which words are translations of which; None where it was not asked for."""

    @property
    def pharaoh(self) -> str:
        """The alignment in the Pharaoh format: "0-0 1-2", source word and target word."""
        return to_pharaoh((source, target) for source, target, _ in self.alignment or ())

    def to_json(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        content = {
            "text": self.text,
            "score": self.score,
            "log_probability": self.log_probability,
            "finished": self.finished,
            "pieces": list(self.pieces),
            "token_log_probabilities": list(self.token_log_probabilities),
        }
        if self.alignment is not None:
            content["alignment"] = [list(link) for link in self.alignment]
        return content


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one text of the input."""

    number: int
    """Its line in the input, from 1."""

    source: str
    source_pieces: tuple[str, ...]
    parts: int
    """How many pieces it was translated in: 1, more if it is longer than the model's maximum, 0 if it is empty."""

    candidates: tuple[Candidate, ...]
    """The n best, the best first; none for an empty text."""

    @property
    def text(self) -> str:
        """The best translation."""
        return self.candidates[0].text if self.candidates else ""

    @property
    def line(self) -> str:
        """The best translation on one line, so that line n of the output belongs to line n of the input."""
        return re.sub(r"[\r\n]+", " ", self.text)

    @property
    def finished(self) -> bool:
        """Whether the best translation came to its end; that of an empty text did."""
        return not self.candidates or self.candidates[0].finished

    def to_json(self) -> dict[str, Any]:
        """The fields by name, ready for a line of JSON."""
        return {
            "line": self.number,
            "source": self.source,
            "translation": self.text,
            "parts": self.parts,
            "source_pieces": list(self.source_pieces),
            "candidates": [candidate.to_json() for candidate in self.candidates],
        }


@dataclass
class Remarks:
    """What a person should be told after a translation: the lines that were not handled like the others.

    >>> remarks = Remarks()
    >>> remarks.hear(Answer(number=5, source="...", source_pieces=(), parts=2, candidates=()))
    >>> remarks.messages()
    ['1 line was longer than the model reads and was translated in pieces: line 5']
    """

    in_pieces: list[int] = field(default_factory=list[int])
    unfinished: list[int] = field(default_factory=list[int])

    def hear(self, answer: Answer) -> None:
        """Take note of an answer."""
        if answer.parts > 1:
            self.in_pieces.append(answer.number)
        if not answer.finished:
            self.unfinished.append(answer.number)

    def messages(self) -> list[str]:
        """Give a sentence for each kind of remark that there is something to say about."""
        return [
            message
            for message in (
                _told(
                    self.in_pieces,
                    "was longer than the model reads and was translated in pieces",
                    "were longer than the model reads and were translated in pieces",
                ),
                _told(
                    self.unfinished,
                    "has a translation that was cut at the length limit of the search",
                    "have a translation that was cut at the length limit of the search",
                ),
            )
            if message
        ]


def _told(numbers: Sequence[int], one: str, many: str) -> str:
    if not numbers:
        return ""
    named = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    if len(numbers) == 1:
        return f"1 line {one}: line {named}"
    return f"{len(numbers):,} lines {many}: lines {named}"
