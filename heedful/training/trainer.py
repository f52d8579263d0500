"""The trainer: the loop around the steps, and the promise that a run may be killed at any instant and started again.

Everything the next step depends on is in a checkpoint. A validation's checkpoint is written *before* the validation,
so a run that is killed while validating validates again. After a resume the log is cut to what it was at the
checkpoint, and weights and log then grow exactly as they would have without the interruption.
"""

import math
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from heedful.errors import CheckpointError, TrainingError
from heedful.machine import resolve_device, resolve_precision
from heedful.tasks.face import Plain, Task
from heedful.training import averaging
from heedful.training.checkpoint import (
    TENSORS,
    Checkpoints,
    buffers_of,
    random_state,
    restore_random_state,
)
from heedful.training.progress import Progress
from heedful.training.run import Run
from heedful.training.schedule import Schedule
from heedful.training.settings import TrainingSettings
from heedful.training.step import Stepper, Totals
from heedful.training.tensorboard import Board
from heedful.training.workers import Workers, resolve_workers

Ending = Literal["finished", "patience", "interrupted"]


@dataclass(frozen=True)
class Outcome:
    """How a training ended: its last step, the best validation, and why it ended."""

    ending: Ending
    step: int
    best: float | None
    best_step: int
    signal: int | None = None


class Trainer:
    """Trains the model of a task in a run's folder, from the start or from the last checkpoint."""

    def __init__(self, settings: TrainingSettings, task: Task, run: Run, progress: Progress) -> None:
        self.settings, self.task, self.run, self.progress = settings, task, run, progress
        self.device = resolve_device(settings.device)
        self.precision = resolve_precision(settings.precision, self.device)
        count = resolve_workers(settings.workers, self.device, torch.get_num_threads())
        random.seed(settings.seed)
        np.random.seed(settings.seed % 2**32)  # noqa: NPY002 - libraries may use the global generator
        torch.manual_seed(settings.seed)
        self.model = task.build().to(self.device)
        self.parameters = dict(self.model.named_parameters())
        self.buffers = buffers_of(self.model)
        self.workers = Workers(count, self.model, task, settings, self.precision) if count > 1 else None
        self.stepper = Stepper(
            self.model,
            lambda batch: task.loss(self.model, batch, settings),
            settings,
            self.device,
            self.precision,
            task.unit,
            self.workers,
        )
        self.schedule = Schedule(
            settings.schedule, getattr(task.settings.model, "d_model", None), settings.steps
        )
        self.batches = task.batches(settings.seed)
        self.average = (
            averaging.MovingAverage(self.parameters, settings.ema_decay)
            if settings.averaging == "ema"
            else None
        )
        self.checkpoints = Checkpoints(run.checkpoints)
        self.totals = Totals()
        self.done = 0
        self.best: float | None = None
        self.best_step = 0
        self.waited = 0
        self.validation_due = False
        self.board: Board | None = None
        self._signal: int | None = None

    def train(self) -> Outcome:
        """Train until the last step, until patience ends, or until a signal; each leaves a checkpoint."""
        self._resume()
        with (
            self._board(),
            self._signals(),
            self.workers or nullcontext(),
            self.progress.training(self.done, self.settings.steps),
        ):
            while True:
                if self.validation_due:
                    self._validate()
                if self._signal is not None:
                    return self._outcome("interrupted")
                if self.settings.patience is not None and self.waited >= self.settings.patience:
                    return self._outcome("patience")
                if self.done == self.settings.steps:
                    return self._outcome("finished")
                self._train_until_next_validation()

    def _train_until_next_validation(self) -> None:
        settings = self.settings
        self.model.train()
        began, tokens = time.perf_counter(), 0
        while True:
            self.done += 1
            group = [next(self.batches) for _ in range(settings.accumulate)]
            rate = self.schedule.rate(self.done)
            self.stepper.step(self.done, rate, group, self.totals)
            if self.average is not None:
                self.average.update(self.done)
            tokens += sum(batch.tokens for batch in group)
            last = self.done == settings.steps
            if self.done % settings.log_every == 0 or last:
                self._log(rate, group[0].epoch, tokens / (time.perf_counter() - began))
                began, tokens = time.perf_counter(), 0
            self.progress.step(self.done)
            if self.done % settings.validate_every == 0 or last:
                self.validation_due = True
                self._write_checkpoint()
                return
            if self.done % settings.checkpoint_every == 0 or self._signal is not None:
                self._write_checkpoint()
                if self._signal is not None:
                    return

    def _log(self, rate: float, epoch: int, speed: float) -> None:
        means = self.totals.means()
        self.run.log.add(
            event="training",
            step=self.done,
            epoch=epoch,
            **means,
            learning_rate=rate,
            tokens=self.totals.tokens,
        )
        self.run.timing.add(
            step=self.done,
            target_tokens_per_second=round(speed),
            resident_mb=resident_mb(),
            splits=self.totals.splits,
        )
        if self.board is not None:
            self.board.add(self.done, **means, learning_rate=rate, target_tokens_per_second=speed)
        self.progress.loss(self.done, means["loss"], rate, speed, self.totals.splits)
        self.totals = Totals()

    def _validate(self) -> None:
        with averaging.weights_of(self.parameters, self._averaged()):
            self.model.eval()
            with self.progress.validating(self.done):
                loss = self._validation_loss()
                metric = self.settings.metric
                score = self._score(metric, loss)
            lower = metric == "loss" or self.task.settings.lower_is_better(metric)
            improved = self.best is None or (score < self.best if lower else score > self.best)
            if improved:
                self.best, self.best_step, self.waited = score, self.done, 0
                self.task.save(self.model, self.run.model, {"step": self.done, "validation": {metric: score}})
            else:
                self.waited += 1
            self.task.validated(self.model, loss)
        self.schedule.validated(improved)
        likelihood = {} if loss is None else {"nll": loss}
        self.run.log.add(event="validation", step=self.done, **likelihood, **{metric: score}, best=improved)
        if self.board is not None:
            shown = {f"validation/{name}": value for name, value in {**likelihood, metric: score}.items()}
            self.board.add(self.done, **shown)
        self.progress.validated(self.done, loss, metric, score, improved)
        self.validation_due = False

    def _score(self, metric: str, loss: float | None) -> float:
        score = loss if metric == "loss" else self.task.validate(self.model, metric)
        if score is None:
            raise TrainingError(
                "The validation data hold nothing to predict, so that there is no loss to compare by."
            )
        if math.isnan(score):
            raise TrainingError(
                f"The {metric} of the validation at step {self.done:,} is not a number, which no model can be best by. "
                "If the loss grew before, begin a new run with a lower training.schedule.rate."
            )
        return score

    @torch.no_grad()
    def _validation_loss(self) -> float | None:
        """The negative log-likelihood of a validation prediction, in nats; None if the task has no such."""
        likelihood, tokens = 0.0, 0
        for batch in self.task.validation_batches():
            loss = self.task.loss(self.model, batch.to(self.device), Plain())
            likelihood += float(loss.likelihood)
            tokens += loss.tokens
        return likelihood / tokens if tokens else None

    def _averaged(self) -> dict[str, Tensor] | None:
        if self.average is not None:
            return self.average.average
        if self.settings.averaging == "checkpoints":
            files = [self.checkpoints.path(step) / TENSORS for step in self._validation_steps()]
            return averaging.mean_of_checkpoints(files, "model/")
        return None

    def _validation_steps(self) -> list[int]:
        """The steps of the last validations whose checkpoints are averaged."""
        every, last = self.settings.validate_every, self.settings.steps
        steps = [
            step
            for step in self.checkpoints.steps()
            if step <= self.done and (step % every == 0 or step == last)
        ]
        return steps[-self.settings.average_last :]

    def _write_checkpoint(self) -> None:
        tensors = {f"model/{name}": parameter.detach() for name, parameter in self.parameters.items()}
        tensors |= {f"buffer/{name}": tensor for name, tensor in self.buffers.items()}
        tensors |= self.stepper.state()
        if self.average is not None:
            tensors |= {f"average/{name}": tensor for name, tensor in self.average.average.items()}
        random_tensors, random_numbers = random_state()
        state = {
            "step": self.done,
            "batches": self.batches.state(),
            "schedule": self.schedule.state(),
            "random": random_numbers,
            "totals": vars(self.totals),
            "best": self.best,
            "best_step": self.best_step,
            "waited": self.waited,
            "validation_due": self.validation_due,
            "log": self.run.log.length(),
        }
        self.checkpoints.write(self.done, tensors | random_tensors, state)
        self.checkpoints.prune(self._kept)

    def _kept(self, steps: list[int]) -> set[int]:
        kept = set(steps[-self.settings.keep :])
        return kept | set(self._validation_steps()) if self.settings.averaging == "checkpoints" else kept

    def _resume(self) -> None:
        steps = self.checkpoints.steps()
        if not steps:
            self.run.log.cut(0)
            return
        tensors, state = self.checkpoints.read(steps[-1])
        try:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(tensors[f"model/{name}"])
                    if self.average is not None:
                        self.average.average[name].copy_(tensors[f"average/{name}"])
                for name, buffer in self.buffers.items():
                    buffer.copy_(tensors[f"buffer/{name}"])
            self.stepper.restore(tensors)
            self.batches.restore(state["batches"])
            self.schedule.restore(state["schedule"])
            restore_random_state(tensors, state["random"])
            self.totals = Totals(**state["totals"])
            self.done, self.best, self.best_step = state["step"], state["best"], state["best_step"]
            self.waited, self.validation_due = state["waited"], state["validation_due"]
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.checkpoints.path(steps[-1])} does not belong to this recipe: {error}. "
                "Start a new run with --run, or delete the folder."
            ) from error
        self.run.log.cut(state["log"])
        self.progress.say(f"Going on from step {self.done:,}.")

    def _outcome(self, ending: Ending) -> Outcome:
        return Outcome(ending, self.done, self.best, self.best_step, self._signal)

    @contextmanager
    def _board(self) -> Iterator[None]:
        """Keep TensorBoard's files open, if they are wanted."""
        if self.settings.tensorboard:
            self.board = Board(self.run.folder / "tensorboard", self.done + 1)
        try:
            yield
        finally:
            if self.board is not None:
                self.board.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the first Ctrl-C or SIGTERM end the training after the current step; a second one ends it at once."""
        before: dict[int, Any] = {}

        def note(number: int, _frame: FrameType | None) -> None:
            self._signal = number
            signal.signal(number, before[number])
            self.progress.say("Stopping: writing a checkpoint first. The same command goes on from it.")

        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, note)
        except ValueError:  # not in the main thread: signals are someone else's
            pass
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def resident_mb() -> int:
    """The most memory that this process has held so far, in MiB."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
