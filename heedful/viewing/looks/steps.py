"""A model as it was at a step of its training: the weights of a checkpoint, in the model that the run has written."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from heedful.errors import ModelFolderError
from heedful.tasks.model_folder import stored_once
from heedful.training.checkpoint import TENSORS, Checkpoints

# Where a training averages its weights, the average is what it validates and writes.
_KINDS = ("average/", "model/", "buffer/")
# A model that reads text may have been trained below a head.
_WITHIN = ("", "encoder.", "encoder.stack.")


def restore(network: nn.Module, run: Path, step: int) -> None:
    """Give a network the weights that it had at a step of a run.

    Raises ModelFolderError for a step whose checkpoint was not kept, and one that is damaged or of another model.
    """
    checkpoints = Checkpoints(run / "checkpoints")
    steps = checkpoints.steps()
    if step not in steps:
        kept = f"it has those of {', '.join(map(str, steps))}" if steps else "it has none"
        raise ModelFolderError(
            f"{run} has no checkpoint of step {step}; {kept}. How many are kept, training.keep says."
        )
    path = checkpoints.path(step) / TENSORS
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            there = set(file.keys())
            for name, tensor in stored_once(network).items():
                names = [f"{kind}{within}{name}" for kind in _KINDS for within in _WITHIN]
                found = next((each for each in names if each in there), None)
                if found is None or file.get_slice(found).get_shape() != list(tensor.shape):
                    raise ModelFolderError(
                        f"{path} has no {name} of shape {tuple(tensor.shape)}: what was trained is not the model that "
                        "the run has written (of many starts, say, the best one), so the step cannot be looked into."
                    )
                tensor.copy_(file.get_tensor(found))
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(f"{path} is missing or damaged ({error}).") from error
