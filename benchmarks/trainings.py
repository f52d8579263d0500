"""Trainings that a benchmark calls one after the other: finished ones are not done again, interrupted ones go on."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def train(recipe: str, run: Path, *options: str) -> None:
    """`heedful train RECIPE --run RUN OPTIONS`, unless it is finished; what it took is added to RUN.seconds."""
    if evaluation(run):
        return
    run.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "heedful", "train", recipe, "--quiet", "--run", str(run), *options]
    print("$ heedful", *command[3:], flush=True)
    started = time.monotonic()
    status = subprocess.run(command, check=False).returncode
    _seconds(run).write_text(str(seconds(run) + time.monotonic() - started))
    if status:
        raise SystemExit(status)


def evaluation(run: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The scores of a finished run's test sets, by the name of the metric; empty where it is not finished."""
    file = run / "evaluation.json"
    if not file.exists():
        return {}
    return {
        test: {one["name"]: one for one in scores} for test, scores in json.loads(file.read_text()).items()
    }


def seconds(run: Path) -> float:
    """How long the calls of `train` for a run took together."""
    return float(_seconds(run).read_text()) if _seconds(run).exists() else 0.0


def _seconds(run: Path) -> Path:
    return run.with_name(run.name + ".seconds")


def line(cells: Sequence[object]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"
