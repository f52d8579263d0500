"""Claim: on two cores, minutes lead from an empty folder to a translator of the quality that is asked for.

    python benchmarks/time_to_quality.py multi30k-en-de --run FOLDER [--bleu 38 39 40] [--training.steps 8000 ...]
    python benchmarks/time_to_quality.py --run FOLDER

The first runs `heedful train` with the recipe and the options given; both then read what the run has logged: the
minutes from its start until a validation first reached each value of --bleu, with checking the data, learning the
tokenizer, writing the tokens, training, and all validations on the way (with the recipe's own beam search) counted; and
the scores of the test sets. A run of which only the folder is given counts from when its recipe.toml was written, which
is after Python's imports. Where a run was interrupted, the pause counts too.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from heedful.training.run import Run


def validations(run: Run, started: float) -> list[dict[str, Any]]:
    """The validations of the log, each with the `minutes` from the start to its end."""
    # What an interrupted run did twice counts when it was done for good.
    times = {
        (event["event"], event["step"]): event["time"] for event in run.timing.events() if "time" in event
    }
    return [
        {**event, "minutes": (times["validation", event["step"]] - started) / 60}
        for event in run.log.events()
        if event["event"] == "validation" and ("validation", event["step"]) in times
    ]


def report(run: Run, found: list[dict[str, Any]], wanted: list[float]) -> None:
    """The table: a value of BLEU, and when it was reached."""
    steps = [event for event in run.log.events() if event["event"] == "training"]
    epochs = {event["step"]: event["epoch"] for event in steps}
    tokens = sum(event["tokens"] for event in steps)
    print("| validation BLEU | minutes | step | epoch |\n" + "|---" * 4 + "|")
    for value in wanted:
        reached = next((event for event in found if event["bleu"] >= value), None)
        if reached is None:
            print(f"| {value:g} | not reached | | |")
        else:
            step = reached["step"]
            print(f"| {value:g} | {reached['minutes']:.1f} | {step:,} | {epochs.get(step, '')} |")
    best = max(found, key=lambda event: event["bleu"])
    print(f"| {best['bleu']:.2f}, the best | {best['minutes']:.1f} | {best['step']:,} | |")
    last = found[-1]
    print(f"\n{last['step']:,} steps, {tokens:,} target tokens, {last['minutes']:.1f} minutes in all")
    if run.evaluation.exists():
        for name, scores in json.loads(run.evaluation.read_text(encoding="utf-8")).items():
            print(f"{name}: " + ", ".join(f"{score['name']} {score['value']:.2f}" for score in scores))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "recipe", nargs="?", help="a shipped recipe or a file; left out: the run is only read"
    )
    parser.add_argument("--run", type=Path, required=True, help="the folder; empty, or of a run")
    parser.add_argument("--bleu", type=float, nargs="+", default=[38.0, 39.0, 40.0])
    options, rest = parser.parse_known_args()
    run = Run(options.run)
    load, new, started = os.getloadavg()[0], not run.recipe.exists(), time.time()
    if options.recipe:
        command = [sys.executable, "-m", "heedful", "train", options.recipe, "--run", str(options.run), *rest]
        if status := subprocess.run(command, check=False).returncode:
            raise SystemExit(status)
    elif rest or new:
        parser.error(f"{options.run} is no run" if new else f"no recipe for {' '.join(rest)}")
    found = validations(run, started if new else run.recipe.stat().st_mtime)
    if not found or "bleu" not in found[0]:
        parser.error(
            f"{run.timing.path} tells of no validation by BLEU when it was; the run is from before it did"
        )
    print(f"torch {torch.__version__}, {platform.platform()}, {os.cpu_count()} cores, load {load:.1f} before")
    print(f"heedful train {options.recipe or options.run} {' '.join(rest)}\n")
    report(run, found, options.bleu)


if __name__ == "__main__":
    main()
