"""Sides of a comparison, each in a process of its own: in each round one after the other, the order turned."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Clock = Callable[[], float]


def clock(threads: int) -> Clock:
    """The processor's time with one thread, which other work on the machine disturbs less; else the wall's."""
    return time.process_time if threads == 1 else time.perf_counter


def timed(step: Callable[[int], None], count: int, clock: Clock, warm_up: int) -> float:
    """Call a step with the numbers from 1; the seconds of all but the first `warm_up`."""
    for number in range(1, warm_up + 1):
        step(number)
    began = clock()
    for number in range(warm_up + 1, warm_up + count + 1):
        step(number)
    return clock() - began


def in_process(script: str, threads: int, arguments: dict[str, Any]) -> dict[str, float]:
    """Call a script with options; what it prints last, as JSON."""
    options = [str(part) for name, value in arguments.items() for part in (f"--{name}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, script, "--threads", str(threads), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(options)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def rounds(sides: Sequence[str], measure: Callable[[str], float], count: int, title: str) -> None:
    """Print of each side its tokens a second, and how much faster than it the first one is, by medians."""
    found: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(count):
        for side in sides if number % 2 == 0 else sides[::-1]:
            found[side].append(measure(side))
    print(f"\n{title}")
    for side in sides:
        rates = found[side]
        ratio = statistics.median(mine / other for mine, other in zip(found[sides[0]], rates, strict=True))
        spread = (max(rates) - min(rates)) / statistics.median(rates)
        told = f"{statistics.median(rates):10,.0f} tokens/s, spread {spread:4.0%}"
        print(f"  {side:17} {told}; {sides[0]} is {ratio:5.2f} x", flush=True)
