"""Answering: the answer to a question is cut out of a text, or there is none in it.

    answer = heedful.load(folder).predict("Who wrote it?", "The Tempest was written by Shakespeare in 1611.")
    print(answer)                       # Shakespeare
    answer.start, answer.end            # 28, 39: places in the text, in characters

The model is an encoder with two rows on top (heedful.models.span_reader). Whether a question has an answer is decided
by how much better the best span scores than none: more than a threshold that gives the best F1 on the validation data
(Devlin et al. 2019, section 4.3). Where every question of the training data has an answer, one is always given.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator

from heedful.data.documents import TextSettings
from heedful.data.named_or_own import named_or_own
from heedful.data.reading import WITHOUT_SPLIT, reading_set
from heedful.data.rows import like_lengths
from heedful.data.squad import Question, check_questions, folds, questions_table, read_squad
from heedful.durable import write_text
from heedful.errors import DataError
from heedful.evaluation import Score
from heedful.evaluation.answers import (
    METRICS,
    answer_scores,
    best,
    best_threshold,
    exact,
    word_f1,
)
from heedful.models.encoder import longest
from heedful.models.span_reader import SpanReader, best_spans
from heedful.objectives import Loss
from heedful.settings import Settings
from heedful.tasks.asked_texts import Cut, ReadingBatch, batch, encode, spelt
from heedful.tasks.face import Listener, Objective, Task, require_metric
from heedful.tasks.fine_tuning import FineTuningSettings
from heedful.tasks.model_folder import TOKENIZER
from heedful.tasks.shuffled import ShuffledBatches
from heedful.text.places import Pieces, words
from heedful.text.rarity import rarities
from heedful.text.tokenizer import Tokenizer

_TOGETHER = 32  # windows that are read at once where nothing is learnt


class SquadSettings(Settings):
    """Where questions are."""

    squad: tuple[Path, ...] = Field(
        min_length=1,
        description="files of SQuAD's JSON or of JSON lines, or patterns of files; plain, .gz or .zst",
    )

    def read(self) -> list[Question]:
        """The questions of all files. Raises DataError."""
        return [question for path in TextSettings(text=self.squad).files() for question in read_squad(path)]


class AnsweringData(Settings):
    """Which questions are learnt from: those of a named data set, or of files of one's own; and how texts are read."""

    name: (
        Literal[
            "subjqa",
            "subjqa-electronics",
            "subjqa-grocery",
            "subjqa-restaurants",
            "subjqa-tripadvisor",
            "xquad",
            "xquad-de",
            "xquad-es",
            "fairytale_qa",
        ]
        | None
    ) = Field(default=None, description="the named data set; or give train")
    train: SquadSettings | None = Field(default=None, description="questions to train on")
    validation: SquadSettings | None = Field(
        default=None, description="questions to choose the best model by; unset: a fold of train"
    )
    tests: dict[str, Path] = Field(default={}, description="files for the last evaluation, by name")
    folds: int = Field(
        default=5,
        ge=3,
        description="of data without a split: into how many runs of neighbouring texts it is cut",
    )
    fold: int = Field(
        default=0, ge=0, description="of data without a split: the test; the next fold is the validation"
    )
    batch: int = Field(default=16, ge=1, description="windows of a batch")
    # Window, stride and the longest question and answer are those of the code of Devlin et al. 2019.
    window: int = Field(
        default=384,
        ge=72,
        description="tokens that are read at once, question and text; less if the model reads less",
    )
    stride: int = Field(default=128, ge=1, description="pieces of a text from one window to the next")
    question: int = Field(default=64, ge=1, description="pieces of a question that are read")
    answer: int = Field(default=30, ge=1, description="pieces of an answer at most")

    @model_validator(mode="after")
    def _named_or_own(self) -> "AnsweringData":
        named_or_own(self, "data.train.squad")
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}; of {self.folds} folds the last is {self.folds - 1}")
        return self


class ReaderHead(Settings):
    """What stands on the encoder, and how texts are read with it: as they were in training."""

    dropout: float = Field(default=0.1, ge=0, lt=1, description="on the vectors that are scored")
    word_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="pieces that are not seen in training, as a share"
    )
    exact_match: bool = Field(
        default=False,
        description="mark the words of a text that the question has too (Chen et al. 2017): helps where little is "
        "learnt from; encoder-only",
    )
    likeness: bool = Field(
        default=False,
        description="tell how rare the words are that a question and a text share, and how like the question each "
        "sentence is (TF-IDF): helps where little is learnt from; encoder-only",
    )


class AnsweringSettings(FineTuningSettings):
    """What the task needs of a recipe."""

    task: Literal["answering"] = Field(default="answering", description="what the model is for")
    data: AnsweringData
    head: ReaderHead = Field(default=ReaderHead(), description="what stands on the encoder")
    metrics: tuple[str, ...] = ("exact-match", "f1")

    @property
    def cut(self) -> Cut:
        """How texts become windows."""
        length = min(self.data.window, longest(self.model))
        # At least half of a window is for the text.
        return Cut(length, self.data.stride, min(self.data.question, length // 2 - 2))

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        if objective.label_smoothing or objective.r_drop:
            raise ValueError(
                "training.label_smoothing and training.r_drop are for a vocabulary or tags, and a place in a text is "
                "neither: set both to 0"
            )
        if (self.head.exact_match or self.head.likeness) and self.model.architecture != "encoder-only":
            raise ValueError(
                "head.exact_match and head.likeness mark words in the embeddings of an encoder-only model, and "
                f"model.architecture is {self.model.architecture}: set both to false"
            )
        if longest(self.model) < 72:
            raise ValueError("model.maximum_length is below 72: there is no room for a question and a text")

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        require_metric(metric, METRICS, "answers cut out of a text")
        return False


class Answering(Task):
    """The questions, tokenizer and model of one run."""

    unit = "question"

    def __init__(self, settings: AnsweringSettings, folder: Path, listener: Listener) -> None:
        super().__init__(settings, folder, listener)
        self._tests: dict[str, list[Question]] | None = None

    def prepare(self) -> None:
        """Check, learn or take over the tokenizer, keep the questions of train and validation: once for a run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self.folder / "check.json"
        if not report.exists():
            parts = self._parts()
            sections = check_questions(parts)
            self.listener.say(questions_table(sections))
            # What has answers, none of which can be pointed at, teaches nothing; it would teach that there is none.
            taught = [question for question in parts["train"] if question.found or not question.answers]
            if not any(question.found for question in taught):
                raise DataError(
                    "No question of the training data has an answer in its text: there is nothing to learn. "
                    "Answers stand under 'answers'."
                )
            self._tokenizer(taught).save(self.folder / TOKENIZER)
            for name, questions in (("train", taught), ("validation", parts["validation"])):
                lines = (question.to_json() + "\n" for question in questions)
                write_text(self.folder / f"{name}.jsonl", "".join(lines))
            # Last, because its presence says that all of this is done.
            told = [section.to_dict() for section in sections]
            write_text(report, json.dumps(told, ensure_ascii=False, indent=1))
        self.tokenizer = Tokenizer.load(self.folder / TOKENIZER)
        self.pieces = Pieces(self.tokenizer)
        self.questions = {name: read_squad(self.folder / f"{name}.jsonl") for name in ("train", "validation")}
        self.answerable = all(question.answers for question in self.questions["train"])
        self.rare = None
        if self.settings.head.likeness:
            contexts = dict.fromkeys(question.context for question in self.questions["train"])
            self.rare = rarities(set(spelt(text, words(text))) for text in contexts)
        self.rows = {
            name: encode(questions, self.pieces, self.settings.cut, self.rare)
            for name, questions in self.questions.items()
        }

    def build(self) -> SpanReader:
        """A new model: its encoder that of `init`, or, as the head always, from PyTorch's random generator."""
        head = self.settings.head
        encoder = self.settings.encoder(len(self.tokenizer), head.word_dropout)
        model = SpanReader(encoder, head.dropout, head.exact_match, head.likeness)
        if self.rare is not None:
            model.rarities.copy_(torch.from_numpy(self.rare))
        self.settings.begin(model)
        return model

    def batches(self, seed: int) -> ShuffledBatches[ReadingBatch]:
        """The training batches."""
        rows, questions = self.rows["train"], self.questions["train"]
        return ShuffledBatches(
            [len(row.tokens) for row in rows],
            self.settings.data.batch,
            seed,
            lambda chosen, epoch: batch([rows[place] for place in chosen], questions, own=False, epoch=epoch),
        )

    def validation_batches(self) -> Iterator[ReadingBatch]:
        """The windows of the validation questions, once."""
        rows = self.rows["validation"]
        for chosen in like_lengths([len(row.tokens) for row in rows], _TOGETHER):
            yield batch([rows[place] for place in chosen], self.questions["validation"], own=False)

    def loss(self, model: SpanReader, batch: ReadingBatch, objective: Objective) -> Loss:
        """The mean of the cross-entropies of where the answer begins and ends, over windows."""
        starts, ends = model(*batch.inputs)
        both = (
            torch.nn.functional.cross_entropy(scores, places, reduction="sum")
            for scores, places in ((starts, batch.starts), (ends, batch.ends))
        )
        loss = sum(both, starts.new_zeros(())) / 2
        return Loss(loss, loss.detach(), len(batch))

    def validate(self, model: SpanReader, metric: str) -> float:
        """Score the model on the validation questions, with the threshold that is best there."""
        return 100 * self._threshold(model, metric)[1]

    def save(self, model: SpanReader, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder, with the threshold of the best F1 in validation."""
        from heedful.tasks import answering_folder

        data = self.settings.data
        facts: dict[str, Any] = {"data": data.name or [str(path) for path in data.train.squad]}
        if data.name in WITHOUT_SPLIT:
            facts["fold"] = f"{data.fold} of {data.folds}"
        facts |= {"questions": len(self.questions["train"])} | self.settings.facts()
        threshold = self._threshold(model, "f1")[0]
        answering_folder.save(folder, model, self.tokenizer, self.settings, threshold, {**facts, **trained})

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the answers to every test set."""
        from heedful.tasks.answering_folder import load

        answerer = load(folder, device=device)
        return {
            name: answer_scores(
                [answer.text for answer in answerer.answer(questions)],
                [[answer.text for answer in question.answers] for question in questions],
                self.settings.metrics,
            )
            for name, questions in self._test_sets().items()
        }

    def _threshold(self, model: SpanReader, metric: str) -> tuple[float | None, float]:
        """The threshold that is best in validation, None if an answer is always given; and the score, 0 to 1."""
        questions = self.questions["validation"]
        settings: AnsweringSettings = self.settings
        found = best_answers(model, self.pieces, questions, settings.cut, settings.data.answer)
        measure = word_f1 if metric == "f1" else exact
        true = [[answer.text for answer in question.answers] for question in questions]
        answered = np.array(
            [best(measure, each.text, right) for each, right in zip(found, true, strict=True)]
        )
        if self.answerable:
            return None, float(answered.mean())
        silent = np.array([best(measure, "", right) for right in true])
        return best_threshold(np.array([each.margin for each in found]), answered, silent)

    def _parts(self) -> dict[str, list[Question]]:
        """Train, validation and test sets."""
        data: AnsweringData = self.settings.data
        if data.name is not None:
            train, validation, _ = reading_set(data.name, data.fold, data.folds)
        else:
            train = data.train.read() if data.train is not None else []
            if data.validation is not None:
                validation = data.validation.read()
            else:
                cut = folds(train, data.fold, data.folds)
                # Only a validation is held out of one's own files: tests are named.
                train, validation = [*cut.train, *cut.validation], cut.test
                if not train or not validation:
                    raise DataError(
                        f"There are too few texts in data.train to cut them into {data.folds} folds; give "
                        "data.validation.squad."
                    )
        return {"train": train, "validation": validation, **self._test_sets()}

    def _test_sets(self) -> dict[str, list[Question]]:
        if self._tests is None:
            data = self.settings.data
            named = {} if data.name is None else reading_set(data.name, data.fold, data.folds).tests
            self._tests = named | {name: read_squad(path) for name, path in data.tests.items()}
        return self._tests

    def _tokenizer(self, train: Sequence[Question]) -> Tokenizer:
        texts = dict.fromkeys(text for question in train for text in (question.context, question.text))
        return self.settings.tokenizer_of(line for text in texts for line in text.split("\n"))


class BestAnswer(NamedTuple):
    """The best span of a text: its text, its place in characters, and by how much it scores above no answer.

    A text without any word has "", 0, 0 and -inf.
    """

    text: str
    start: int
    end: int
    margin: float


@torch.inference_mode()
def best_answers(
    model: SpanReader, pieces: Pieces, questions: Sequence[Question], cut: Cut, longest: int
) -> list[BestAnswer]:
    """Give the best span of each question's text, over all its windows; of no answer, the least of its scores counts.

    longest: pieces of an answer at most
    """
    rare = None if model.likeness is None else model.rarities.cpu().numpy()
    rows = encode(questions, pieces, cut, rare)
    device = str(model.output.weight.device)
    spans = [(-np.inf, 0, 0)] * len(questions)
    none = [np.inf] * len(questions)
    for chosen in like_lengths([len(row.tokens) for row in rows], _TOGETHER):
        some = [rows[place] for place in chosen]
        these = batch(some, questions, own=True).to(device)
        starts, ends = model(*these.inputs)
        silent = (starts[:, 0] + ends[:, 0]).tolist()
        found = zip(*(each.tolist() for each in best_spans(starts, ends, longest)), strict=True)
        for row, quiet, (first, last, score) in zip(some, silent, found, strict=True):
            none[row.question] = min(none[row.question], quiet)
            if score > spans[row.question][0]:
                begin = next(word for word, (start, _) in enumerate(row.words) if start == first)
                close = next(word for word, (_, end) in enumerate(row.words) if end == last)
                spans[row.question] = score, row.offset + begin, row.offset + close
    answers: list[BestAnswer] = []
    for question, (score, begin, close), quiet in zip(questions, spans, none, strict=True):
        if score == -np.inf:
            answers.append(BestAnswer("", 0, 0, -np.inf))
            continue
        places = words(question.context)
        start, end = places[begin][0], places[close][1]
        answers.append(BestAnswer(question.context[start:end], start, end, float(score - quiet)))
    return answers
