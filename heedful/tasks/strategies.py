"""What a meta-learnt agent is compared with: strategies that people derived for bandits and decision processes.

    random          every action is equally likely
    epsilon-greedy  the action with the best mean so far, or, with probability epsilon, any
    ucb1            mean + c sqrt(2 ln t / n), c = 1 (Auer et al. 2002, section 2, figure 1); first each arm once
    thompson        the best arm of means drawn from their Beta posteriors (Thompson 1933)
    gittins         the arm of the greatest Gittins index, for rewards discounted by gamma (Gittins 1979)
    psrl            the best plan for a decision process drawn from its posterior at each episode (Strens 2000; Osband
                    et al. 2013)

Bandits' arms have Beta(1, 1) priors, processes flat Dirichlet transitions and rewards N(mu, 1), mu ~ N(1, 1): the
distributions that the worlds are drawn from. Each strategy plays many worlds at a time.
"""

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.data.environments import Bandits, pick, plan


class Strategy(ABC):
    """Plays `worlds`; what it draws, it draws from `random`."""

    def __init__(self, worlds: Any, random: torch.Generator) -> None:
        self.worlds, self.random = worlds, random

    @abstractmethod
    def choose(self, time: int, state: Tensor) -> Tensor:
        """Give the actions (worlds,)."""

    def learn(self, time: int, state: Tensor, action: Tensor, reward: Tensor, following: Tensor) -> None:  # noqa: B027
        """Take note of what an action brought; all are (worlds,)."""

    def any_action(self) -> Tensor:
        """Give an action (worlds,) of each world, all equally likely."""
        return torch.randint(self.worlds.actions, (len(self.worlds),), generator=self.random)


class Random(Strategy):
    """See above."""

    def choose(self, time: int, state: Tensor) -> Tensor:
        """See `Strategy`."""
        return self.any_action()


class _Counting(Strategy):
    """Counts the pulls and payouts of each arm, (worlds, arms)."""

    def __init__(self, worlds: Any, random: torch.Generator) -> None:
        super().__init__(worlds, random)
        self.pulls = torch.zeros_like(worlds.means, dtype=torch.float64)
        self.payouts = torch.zeros_like(self.pulls)

    def learn(self, time: int, state: Tensor, action: Tensor, reward: Tensor, following: Tensor) -> None:
        """See `Strategy`."""
        self.pulls.scatter_add_(1, action.unsqueeze(1), torch.ones_like(self.pulls[:, :1]))
        self.payouts.scatter_add_(1, action.unsqueeze(1), reward.double().unsqueeze(1))

    def greatest(self, value: Tensor) -> Tensor:
        """The arm (worlds,) of the greatest value (worlds, arms), among equals any."""
        best = (value == value.amax(1, keepdim=True)).double()
        luck = torch.rand(len(best), generator=self.random, dtype=torch.float64)
        return pick(best / best.sum(1, keepdim=True), luck)


class EpsilonGreedy(_Counting):
    """See above; an arm that was never pulled counts as its prior mean, 1/2."""

    epsilon = 0.1

    def choose(self, time: int, state: Tensor) -> Tensor:
        """See `Strategy`."""
        greedy = self.greatest((self.payouts + 1) / (self.pulls + 2))
        explores = torch.rand(len(greedy), generator=self.random) < self.epsilon
        return torch.where(explores, self.any_action(), greedy)


class UCB1(_Counting):
    """See above."""

    def choose(self, time: int, state: Tensor) -> Tensor:
        """See `Strategy`."""
        bound = self.payouts / self.pulls + (2 * np.log(max(time, 1)) / self.pulls).sqrt()
        return self.greatest(torch.where(self.pulls == 0, torch.inf, bound))


class Thompson(_Counting):
    """See above."""

    def choose(self, time: int, state: Tensor) -> Tensor:
        """See `Strategy`."""
        won, lost = self.payouts + 1, self.pulls - self.payouts + 1
        # A Beta number is one Gamma number's share of two.
        first, second = (torch._standard_gamma(shape, self.random) for shape in (won, lost))  # pyright: ignore[reportPrivateImportUsage]
        return self.greatest(first / (first + second))


class Gittins(_Counting):
    """See above."""

    discount = 0.99

    def choose(self, time: int, state: Tensor) -> Tensor:
        """See `Strategy`."""
        table = torch.from_numpy(gittins_indices(self.worlds.length, self.discount))
        lost = self.pulls - self.payouts
        return self.greatest(table[self.payouts.long(), lost.long()])


@cache
def gittins_indices(pulls: int, discount: float, ahead: int = 200, steps: int = 300) -> np.ndarray:
    """The Gittins index of an arm by its payouts and failures: (pulls, pulls), above the diagonal of sums 0.

    The index is the sure payment per pull that one would rather take for ever than go on with the arm. For each of
    `steps` payments between 0 and 1 the value of going on is found backwards, from `pulls` + `ahead` pulls on, where
    the arm's mean is taken for certain.
    """
    payments = (np.arange(steps) + 0.5) / steps
    retired = payments / (1 - discount)
    last = pulls + ahead
    won = np.arange(last + 1)
    mean = (won + 1) / (last + 2)
    value = np.maximum(mean[:, None] / (1 - discount), retired)  # (payouts, payments) after `last` pulls
    indices = np.zeros((pulls, pulls))
    for pulled in range(last - 1, -1, -1):
        mean = ((np.arange(pulled + 1) + 1) / (pulled + 2))[:, None]
        going_on = mean * (1 + discount * value[1:]) + (1 - mean) * discount * value[:-1]
        value = np.maximum(going_on, retired)
        if pulled < pulls:
            payouts = np.arange(pulled + 1)
            indices[payouts, pulled - payouts] = (going_on > retired).sum(1) / steps
    return indices


class PosteriorSampling(Strategy):
    """PSRL: see above."""

    def __init__(self, worlds: Any, random: torch.Generator) -> None:
        super().__init__(worlds, random)
        self.visits = torch.zeros_like(worlds.transitions, dtype=torch.float64)
        self.pulls = torch.zeros_like(worlds.means, dtype=torch.float64)
        self.sums = torch.zeros_like(self.pulls)
        self.policy: Tensor

    def choose(self, time: int, state: Tensor) -> Tensor:
        """See `Strategy`."""
        within = time % self.worlds.horizon
        if within == 0:
            self.policy = self._plan()
        return self.policy[torch.arange(len(state)), within, state]

    def learn(self, time: int, state: Tensor, action: Tensor, reward: Tensor, following: Tensor) -> None:
        """See `Strategy`."""
        worlds = torch.arange(len(state))
        self.pulls[worlds, state, action] += 1
        self.sums[worlds, state, action] += reward.double()
        if not self.worlds.ends(time):
            self.visits[worlds, state, action, following] += 1

    def _plan(self) -> Tensor:
        # A reward's mean has the prior N(1, 1) and noise of variance 1: each is worth one observation.
        precision = self.pulls + 1
        noise = torch.randn(precision.shape, generator=self.random, dtype=torch.float64)
        means = (self.sums + 1) / precision + noise / precision.sqrt()
        gamma = torch._standard_gamma(self.visits + 1, self.random)  # pyright: ignore[reportPrivateImportUsage]
        return plan(means, gamma / gamma.sum(-1, keepdim=True), self.worlds.horizon)[0]


BANDITS: dict[str, type[Strategy]] = {
    "random": Random,
    "epsilon-greedy": EpsilonGreedy,
    "ucb1": UCB1,
    "thompson": Thompson,
    "gittins": Gittins,
}
PROCESSES: dict[str, type[Strategy]] = {"random": Random, "psrl": PosteriorSampling}


def play(strategy: str, worlds: Any, seed: int) -> Tensor:
    """Let a strategy, by its name, play worlds: rewards (worlds, time)."""
    known = BANDITS if isinstance(worlds, Bandits) else PROCESSES
    player = known[strategy](worlds, torch.Generator().manual_seed(seed))
    state = worlds.start()
    rewards: list[Tensor] = []
    for time in range(worlds.length):
        action = player.choose(time, state)
        reward, following = worlds.act(time, state, action)
        player.learn(time, state, action, reward, following)
        rewards.append(reward)
        state = following
    return torch.stack(rewards, 1)
