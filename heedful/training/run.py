"""A run: the folder in which a training keeps all that it is and has done.

runs/NAME/
  recipe.toml       the recipe as resolved; a run is only continued with the same one
  data/             what was found in the corpora, and their tokens (memory-mapped)
  tokenizer*.json   the vocabulary
  checkpoints/      to go on from
  log.jsonl         losses and scores; the same bytes however often the run was interrupted
  timing.jsonl      speed and memory, which differ from time to time
  model/            the best model so far: what is shared and loaded
  evaluation.json   the scores on the test sets, when training has ended
"""

import json
import os
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
        self.log = Log(folder / "log.jsonl")
        self.timing = Log(folder / "timing.jsonl")


class Log:
    """Lines of JSON, one event each."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, **event: Any) -> None:
        """Append an event; `TrainingError` when the disk does not take it."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self.path} cannot be written: {error}. Make room and start again."
            ) from error

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
