"""The model folder of an agent, and the agent that is loaded from it: it says which action to try next.

agent = heedful.load(folder)
print(agent.predict([(2, 1.0), (0, 0.0)]))       # after arm 2 paid and arm 0 did not
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from heedful.data.environments import BanditSettings, MarkovSettings, WorldSettings, places, read_place
from heedful.errors import DataError
from heedful.machine import resolve_device
from heedful.models.snail import PolicySnail, PolicySnailSettings
from heedful.tasks.model_folder import ModelConfig, opened, read_model, write


class ActingConfig(ModelConfig):
    """What config.json holds of an agent."""

    use = """    echo '2:1 0:0' | heedful predict PATH

with what was done so far, `action:reward` (in worlds with states `state:action:reward`, and at the end the state it
stands in). In Python:

    import heedful
    agent = heedful.load("PATH")
    agent.predict([(2, 1.0), (0, 0.0)])
"""

    task: Literal["bandits"] = Field(default="bandits", description="what the model does")
    model: PolicySnailSettings = Field(description="the network")
    world: WorldSettings = Field(description="the worlds it was trained in")

    def facts(self) -> dict[str, Any]:
        """See `ModelConfig`."""
        return {"world": self.world.model_dump()}


@dataclass(frozen=True)
class Advice:
    """What to do next: the likeliest action, and the probability of each."""

    action: int
    probabilities: tuple[float, ...]

    def __str__(self) -> str:
        return self.line

    @property
    def line(self) -> str:
        """See `heedful.tasks.face.Answer`."""
        return str(self.action)

    def to_json(self) -> dict[str, Any]:
        """With all that is known of it, ready for JSON."""
        return {"action": self.action, "probabilities": list(self.probabilities)}


class Agent:
    """An agent that learnt to explore."""

    def __init__(self, model: PolicySnail, world: BanditSettings | MarkovSettings) -> None:
        self.model, self.world = model, world
        self.states, self.actions, self.length = sizes(world)

    def predict(
        self, history: Sequence[tuple[int, float]] | Sequence[tuple[int, int, float]], state: int = 0
    ) -> Advice:
        """Say what to do next.

        history: of bandits (action, reward), of decision processes (state, action, reward), the oldest first
        state: where a decision process stands now

        Raises DataError for actions and states that there are not.
        """
        steps: list[tuple[int, int, float]] = []
        for entry in history:
            if len(entry) != (3 if self.states else 2):
                expected = "state, action, reward" if self.states else "action, reward"
                raise DataError(f"An entry of the history is ({expected}), got {tuple(entry)}.")
            *before, action, reward = entry
            steps.append((int(before[0]) if before else 0, int(action), float(reward)))
        for at, action, _ in [*steps, (state, 0, 0.0)]:
            if not 0 <= action < self.actions or not 0 <= at < max(self.states, 1):
                raise DataError(
                    f"This agent knows actions 0 to {self.actions - 1}"
                    f"{f' and states 0 to {self.states - 1}' if self.states else ''}, got action {action}"
                    f"{f' in state {at}' if self.states else ''}."
                )
        horizon = self.world.horizon if isinstance(self.world, MarkovSettings) else 1
        read = [
            read_place(
                torch.tensor([at]),
                self.states,
                self.actions,
                (torch.tensor([steps[time - 1][1]]), torch.tensor([steps[time - 1][2]])) if time else None,
                begins=time > 0 and time % horizon == 0,
            )
            for time, (at, _, _) in enumerate([*steps, (state, 0, 0.0)])
        ]
        device = next(self.model.parameters()).device
        with torch.no_grad():
            logits, _ = self.model(torch.stack(read, 1).to(device))
        probabilities = logits[0, -1].double().softmax(-1)
        return Advice(int(probabilities.argmax()), tuple(probabilities.tolist()))

    def stream(self, lines: Iterable[str]) -> Iterator[Advice]:
        """Answer lines of what was done: "2:1 0:0", or "0:2:1.3 4:0:0.2 7" with states; an empty one at first."""
        for number, line in enumerate(lines, 1):
            words = line.split()
            try:
                state = int(words.pop()) if self.states and words else 0
                history: Any = [
                    (*map(int, word.split(":")[:-1]), float(word.rsplit(":", 1)[-1])) for word in words
                ]
            except ValueError:
                form = "state:action:reward ... state" if self.states else "action:reward ..."
                raise DataError(f"Line {number} is not of the form {form}: {line.strip()!r}.") from None
            yield self.predict(history, state)


def sizes(world: BanditSettings | MarkovSettings) -> tuple[int, int, int]:
    """How many states (0 for one), how many actions, and how long a sequence is."""
    if isinstance(world, BanditSettings):
        return 0, world.arms, world.pulls
    return world.states, world.actions, world.horizon * world.episodes


def make(settings: PolicySnailSettings, world: BanditSettings | MarkovSettings) -> PolicySnail:
    """A new model for a kind of world."""
    states, actions, length = sizes(world)
    return PolicySnail(settings, places(states, actions), actions, length)


def save(folder: str | Path, model: PolicySnail, world: Any, trained: Mapping[str, Any]) -> None:
    """Write a model folder; raises ModelFolderError where it cannot be written."""
    write(folder, ActingConfig(model=model.settings, world=world, trained=dict(trained)), model)


def read(path: str | Path) -> PolicySnail:
    """Read the model of a folder; raises ModelFolderError where it is missing, damaged or of another task."""
    return _read(path)[0]


def load(path: str | Path, device: str = "auto") -> Agent:
    """Load a model folder, or the model of a run folder, ready to act. Raises ModelFolderError."""
    model, config = _read(path)
    return Agent(model.to(resolve_device(device)), config.world)


def _read(path: str | Path) -> tuple[PolicySnail, ActingConfig]:
    folder, config = opened(path, ActingConfig)
    return read_model(folder, lambda: make(config.model, config.world)), config
