"""Who listens to a task in a test, and runs that can be killed."""

from pathlib import Path
from typing import Any

from rich.console import Console

from heedful.tasks.face import Task
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
