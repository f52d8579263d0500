"""Few-shot classification: to name an image after a few examples of classes that were never seen before.

Training is episodic (Vinyals et al. 2016, section 4): each episode draws `ways` classes, gives each a label for this
once, shows a few examples with their labels, and asks for the labels of other images of these classes. What is learnt
is to compare, as labels mean nothing beyond their episode.

An episode is a function of the seed and its batch's number, so a stream can be gone on from anywhere. Batches have one
number of examples a class, drawn anew for each.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from heedful.data import images, omniglot
from heedful.data.images import ImageClasses, ImageFolderSettings
from heedful.data.rows import RowBatch
from heedful.durable import write_text
from heedful.errors import DataError, RecipeError
from heedful.evaluation import Score
from heedful.models.snail import FewShotSnail, FewShotSnailSettings
from heedful.objectives import Loss, smoothed_cross_entropy
from heedful.settings import Settings
from heedful.tasks import few_shot_folder
from heedful.tasks.face import Objective, Task, TaskSettings

NAMES = ("omniglot",)
PARTS = ("train", "validation", "test")
_TEST_BATCH = 20  # episodes
_SEED = 12345  # of validation and test episodes, the same for every model


class FewShotDataSettings(Settings):
    """Where the images are, and what an episode is."""

    name: Literal["omniglot"] | None = Field(default=None, description="a named data set")
    train: ImageFolderSettings | None = Field(default=None, description="images to train on")
    validation: ImageFolderSettings | None = Field(default=None, description="images of other classes")
    test: ImageFolderSettings | None = Field(default=None, description="images of yet other classes")
    # Santoro et al. 2016 and all since, in all splits: 1,200 characters become 4,800 classes.
    rotations: bool = Field(
        default=True, description="whether a class turned by 90, 180 and 270 degrees is another class"
    )
    ways: int = Field(default=5, ge=2, description="classes of an episode")
    # One model for all: Mishra et al. 2018, section 5.1.
    least_shots: int = Field(default=1, ge=1, description="examples of a class in training, at least")
    shots: int = Field(default=5, ge=1, description="examples of a class in training, at most")
    episodes: int = Field(default=32, ge=1, description="episodes of a batch")
    queries: int = Field(default=5, ge=1, description="images to name in each, all after the same examples")
    validation_episodes: int = Field(default=400, ge=1, description="for each number of shots that is scored")
    test_episodes: int = Field(default=2000, ge=2, description="for each number of shots that is scored")
    test_shots: tuple[int, ...] = Field(
        default=(1, 5), min_length=1, description="numbers of shots that are scored"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = [part for part in PARTS if getattr(self, part) is not None]
        if self.name is None and "train" not in given:
            raise ValueError("give data.name, or data.train.folders")
        if self.name is None and "validation" not in given:
            raise ValueError("give data.validation.folders: images of classes that are not in data.train")
        if self.name is not None and given:
            raise ValueError(f"data.name brings its own splits: leave out data.name, or data.{given[0]}")
        if self.least_shots > self.shots:
            raise ValueError(f"data.least_shots ({self.least_shots}) is above data.shots ({self.shots})")
        return self

    @property
    def each(self) -> int:
        """The most queries of one class."""
        return -(-self.queries // self.ways)


class FewShotSettings(TaskSettings):
    """A recipe's part for this task."""

    task: Literal["few-shot"] = Field(default="few-shot", description="what the model is for")
    data: FewShotDataSettings = Field(description="images and episodes")
    model: FewShotSnailSettings = Field(default=FewShotSnailSettings(), description="the network")
    metrics: tuple[str, ...] = Field(default=("accuracy",), description="what the model is scored with")

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        if objective.r_drop:
            raise ValueError(
                "training.r_drop compares two draws of dropout, and this model has none: set it to 0"
            )

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        if metric != "accuracy":
            raise RecipeError(f"The task few-shot has no metric {metric!r}; there is accuracy.")
        return False


@dataclass(frozen=True)
class Episodes(RowBatch):
    """A batch of episodes, of one number of shots.

    examples (episodes, ways * shots, 28, 28) and queries (episodes, queries, 28, 28): ink as uint8
    labels (episodes, ways * shots), answers (episodes, queries); tokens: how many answers
    """

    examples: Tensor
    labels: Tensor
    queries: Tensor
    answers: Tensor
    tokens: int
    epoch: int
    number: int

    def first(self, count: int) -> str:
        """See `heedful.tasks.face.Batch`."""
        return f"the episodes of batch {self.number}"


def draw(
    classes: ImageClasses,
    count: int,
    ways: int,
    shots: int,
    queries: int,
    rotations: bool,
    random: np.random.Generator,
) -> dict[str, Tensor]:
    """Draw episodes: the first four fields of `Episodes`. Queries are of each class in turn."""
    turns = 4 if rotations else 1
    each = -(-queries // ways)
    examples = np.empty((count, ways * shots, images.SIDE, images.SIDE), np.uint8)
    asked = np.empty((count, queries, images.SIDE, images.SIDE), np.uint8)
    labels, answers = np.empty((count, ways * shots), np.int64), np.empty((count, queries), np.int64)
    starts = classes.starts
    for episode in range(count):
        order, answer = random.permutation(ways * shots), random.permutation(ways * each)[:queries]
        labels[episode], answers[episode] = order // shots, answer // each
        chosen = random.choice(len(classes.names) * turns, ways, replace=False)
        for label, (number, turn) in enumerate(zip(*divmod(chosen, turns), strict=True)):
            rows = starts[number] + random.choice(classes.counts[number], shots + each, replace=False)
            drawn = np.rot90(classes.images[rows], turn, (1, 2))
            examples[episode, labels[episode] == label] = drawn[:shots]
            of_class = answers[episode] == label
            asked[episode, of_class] = drawn[shots : shots + int(of_class.sum())]
    arrays = {"examples": examples, "labels": labels, "queries": asked, "answers": answers}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class EpisodeStream:
    """Endless training batches: each a function of the seed and its number."""

    def __init__(self, classes: ImageClasses, settings: FewShotDataSettings, seed: int) -> None:
        self.classes, self.settings, self.seed = classes, settings, seed
        self.number, self.seen = 0, 0

    def __iter__(self) -> Iterator[Episodes]:
        return self

    def __next__(self) -> Episodes:
        settings, random = self.settings, np.random.default_rng((self.seed, self.number))
        shots = int(random.integers(settings.least_shots, settings.shots + 1))
        drawn = draw(
            self.classes,
            settings.episodes,
            settings.ways,
            shots,
            settings.queries,
            settings.rotations,
            random,
        )
        all_of_them = len(self.classes.images) * (4 if settings.rotations else 1)
        batch = Episodes(
            **drawn, tokens=drawn["answers"].numel(), epoch=self.seen // all_of_them, number=self.number
        )
        self.seen += drawn["labels"].numel() + drawn["answers"].numel()
        self.number += 1
        return batch

    def state(self) -> dict[str, Any]:
        """See `heedful.tasks.face.Batches`."""
        return {"number": self.number, "seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        """See `heedful.tasks.face.Batches`."""
        self.number, self.seen = state["number"], state["seen"]


class FewShot(Task):
    """The images and the model of one run."""

    unit = "episode"

    settings: FewShotSettings

    def prepare(self) -> None:
        """Read, check and store the images of every split."""
        report = self.folder / "check.json"
        if not report.exists():
            self._read(report)
        self.classes = {
            part: ImageClasses.open(self.folder / part)
            for part in PARTS
            if (self.folder / part / images.CLASSES).exists()
        }

    def build(self) -> FewShotSnail:
        """A new model, its weights from PyTorch's random generator."""
        return FewShotSnail(self.settings.model, self.settings.data.ways, self.settings.data.shots)

    def batches(self, seed: int) -> EpisodeStream:
        """The training episodes."""
        return EpisodeStream(self.classes["train"], self.settings.data, seed)

    def validation_batches(self) -> Iterator[Episodes]:
        """Validation episodes, the same each time, of every number of shots that is scored."""
        for shots in self.settings.data.test_shots:
            yield from self._episodes("validation", shots, self.settings.data.validation_episodes)

    def loss(self, model: FewShotSnail, batch: Episodes, objective: Objective) -> Loss:
        """The cross-entropy of the queries' labels."""
        features = model.features(ink(batch.examples), batch.labels, ink(batch.queries))
        smoothed, likelihood = smoothed_cross_entropy(
            features.flatten(0, 1),
            model.output.weight,
            model.output.bias,
            batch.answers.flatten(),
            objective.label_smoothing,
            ignore=None,
        )
        return Loss(smoothed, likelihood, batch.tokens)

    def validate(self, model: FewShotSnail, metric: str) -> float:
        """The mean accuracy in percent over the numbers of shots that are scored."""
        data = self.settings.data
        right = [
            self._right(model, "validation", shots, data.validation_episodes).mean()
            for shots in data.test_shots
        ]
        return 100 * float(np.mean(right))

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """The accuracy on test episodes, for each number of shots, with its 95% interval."""
        if "test" not in self.classes:
            return {}
        data, model = self.settings.data, few_shot_folder.read(folder).to(device)
        scores: dict[str, list[Score]] = {}
        for shots in data.test_shots:
            right = 100 * self._right(model, "test", shots, data.test_episodes)
            # Of a mean of independent episodes, as all papers on few-shot learning give it.
            half = 1.96 * float(right.std(ddof=1)) / len(right) ** 0.5
            mean = float(right.mean())
            signature = (
                f"episodes:{len(right)}|queries:{data.queries}|rotations:{'yes' if data.rotations else 'no'}|"
                f"seed:{_SEED}"
            )
            low, high = max(mean - half, 0.0), min(mean + half, 100.0)
            scores[f"{data.ways}-way {shots}-shot"] = [
                Score("accuracy", mean, low, high, signature, "images named rightly, of classes never seen")
            ]
        return scores

    def save(self, model: FewShotSnail, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder: what is shared and loaded."""
        data = self.settings.data
        told = {"data": data.name or str(data.train), "classes": len(self.classes["train"].names)}
        source = data.train.ink if data.train else "dark"
        few_shot_folder.save(folder, model, source, {**told, **trained})

    @torch.no_grad()
    def _right(self, model: FewShotSnail, part: str, shots: int, count: int) -> np.ndarray:
        """Of each episode the share of queries that are named rightly: (count,)."""
        device = next(model.parameters()).device
        shares: list[Tensor] = []
        for batch in self._episodes(part, shots, count):
            batch = batch.to(str(device))
            logits = model(ink(batch.examples), batch.labels, ink(batch.queries))
            shares.append((logits.argmax(-1) == batch.answers).double().mean(1))
        return torch.cat(shares).cpu().numpy()

    def _episodes(self, part: str, shots: int, count: int) -> Iterator[Episodes]:
        data = self.settings.data
        for number, first in enumerate(range(0, count, _TEST_BATCH)):
            random = np.random.default_rng((_SEED, PARTS.index(part), shots, number))
            size = min(_TEST_BATCH, count - first)
            drawn = draw(self.classes[part], size, data.ways, shots, data.queries, data.rotations, random)
            yield Episodes(**drawn, tokens=drawn["answers"].numel(), epoch=0, number=number)

    def _read(self, report: Path) -> None:
        data = self.settings.data
        sources = (
            omniglot.splits()
            if data.name is not None
            else {part: source for part in PARTS if (source := getattr(data, part)) is not None}
        )
        classes: dict[str, ImageClasses] = {}
        found: dict[str, images.Found] = {}
        for part, source in sources.items():
            shots = max(data.test_shots) if part != "train" else data.shots
            classes[part], found[part] = images.read(source, part, shots + data.each)
            there = len(classes[part].names) * (4 if data.rotations else 1)
            if there < data.ways:
                raise DataError(
                    f"An episode takes {data.ways} classes (data.ways), and the {part} images have {there}."
                )
        images.compare(found, classes)
        self.listener.say(images.table(found.values()))
        for part, of in classes.items():
            of.write(self.folder / part)
        # Last, because its presence says that all of this is done.
        write_text(
            report,
            json.dumps([part.to_dict() for part in found.values()], ensure_ascii=False, indent=1),
        )


def ink(stored: Tensor) -> Tensor:
    """Stored ink 0 to 255 -> 0 to 1."""
    return stored.float() / 255
