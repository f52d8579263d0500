"""Checkpoints: everything that the next step depends on, written so that a kill at any instant loses no earlier one.

A checkpoint is a folder, `checkpoints/step-00001000/`, with `tensors.safetensors` (weights, optimizer, averages, random
generators) and `state.json` (numbers). It is written under another name, flushed to the disk and renamed: a folder
with the right name is complete. Reading one runs no code.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heedful.durable import flush
from heedful.errors import CheckpointError, TrainingError

TENSORS = "tensors.safetensors"
STATE = "state.json"


class Checkpoints:
    """The checkpoints of a run, in the folder `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` is or would be."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, earliest first."""
        return sorted(
            int(path.name.removeprefix("step-")) for path in self.folder.glob("step-" + 8 * "[0-9]")
        )

    def write(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write the checkpoint of `step`; `TrainingError` when the disk does not take it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".unfinished-{step:08d}"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished / TENSORS)
            (unfinished / STATE).write_text(json.dumps(state), encoding="utf-8")
            for file in unfinished.iterdir():
                flush(file)
            unfinished.rename(self.path(step))
            flush(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise TrainingError(
                f"The checkpoint of step {step} could not be written to {self.folder}: {error}. "
                "Earlier checkpoints are intact; make room and start the same command again."
            ) from error

    def read(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the checkpoint of `step`; `CheckpointError` when it is damaged."""
        path = self.path(step)
        try:
            tensors = load_file(path / TENSORS)
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint {path} is damaged ({error}). Delete this folder to go on from the one before."
            ) from error
        return tensors, state

    def prune(self, keep: Callable[[list[int]], set[int]]) -> None:
        """Delete the checkpoints that `keep`, given all steps, does not name, and what a kill left unfinished."""
        steps = self.steps()
        for step in set(steps) - keep(steps):
            # Renamed first, so that no half-deleted folder is taken for a checkpoint.
            doomed = self.folder / f".unfinished-{step:08d}"
            self.path(step).rename(doomed)
        for unfinished in self.folder.glob(".unfinished-*"):
            shutil.rmtree(unfinished, ignore_errors=True)


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    """What a model remembers that is no parameter, such as the statistics of batch normalisation, by name."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return {
        name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if name not in parameters
    }


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of every random generator: tensors, and what fits JSON."""
    tensors = {"random/torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {
            f"random/cuda{device}": state for device, state in enumerate(torch.cuda.get_rng_state_all())
        }
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    tensors["random/numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    version, internal, gauss_next = random.getstate()
    numbers = {
        "numpy": [str(name), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
    }
    return tensors, numbers


def restore_random_state(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Set every random generator to what `random_state` gave."""
    torch.set_rng_state(tensors["random/torch"])
    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            if (state := tensors.get(f"random/cuda{device}")) is not None:
                torch.cuda.set_rng_state(state, device)
    name, position, has_gauss, gauss = numbers["numpy"]
    keys = tensors["random/numpy"].numpy().astype(np.uint32)
    np.random.set_state((name, keys, position, has_gauss, gauss))  # noqa: NPY002
    version, internal, gauss_next = numbers["python"]
    random.setstate((version, tuple(internal), gauss_next))
