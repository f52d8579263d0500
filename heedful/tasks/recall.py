"""Recall: a question is answered from facts told before it, with one of the answers known from training.

    answer = heedful.load(folder).predict(["Mary went to the garden.", "John left."], "Where is Mary?")
    print(answer)                      # garden
    answer.hops[0].weights             # how much the first look went to each fact

The models are memory networks. Words are in lower case; an answer of several words is one answer, with one entry of the
vocabulary, as in Sukhbaatar et al. 2015, section 4. Files of bAbI text and JSON lines are read by heedful.data.babi.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Discriminator, Field, model_validator
from torch import Tensor

from heedful.data.babi import Question, check_stories, normal, read_questions, stories_table
from heedful.data.babi_files import TASKS, babi_file
from heedful.data.named_or_own import named_or_own
from heedful.durable import write_text
from heedful.errors import DataError
from heedful.evaluation import Score
from heedful.evaluation.confidence import RESAMPLES, SEED, bootstrap_values, interval
from heedful.models.memn2n import MemN2N, MemN2NSettings
from heedful.models.memories import MemoryModel
from heedful.objectives import Loss
from heedful.settings import Settings
from heedful.tasks.face import Listener, Objective, Task, TaskSettings, require_metric
from heedful.tasks.recalling import (
    ModelSettings,
    QuestionBatch,
    QuestionBatches,
    Questions,
    Vocabulary,
    build,
)

METRICS = {
    "error": "percentage of questions answered wrong",
    "accuracy": "percentage of questions answered right",
    "cross-entropy": "negative log-likelihood of an answer in nats, of the best start",
}
_FAILED = 5.0  # percent of errors: a task above it counts as failed (Weston et al. 2015)
_TOGETHER = 500  # questions that are answered at once


class RecallData(Settings):
    """Which questions are learnt from: those of bAbI, or files of one's own."""

    name: Literal["babi"] | None = Field(default=None, description="the named data set; or give train")
    task: int | None = Field(
        default=None, ge=TASKS[0], le=TASKS[-1], description="which task of bAbI; unset: all at once"
    )
    train: tuple[Path, ...] = Field(default=(), description="files to train on: bAbI text, or .jsonl")
    validation: tuple[Path, ...] = Field(
        default=(), description="files to choose the best model by; unset: a part of train"
    )
    # Sukhbaatar et al. 2015, section 4.2.
    held_out: float = Field(
        default=0.1, gt=0, lt=1, description="the share of train's stories that are the validation"
    )
    tests: dict[str, Path] = Field(default={}, description="files for the last evaluation, by name")
    batch: int = Field(default=32, ge=1, description="questions of a batch")

    @model_validator(mode="after")
    def _named_or_own(self) -> "RecallData":
        named_or_own(self, "data.train")
        if self.name is None and self.task is not None:
            raise ValueError("data.task is the number of a task of bAbI, which data.name does not ask for")
        return self


class RecallSettings(TaskSettings):
    """What the task needs of a recipe."""

    task: Literal["recall"] = Field(default="recall", description="what the model is for")
    data: RecallData
    model: Annotated[ModelSettings, Discriminator("architecture")] = MemN2NSettings()
    metrics: tuple[str, ...] = ("error",)

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        if objective.r_drop:
            raise ValueError(
                "training.r_drop compares two draws of dropout, which memory networks have not: set it to 0"
            )
        if "cross-entropy" in self.metrics:
            raise ValueError(
                "metrics has cross-entropy, which is no score of answers: it is for training.metric"
            )

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        require_metric(metric, METRICS, "answers")
        return metric != "accuracy"


class Recall(Task):
    """The questions, vocabulary and model of one run."""

    unit = "question"

    def __init__(self, settings: RecallSettings, folder: Path, listener: Listener) -> None:
        super().__init__(settings, folder, listener)
        data = settings.data
        self.train, self.validation, self.tests = data.train, data.validation, dict(data.tests)
        if data.name is not None:
            tasks = TASKS if data.task is None else (data.task,)
            self.train = tuple(babi_file(task, "train") for task in tasks)
            self.validation = tuple(babi_file(task, "valid") for task in tasks)
            self.tests = {f"task {task}": babi_file(task, "test") for task in tasks} | self.tests

    def prepare(self) -> None:
        """Check, make the vocabulary, and keep the questions of train and validation: once for a run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self.folder / "check.json"
        if not report.exists():
            train, validation = self._parts()
            tests = {name: list(read_questions(path)) for name, path in self.tests.items()}
            parts = {"train": train, "validation": validation, **tests}
            sections = check_stories(parts, self.settings.model.memories)
            self.listener.say(stories_table(sections))
            Vocabulary.of(train).save(self.folder / "vocabulary.json")
            for name, questions in (("train", train), ("validation", validation)):
                lines = (question.to_json() + "\n" for question in questions)
                write_text(self.folder / f"{name}.jsonl", "".join(lines))
            # Last, because its presence says that all of this is done.
            found = [section.to_dict() for section in sections]
            write_text(report, json.dumps(found, ensure_ascii=False, indent=1))
        self.vocabulary = Vocabulary.load(self.folder / "vocabulary.json")
        self._questions = {
            name: Questions(
                list(read_questions(self.folder / f"{name}.jsonl")), self.vocabulary, self.settings.model
            )
            for name in ("train", "validation")
        }

    def build(self) -> MemoryModel:
        """A new model, its weights from PyTorch's random generator."""
        settings, train = self.settings.model, self._questions["train"]
        of_data = {"longest": train.sentences.shape[1], "places": train.keys.shape[1]}
        asked = {name: value for name, value in of_data.items() if getattr(settings, name, None) == "data"}
        settings = settings.model_copy(update=asked)
        return build(settings, len(self.vocabulary))

    def batches(self, seed: int) -> QuestionBatches:
        """The training batches."""
        return QuestionBatches(self._questions["train"], self.settings.data.batch, seed)

    def validation_batches(self) -> Iterator[QuestionBatch]:
        """The validation questions, once."""
        return self._questions["validation"].all(_TOGETHER)

    def loss(self, model: MemoryModel, batch: QuestionBatch, objective: Objective) -> Loss:
        """The cross-entropy of every answer; of several starts the sum, so that each learns as if it were alone."""
        smoothed, likelihood = answer_losses(model(batch.memories), batch.answers, objective.label_smoothing)
        return Loss(smoothed.sum(), likelihood.detach().sum() / len(likelihood), len(batch))

    def validated(self, model: MemoryModel, nll: float | None) -> None:
        """End linear start when validation does not get better (Sukhbaatar et al. 2015, section 4.2)."""
        if isinstance(model, MemN2N) and nll is not None and model.validated(nll):
            self.listener.say("Linear start ends: the hops get their softmax.")

    def validate(self, model: MemoryModel, metric: str) -> float:
        """Score the best start on the validation questions."""
        start, values = self._best(model)
        return values[metric][start]

    def save(self, model: MemoryModel, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder, of the best start alone."""
        from heedful.tasks import recall_folder

        start, _ = self._best(model)
        facts = {"data": self.settings.data.name or [str(path) for path in self.train]}
        if self.settings.data.task is not None:
            facts["task"] = self.settings.data.task
        facts |= {"questions": len(self._questions["train"]), "starts": self.settings.model.starts}
        recall_folder.save(folder, model.best(start), self.vocabulary, {**facts, **trained})

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the answers to every test set; of several, their mean too."""
        from heedful.tasks.recall_folder import load

        answerer, right = load(folder, device=device), dict[str, np.ndarray]()
        for name, path in self.tests.items():
            questions = list(read_questions(path))
            pairs = zip(answerer.answer_all(questions), questions, strict=True)
            right[name] = np.array([answer == normal(question.answer) for answer, question in pairs])
        scores = {name: answer_scores([each], self.settings.metrics) for name, each in right.items()}
        if len(right) > 1:
            scores["mean"] = answer_scores(list(right.values()), self.settings.metrics)
            failed = sum(100 * int((~each).sum()) > _FAILED * len(each) for each in right.values())
            self.listener.say(f"{failed} of {len(right)} test sets have more than {_FAILED:g}% errors.")
        return scores

    def _parts(self) -> tuple[list[Question], list[Question]]:
        """The questions to train on and those to validate with: whole stories are held out if none are given."""
        train = [list(read_questions(path)) for path in self.train]
        if self.validation:
            held = [question for path in self.validation for question in read_questions(path)]
            return [question for questions in train for question in questions], held
        kept, held = [], []
        for questions in train:
            stories = questions[-1].number + 1
            some = max(1, round(self.settings.data.held_out * stories))
            if some == stories:
                raise DataError(
                    "There are too few stories in data.train to hold some out; give data.validation."
                )
            out = set(np.random.default_rng(SEED).permutation(stories)[:some].tolist())
            kept += [question for question in questions if question.number not in out]
            held += [question for question in questions if question.number in out]
        return kept, held

    @torch.no_grad()
    def _best(self, model: MemoryModel) -> tuple[int, dict[str, list[float]]]:
        """The start with the least negative log-likelihood of validation, and each metric of every start."""
        likelihood: Any = 0.0
        right: Any = 0
        count = 0
        device = model.output_weight.device
        for batch in self.validation_batches():
            batch = batch.to(str(device))
            logits = model(batch.memories)
            likelihood = likelihood + answer_losses(logits, batch.answers)[1]
            right = right + (logits.argmax(-1) == batch.answers).sum(-1)
            count += len(batch)
        accuracy = (100 * right / count).tolist()
        values = {
            "cross-entropy": (likelihood / count).tolist(),
            "accuracy": accuracy,
            "error": [100 - value for value in accuracy],
        }
        return int(likelihood.argmin()), values


def answer_losses(logits: Tensor, answers: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Give the label-smoothed cross-entropy and the negative log-likelihood of each start, (starts,), summed.

    logits (starts, batch, vocabulary), answers (batch,), as in heedful.objectives.smoothed_cross_entropy
    """
    logs = logits.log_softmax(-1)
    right = answers.expand(len(logs), -1).unsqueeze(-1)
    likelihood = -logs.gather(-1, right).sum((1, 2))
    if not smoothing:
        return likelihood, likelihood
    other = smoothing / (logs.shape[-1] - 1)
    return (1 - smoothing - other) * likelihood - other * logs.sum((1, 2)), likelihood


def answer_scores(right: Sequence[np.ndarray], metrics: Sequence[str]) -> list[Score]:
    """Score answers by what is right of each test set; of several sets the mean, each counting the same.

    The 95% intervals are of a bootstrap over the questions of each set.
    """
    sums = [np.stack([each, np.ones(len(each))], axis=1).astype(np.float64) for each in right]
    drawn = np.mean(
        [bootstrap_values(counts, lambda sum: float(sum[0] / sum[1]), RESAMPLES, SEED) for counts in sums], axis=0
    )  # fmt: skip
    low, high = interval(100 * drawn)
    value = float(100 * np.mean([each.mean() for each in right]))
    questions = "+".join(str(count) for count in _runs([len(each) for each in right]))
    signature = f"questions:{questions}|bs:{RESAMPLES}|seed:{SEED}|case:lc"
    found = {"accuracy": (value, low, high), "error": (100 - value, 100 - high, 100 - low)}
    return [Score(name, *found[name], signature, METRICS[name]) for name in metrics if name in found]


def _runs(counts: Sequence[int]) -> list[str]:
    """[1000, 1000, 900] -> ["2x1000", "900"]."""
    return [str(count) if times == 1 else f"{times}x{count}" for count, times in Counter(counts).items()]
