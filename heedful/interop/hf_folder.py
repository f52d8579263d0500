"""Model folders of Hugging Face's `transformers`: config.json and weights in safetensors, read and written as they are.

    config, weights = read("bert-base-uncased")
    write(folder, config, weights)

`transformers` itself is not needed for that. How the weights of two models belong together is told by a table of
`Part`, which is read in both directions.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heedful import durable
from heedful.errors import ModelFolderError
from heedful.models.settings import StackSettings
from heedful.tasks.model_folder import Model, read_json, stored_once

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh", "relu": "relu"}
"""Their names of activations, and ours."""
THEIR_ACTIVATIONS = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}


@dataclass(frozen=True)
class Part:
    """A tensor of ours, and those of theirs that it is made of, one below the other.

    transposed: theirs are (inputs, outputs), as GPT-2 has them
    """

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False


def pair(ours: str, theirs: str, transposed: bool = False) -> list[Part]:
    """Weight and bias of one layer; biases and norms are vectors, which are what they are."""
    return [
        Part(f"{ours}.weight", (f"{theirs}.weight",), transposed),
        Part(f"{ours}.bias", (f"{theirs}.bias",)),
    ]


def read(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Give what config.json says, and the weights by name, on the CPU in the types that they have.

    Raises ModelFolderError for what is missing, damaged, or stored as pickle (.bin): that would run code.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ModelFolderError(f"There is no folder {folder} with a model of transformers.")
    config = _json(folder / CONFIG)
    if (folder / WEIGHTS).exists():
        names = [WEIGHTS]
    elif (folder / INDEX).exists():
        names = sorted(set(_json(folder / INDEX).get("weight_map", {}).values()))
    else:
        hint = ""
        if (folder / "pytorch_model.bin").exists():
            hint = (
                "; pytorch_model.bin is pickle, which can run any code and is not read: load it with transformers and "
                "save it again, which writes safetensors"
            )
        raise ModelFolderError(f"{folder} lacks {WEIGHTS}{hint}.")
    weights: dict[str, Tensor] = {}
    for name in names:
        # A name in the index must not lead out of the folder.
        path = folder / Path(name).name
        try:
            weights |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelFolderError(
                f"{path} is missing, damaged or cut short ({error}). Copy it again."
            ) from error
    return config, weights


def write(folder: str | Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Path:
    """Write a folder that `from_pretrained` loads; give its path.

    Raises ModelFolderError if there is a config.json of something else in it, or it cannot be written.
    """
    folder = Path(folder).expanduser()
    there = folder / CONFIG
    if there.exists() and _json(there).get("model_type") != config["model_type"]:
        raise ModelFolderError(
            f"{folder} holds another model already; it is left alone. Choose another name."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with durable.replacing(folder / WEIGHTS) as unfinished:
            save_file(
                {name: tensor.contiguous() for name, tensor in weights.items()}, unfinished, {"format": "pt"}
            )
        durable.write_text(there, json.dumps(config, indent=2) + "\n")
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(f"{folder} cannot be written: {error}.") from error
    return folder


def filled(
    make: Callable[[], Model], parts: Iterable[Part], weights: Mapping[str, Tensor], where: str
) -> Model:
    """Make a model of ours with their weights, in evaluation mode.

    Raises ModelFolderError for a weight that is missing or has another shape.
    """
    # The weights drawn at random here are all replaced; whoever draws next must not notice.
    with torch.random.fork_rng(devices=[]):
        model = make()
    ours = stored_once(model)
    left = set(ours)
    for part in parts:
        if missing := [name for name in part.theirs if name not in weights]:
            raise ModelFolderError(f"{where} lacks {', '.join(missing)}, which {CONFIG} asks for.")
        found = [weights[name] for name in part.theirs]
        tensor = torch.cat([each.t() if part.transposed else each for each in found])
        if tensor.shape != ours[part.ours].shape:
            raise ModelFolderError(
                f"{where}: {' with '.join(part.theirs)} has shape {tuple(tensor.shape)}, but by {CONFIG} it must be "
                f"{tuple(ours[part.ours].shape)}."
            )
        with torch.no_grad():
            ours[part.ours].copy_(tensor)
        left.discard(part.ours)
    if left:
        raise ValueError(f"Nothing was said of {', '.join(sorted(left))}.")
    return model.eval()


def give(model: nn.Module, parts: Iterable[Part]) -> dict[str, Tensor]:
    """Give the weights of our model by their names."""
    ours, weights = stored_once(model), dict[str, Tensor]()
    for part in parts:
        for name, tensor in zip(
            part.theirs, ours[part.ours].detach().cpu().chunk(len(part.theirs)), strict=True
        ):
            # A copy: chunks of one tensor share their memory, which safetensors refuses.
            weights[name] = (tensor.t() if part.transposed else tensor).clone(
                memory_format=torch.contiguous_format
            )
    return weights


def check(config: Mapping[str, Any], expected: Mapping[str, tuple[Any, ...]], where: str) -> None:
    """Refuse what our model does not compute.

    expected: of each key the values that it may have, the first being what holds where it is left out

    Raises ModelFolderError, naming the key.
    """
    for key, values in expected.items():
        found = config.get(key, values[0])
        if found not in values:
            raise ModelFolderError(
                f"{where}: {key} is {found!r}; heedful's model knows {', '.join(map(repr, values))}."
            )


def check_ours(settings: StackSettings, what: str, norm: str, **others: Any) -> None:
    """Refuse settings of ours that `what`, a BERT or a GPT-2, does not have.

    norm, others: the value that a setting must have, beside those that are alike in both

    Raises ModelFolderError, naming all that are wrong.
    """
    expected = {
        "norm": (norm,),
        "norm_kind": ("layer",),
        "positions": ("learned",),
        "activation": tuple(THEIR_ACTIVATIONS),
        "attention_bias": (True,),
        "kv_heads": (None, settings.heads),
        "d_head": (None, settings.d_model // settings.heads),
        "scale_embeddings": (False,),
        **{key: (value,) for key, value in others.items()},
    }
    wrong = [
        f"{key} = {getattr(settings, key)!r} (must be {' or '.join(map(repr, values))})"
        for key, values in expected.items()
        if getattr(settings, key) not in values
    ]
    if wrong:
        raise ModelFolderError(f"This model is no {what} of transformers: {', '.join(wrong)}.")


def _json(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} is not the {path.name} of a model.")
    return content
