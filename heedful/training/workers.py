"""Data-parallel training on one machine: several processes compute the gradient of each step, a part of the batch each.

The loss of a batch is a sum over its rows, so its gradient is the sum of those of its parts:

    d/dw sum_(all rows) loss / tokens = sum_(workers) d/dw sum_(rows of a worker) loss / tokens

The first worker is the process that trains. It alone draws batches, adds up gradients, updates weights and writes
checkpoints; the others are asked for gradients and keep nothing from one step to the next.

- Weights lie in memory that all workers share, and so does a gradient of each: neither is ever sent. What is sent,
  through a socket, is rows of batches and sums of losses.
- The result is a function of the recipe and the number of workers alone: gradients are added in the order of the
  workers, and what a worker draws at random in a step (dropout) follows from (seed, step, worker).
- A worker ends when its socket does, so none outlives the first, however that ends. The signals that ask a training to
  stop are blocked in the others: they are needed until the step is done.
- What looks at all rows of a batch at once, such as batch normalisation, sees those of its own worker; the statistics
  that are kept are the first one's, as in PyTorch's DistributedDataParallel.

The other workers are started as new interpreters: PyTorch's threads do not survive a fork, and Python's own way to
start processes, multiprocessing, would run a caller's script once more in each.
"""

import io
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from heedful.errors import TrainingError
from heedful.machine import cores
from heedful.tasks.face import Batch, Task
from heedful.training.checkpoint import buffers_of
from heedful.training.gradients import Sums
from heedful.training.settings import TrainingSettings
from heedful.training.shared_memory import Memory, anonymous_file
from heedful.training.worker import Order, Reply

# What "auto" is at most: a part of a usual batch then has 500 to 1,000 tokens. Measured on two cores only.
_MOST = 4
# Seconds that workers have to end by themselves before they are killed; they have nothing to lose.
_PATIENCE = 1.0
_PROGRAM = (
    "import sys; channel, memory, *sys.path = sys.argv[1:]; "
    "from heedful.training.worker import serve; serve(int(channel), int(memory))"
)


def resolve_workers(workers: int | Literal["auto"], device: str, threads: int) -> int:
    """Give the number of workers; "auto" is one for each of `threads`, up to four and no more than there are cores.

    Raises TrainingError for several on another device than the CPU.
    """
    if device == "cpu":
        return max(1, min(threads, cores(), _MOST)) if workers == "auto" else workers
    if workers != "auto" and workers > 1:
        raise TrainingError(
            f"training.workers = {workers} shares each batch among the cores of a CPU, but this training is on "
            f"{device}: set training.workers = 1, or training.device = 'cpu'."
        )
    return 1


class Workers:
    """The workers of a training. In its context the processes run.

    count: how many, this process included; they share its threads
    model, task: what is trained. The others make their own, from the task's settings and its folder, which is prepared
    settings, precision: those of the training
    """

    def __init__(
        self, count: int, model: nn.Module, task: Task, settings: TrainingSettings, precision: str
    ) -> None:
        self.count, self.model, self.task = count, model, task
        self.settings, self.precision = settings, precision
        # For gradients. The optimizer has them all: the others then sleep.
        self.threads = max(1, torch.get_num_threads() // count)
        self.processes: list[subprocess.Popen[bytes]] = []
        self._channels: list[Connection] = []
        self._memory: Memory

    def __enter__(self) -> Self:
        """Move the weights to shared memory, and start the other processes."""
        with anonymous_file() as file:
            self._memory = Memory(file, self.model, self.count)
            for name, parameter in self.model.named_parameters():
                self._memory.weights[name].copy_(parameter.detach())
            self._memory.hold_weights_of(self.model)
            try:
                for number in range(1, self.count):
                    self._start(number, file)
            except BaseException:
                self._stop()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the other processes."""
        self._stop()

    def gradients(
        self, step: int, batches: Sequence[Batch], parts: int, own: Callable[[Sequence[Batch]], Sums]
    ) -> Sums:
        """Leave the gradient of the mean loss of the batches in the model's parameters; give the sums of losses.

        parts: into how many every worker cuts its rows, to compute one after the other
        own: adds the gradient of the rows of this process to its parameters

        Raises the error of a worker as if it had come up here, and TrainingError for a worker that is dead.
        """
        tokens = sum(batch.tokens for batch in batches)
        for name, buffer in buffers_of(self.model).items():
            self._memory.buffers[name].copy_(buffer)
        mine, *shares = deal(batches, self.count)
        asked = {number: share for number, share in enumerate(shares, 1) if share}
        for number, share in asked.items():
            with self._alive(number, step):
                self._channels[number - 1].send_bytes(_pickled(Order(step, share, tokens, parts)))
        failure, sums = None, Sums(0.0, 0.0)
        try:
            with _threads(self.threads):
                sums = own(mine)
        except Exception as error:  # noqa: BLE001 -- raised as soon as no worker computes any more
            failure = error
        for number, reply in sorted(self._replies(step, asked)):
            if isinstance(reply, Exception):
                failure = failure or reply
            elif failure is None:
                self._add(self._memory.gradients[number - 1], reply.without)
                sums = sums.plus(reply.sums)
        if failure is not None:
            raise failure
        return sums

    @torch.no_grad()
    def _add(self, gradients: Mapping[str, Tensor], without: frozenset[str]) -> None:
        for name, parameter in self.model.named_parameters():
            if name in without or name not in gradients:
                continue
            if parameter.grad is None:
                parameter.grad = gradients[name].clone()
            else:
                parameter.grad += gradients[name]

    def _start(self, number: int, file: int) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(file), *map(str, sys.path)]
        with theirs, _signals_blocked():
            # A worker has nothing to say on standard output, where scores are printed.
            self.processes.append(
                subprocess.Popen(  # noqa: S603 -- this interpreter
                    command, pass_fds=(theirs.fileno(), file), stdin=subprocess.DEVNULL, stdout=2
                )
            )
        self._channels.append(Connection(ours.detach()))
        with self._alive(number, step=None):
            origin = type(self.task), self.task.settings, self.task.folder
            work = (number, self.count, self.threads, self.precision, self.settings, *origin)
            self._channels[-1].send_bytes(_pickled(work))

    def _replies(self, step: int, asked: Iterable[int]) -> Iterator[tuple[int, Reply | Exception]]:
        """What the workers asked answer, as it comes."""
        waiting = {number: self._channels[number - 1] for number in asked}
        while waiting:
            ready = wait(list(waiting.values()))
            for number in [number for number, channel in waiting.items() if channel in ready]:
                channel = waiting.pop(number)
                with self._alive(number, step):
                    reply = channel.recv_bytes()
                yield number, pickle.loads(reply)  # noqa: S301 -- from a process of one's own

    @contextmanager
    def _alive(self, number: int, step: int | None) -> Iterator[None]:
        """Turn the errors of a socket without another end into what happened to the worker."""
        try:
            yield
        except (EOFError, OSError):
            pass
        else:
            return
        when = "at its start" if step is None else f"in step {step}"
        try:
            status = self.processes[number - 1].wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            ended = "closed its socket"
        else:
            ended = (
                f"was ended by {signal.Signals(-status).name}"
                if status < 0
                else f"ended with status {status}"
            )
        raise TrainingError(
            f"Worker {number + 1} of {self.count} {ended} {when}. Most often it is the system that ends one, when "
            "memory runs out. The same command goes on from the last checkpoint; a new run with fewer training.workers "
            "needs less."
        )

    def _stop(self) -> None:
        for channel in self._channels:
            channel.close()
        until = time.monotonic() + _PATIENCE
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        self._channels.clear()
        self.processes.clear()


def deal(batches: Sequence[Batch], workers: int) -> list[list[Batch]]:
    """Cut every batch, and give each worker its part; the one that begins changes from batch to batch.

    So a batch with fewer rows than there are workers, or one that cannot be cut, is not always the work of the same.
    """
    dealt: list[list[Batch]] = [[] for _ in range(workers)]
    for turn, batch in enumerate(batches):
        for number, part in enumerate(batch.split(workers)):
            dealt[(turn + number) % workers].append(part)
    return dealt


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block what asks to stop, for the processes started meanwhile: what is blocked is handed down."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute on so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Pickler(pickle.Pickler):
    """Writes tensors as numpy does: of a view its own bytes only, and ten times as fast as PyTorch."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is Tensor and value.dtype != torch.bfloat16:
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _pickled(value: Any) -> bytes:
    written = io.BytesIO()
    _Pickler(written, protocol=5).dump(value)
    return written.getvalue()
