"""Classification: to say which of some labels a text has, or which number; of one text or of a pair.

    heedful train classify --init runs/bert-mlm --data.train.tsv reviews.tsv
    heedful predict runs/classify < in.txt                    # positive<tab>0.9731

The model is an encoder with a head (`heedful.models.classifier`), trained from the weights of another model or from
nothing. Long texts are read in windows whose logits are averaged. Labels that are numbers are learnt with mean 0 and
variance 1.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from heedful.data.labelled import Labelled, LabelledSettings, read_labelled
from heedful.data.labelled_check import check_labelled, labelled_table, number
from heedful.data.labelled_named import FOLDS, labelled_named
from heedful.data.named_or_own import named_or_own
from heedful.durable import write_text
from heedful.errors import DataError
from heedful.evaluation import Score
from heedful.evaluation.classification import OF_LABELS, OF_NUMBERS, scores, value
from heedful.evaluation.confidence import SEED
from heedful.models.classifier import Classifier, HeadSettings
from heedful.models.encoder import longest
from heedful.objectives import Loss
from heedful.objectives.classification import balanced, class_loss, number_loss
from heedful.settings import Settings
from heedful.tasks.classification_folder import ClassificationConfig, Scale, TextClassifier, load, save
from heedful.tasks.classifying import Answered, TextBatch, TextBatches
from heedful.tasks.face import Listener, Objective, Task, require_metric
from heedful.tasks.fine_tuning import FineTuningSettings
from heedful.tasks.model_folder import TOKENIZER
from heedful.tasks.windows import Reading, Texts
from heedful.text.tokenizer import Tokenizer

_TOGETHER = 64  # texts that are classified at once
_LEAST_WINDOW = 8


class ClassificationData(Settings):
    """Which texts are learnt from: a named data set, or files of one's own; and how they are read."""

    name: Literal["trec", "sst2", "sst5", "subj", "mr", "movie_reviews"] | None = Field(
        default=None, description="a named data set, see `heedful data`; or give train"
    )
    fold: int = Field(
        default=1, ge=1, le=FOLDS, description="subj, mr, movie_reviews: which of ten parts is the test"
    )
    train: tuple[LabelledSettings, ...] = Field(default=(), description="files to train on")
    validation: LabelledSettings | None = Field(
        default=None, description="texts to choose the best model by; unset: a part of train"
    )
    held_out: float = Field(
        default=0.1, gt=0, lt=1, description="the share of each label in train that is the validation"
    )
    tests: dict[str, LabelledSettings] = Field(default={}, description="texts for the last evaluation")
    labels: Literal["classes", "numbers"] = Field(
        default="classes", description="what labels are: names to choose from, or numbers to come near to"
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: rare labels count as much as frequent ones"
    )
    window: int | None = Field(
        default=None,
        ge=_LEAST_WINDOW,
        description="tokens that are read at once; unset: as many as the encoder can",
    )
    overlap: int = Field(default=0, ge=0, description="tokens that a window shares with that before it")
    training_windows: int | None = Field(
        default=None, ge=1, description="windows of a long text in a training step, drawn anew; unset: all"
    )
    batch: int = Field(default=32, ge=1, description="texts of a batch")

    @model_validator(mode="before")
    @classmethod
    def _one_file_is_a_list_of_one(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("train"), dict):
            values = {**values, "train": [values["train"]]}
        return values

    @model_validator(mode="after")
    def _named_or_own(self) -> Self:
        named_or_own(self, "data.train.tsv (or jsonl, lines, folder)")
        if self.labels == "numbers" and (self.name is not None or self.class_weights != "none"):
            raise ValueError("data.labels is numbers: there are then no named data sets and no class_weights")
        return self


class ClassificationSettings(FineTuningSettings):
    """What the task needs of a recipe."""

    task: Literal["classification"] = Field(default="classification", description="what the model is for")
    data: ClassificationData
    head: HeadSettings = Field(default=HeadSettings(), description="from the encoder's vectors to the labels")
    metrics: tuple[str, ...] = ("accuracy", "macro-f1")

    @property
    def window(self) -> int:
        """Tokens that are read at once."""
        return self.data.window or longest(self.model)

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        known = OF_NUMBERS if self.data.labels == "numbers" else OF_LABELS
        for name in sorted({*self.metrics, getattr(objective, "metric", "loss")} - {"loss"}):
            if name not in known:
                raise ValueError(
                    f"{name} is no metric of data.labels = {self.data.labels!r}; those are {', '.join(known)}: "
                    "set metrics and training.metric"
                )
        if self.window > longest(self.model):
            raise ValueError(
                f"data.window is {self.window}, but the model reads at most {longest(self.model)} tokens"
            )
        if self.data.overlap > self.window // 2:
            raise ValueError(
                f"data.overlap ({self.data.overlap}) is more than half of a window ({self.window})"
            )
        if objective.r_drop and not (
            self.model.dropout or self.head.dropout or self.head.word_dropout or self.model.attention_dropout
        ):
            raise ValueError("training.r_drop compares two draws of dropout, but model.dropout is 0")
        if objective.r_drop and self.data.labels == "numbers":
            raise ValueError("training.r_drop is for classes, and data.labels is numbers: set it to 0")

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        require_metric(metric, {**OF_LABELS, **OF_NUMBERS}, "classification")
        return metric == "rmse"


class Classification(Task):
    """The texts, labels and model of one run."""

    unit = "text"

    def __init__(self, settings: ClassificationSettings, folder: Path, listener: Listener) -> None:
        super().__init__(settings, folder, listener)
        self.settings: ClassificationSettings = settings
        self.tests: dict[str, list[Labelled]] = {}
        self.tokenizer: Tokenizer
        self.labels: tuple[str, ...]
        self.scale: Scale | None

    def prepare(self) -> None:
        """Check, learn the tokenizer, and keep the texts of all parts: once for a run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self.folder / "check.json"
        if not report.exists():
            self._prepare(report)
        told = json.loads((self.folder / "labels.json").read_text(encoding="utf-8"))
        self.labels = tuple(told["labels"])
        self.scale = None if told["scale"] is None else Scale.model_validate(told["scale"])
        self.tokenizer = Tokenizer.load(self.folder / TOKENIZER)
        self.tests = {name: self._read(file) for name, file in told["tests"].items()}
        self._parts = {name: self._answered(self._read(f"{name}.jsonl")) for name in ("train", "validation")}
        self._weights = None
        if self.settings.data.class_weights == "balanced":
            counts = np.bincount(self._parts["train"].answers, minlength=len(self.labels))
            self._weights = balanced(torch.from_numpy(counts))

    def build(self) -> Classifier:
        """A new model, with the weights of `init` or from PyTorch's random generator."""
        settings = self.settings
        encoder = settings.encoder(len(self.tokenizer), settings.head.word_dropout)
        model = Classifier(encoder, len(self.labels) or 1, settings.head)
        settings.begin(model)
        return model

    def batches(self, seed: int) -> TextBatches:
        """The training batches."""
        data = self.settings.data
        return TextBatches(self._parts["train"], data.batch, seed, data.training_windows)

    def validation_batches(self) -> Iterator[TextBatch]:
        """The validation texts, once."""
        return self._parts["validation"].all(_TOGETHER)

    def loss(self, model: Classifier, batch: TextBatch, objective: Objective) -> Loss:
        """The cross-entropy of every label, or half the squared error of every number."""
        both = batch.twice() if objective.r_drop else batch
        logits = model(both.words, both.segments, both.texts)
        if self.scale is not None:
            return number_loss(logits, batch.answers)
        weights = None
        if self._weights is not None and model.training:
            weights = self._weights.to(logits.device)
        return class_loss(logits, batch.answers, weights, objective.label_smoothing, objective.r_drop)

    def validate(self, model: Classifier, metric: str) -> float:
        """Score the answers to the validation texts."""
        found: list[np.ndarray] = []
        right: list[np.ndarray] = []
        device = str(next(model.parameters()).device)
        with torch.inference_mode():
            for batch in self.validation_batches():
                moved = batch.to(device)
                logits = model(moved.words, moved.segments, moved.texts).float().cpu()
                found.append((logits.argmax(-1) if self.scale is None else logits[:, 0]).numpy())
                right.append(batch.answers.numpy())
        answers = np.concatenate(found), np.concatenate(right)
        if self.scale is not None:
            answers = tuple(self.scale.undo(each) for each in answers)
        return value(metric, *answers)

    def save(self, model: Classifier, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder."""
        save(folder, model, self.config({**self.facts(), **trained}), self.tokenizer)

    def config(self, trained: Mapping[str, Any]) -> ClassificationConfig:
        """What config.json says of a model of this run."""
        settings = self.settings
        return ClassificationConfig(
            model=settings.model,
            head=settings.head,
            labels=self.labels,
            scale=self.scale,
            pairs=self._parts["train"].texts.paired,
            window=settings.window,
            overlap=settings.data.overlap,
            trained=dict(trained),
        )

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the answers to every test set."""
        model = load(folder, device=device)
        return {name: self._scores(model, examples) for name, examples in self.tests.items()}

    def facts(self) -> dict[str, Any]:
        """What a model folder says about the data."""
        settings = self.settings
        facts: dict[str, Any] = {"data": settings.data.name or [str(file) for file in settings.data.train]}
        return facts | settings.facts() | {"texts": len(self._parts["train"])}

    def _scores(self, model: TextClassifier, examples: Sequence[Labelled]) -> list[Score]:
        answers = model.predict([(example.text, example.second) for example in examples])
        if self.scale is not None:
            found = np.array([answer.number for answer in answers], np.float64)
            return scores(self.settings.metrics, found, np.array([number(example) for example in examples]))
        numbers = {label: place for place, label in enumerate(self.labels)}
        found = np.array([numbers[answer.label] for answer in answers], np.int64)
        right = np.array([numbers[example.label] for example in examples], np.int64)
        return scores(self.settings.metrics, found, right)

    def _prepare(self, report: Path) -> None:
        data = self.settings.data
        train, validation, tests = self._splits()
        if validation is None:
            train, validation = _held_out(train, data.held_out, data.labels == "classes")
        parts = {"train": train, "validation": validation, **tests}
        sections, labels = check_labelled(parts, data.labels == "numbers")
        self.listener.say(labelled_table(sections))
        scale = None
        if data.labels == "numbers":
            values = np.array([number(example) for example in train])
            if not values.std() > 0:
                raise DataError("All training examples have one number: there is nothing to learn.")
            scale = {"mean": float(values.mean()), "deviation": float(values.std())}
        both = (text for one in train for text in (one.text, one.second) if text is not None)
        self.settings.tokenizer_of(both).save(self.folder / TOKENIZER)
        files = {name: f"test.{place}.jsonl" for place, name in enumerate(tests)}
        for name, examples in parts.items():
            file = self.folder / files.get(name, f"{name}.jsonl")
            write_text(file, "".join(example.to_json() + "\n" for example in examples))
        told = {"labels": labels, "scale": scale, "tests": files}
        write_text(self.folder / "labels.json", json.dumps(told, ensure_ascii=False, indent=1))
        # Last, because its presence says that all of this is done.
        found = [section.to_dict() for section in sections]
        write_text(report, json.dumps(found, ensure_ascii=False, indent=1))

    def _splits(self) -> tuple[list[Labelled], list[Labelled] | None, dict[str, list[Labelled]]]:
        data = self.settings.data
        own = {name: list(read_labelled(file)) for name, file in data.tests.items()}
        if data.name is not None:
            named = labelled_named(data.name, data.fold)
            return named.train, named.validation, {**named.tests, **own}
        train = [example for file in data.train for example in read_labelled(file)]
        return train, None if data.validation is None else list(read_labelled(data.validation)), own

    def _read(self, file: str) -> list[Labelled]:
        with (self.folder / file).open(encoding="utf-8", newline="\n") as lines:
            return [Labelled.from_json(line) for line in lines]

    def _answered(self, examples: Sequence[Labelled]) -> Answered:
        reading = Reading(self.tokenizer, self.settings.window, self.settings.data.overlap)
        texts = Texts([(example.text, example.second) for example in examples], reading)
        if self.scale is not None:
            numbers = np.array([number(example) for example in examples])
            answers = self.scale.apply(numbers).astype(np.float32)
        else:
            place = {label: row for row, label in enumerate(self.labels)}
            answers = np.array([place[example.label] for example in examples], np.int64)
        return Answered(texts, answers, [example.place for example in examples])


def _held_out(
    examples: Sequence[Labelled], share: float, by_label: bool
) -> tuple[list[Labelled], list[Labelled]]:
    """Take a share of the examples out of each label, the same ones always; at least one of any with two."""
    groups: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        groups.setdefault(example.label if by_label else "", []).append(row)
    draw, out = np.random.default_rng(SEED), set[int]()
    for rows in groups.values():
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        out.update(draw.permutation(rows)[:count].tolist())
    if not out:
        raise DataError(
            "There are too few texts in data.train to hold some out for validation; give data.validation."
        )
    kept = [example for row, example in enumerate(examples) if row not in out]
    return kept, [example for row, example in enumerate(examples) if row in out]
