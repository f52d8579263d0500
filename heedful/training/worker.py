"""One of the processes that `heedful.training.workers` starts: it computes gradients when it is asked to."""

import gc
import pickle
import random
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.table import Table

from heedful.machine import prepare
from heedful.objectives import Loss
from heedful.tasks.face import Batch, Task
from heedful.training.checkpoint import buffers_of
from heedful.training.gradients import Sums, compute_gradients
from heedful.training.settings import TrainingSettings
from heedful.training.shared_memory import Memory


class Order(NamedTuple):
    """What a worker is to compute: its rows of the batches of a step, in so many parts, of so many tokens in all."""

    step: int
    batches: Sequence[Batch]
    tokens: int
    parts: int


class Reply(NamedTuple):
    """What a worker found; its gradients lie in the shared memory, but of the parameters that it has none of."""

    sums: Sums
    without: frozenset[str]


class Silent:
    """The listener of a worker: the first one has told it all."""

    def say(self, message: str | Table) -> None:
        """Pass it over."""


class Worker:
    """One of the other workers: computes gradients when it is asked to.

    number: which, from 1; task, recipe, folder: its class, and what it is made from; the rest as in `Workers`
    """

    def __init__(
        self,
        memory: int,
        number: int,
        count: int,
        threads: int,
        precision: str,
        settings: TrainingSettings,
        task: Callable[[Any, Path, Silent], Task],
        recipe: Any,
        folder: Path,
    ) -> None:
        prepare(threads)
        self.number, self.settings, self.autocast = number, settings, precision == "bfloat16"
        self.task = task(recipe, folder, Silent())
        self.task.prepare()
        self.model = self.task.build().train()
        self.memory = Memory(memory, self.model, count)
        self.memory.hold_weights_of(self.model)
        self.buffers = buffers_of(self.model)

    def answer(self, order: Order) -> Reply | Exception:
        """Leave the gradient of the batches in the shared memory, or say what was in the way."""
        seed(self.settings.seed, order.step, self.number)
        for name, buffer in self.buffers.items():
            buffer.copy_(self.memory.buffers[name])
        parameters = dict(self.model.named_parameters())
        try:
            sums = compute_gradients(
                self._loss, order.batches, order.tokens, order.parts, "cpu", self.autocast
            )
            for name, gradient in self.memory.gradients[self.number - 1].items():
                found = parameters[name].grad
                if found is not None:
                    gradient.copy_(found)
            return Reply(sums, frozenset(name for name in parameters if parameters[name].grad is None))
        except Exception as error:  # noqa: BLE001 -- raised by the first worker
            return _portable(error)
        finally:
            for parameter in parameters.values():
                parameter.grad = None

    def _loss(self, batch: Batch) -> Loss:
        return self.task.loss(self.model, batch, self.settings)


def seed(*numbers: int) -> None:
    """Set every random generator to a function of the numbers."""
    first, second, third = np.random.SeedSequence(numbers).generate_state(3).tolist()
    torch.manual_seed(first)
    np.random.seed(second)  # noqa: NPY002 -- libraries may use the global generator
    random.seed(third)


def serve(channel: int, memory: int) -> None:
    """Answer what comes through a socket until it ends: the body of a process."""
    connection = Connection(channel)
    # When the other end is gone there is no one left to work for.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        work = connection.recv_bytes()
        try:
            worker = Worker(memory, *pickle.loads(work))  # noqa: S301 -- from the process that started this one
        except Exception as error:  # noqa: BLE001 -- raised by the first worker, in its first step
            worker = _portable(error)
        while True:
            order = connection.recv_bytes()
            reply = worker.answer(pickle.loads(order)) if isinstance(worker, Worker) else worker  # noqa: S301
            connection.send_bytes(pickle.dumps(reply))
            if isinstance(reply, Exception):
                gc.collect()  # what memory did not suffice for


def _portable(error: Exception) -> Exception:
    """An error that can be sent, with a note of where it came up."""
    where = "".join(traceback.format_exception(error))
    error.add_note(f"It came up in a worker:\n{where}")
    try:
        return pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # noqa: BLE001 -- whatever an exception of another library does
        return RuntimeError(where)
