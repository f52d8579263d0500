"""Bandits and tabular decision processes: an agent that learns, within its sequence, which actions pay.

A batch is a number of worlds that nobody has seen before, with all the luck in them (`data.environments`). To compute
its loss, the agent first plays them, step by step with its caches; then it reads what happened at once, and the actions
that turned out better than expected are made more likely (`objectives.policy_gradient`). Nothing is kept between
batches, so the loss is a function of the weights and the batch, and a training can be gone on from anywhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from rich.table import Table
from torch import Tensor

from heedful.data.environments import BanditSettings, Worlds, WorldSettings, draw, pick, place
from heedful.errors import RecipeError
from heedful.evaluation import Score
from heedful.models.snail import PolicySnail, PolicySnailSettings
from heedful.objectives import Loss
from heedful.objectives.policy_gradient import policy_gradient
from heedful.settings import Settings
from heedful.tasks import bandits_folder, strategies
from heedful.tasks.face import Objective, Task, TaskSettings

METRICS = {
    "reward": "mean sum of rewards in a world",
    "share": "rewards in percent of what one who knows the world expects",
}
_SEED = 12345  # of validation and test worlds, the same for every agent
_TOGETHER = 500  # worlds played at once


class WorldData(Settings):
    """Which worlds, and how many."""

    world: WorldSettings = Field(default=BanditSettings(), description="what is drawn")
    worlds: int = Field(default=512, ge=1, description="worlds of a batch")
    validation_worlds: int = Field(default=1000, ge=2, description="worlds to choose the best agent by")
    test_worlds: int = Field(default=5000, ge=2, description="worlds to score it with")
    # Duan et al. 2016, section 3: 0.99 and 0.3.
    discount: float = Field(default=0.99, ge=0, le=1, description="what a reward one step later counts")
    trace: float = Field(default=0.9, ge=0, le=1, description="lambda of the generalised advantages")
    value_weight: float = Field(default=0.5, ge=0, description="of the error of the value, in the loss")
    entropy_weight: float = Field(default=0.01, ge=0, description="of the entropy of the policy, in the loss")


class ActingSettings(TaskSettings):
    """A recipe's part for this task."""

    has_validation_loss = False
    task: Literal["bandits"] = Field(default="bandits", description="what the model is for")
    data: WorldData = Field(default=WorldData(), description="the worlds")
    model: PolicySnailSettings = Field(default=PolicySnailSettings(), description="the network")
    metrics: tuple[str, ...] = Field(default=("reward", "share"), description="what the model is scored with")

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        if objective.label_smoothing or objective.r_drop:
            raise ValueError(
                "training.label_smoothing and training.r_drop are for right answers, and a policy has none: set both "
                "to 0"
            )

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        if metric not in METRICS:
            raise RecipeError(
                f"The task bandits has no metric {metric!r}; there are {' and '.join(METRICS)}."
            )
        return False


@dataclass(frozen=True)
class WorldBatch:
    """A batch of worlds; tokens: how many actions they take."""

    worlds: Any
    tokens: int
    number: int
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.worlds)

    def to(self, device: str) -> "WorldBatch":
        """See `heedful.tasks.face.Batch`."""
        return replace(self, worlds=self.worlds.to(device))

    def split(self, parts: int) -> "list[WorldBatch]":
        """The batch itself: its advantages are normalised together (`heedful.objectives.policy_gradient`)."""
        return [self]

    def first(self, count: int) -> str:
        """See `heedful.tasks.face.Batch`."""
        return f"the worlds of batch {self.number}"


class WorldStream:
    """Endless batches of worlds: each a function of the seed and its number."""

    def __init__(self, settings: WorldData, seed: int) -> None:
        self.settings, self.seed, self.number = settings, seed, 0

    def __iter__(self) -> Iterator[WorldBatch]:
        return self

    def __next__(self) -> WorldBatch:
        random = np.random.default_rng((self.seed, self.number))
        worlds = draw(self.settings.world, self.settings.worlds, random)
        batch = WorldBatch(worlds, len(worlds) * worlds.length, self.number)
        self.number += 1
        return batch

    def state(self) -> dict[str, Any]:
        """See `heedful.tasks.face.Batches`."""
        return {"number": self.number}

    def restore(self, state: dict[str, Any]) -> None:
        """See `heedful.tasks.face.Batches`."""
        self.number = state["number"]


@dataclass(frozen=True)
class Rollout:
    """What happened: places (worlds, time, inputs), actions and rewards (worlds, time)."""

    places: Tensor
    actions: Tensor
    rewards: Tensor


@torch.no_grad()
def play(model: PolicySnail, worlds: Any) -> Rollout:
    """Let the agent play worlds, step by step; its actions are drawn from its policy by the worlds' own luck."""
    state, memory = worlds.start(), model.start(len(worlds))
    last: tuple[Tensor, Tensor] | None = None
    read: list[Tensor] = []
    done: list[tuple[Tensor, Tensor]] = []
    for time in range(worlds.length):
        here = place(worlds, state, last, begins=time > 0 and worlds.ends(time - 1))
        logits, _, memory = model.step(here, memory)
        action = pick(logits.float().softmax(-1), worlds.choice[:, time])
        reward, state = worlds.act(time, state, action)
        last = action, reward
        read.append(here)
        done.append(last)
    actions, rewards = (torch.stack(parts, 1) for parts in zip(*done, strict=True))
    return Rollout(torch.stack(read, 1), actions, rewards)


class Acting(Task):
    """The worlds and the agent of one run."""

    unit = "world"

    settings: ActingSettings

    def prepare(self) -> None:
        """Say what strategies that people derived reach on the test worlds; there is nothing to store."""
        report = self.folder / "check.json"
        if report.exists():
            return
        shown = Table("strategy", title="What is to be reached on the test worlds")
        for metric in METRICS:
            shown.add_column(METRICS[metric], justify="right")
        for name, scores in self.baselines().items():
            shown.add_row(
                name, *(f"{score.value:.2f} ± {score.value - (score.low or 0):.2f}" for score in scores)
            )
        self.listener.say(shown)
        self.folder.mkdir(parents=True, exist_ok=True)
        report.write_text("{}\n", encoding="utf-8")

    def baselines(self) -> dict[str, list[Score]]:
        """The scores of every strategy that fits the worlds, on the test worlds."""
        bandits = self.settings.data.world.kind == "bandit"
        known = strategies.BANDITS if bandits else strategies.PROCESSES
        return {
            name: self._scores(
                (worlds, strategies.play(name, worlds, number))
                for number, worlds in enumerate(self._held_out(1, self.settings.data.test_worlds))
            )
            for name in known
        }

    def build(self) -> PolicySnail:
        """A new model, its weights from PyTorch's random generator."""
        return bandits_folder.make(self.settings.model, self.settings.data.world)

    def batches(self, seed: int) -> WorldStream:
        """The training worlds."""
        return WorldStream(self.settings.data, seed)

    def validation_batches(self) -> Iterable[WorldBatch]:
        """Nothing: the likelihood of actions that the agent chose itself says nothing."""
        return ()

    def loss(self, model: PolicySnail, batch: WorldBatch, objective: Objective) -> Loss:
        """Play, and give the loss of what was done."""
        data = self.settings.data
        played = play(model, batch.worlds)
        logits, values = model(played.places)
        result = policy_gradient(
            logits.float(),
            values.float(),
            played.actions,
            played.rewards,
            discount=data.discount,
            trace=data.trace,
            value_weight=data.value_weight,
            entropy_weight=data.entropy_weight,
        )
        return Loss(result.loss, result.likelihood, batch.tokens)

    def validate(self, model: PolicySnail, metric: str) -> float:
        """The agent's score on the validation worlds."""
        worlds = self._held_out(0, self.settings.data.validation_worlds)
        return self._score(metric, *_totals(self._played(model, worlds))).value

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """The agent's scores on the test worlds, with those of every strategy, on the same luck."""
        model = bandits_folder.read(folder).to(device)
        worlds = self._held_out(1, self.settings.data.test_worlds)
        return {"test": self._scores(self._played(model, worlds)), **self.baselines()}

    def save(self, model: PolicySnail, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder: what is shared and loaded."""
        bandits_folder.save(folder, model, self.settings.data.world, trained)

    def _played(self, model: PolicySnail, worlds: Iterable[Any]) -> Iterator[tuple[Worlds, Tensor]]:
        device = str(next(model.parameters()).device)
        for some in worlds:
            yield some, play(model, some.to(device)).rewards.cpu()

    def _held_out(self, which: int, count: int) -> Iterator[Any]:
        for number, first in enumerate(range(0, count, _TOGETHER)):
            random = np.random.default_rng((_SEED, which, number))
            yield draw(self.settings.data.world, min(_TOGETHER, count - first), random)

    def _scores(self, played: Iterable[tuple[Any, Tensor]]) -> list[Score]:
        totals = _totals(played)
        return [self._score(metric, *totals) for metric in self.settings.metrics]

    def _score(self, metric: str, rewards: np.ndarray, best: np.ndarray) -> Score:
        """A metric from each world's sum of rewards and what one who knows it expects, with its 95% interval."""
        unit = 1.0 if metric == "reward" else 100 / float(best.mean())
        mean = unit * float(rewards.mean())
        # Of a mean of independent worlds; for `share` of a ratio of means, by its linear part.
        spread = rewards if metric == "reward" else rewards - best * rewards.mean() / best.mean()
        half = 1.96 * unit * float(spread.std(ddof=1)) / len(rewards) ** 0.5
        signature = f"worlds:{len(rewards)}|seed:{_SEED}"
        return Score(metric, mean, mean - half, mean + half, signature, METRICS[metric])


def _totals(played: Iterable[tuple[Any, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Each world's sum of rewards, and what one who knows the world expects: (worlds,) each."""
    sums: list[tuple[Tensor, Tensor]] = [
        (rewards.double().sum(1), worlds.best()) for worlds, rewards in played
    ]
    rewards, best = (torch.cat(parts).double().numpy() for parts in zip(*sums, strict=True))
    return rewards, best
