"""A model folder: what is shared and loaded.

    config.json            format, task, model settings, training facts, and what else the task needs
    model.safetensors      the weights; tied ones once
    README.md              the model card, for people
    ...                    files of the task: tokenizers, say

Reading one runs no code: safetensors and JSON, checked against each other before a weight is used.

A folder is replaced so that a complete one is there at every instant (replacing.py).
"""

import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import heedful
from heedful import durable
from heedful.errors import ModelFolderError, TokenizerError
from heedful.settings import Settings
from heedful.tasks.model_card import SCORES, model_card
from heedful.tasks.replacing import replacing, standing
from heedful.text.tokenizer import Tokenizer

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
TOKENIZER = "tokenizer.json"
"""Of tasks that read one kind of text; translation has two sides (translation_folder.py)."""
# Any of these tells that a folder is a run, whose model is in `model/`.
_OF_A_RUN = ("recipe.toml", "log.jsonl", "checkpoints")
_NAMED = 3  # tensors that a message names; the rest is counted


class ModelConfig(Settings):
    """What config.json holds, whatever the task; each task adds what it needs."""

    files: ClassVar[tuple[str, ...]] = ()
    """Files of the task in a model folder, beside those of all."""

    use: ClassVar[str] = ""
    """How the model is used, for its card: Markdown in which PATH is the folder."""

    format: Literal[1] = Field(default=FORMAT, description="of the model folder")
    heedful: str = Field(default=heedful.__version__, description="version that wrote the folder")
    task: Any = Field(description="what the model does")
    model: Any = Field(description="architecture and dimensions")
    trained: dict[str, Any] = Field(default={}, description="facts and scores of the training, for people")

    def title(self) -> str:
        """What the model is for, for its card."""
        return self.task

    def facts(self) -> dict[str, Any]:
        """What its card says of the model, beside its settings."""
        return {}


Config = TypeVar("Config", bound=ModelConfig)
Model = TypeVar("Model", bound=nn.Module)


@contextmanager
def writing(folder: str | Path, config: ModelConfig, model: nn.Module) -> Iterator[Path]:
    """Write a model folder, in place of one that is there: gives the folder that the task's own files go to.

    folder: made if need be, with its parents; files in it that are not of a model folder stay
    model: its weights, with the settings in `config` that it was built with

    Raises ModelFolderError if something else stands at `folder`, or it cannot be written (a full disk, say): what
    was there before is then still there.
    """
    folder = place(folder)
    existing = standing(folder)
    if existing is not None:
        _check_replaceable(existing)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in stored_once(model).items()}
    try:
        with replacing(folder, (CONFIG, WEIGHTS, CARD, *config.files)) as new:
            (new / CONFIG).write_text(_content(config), encoding="utf-8")
            numbers = sum(tensor.numel() for tensor in weights.values())
            (new / CARD).write_text(model_card(config, numbers), encoding="utf-8")
            save_file(weights, new / WEIGHTS, metadata={"format": "pt"})
            yield new
    except (OSError, SafetensorError, TokenizerError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelFolderError(f"The model folder {folder} cannot be written: {reason}.") from error


def write(
    folder: str | Path, config: ModelConfig, model: nn.Module, tokenizer: Tokenizer | None = None
) -> Path:
    """Write a model folder, with a tokenizer or with nothing of the task's own, as `writing` does; give its path."""
    with writing(folder, config, model) as new:
        if tokenizer is not None:
            tokenizer.save(new / TOKENIZER)
    return place(folder)


def place(folder: str | Path) -> Path:
    """Give the absolute path of a folder as a person names it."""
    return Path(folder).expanduser().absolute()


def add_scores(path: str | Path, config: type[ModelConfig], scores: Mapping[str, Any]) -> None:
    """Put the scores of its test sets, lists of `Score.to_dict()` by name, into what a model folder tells of itself.

    Raises ModelFolderError as reading and writing do.
    """
    folder, there = opened(path, config)
    told = there.model_copy(update={"trained": {**there.trained, SCORES: dict(scores)}})
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 -- not a dict
        durable.write_text(folder / CONFIG, _content(told))
        durable.write_text(folder / CARD, model_card(told, sum(map(math.prod, shapes))))
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelFolderError(f"The model folder {folder} cannot be written: {reason}.") from error


def name_of_task(path: str | Path) -> str:
    """Give the task that the model of a folder is for. Raises ModelFolderError as reading does."""
    return str(_content_of(find(path) / CONFIG).get("task"))


def opened(path: str | Path, kind: type[Config]) -> tuple[Path, Config]:
    """Give the model folder that `path` means and what its config.json says; raises as `find` and `read_config`."""
    folder = find(path)
    return folder, read_config(folder, kind)


def read_config(folder: Path, kind: type[Config]) -> Config:
    """Read config.json as the task of `kind` writes it.

    Raises ModelFolderError for everything that is missing, damaged, of another format or of another task.
    """
    path = folder / CONFIG
    content = _content_of(path)
    expected = kind.model_fields["task"].default
    if content.get("task", expected) != expected:
        raise ModelFolderError(
            f"The model in {folder} is for the task {content['task']!r}, not {expected!r}; "
            "`heedful predict` asks models of every task."
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ModelFolderError(f"{path}: {where}: {first['msg']}.") from error


def read_model(folder: Path, make: Callable[[], Model]) -> Model:
    """Give the model that `make` makes, in evaluation mode, with the weights of a folder.

    Raises ModelFolderError, with the name of the tensor, where weights are missing, damaged, or of another model.
    """
    try:
        # Without memory, so that a mistake in config.json is told before gigabytes are asked for.
        with torch.device("meta"), _NothingDrawn():
            expected = make()
    except (ValueError, RuntimeError) as error:
        raise ModelFolderError(f"{folder / CONFIG}: no model can be made of this: {error}") from error
    weights = _read_weights(folder / WEIGHTS, expected)
    # The weights drawn at random here are all replaced; whoever draws next must not notice.
    with torch.random.fork_rng(devices=[]):
        model = make()
    with torch.no_grad():
        for name, tensor in stored_once(model).items():
            tensor.copy_(weights[name])
    return model.eval()


class _NothingDrawn(TorchFunctionMode):
    """Draws no normal numbers: for a tensor without memory PyTorch would load its compiler first, and take seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **kwargs)


def read_tokenizer(folder: Path, entries: int) -> Tokenizer:
    """Give the tokenizer of a folder, which must have so many entries.

    Raises ModelFolderError for one that is missing, damaged, or of another model.
    """
    try:
        tokenizer = Tokenizer.load(folder / TOKENIZER)
    except TokenizerError as error:
        raise ModelFolderError(str(error)) from error
    if len(tokenizer) != entries:
        raise ModelFolderError(
            f"{folder / TOKENIZER} has {len(tokenizer)} entries, but {CONFIG} says {entries}: it does not "
            "belong to this model."
        )
    return tokenizer


def read_json(path: Path) -> Any:
    """Give what a file of JSON holds. Raises ModelFolderError for one that is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path} is not JSON, or cut short: {error}.") from error


def find(path: str | Path) -> Path:
    """Give the model folder that `path` means: itself, or, of a run folder, the model in it.

    Raises ModelFolderError if there is none, and says what is there instead.
    """
    path = Path(path).expanduser()
    try:
        return _find(path)
    except OSError as error:
        raise ModelFolderError(f"{error.filename or path} cannot be read: {error.strerror}.") from error


def _find(path: Path) -> Path:
    folder = standing(path)
    if folder is None:
        raise ModelFolderError(f"There is no model folder {path}{_nearest(path)}.")
    if not folder.is_dir():
        raise ModelFolderError(f"{path} is a file; give the model folder that it is in.")
    if (folder / CONFIG).exists():
        return folder
    inner = standing(folder / "model")
    if inner is not None and (inner / CONFIG).exists():
        return inner
    names = sorted(entry.name for entry in folder.iterdir())
    if any(name in _OF_A_RUN for name in names):
        raise ModelFolderError(
            f"The run {path} has no model yet: it is written after the first validation of the training, "
            "which has not come that far."
        )
    holds = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    if WEIGHTS in names:
        raise ModelFolderError(f"The model folder {path} lacks {CONFIG}; it holds {holds}. Copy it again.")
    raise ModelFolderError(
        f"{path} is not a model folder: it has no {CONFIG}, it {f'holds {holds}' if names else 'is empty'}."
    )


def _content(config: ModelConfig) -> str:
    return json.dumps(config.model_dump(mode="json"), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _content_of(path: Path) -> dict[str, Any]:
    """What config.json holds, if it is heedful's and of this format."""
    content = read_json(path)
    if not isinstance(content, dict) or "format" not in content or "heedful" not in content:
        raise ModelFolderError(f"{path} is not of a heedful model: it has no 'format' and 'heedful'.")
    if content["format"] != FORMAT:
        raise ModelFolderError(
            f"{path} has format {content['format']!r} (written by heedful {content['heedful']}); heedful "
            f"{heedful.__version__} reads format {FORMAT}. Install the version that wrote it."
        )
    return content


def _read_weights(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The tensors by name, after a comparison with the names and shapes that `model` has."""
    expected = {name: list(tensor.shape) for name, tensor in stored_once(model).items()}
    if not path.exists():
        raise ModelFolderError(f"The model folder {path.parent} lacks {path.name}. Copy it again.")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 -- not a dict
            if missing := [name for name in expected if name not in shapes]:
                raise ModelFolderError(f"{path} lacks {_listed(missing)}, which {CONFIG} asks for.")
            if extra := [name for name in shapes if name not in expected]:
                raise ModelFolderError(f"{path} has {_listed(extra)}, which {CONFIG} does not ask for.")
            for name, shape in expected.items():
                if shapes[name] != shape:
                    raise ModelFolderError(
                        f"{path}: {name} has shape {tuple(shapes[name])}, but by {CONFIG} it must be {tuple(shape)}."
                    )
            weights = {name: file.get_tensor(name) for name in expected}
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(f"{path} is damaged or cut short ({error}). Copy it again.") from error
    of_model = stored_once(model)
    for name, tensor in weights.items():
        if of_model[name].is_floating_point() and not tensor.is_floating_point():
            raise ModelFolderError(f"{path}: {name} holds {tensor.dtype}, not floating-point numbers.")
    return weights


def stored_once(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model by name, tied ones only by the first of their names."""
    once: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        once.setdefault(id(tensor), (name, tensor))
    return dict(once.values())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more tensors" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _check_replaceable(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelFolderError(
            f"{folder} is a file; a model folder cannot be written there. Choose another name."
        )
    if any(folder.iterdir()) and not ((folder / CONFIG).exists() and (folder / WEIGHTS).exists()):
        raise ModelFolderError(
            f"{folder} is there and not a model folder; it is left alone. Choose another name."
        )


def _nearest(path: Path) -> str:
    """The end of a sentence: the most similar name beside `path`, or which folder is missing."""
    parent = path.absolute().parent
    if not parent.is_dir():
        return f": there is no folder {parent}"
    names = [entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    similar = difflib.get_close_matches(path.name, names, n=1)
    return f"; the nearest name beside it is {similar[0]}" if similar else ""
