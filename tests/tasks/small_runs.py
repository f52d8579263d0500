"""Who listens to a task in a test, models that are taught by it, what its loss hears, and runs that can be killed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from rich.console import Console
from torch import nn

from heedful.objectives import Loss
from heedful.tasks.face import Plain, Task
from heedful.training.progress import Progress
from heedful.training.run import Run
from heedful.training.trainer import Trainer


class Said(list[Any]):
    """A listener that keeps what it is told."""

    def say(self, message: Any) -> None:
        self.append(message)


class Quiet(Progress):
    """Says nothing; raises at the step given, as a kill would end the process."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__(Console(quiet=True))
        self.stop_at = stop_at

    def step(self, step: int) -> None:
        if step == self.stop_at:
            raise InterruptedError


def train(kind: type[Task], folder: Path, chosen: Any, stop_at: int | None = None) -> tuple[Any, Trainer]:
    """Train by a recipe, or go on: the task, and its trainer at the end."""
    run, quiet = Run(folder), Quiet(stop_at)
    task = kind(chosen, run.data, quiet)
    task.prepare()
    trainer = Trainer(chosen.training, task, run, quiet)
    trainer.train()
    return task, trainer


def taught(task: Task, steps: int, rate: float = 0.01, model: nn.Module | None = None) -> Any:
    """Train a model, a new one if none is given, in so many steps of Adam."""
    model = (model or task.build()).train()
    batches = task.batches(seed=0)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=rate)
    for _ in range(steps):
        loss = task.loss(model, next(batches), Plain())
        (loss.smoothed / loss.tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def assert_the_objective_is_heard(task: Task, r_drop: bool = True) -> None:
    """With equal draws of dropout the loss is a line in eps and in R-Drop's alpha; the likelihood stays."""
    model, batch = task.build().train(), next(task.batches(seed=0))

    def cost(**objective: float) -> Loss:
        torch.manual_seed(0)
        return task.loss(
            model, batch, SimpleNamespace(**{"label_smoothing": 0.0, "r_drop": 0.0, **objective})
        )

    lines = [[cost(label_smoothing=eps) for eps in (0.0, 0.1, 0.2)]]
    if r_drop:
        lines.append([cost(r_drop=alpha) for alpha in (1.0, 2.0, 3.0)])
    for one, two, three in lines:
        rise = two.smoothed - one.smoothed
        assert abs(rise.item()) > 1e-3
        torch.testing.assert_close(three.smoothed - two.smoothed, rise, rtol=1e-3, atol=1e-4)
        assert one.tokens == two.tokens == three.tokens
        torch.testing.assert_close(one.likelihood, three.likelihood)
