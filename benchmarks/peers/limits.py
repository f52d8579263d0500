"""What the machine itself can do: products of float32 matrices, and bytes read from memory and copied in it.

A benchmark measures it in the same run as its sides, because a ratio to the limit of another day, or of another
machine, says nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

# One side of the square matrices, and the floats of the array that is read: beyond any cache.
SIDE = 2048
FLOATS = 2**27


@dataclass(frozen=True)
class Limits:
    """The best of some repetitions on `threads` threads."""

    threads: int
    products: float
    """GFLOP/s of a product of float32 matrices of 2,048 x 2,048."""

    read: float
    """GB/s of a sum over 512 MiB."""

    copied: float
    """GB/s, read and written together, of a copy of 512 MiB."""

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{threads}: float32 products {self.products:.0f} GFLOP/s, "
            f"memory read {self.read:.0f} GB/s, copied {self.copied:.0f} GB/s"
        )


def limits(threads: int, repetitions: int = 5) -> Limits:
    """Measure in this process, whose number of threads is then what it was.

    One thread is timed by the processor's time, which other work on the machine disturbs less.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    product = torch.empty(SIDE, SIDE)
    source, copy = torch.ones(FLOATS), torch.ones(FLOATS)
    try:
        return Limits(
            threads,
            products=2e-9 * SIDE**3 / _best(lambda: torch.mm(a, b, out=product), repetitions, clock),
            read=4e-9 * FLOATS / _best(source.sum, repetitions, clock),
            copied=8e-9 * FLOATS / _best(lambda: copy.copy_(source), repetitions, clock),
        )
    finally:
        torch.set_num_threads(before)


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        "unknown processor",
    )


def _best(action: Callable[[], object], repetitions: int, clock: Callable[[], float]) -> float:
    """Seconds of the fastest of some calls, after one that warms up."""
    seconds = []
    for _ in range(repetitions + 1):
        begun = clock()
        action()
        seconds.append(clock() - begun)
    return min(seconds[1:])
