"""Where fine-tuning begins: the encoder and the tokenizer of a model folder that has both.

    start = read_pretrained("runs/bert-mlm")     # a masked language model, a language model, or one fine-tuned
    encoder = Encoder(start.model, len(start.tokenizer))
    start.load_into(encoder)

The weights are found by their names: wherever in the folder's model a stack with the names of `Encoder.stack` stands.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from heedful.errors import ModelFolderError, TokenizerError
from heedful.models.encoder import Encoder, EncoderSettings
from heedful.tasks.model_folder import CONFIG, TOKENIZER, WEIGHTS, find, name_of_task, stored_once
from heedful.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Pretrained:
    """An encoder to begin with.

    folder: the model folder; task: what its model was trained for
    model: the settings of its stack; tokenizer: what it reads
    """

    folder: Path
    task: str
    model: EncoderSettings
    tokenizer: Tokenizer

    def load_into(self, encoder: Encoder) -> None:
        """Put the weights into an encoder with these settings. Raises ModelFolderError where they do not fit."""
        missing = self._load(stored_once(encoder.stack))
        if missing:
            raise ModelFolderError(
                f"{self.folder / WEIGHTS} has no {missing[0]} for an encoder like that in {CONFIG}: a model for "
                f"{self.task} cannot be begun with."
            )

    def load_pooler(self, pooler: nn.Linear) -> bool:
        """Put the weights of the model's pooler into one of that shape; say whether the model has a pooler.

        Raises ModelFolderError where they do not fit.
        """
        wanted = {f"pooler.{name}": parameter for name, parameter in pooler.named_parameters()}
        return not self._load(wanted)

    def _load(self, wanted: Mapping[str, Tensor]) -> list[str]:
        """Put in what is wanted, if all of it is there; give the names that are not."""
        path = self.folder / WEIGHTS
        try:
            with safe_open(path, framework="pt") as file:
                there = set(file.keys())
                prefix = _prefix(next(iter(wanted)), there)
                missing = [name for name in wanted if f"{prefix}{name}" not in there]
                if missing:
                    return missing
                with torch.no_grad():
                    for name, parameter in wanted.items():
                        tensor = file.get_tensor(f"{prefix}{name}")
                        if tensor.shape != parameter.shape:
                            raise ModelFolderError(
                                f"{path}: {prefix}{name} has shape {tuple(tensor.shape)}, but by {CONFIG} it must be "
                                f"{tuple(parameter.shape)}."
                            )
                        parameter.copy_(tensor)
                return []
        except (OSError, SafetensorError) as error:
            raise ModelFolderError(f"{path} is damaged or cut short ({error}). Copy it again.") from error


def read_pretrained(path: str | Path) -> Pretrained:
    """Read the settings and the tokenizer of a model folder, or of a run folder; not yet the weights.

    Raises ModelFolderError for a folder that is missing or damaged, or whose model is no encoder of text.
    """
    folder = find(path)
    task = name_of_task(folder)
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model")
    architecture = settings.get("architecture") if isinstance(settings, dict) else None
    if architecture not in ("encoder-only", "decoder-only") or not (folder / TOKENIZER).exists():
        raise ModelFolderError(
            f"{folder} cannot be begun with: it holds a {architecture or 'damaged'} model for {task}, and fine-tuning "
            "needs an encoder-only or decoder-only one, such as that of a masked language model, with its tokenizer."
        )
    try:
        model = TypeAdapter(EncoderSettings).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("model", *first["loc"])))
        raise ModelFolderError(f"{folder / CONFIG}: {where}: {first['msg']}.") from error
    try:
        tokenizer = Tokenizer.load(folder / TOKENIZER)
    except TokenizerError as error:
        raise ModelFolderError(str(error)) from error
    return Pretrained(folder, task, model, tokenizer)


def _prefix(name: str, there: set[str]) -> str:
    """What stands before a name in the names that are there; the shortest such."""
    return min((other.removesuffix(name) for other in there if _ends(other, name)), key=len, default="")


def _ends(other: str, name: str) -> bool:
    return other == name or other.endswith(f".{name}")
