"""Small worlds to act in, many at a time: Bernoulli bandits and random tabular Markov decision processes.

    world = draw(BanditSettings(arms=5, pulls=10), count=1024, random=np.random.default_rng(1))
    state = world.start()
    for time in range(world.length):
        reward, state = world.act(time, state, actions)

A draw holds the worlds *and* all the luck in them: which uniform number decides a payout, and by which an agent chooses
among its actions. What happens is then a plain function of the actions, on any device, whoever acts; agents can be
compared on the same luck, and a training that is resumed meets the same worlds.

The distributions are those of Duan et al. 2016 ("RL^2", sections 3.1 and 3.2), which Mishra et al. 2018 take over.
Shapes: everything has the worlds first, (worlds, ...); time counts from 0 over all episodes.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from heedful.settings import Settings


class BanditSettings(Settings):
    """Bernoulli bandits: an arm pays 1 with a probability of its own, drawn uniformly from [0, 1]."""

    kind: Literal["bandit"] = "bandit"
    arms: int = Field(default=5, ge=2, description="arms of a bandit")
    pulls: int = Field(default=10, ge=1, description="pulls in all")


class MarkovSettings(Settings):
    """Random Markov decision processes: flat Dirichlet transitions, rewards N(mu, 1) with mu drawn from N(1, 1)."""

    kind: Literal["markov"] = "markov"
    states: int = Field(default=10, ge=1, description="states")
    actions: int = Field(default=5, ge=2, description="actions in each state")
    horizon: int = Field(default=10, ge=1, description="steps of an episode, which begins in state 0")
    episodes: int = Field(default=10, ge=1, description="episodes in the same world")


WorldSettings = Annotated[BanditSettings | MarkovSettings, Field(discriminator="kind")]


@dataclass(frozen=True)
class Worlds:
    """Several worlds of one kind and all the luck in them.

    choice: (worlds, length), uniform: by which a random agent chooses
    """

    choice: Tensor

    @property
    def length(self) -> int:
        """How many actions there are in all."""
        return self.choice.shape[1]

    def __len__(self) -> int:
        return len(self.choice)

    def to(self, device: str) -> Self:
        """The same worlds on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Any) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(
            **{name: change(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        )


@dataclass(frozen=True)
class Bandits(Worlds):
    """Bernoulli bandits; there is one state, and every pull is an episode.

    means: (worlds, arms), the probability that an arm pays
    luck: (worlds, length), uniform: at each time the arm pays whose mean lies above
    """

    means: Tensor
    luck: Tensor

    states = 0
    """How many states an agent can tell apart, 0 where there is but one."""

    @property
    def actions(self) -> int:
        """How many actions there are."""
        return self.means.shape[1]

    def start(self) -> Tensor:
        """Give the first states (worlds,)."""
        return torch.zeros(len(self), dtype=torch.long, device=self.means.device)

    def act(self, time: int, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Do `action` (worlds,) at a time: rewards (worlds,) and the next states (worlds,)."""
        mean = self.means.gather(1, action.unsqueeze(1)).squeeze(1)
        return (self.luck[:, time] < mean).to(self.means.dtype), state

    def ends(self, time: int) -> bool:
        """Whether an episode ends with the action at a time."""
        return True

    def best(self) -> Tensor:
        """The expected sum of rewards (worlds,) of whoever knows the world."""
        return self.means.amax(1) * self.length


@dataclass(frozen=True)
class MarkovProcesses(Worlds):
    """Markov decision processes with finite horizon.

    means: (worlds, states, actions), the expected reward
    transitions: (worlds, states, actions, states), the probability of the next state
    noise: (worlds, length), standard normal: what is added to the expected reward
    luck: (worlds, length), uniform: which of the next states it is
    """

    means: Tensor
    transitions: Tensor
    noise: Tensor
    luck: Tensor
    horizon: int

    @property
    def states(self) -> int:
        """How many states an agent can tell apart."""
        return self.means.shape[1]

    @property
    def actions(self) -> int:
        """How many actions there are."""
        return self.means.shape[2]

    def start(self) -> Tensor:
        """Give the first states (worlds,)."""
        return torch.zeros(len(self), dtype=torch.long, device=self.means.device)

    def act(self, time: int, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Do `action` (worlds,) at a time: rewards (worlds,) and the next states (worlds,)."""
        worlds = torch.arange(len(self), device=state.device)
        reward = self.means[worlds, state, action] + self.noise[:, time]
        if self.ends(time):
            return reward, torch.zeros_like(state)
        return reward, pick(self.transitions[worlds, state, action], self.luck[:, time])

    def ends(self, time: int) -> bool:
        """Whether an episode ends with the action at a time."""
        return (time + 1) % self.horizon == 0

    def best(self) -> Tensor:
        """The expected sum of rewards (worlds,) of whoever knows the world: by value iteration."""
        _, value = plan(self.means, self.transitions, self.horizon)
        return value[:, 0] * (self.length // self.horizon)


def draw(settings: BanditSettings | MarkovSettings, count: int, random: np.random.Generator) -> Any:
    """Draw `count` worlds: `Bandits` or `MarkovProcesses`."""
    if settings.kind == "bandit":
        length = settings.pulls
        return Bandits(
            choice=_tensor(random.random((count, length))),
            means=_tensor(random.random((count, settings.arms))),
            luck=_tensor(random.random((count, length))),
        )
    states, actions, length = settings.states, settings.actions, settings.horizon * settings.episodes
    return MarkovProcesses(
        choice=_tensor(random.random((count, length))),
        means=_tensor(random.normal(1.0, 1.0, (count, states, actions))),
        transitions=_tensor(random.dirichlet(np.ones(states), (count, states, actions))),
        noise=_tensor(random.standard_normal((count, length))),
        luck=_tensor(random.random((count, length))),
        horizon=settings.horizon,
    )


def pick(probabilities: Tensor, luck: Tensor) -> Tensor:
    """Choose by uniform numbers luck (...,) among probabilities (..., choices) -> (...,)."""
    chosen = (probabilities.cumsum(-1) <= luck.unsqueeze(-1)).sum(-1)
    # The sum may be a little below one.
    return chosen.clamp(max=probabilities.shape[-1] - 1)


def plan(means: Tensor, transitions: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Value iteration over a finite horizon: the best action of each step and state, and the value of each state.

    means (worlds, states, actions), transitions (worlds, states, actions, states) -> actions (worlds, horizon, states)
    and the values at the first step (worlds, states)
    """
    value = means.new_zeros(means.shape[:2])
    actions: list[Tensor] = []
    for _ in range(horizon):
        value, action = (means + torch.einsum("wsan,wn->wsa", transitions, value)).max(-1)
        actions.append(action)
    return torch.stack(actions[::-1], 1), value


def places(observed: int, actions: int) -> int:
    """How many numbers an agent reads before it acts: see `place`."""
    return observed + actions + 2


def place(world: Any, state: Tensor, last: tuple[Tensor, Tensor] | None, begins: bool) -> Tensor:
    """What an agent reads before it acts in worlds: see `read_place`."""
    return read_place(state, world.states, world.actions, last, begins)


def read_place(
    state: Tensor, states: int, actions: int, last: tuple[Tensor, Tensor] | None, begins: bool
) -> Tensor:
    """What an agent reads before it acts: (worlds, states + actions + 2).

    The state (worlds,), one-hot, where there is more than one; then its last action, one-hot, the last reward, and
    whether an episode has just ended (Duan et al. 2016, section 2.2). `last` is action and reward, None at the very
    beginning, where these are zeros.
    """
    count, device = len(state), state.device
    parts: list[Tensor] = []
    if states:
        parts.append(one_hot(state, states).float())
    if last is None:
        parts.append(torch.zeros(count, actions + 1, device=device))
    else:
        action, reward = last
        parts += [one_hot(action, actions).float(), reward.unsqueeze(1)]
    parts.append(torch.full((count, 1), float(begins and last is not None), device=device))
    return torch.cat(parts, 1)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
