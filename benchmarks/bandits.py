"""SNAIL beside the strategies that people derived, pull by pull, as a figure and a table.

    python benchmarks/bandits.py runs/bandits [runs/bandits-100 ...] --output bandits.svg [--worlds 5000]

Every player meets the same worlds with the same luck in them. A run of decision processes is drawn by episodes. The
bands are 95% intervals of the mean over worlds. The run's own test worlds are others than those that it was trained and
validated on; these here are drawn with a seed of their own.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

import heedful
from heedful.data.environments import MarkovSettings, draw
from heedful.tasks import strategies
from heedful.tasks.bandits import play

mpl.use("svg")
from matplotlib import pyplot

SEED = 54321
TOGETHER = 500
STYLES = {
    "SNAIL": ("#c1121f", 2.2),
    "random": ("#8d99ae", 1.2),
    "epsilon-greedy": ("#bc6c25", 1.2),
    "ucb1": ("#2a9d8f", 1.4),
    "thompson": ("#264653", 1.4),
    "gittins": ("#7b2cbf", 1.4),
    "psrl": ("#2a9d8f", 1.4),
}


def rewards_of(folder: str, count: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """The world's settings, and each player's rewards (worlds, time)."""
    agent = heedful.load(folder)
    known = strategies.PROCESSES if isinstance(agent.world, MarkovSettings) else strategies.BANDITS
    rewards: dict[str, list[torch.Tensor]] = {name: [] for name in ("SNAIL", *known)}
    for number, first in enumerate(range(0, count, TOGETHER)):
        worlds = draw(agent.world, min(TOGETHER, count - first), np.random.default_rng((SEED, number)))
        rewards["SNAIL"].append(play(agent.model, worlds).rewards)
        for name in known:
            rewards[name].append(strategies.play(name, worlds, number))
    return agent.world, {name: torch.cat(parts) for name, parts in rewards.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="runs or model folders of the task bandits")
    parser.add_argument("--worlds", type=int, default=5000)
    parser.add_argument("--output", type=Path, default=Path("bandits.svg"))
    choices = parser.parse_args()
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "heedful"  # the same figure gives the same file
    figure, axes = pyplot.subplots(
        1, len(choices.runs), figsize=(5.5 * len(choices.runs), 3.8), squeeze=False, layout="constrained"
    )
    for axis, folder in zip(axes[0], choices.runs, strict=True):
        world, rewards = rewards_of(folder, choices.worlds)
        process = isinstance(world, MarkovSettings)
        step = world.horizon if process else 1
        title = (
            f"{world.states} states, {world.actions} actions, {world.episodes} episodes of {world.horizon}"
            if process
            else f"{world.arms} arms, {world.pulls} pulls"
        )
        print(f"{title}; {choices.worlds:,} worlds")
        for name, of_one in rewards.items():
            each = of_one.double().unflatten(1, (-1, step)).sum(-1)
            mean = each.mean(0).numpy()
            half = 1.96 * each.std(0).numpy() / len(each) ** 0.5
            color, width = STYLES[name]
            places = np.arange(1, len(mean) + 1)
            axis.plot(places, mean, color=color, linewidth=width, label=name)
            axis.fill_between(places, mean - half, mean + half, color=color, alpha=0.15, linewidth=0)
            total = of_one.double().sum(1)
            error = 1.96 * float(total.std()) / len(total) ** 0.5
            print(f"  {name:15} {float(total.mean()):9.3f} ± {error:.3f}")
        axis.set_title(title)
        axis.set_xlabel("episode" if process else "pull")
        axis.set_ylabel(f"mean reward of {'an episode' if process else 'a pull'}")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.savefig(choices.output, metadata={"Date": None})
    print(choices.output)


if __name__ == "__main__":
    main()
