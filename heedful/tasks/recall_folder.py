"""The model folder of a memory network, and the model that answers.

    vocabulary.json        the words and answers that it knows

Beside what every model folder has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Discriminator, Field

from heedful.attention import observe
from heedful.data.babi import Fact, Question, parse_babi, parse_json, words
from heedful.errors import DataError, ModelFolderError
from heedful.machine import resolve_device
from heedful.models.memories import MemoryModel
from heedful.tasks.model_folder import CONFIG, ModelConfig, opened, place, read_model, writing
from heedful.tasks.recalling import ModelSettings, Questions, Vocabulary, build, remembered
from heedful.tasks.several import several

VOCABULARY = "vocabulary.json"
_TOGETHER = 500  # questions that are answered at once


class RecallConfig(ModelConfig):
    """What config.json holds of a memory network."""

    files = (VOCABULARY,)
    use = """    heedful predict PATH < story.txt

with a story in bAbI's format, its questions among its sentences:

    1 Mary moved to the bathroom.
    2 Where is Mary?

or with lines of JSON, {"story": ["Mary moved to the bathroom."], "question": "Where is Mary?"}. In Python:

    import heedful
    model = heedful.load("PATH")
    model.predict(["Mary moved to the bathroom."], "Where is Mary?")
"""

    task: Literal["recall"] = Field(default="recall", description="what the model does")
    model: Annotated[ModelSettings, Discriminator("architecture")] = Field(
        description="architecture and dimensions"
    )
    vocabulary: int = Field(ge=2, description="entries of the vocabulary")

    def title(self) -> str:
        """What the model is for, for its card."""
        return "answers to questions over facts"

    def facts(self) -> dict[str, Any]:
        """The size of the vocabulary."""
        return {"vocabulary": self.vocabulary}


@dataclass(frozen=True)
class Hop:
    """A look at the memories: how much of it went to each fact of the story, the oldest first; 0 where none could."""

    weights: tuple[float, ...]


@dataclass(frozen=True)
class Recalled:
    """An answer.

    answer: the likeliest
    probability: its own
    others: the next ones, with theirs
    hops: what was looked at; empty for a model whose hops have no softmax yet (linear start)
    unknown: words of the question that the model has never seen
    """

    question: str
    answer: str
    probability: float
    others: tuple[tuple[str, float], ...]
    hops: tuple[Hop, ...]
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        return self.answer

    @property
    def line(self) -> str:
        """The answer as one line of text."""
        return self.answer

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold."""
        return asdict(self) | {"hops": [list(hop.weights) for hop in self.hops]}


class Answerer:
    """A memory network with its vocabulary, ready to answer."""

    def __init__(self, model: MemoryModel, vocabulary: Vocabulary, device: str = "cpu") -> None:
        self.model, self.vocabulary, self.device = model.to(device).eval(), vocabulary, device

    def predict(self, story: Sequence[str | tuple[str, str]], question: str, others: int = 4) -> Recalled:
        """Answer a question from a story.

        story: facts, the oldest first; each a text, or a key that it is found by and the value that it tells
        others: how many of the next likeliest answers to give too
        """
        several(story, "predict")
        facts = tuple(Fact(fact) if isinstance(fact, str) else Fact(fact[1], fact[0]) for fact in story)
        return self._answer(Question(facts, question), others)

    def stream(self, lines: Iterable[str]) -> Iterator[Recalled]:
        """Answer the questions in lines of bAbI text, or of JSON, as they come."""
        numbered = ((f"line {number}", line) for number, line in enumerate(lines, start=1) if line.strip())
        first = next(numbered, None)
        if first is None:
            return
        parse = parse_json if first[1].lstrip().startswith("{") else parse_babi
        for question in parse(_chained(first, numbered)):
            yield self._answer(question)

    @torch.inference_mode()
    def answer_all(self, questions: Sequence[Question]) -> list[str]:
        """Give the likeliest answer to each of many questions, and nothing else of it."""
        answers: list[str] = []
        encoded = Questions(questions, self.vocabulary, self.model.settings)
        for batch in encoded.all(_TOGETHER):
            likeliest = self.model(batch.to(self.device).memories)[0].argmax(-1)
            answers += [self.vocabulary.entries[number] for number in likeliest.tolist()]
        return answers

    @torch.inference_mode()
    def _answer(self, question: Question, others: int = 4) -> Recalled:
        if not words(question.text):
            raise DataError(
                f"{question.place or 'The question'} is empty: there is no word in {question.text!r}."
            )
        batch = next(Questions([question], self.vocabulary, self.model.settings).all(1)).to(self.device)
        with observe(self.model) as seen:
            probabilities = self.model(batch.memories)[0, 0].softmax(-1)
        best = probabilities.topk(min(1 + others, len(probabilities)))
        named = [
            (self.vocabulary.entries[place], probability)
            for place, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        looks = [record.weights()[0, 0, 0].tolist() for name in seen for record in seen.calls(name)]
        unknown = tuple(word for word in words(question.text) if not self.vocabulary.encode(word))
        hops = tuple(Hop(self._over_story(question, look)) for look in looks)
        return Recalled(question.text, *named[0], tuple(named[1:]), hops, unknown)

    def _over_story(self, question: Question, look: list[float]) -> tuple[float, ...]:
        """The weights of the facts that are remembered, at their places in the story."""
        weights = [0.0] * len(question.story)
        for fact, weight in zip(remembered(question, self.model.settings), look, strict=False):
            weights[fact] = weight
        return tuple(weights)


def _chained(first: tuple[str, str], rest: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    yield first
    yield from rest


def save(
    folder: str | Path, model: MemoryModel, vocabulary: Vocabulary, trained: Mapping[str, Any] | None = None
) -> Path:
    """Write a model folder, in place of one that is there; give its path. Raises ModelFolderError."""
    config = RecallConfig(model=model.settings, vocabulary=len(vocabulary), trained=dict(trained or {}))
    with writing(folder, config, model) as new:
        vocabulary.save(new / VOCABULARY)
    return place(folder)


def load(path: str | Path, device: str = "auto") -> Answerer:
    """Read a model folder, or that of a run folder.

    device: "cpu", "cuda", "cuda:1", ...; "auto" is the GPU where there is one

    Raises ModelFolderError for everything that is missing, damaged, of another format, or does not belong together.
    """
    folder, config = opened(path, RecallConfig)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    if len(vocabulary) != config.vocabulary:
        raise ModelFolderError(
            f"{folder / CONFIG}: vocabulary is {config.vocabulary}, but {VOCABULARY} has {len(vocabulary)} entries: it "
            "does not belong to this model."
        )
    if config.model.starts != 1:
        raise ModelFolderError(
            f"{folder / CONFIG}: model.starts is {config.model.starts}; a model that answers has 1."
        )
    model = read_model(folder, lambda: build(config.model, config.vocabulary))
    return Answerer(model, vocabulary, resolve_device(device))
