"""The face that every task shows to the trainer and to the commands: what is read, what is asked, what is scored.

A task brings data, model, objective and metric together. The trainer asks it for a model and for batches, and what a
batch costs; the commands ask it to prepare its data and to score what was trained. What a model folder of the task
can be asked stands in `heedful.tasks.registry`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from rich.table import Table
from torch import nn

from heedful.errors import RecipeError
from heedful.evaluation import Score
from heedful.objectives import Loss
from heedful.settings import Settings


class Objective(Protocol):
    """What a training may add to the plain likelihood; the settings of a training are one."""

    @property
    def label_smoothing(self) -> float:
        """Eps of label smoothing."""
        ...

    @property
    def r_drop(self) -> float:
        """Alpha of R-Drop."""
        ...


class Plain:
    """The objective that is nothing but the likelihood: what validation measures."""

    label_smoothing = 0.0
    r_drop = 0.0


class TaskSettings(Settings):
    """What a task needs of a recipe.

    task: its name, as recipes and model folders know it
    data, model: settings of its own
    metrics: what the model is scored with at the end
    has_validation_loss: whether a trained model can be told by its loss on validation data
    """

    has_validation_loss: ClassVar[bool] = True

    task: Any
    data: Any
    model: Any
    metrics: tuple[str, ...]

    def check(self, objective: Objective) -> None:
        """Raise ValueError, with a sentence for people, where the parts of a recipe exclude each other."""

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """Whether a lower value of a metric is better; RecipeError, with the nearest, if the task has no such one."""
        raise NotImplementedError


def require_metric(metric: str, known: Collection[str], of: str) -> None:
    """Raise RecipeError, with the metrics that there are, for one that is not among them."""
    if metric not in known:
        raise RecipeError(f"There is no metric {metric!r} of {of}; the metrics are {', '.join(known)}.")


class Batch(Protocol):
    """What the model is trained on in one go."""

    @property
    def tokens(self) -> int:
        """How many predictions there are: what the loss is divided by."""
        ...

    @property
    def epoch(self) -> int:
        """How often all data had been seen before it, from 0."""
        ...

    def __len__(self) -> int:
        """How many examples there are: into so many parts it can be split."""
        ...

    def to(self, device: str) -> Self:
        """The same batch on a device."""
        ...

    def split(self, parts: int) -> list[Self]:
        """Cut it into at most so many parts, whose losses add up to its own; `tokens` stays that of the whole."""
        ...

    def first(self, count: int) -> str:
        """Name its first examples, for messages."""
        ...


class Batches(Protocol):
    """An endless, deterministic stream of batches that can be gone on from anywhere."""

    def __next__(self) -> Any:
        """The next batch."""
        ...

    def state(self) -> dict[str, Any]:
        """Where it stands: numbers and texts."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


class Listener(Protocol):
    """Whoever shows people how it goes."""

    def say(self, message: str | Table) -> None:
        """Show a sentence or a table."""
        ...


class Task(ABC):
    """One run of a task: its data in a folder, its model, its scores.

    settings: those of the recipe
    folder: where the data lies as training reads it
    listener: who is told what is found
    """

    unit: ClassVar[str] = "example"
    """One of what a batch is made of, for messages."""

    def __init__(self, settings: Any, folder: Path, listener: Listener) -> None:
        self.settings, self.folder, self.listener = settings, folder, listener

    @abstractmethod
    def prepare(self) -> None:
        """Check the data and make of it what training reads: once for a run, however often it is called."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Give a new model, its weights from PyTorch's random generator."""

    @abstractmethod
    def batches(self, seed: int) -> Batches:
        """Give the training batches; their order is a function of the seed."""

    @abstractmethod
    def validation_batches(self) -> Iterable[Batch]:
        """Give the validation data, once; nothing where its likelihood says nothing."""

    @abstractmethod
    def loss(self, model: Any, batch: Any, objective: Objective) -> Loss:
        """Give the loss of a batch."""

    @abstractmethod
    def validate(self, model: Any, metric: str) -> float:
        """Score the model on the validation data."""

    @abstractmethod
    def save(self, model: Any, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder: what is shared and loaded."""

    @abstractmethod
    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the model of a model folder on every test set."""

    def validated(self, model: Any, nll: float | None) -> None:  # noqa: B027 -- most need not
        """Take note of a validation's negative log-likelihood: for models that are changed while they learn.

        What is changed must lie in the model's buffers, which a checkpoint keeps.
        """

    def check_metrics(self, names: Iterable[str]) -> None:  # noqa: B027 -- most need not
        """Raise RecipeError for a metric that cannot be computed here, before a training is begun."""


class Answer(Protocol):
    """An answer to one input."""

    @property
    def line(self) -> str:
        """As one line of text."""
        ...

    def to_json(self) -> dict[str, Any]:
        """With all that is known of it, ready for JSON."""
        ...


class Predictor(Protocol):
    """A loaded model that answers: what `heedful predict` asks."""

    def stream(self, lines: Iterable[str]) -> Iterator[Answer]:
        """Answer what stands in lines of text, in bounded memory; what a line is, each task says."""
        ...
