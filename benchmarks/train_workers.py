"""Claim: two workers of one thread train a small model faster than one process of two threads.

    python benchmarks/train_workers.py [--recipe multi30k-en-de] [--sides 1x2 2x1 ...] [--steps 20] [--rounds 5]
        [--precision float32] [--folder FOLDER] [--quick] [--KEY VALUE ...]

A side is workers x threads of each; with `--sides` unset all ways to share out the cores are compared. All sides are
in one process and make the same steps of the recipe's own training in turn, a step of one side after that of another,
so that what else the machine does falls on all alike; while a side computes, the workers of the others sleep. Each
side's speed is source and target tokens (real ones) over the time on the clock of its steps. Printed are the median
over the rounds, the spread (range / median), and the ratio to the first side, the median over rounds of ratios within a
round. "of the processor" is the time of processors that all workers of a side take for a token, again to the first
side: what a side costs on a machine that has other work to do. Any field of the recipe can be given, as to `heedful
train`.

Needs $HEEDFUL_DATA or the network; the prepared data is kept in --folder, if that is given.
"""

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from heedful.machine import cores, prepare

prepare()  # before PyTorch is loaded
import torch  # noqa: E402
from rich.console import Console  # noqa: E402

from heedful.cli.overrides import split  # noqa: E402
from heedful.data.batching import Batch  # noqa: E402
from heedful.machine import resolve_precision  # noqa: E402
from heedful.objectives import Loss  # noqa: E402
from heedful.tasks.face import Task  # noqa: E402
from heedful.tasks.registry import task_of  # noqa: E402
from heedful.text.special import PAD  # noqa: E402
from heedful.training.progress import Progress  # noqa: E402
from heedful.training.recipe import read  # noqa: E402
from heedful.training.step import Stepper, Totals  # noqa: E402
from heedful.training.workers import Workers  # noqa: E402


class Measured(NamedTuple):
    """Seconds for a token: on the clock, and of processors."""

    clock: float
    processor: float


class Side:
    """One way to share the cores: so many workers, with so many threads each."""

    def __init__(self, name: str, task: Task, stack: ExitStack) -> None:
        self.name = name
        self.workers, threads = map(int, name.split("x"))
        self.threads = self.workers * threads
        settings = task.settings.training
        precision = resolve_precision(settings.precision, "cpu")
        torch.set_num_threads(self.threads)
        torch.manual_seed(settings.seed)
        model = task.build().train()
        others = None
        if self.workers > 1:
            others = stack.enter_context(Workers(self.workers, model, task, settings, precision))
        self.processes = [] if others is None else [process.pid for process in others.processes]

        def loss(batch: Any) -> Loss:
            return task.loss(model, batch, settings)

        self.stepper = Stepper(model, loss, settings, "cpu", precision, "pair", others)
        self.done = 0
        self.totals = Totals()

    def step(self, batch: Batch) -> Measured:
        """Make a step; give the seconds that it took."""
        torch.set_num_threads(self.threads)
        self.done += 1
        clock, processor = time.perf_counter(), self._processor()
        self.stepper.step(self.done, 1e-3 * min(1.0, self.done / 20), [batch], self.totals)
        return Measured(time.perf_counter() - clock, self._processor() - processor)

    def _processor(self) -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime + sum(map(processor_time, self.processes))


def processor_time(pid: int) -> float:
    """Seconds that all threads of a process have computed; not a number where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(sides: Sequence[Side], batches: Sequence[Batch], steps: int) -> dict[str, list[Measured]]:
    """Let all sides make the same steps in turn; of each side a measurement for each round of `steps` steps."""
    measured: dict[str, list[Measured]] = {side.name: [] for side in sides}
    for first in range(0, len(batches), steps):
        group = batches[first : first + steps]
        tokens = sum(int((batch.source != PAD).sum()) + batch.tokens for batch in group)
        taken = {side.name: [0.0, 0.0] for side in sides}
        for number, batch in enumerate(group):
            turn = number % len(sides)
            for side in (*sides[turn:], *sides[:turn]):
                seconds = side.step(batch)
                taken[side.name][0] += seconds.clock
                taken[side.name][1] += seconds.processor
        for name, (clock, processor) in taken.items():
            measured[name].append(Measured(clock / tokens, processor / tokens))
    return measured


def report(measured: dict[str, list[Measured]]) -> None:
    reference, *_ = measured.values()
    print("| workers x threads | tokens/s | spread | to the first | of the processor |")
    print("|---" * 5 + "|")
    for name, rounds in measured.items():
        speeds = [1 / seconds.clock for seconds in rounds]
        speed = statistics.median(speeds)
        faster, cost = (
            statistics.median(values)
            for values in zip(
                *(
                    (one.clock / other.clock, other.processor / one.processor)
                    for one, other in zip(reference, rounds, strict=True)
                ),
                strict=True,
            )
        )
        spread = (max(speeds) - min(speeds)) / speed
        print(f"| {name} | {speed:,.0f} | {spread:.0%} | {faster:.2f} | {cost:.2f} |")


def parse() -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="multi30k-en-de")
    parser.add_argument("--sides", nargs="+", help="such as: 1x2 2x1")
    parser.add_argument("--steps", type=int, default=20, help="steps of a side in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=5, help="steps before the first round")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "auto"], default="float32")
    parser.add_argument("--folder", type=Path, help="where the prepared data is kept")
    parser.add_argument("--quick", action="store_true", help="one round of 4 steps")
    options, rest = parser.parse_known_args()
    if options.quick:
        options.rounds, options.steps, options.warmup = 1, 4, 2
    if not options.sides:
        count = cores()
        options.sides = [f"{n}x{count // n}" for n in range(1, count + 1) if count % n == 0]
    return options, split(rest)


def main() -> None:
    options, overrides = parse()
    recipe = read(options.recipe, [*overrides, ("training.precision", options.precision)])
    print(
        f"torch {torch.__version__}, {platform.platform()}, {cores()} cores, {options.precision}, "
        f"load {os.getloadavg()[0]:.1f}; {options.rounds} rounds of {options.steps} steps of {options.recipe}\n"
    )
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        task = task_of(recipe.task)(recipe, options.folder or Path(temporary), Progress(Console(quiet=True)))
        task.prepare()
        count = options.warmup + options.rounds * options.steps
        stream = task.batches(recipe.training.seed)
        batches = [next(stream) for _ in range(count)]
        sides = [Side(name, task, stack) for name in options.sides]
        measure(sides, batches[: options.warmup], options.warmup)
        report(measure(sides, batches[options.warmup :], options.steps))


if __name__ == "__main__":
    main()
