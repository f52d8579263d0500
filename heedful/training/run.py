"""A run: the folder in which a training keeps all that it is and has done.

runs/NAME/
  recipe.toml       the recipe as resolved; a run goes on with the same one, or with more steps (longer.py)
  data/             what was found in the corpora, and their tokens (memory-mapped)
  tokenizer*.json   the vocabulary
  checkpoints/      to go on from
  log.jsonl         losses and scores; the same bytes however often the run was interrupted
  timing.jsonl      speed, memory, and when each event of the log was: what differs from time to time
  model/            the best model so far: what is shared and loaded
  evaluation.json   the scores on the test sets, when training has ended
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from heedful.errors import TrainingError


class Run:
    """The folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.checkpoints = folder / "checkpoints"
        self.model = folder / "model"
        self.recipe = folder / "recipe.toml"
        self.evaluation = folder / "evaluation.json"
        self.timing = Log(folder / "timing.jsonl")
        self.log = Log(folder / "log.jsonl", times=self.timing)


class Log:
    """Lines of JSON, one event each.

    times: the log that is told when each event was (`event`, `step`, and `time` in seconds since 1970); not this one,
        whose lines are the same in every run
    """

    def __init__(self, path: Path, times: "Log | None" = None) -> None:
        self.path, self.times = path, times

    def add(self, **event: Any) -> None:
        """Append an event; `TrainingError` when the disk does not take it."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self.path} cannot be written: {error}. Make room and start again."
            ) from error
        if self.times is not None:
            self.times.add(event=event["event"], step=event["step"], time=round(time.time(), 2))

    def length(self) -> int:
        """How many bytes there are, all of them on the disk after this call."""
        if not self.path.exists():
            return 0
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    def cut(self, length: int) -> None:
        """Forget what was added after `length` bytes: it will be added again."""
        if self.path.exists():
            with self.path.open("rb+") as file:
                file.truncate(length)

    def events(self) -> list[dict[str, Any]]:
        """All events."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
