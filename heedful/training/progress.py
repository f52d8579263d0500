"""What a training shows: a live line in a terminal, a line for each validation elsewhere."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table


class Progress:
    """Shows how a training goes, on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._began = time.perf_counter()
        self._best = ""

    def say(self, message: str | Table) -> None:
        """Show a sentence or a table."""
        self.console.print(message, markup=False) if isinstance(message, str) else self.console.print(message)

    @contextmanager
    def training(self, done: int, steps: int) -> Iterator[None]:
        """Show the bar while training, in a terminal."""
        self._began = time.perf_counter()
        if not self.console.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=self.console, transient=True) as self._bar:
            self._task = self._bar.add_task("training", total=steps, completed=done, numbers="")
            yield
        self._bar = None

    def step(self, step: int) -> None:
        """A step is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step)

    def loss(self, step: int, loss: float, rate: float, speed: float, splits: int) -> None:
        """The mean loss since the last call, the learning rate and target tokens a second."""
        if self._bar is not None and self._task is not None:
            numbers = f"loss {loss:.3f}  rate {rate:.2g}  {speed:,.0f} tokens/s{self._best}"
            self._bar.update(self._task, numbers=numbers)
        if splits:
            self.say(
                f"Memory did not suffice for {splits} batches up to step {step:,}; they were computed in parts, with "
                "the same result. A smaller data.batches.tokens with training.accumulate avoids it."
            )

    @contextmanager
    def validating(self, step: int) -> Iterator[None]:
        """Show that a validation is under way."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description="validating")
            yield
            self._bar.update(self._task, description="training")
        else:
            yield

    def validated(self, step: int, nll: float | None, metric: str, score: float, improved: bool) -> None:
        """A validation is done."""
        minutes = (time.perf_counter() - self._began) / 60
        named = (
            [] if nll is None or metric == "perplexity" else [f"perplexity {math.exp(min(nll, 700.0)):.2f}"]
        )
        if metric != "loss":
            named.append(f"{metric} {score:.2f}")
        self.say(
            f"step {step:>7,}  {minutes:5.1f} min  {', '.join(named)}{'  (best so far)' if improved else ''}"
        )
        if improved:
            self._best = f"  best {metric} {score:.2f}"
