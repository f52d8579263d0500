"""The model folder of a reader, and the model that answers questions about texts.

    tokenizer.json         what the encoder reads

Beside what every model folder has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from heedful.data.squad import Question, parse_lines
from heedful.errors import DataError
from heedful.machine import resolve_device
from heedful.models.encoder import Encoder, EncoderSettings
from heedful.models.span_reader import SpanReader
from heedful.settings import Settings
from heedful.tasks.answering import AnsweringSettings, best_answers
from heedful.tasks.asked_texts import Cut
from heedful.tasks.model_folder import TOKENIZER, ModelConfig, opened, read_model, read_tokenizer, write
from heedful.text.places import Pieces
from heedful.text.tokenizer import Tokenizer

_LINES = 16  # questions that are answered together


class Windows(Settings):
    """How texts are read, as they were in training; see `heedful.tasks.answering.AnsweringData`."""

    length: int = Field(ge=72, description="tokens that are read at once")
    stride: int = Field(ge=1, description="pieces of a text from one window to the next")
    question: int = Field(ge=1, description="pieces of a question that are read")
    answer: int = Field(ge=1, description="pieces of an answer at most")


class AnsweringConfig(ModelConfig):
    """What config.json holds of a reader."""

    files = (TOKENIZER,)
    use = """    heedful predict PATH < questions.jsonl

with a question and its text in each line:

    {"question": "Who wrote it?", "context": "The Tempest was written by Shakespeare."}

gives a line with the answer for each, an empty one for none; with --json its place in the text too. In Python:

    import heedful
    model = heedful.load("PATH")
    model.predict("Who wrote it?", "The Tempest was written by Shakespeare.")
"""

    task: Literal["answering"] = Field(default="answering", description="what the model does")
    model: EncoderSettings = Field(description="architecture and dimensions of the encoder")
    vocabulary: int = Field(ge=5, description="entries of the tokenizer")
    exact_match: bool = Field(
        default=False, description="whether words that the question has too are marked in the text"
    )
    likeness: bool = Field(
        default=False,
        description="whether the model is told how rare these are, and how like the question sentences",
    )
    windows: Windows = Field(description="how texts are read")
    threshold: float | None = Field(
        description="how much better than none an answer must score; null: one is always given",
        allow_inf_nan=False,
    )

    def title(self) -> str:
        """What the model is for, for its card."""
        return "answers to questions, cut out of texts"

    def facts(self) -> dict[str, Any]:
        """The size of the vocabulary, and the threshold."""
        return {
            "vocabulary": self.vocabulary,
            "threshold": "none" if self.threshold is None else self.threshold,
        }


@dataclass(frozen=True)
class Answered:
    """An answer.

    text: as it stands in the context; "" for none
    start, end: its place in the context, in characters; None for none
    margin: by how much the best span scores above no answer; None where there is no word in the text
    best: that span, given or not
    """

    id: str
    question: str
    text: str
    start: int | None
    end: int | None
    margin: float | None
    best: str

    def __str__(self) -> str:
        return self.text

    @property
    def line(self) -> str:
        """The answer as one line of text; an empty one for none."""
        return " ".join(self.text.split())

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold."""
        return asdict(self)


class Answerer:
    """A reader with its tokenizer, ready to answer."""

    def __init__(
        self,
        model: SpanReader,
        tokenizer: Tokenizer,
        windows: Windows,
        threshold: float | None,
        device: str = "cpu",
    ) -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device
        self.pieces, self.windows, self.threshold = Pieces(tokenizer), windows, threshold

    def predict(self, question: str, context: str) -> Answered:
        """Answer a question from a text. Raises DataError for a question without a word."""
        return self.answer([Question(question, context)])[0]

    def stream(self, lines: Iterable[str]) -> Iterator[Answered]:
        """Answer the questions in lines of JSON; empty lines are passed over."""
        waiting = parse_lines((f"line {number}", line) for number, line in enumerate(lines, start=1))
        while some := list(islice(waiting, _LINES)):
            yield from self.answer(some)

    def answer(self, questions: Sequence[Question]) -> list[Answered]:
        """Answer many questions, whatever true answers they have."""
        for question in questions:
            if not question.text.strip():
                raise DataError(f"{question.place or 'The question'} is empty: there is no word in it.")
        cut = Cut(self.windows.length, self.windows.stride, self.windows.question)
        found = best_answers(self.model, self.pieces, questions, cut, self.windows.answer)
        answers: list[Answered] = []
        for question, best in zip(questions, found, strict=True):
            given = isfinite(best.margin) and (self.threshold is None or best.margin > self.threshold)
            answers.append(
                Answered(
                    question.id,
                    question.text,
                    best.text if given else "",
                    best.start if given else None,
                    best.end if given else None,
                    best.margin if isfinite(best.margin) else None,
                    best.text,
                )
            )
        return answers


def save(
    folder: str | Path,
    model: SpanReader,
    tokenizer: Tokenizer,
    settings: AnsweringSettings,
    threshold: float | None,
    trained: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder, in place of one that is there; give its path. Raises ModelFolderError."""
    cut = settings.cut
    config = AnsweringConfig(
        model=model.encoder.settings,
        vocabulary=len(tokenizer),
        exact_match=model.match is not None,
        likeness=model.likeness is not None,
        windows=Windows(
            length=cut.length, stride=cut.stride, question=cut.question, answer=settings.data.answer
        ),
        threshold=threshold,
        trained=dict(trained or {}),
    )
    return write(folder, config, model, tokenizer)


def load(path: str | Path, device: str = "auto") -> Answerer:
    """Read a model folder, or that of a run folder.

    device: "cpu", "cuda", "cuda:1", ...; "auto" is the GPU where there is one

    Raises ModelFolderError for everything that is missing, damaged, of another format, or does not belong together.
    """
    folder, config = opened(path, AnsweringConfig)
    tokenizer = read_tokenizer(folder, config.vocabulary)
    model = read_model(
        folder,
        lambda: SpanReader(
            Encoder(config.model, config.vocabulary),
            exact_match=config.exact_match,
            likeness=config.likeness,
        ),
    )
    return Answerer(model, tokenizer, config.windows, config.threshold, resolve_device(device))
