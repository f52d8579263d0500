"""A model folder: what is shared and loaded.

    config.json            format, task, model settings, vocabulary sizes, languages, search settings, training facts
    model.safetensors      the weights; tied ones once
    tokenizer.json         of both sides; or tokenizer.source.json and tokenizer.target.json
    README.md              the model card, for people
    shortlist.safetensors  where one was learnt: which target tokens a source can lead to, for faster translation

Reading one runs no code: safetensors and JSON, checked against each other before a weight is used.

A folder is replaced so that a complete one is there at every instant (replacing.py).
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import heedful
from heedful.decoding.settings import SearchSettings
from heedful.decoding.shortlist import Shortlist
from heedful.errors import ModelFolderError, TokenizerError
from heedful.models import ModelSettings, SequenceToSequence, build
from heedful.settings import Settings
from heedful.tasks.model_card import model_card
from heedful.tasks.replacing import replacing, standing
from heedful.text.tokenizer import Tokenizer

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
JOINT, SOURCE, TARGET = "tokenizer.json", "tokenizer.source.json", "tokenizer.target.json"
SHORTLIST = "shortlist.safetensors"
_OURS = (CONFIG, WEIGHTS, CARD, JOINT, SOURCE, TARGET, SHORTLIST)
# Any of these tells that a folder is a run, whose model is in `model/`.
_OF_A_RUN = ("recipe.toml", "log.jsonl", "checkpoints")
_NAMED = 3  # tensors that a message names; the rest is counted

TokenizerFile = Literal["tokenizer.json", "tokenizer.source.json", "tokenizer.target.json"]


class ModelConfig(Settings):
    """What config.json holds."""

    format: Literal[1] = Field(default=FORMAT, description="of the model folder")
    heedful: str = Field(default=heedful.__version__, description="version that wrote the folder")
    task: Literal["translation"] = Field(default="translation", description="what the model does")
    model: ModelSettings = Field(description="architecture and dimensions")
    source_vocabulary: int = Field(ge=1, description="entries of the source tokenizer")
    target_vocabulary: int = Field(ge=1, description="entries of the target tokenizer")
    tokenizers: dict[TokenizerFile, str] = Field(description="fingerprint of each tokenizer file")
    source_language: str | None = Field(default=None, description="code such as 'en'")
    target_language: str | None = Field(default=None, description="code such as 'de'")
    search: SearchSettings = Field(
        default=SearchSettings(), description="how to search when nothing else is asked for"
    )
    trained: dict[str, Any] = Field(default={}, description="facts and scores of the training, for people")

    @model_validator(mode="after")
    def _one_tokenizer_or_two(self) -> Self:
        if set(self.tokenizers) not in ({JOINT}, {SOURCE, TARGET}):
            raise ValueError(f"tokenizers must name {JOINT}, or {SOURCE} and {TARGET}")
        return self


@dataclass(frozen=True)
class ModelParts:
    """What a model folder gives: a model in evaluation mode and float32, with its tokenizers."""

    folder: Path
    model: SequenceToSequence
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    config: ModelConfig

    def shortlist(self) -> Shortlist:
        """Read the shortlist in the folder.

        Raises ModelFolderError if there is none, or it is damaged, or of other tokenizers.
        """
        path = self.folder / SHORTLIST
        if not path.exists():
            raise ModelFolderError(
                f"The model folder {self.folder} has no shortlist; learn one with `heedful shortlist`."
            )
        shortlist = Shortlist.load(path)
        sizes = self.config.source_vocabulary, self.config.target_vocabulary
        if (shortlist.tokenizers, shortlist.source_vocabulary, shortlist.target_vocabulary) != (
            self.config.tokenizers,
            *sizes,
        ):
            raise ModelFolderError(
                f"{path} was learnt for other tokenizers than those of this model; learn it again with "
                "`heedful shortlist`."
            )
        return shortlist


def save(
    folder: str | Path,
    model: SequenceToSequence,
    settings: ModelSettings,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    *,
    languages: tuple[str | None, str | None] = (None, None),
    search: SearchSettings | None = None,
    trained: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder, in place of one that is there; give its path.

    folder: made if need be, with its parents; files in it that are not of a model folder stay, and so does a
        shortlist of the same tokenizers
    model: its weights, with the `settings` that it was built with
    source_tokenizer, target_tokenizer: stored as one file if they share settings and vocabulary
    languages: of source and target, such as ("en", "de"); those of the tokenizers where left out
    trained: facts for people, JSON values; under "scores", for each test set, a list of `Score.to_dict()`

    Raises ModelFolderError if something else stands at `folder`, or it cannot be written (a full disk, say): what
    was there before is then still there.
    """
    folder = Path(folder).expanduser().absolute()
    existing = standing(folder)
    if existing is not None:
        _check_replaceable(existing)
    languages = (languages[0] or source_tokenizer.language, languages[1] or target_tokenizer.language)
    joint = (source_tokenizer.settings, source_tokenizer.vocabulary) == (
        target_tokenizer.settings,
        target_tokenizer.vocabulary,
    )
    tokenizers: dict[TokenizerFile, Tokenizer] = (
        {"tokenizer.json": source_tokenizer}
        if joint
        else {"tokenizer.source.json": source_tokenizer, "tokenizer.target.json": target_tokenizer}
    )
    config = ModelConfig(
        model=settings,
        source_vocabulary=len(source_tokenizer),
        target_vocabulary=len(target_tokenizer),
        tokenizers={name: tokenizer.fingerprint() for name, tokenizer in tokenizers.items()},
        source_language=languages[0],
        target_language=languages[1],
        search=search or SearchSettings(),
        trained=dict(trained or {}),
    )
    shortlist = None if existing is None else _shortlist_of(config.tokenizers, existing / SHORTLIST)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in _stored_once(model).items()}
    card = model_card(config, sum(tensor.numel() for tensor in weights.values()))
    content = json.dumps(config.model_dump(mode="json"), ensure_ascii=False, indent=2, allow_nan=False)
    try:
        with replacing(folder, _OURS) as writing:
            (writing / CONFIG).write_text(content + "\n", encoding="utf-8")
            (writing / CARD).write_text(card, encoding="utf-8")
            save_file(weights, writing / WEIGHTS, metadata={"format": "pt"})
            for name, tokenizer in tokenizers.items():
                tokenizer.save(writing / name)
            if shortlist is not None:
                shortlist.save(writing / SHORTLIST)
    except (OSError, SafetensorError, TokenizerError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelFolderError(f"The model folder {folder} cannot be written: {reason}.") from error
    return folder


def _shortlist_of(tokenizers: Mapping[TokenizerFile, str], path: Path) -> Shortlist | None:
    """The shortlist at `path` if it is of these tokenizers; of others, or damaged, it could only be refused."""
    try:
        shortlist = Shortlist.load(path)
    except ModelFolderError:
        return None
    return shortlist if shortlist.tokenizers == tokenizers else None


def load_parts(path: str | Path) -> ModelParts:
    """Read a model folder, or that of a run folder.

    Raises ModelFolderError, with the name of the file or tensor, for everything that is missing, damaged, of another
    format, or does not belong together.
    """
    folder = find(path)
    config = _read_config(folder)
    source, target = _read_tokenizers(folder, config)
    sizes = config.source_vocabulary, config.target_vocabulary
    try:
        # Without memory, so that a mistake in config.json is told before gigabytes are asked for.
        with torch.device("meta"):
            expected = build(config.model, *sizes)
    except (ValueError, RuntimeError) as error:
        raise ModelFolderError(f"{folder / CONFIG}: no model can be made of this: {error}") from error
    weights = _read_weights(folder / WEIGHTS, expected)
    # The weights drawn at random here are all replaced; whoever draws next must not notice.
    with torch.random.fork_rng(devices=[]):
        model = build(config.model, *sizes)
    with torch.no_grad():
        for name, parameter in _stored_once(model).items():
            parameter.copy_(weights[name])
    return ModelParts(folder, model.eval(), source, target, config)


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
    if any(name in _OURS for name in names if name != CARD):
        raise ModelFolderError(f"The model folder {path} lacks {CONFIG}; it holds {holds}. Copy it again.")
    raise ModelFolderError(
        f"{path} is not a model folder: it has no {CONFIG}, it {f'holds {holds}' if names else 'is empty'}."
    )


def _read_config(folder: Path) -> ModelConfig:
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path} is not JSON, or cut short: {error}.") from error
    if not isinstance(content, dict) or "format" not in content or "heedful" not in content:
        raise ModelFolderError(f"{path} is not of a heedful model: it has no 'format' and 'heedful'.")
    if content["format"] != FORMAT:
        raise ModelFolderError(
            f"{path} has format {content['format']!r} (written by heedful {content['heedful']}); heedful "
            f"{heedful.__version__} reads format {FORMAT}. Install the version that wrote it."
        )
    try:
        return ModelConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ModelFolderError(f"{path}: {where}: {first['msg']}.") from error


def _read_tokenizers(folder: Path, config: ModelConfig) -> tuple[Tokenizer, Tokenizer]:
    tokenizers: dict[str, Tokenizer] = {}
    for name, fingerprint in config.tokenizers.items():
        if not (folder / name).exists():
            raise ModelFolderError(f"The model folder {folder} lacks {name}. Copy it again.")
        try:
            tokenizers[name] = Tokenizer.load(folder / name)
        except TokenizerError as error:
            raise ModelFolderError(str(error)) from error
        if tokenizers[name].fingerprint() != fingerprint:
            raise ModelFolderError(
                f"{folder / name}: this tokenizer does not belong to this model; {CONFIG} was written with another "
                "one. Copy the whole folder again."
            )
    if JOINT in tokenizers:
        source = tokenizers[JOINT]
        target = source.for_language(config.target_language) if config.target_language else source
    else:
        source, target = tokenizers[SOURCE], tokenizers[TARGET]
    for side, tokenizer, entries in (
        ("source", source, config.source_vocabulary),
        ("target", target, config.target_vocabulary),
    ):
        if len(tokenizer) != entries:
            raise ModelFolderError(
                f"{folder / CONFIG}: {side}_vocabulary is {entries}, but the {side} tokenizer has {len(tokenizer)} "
                "entries: it does not belong to this model."
            )
    return source, target


def _read_weights(path: Path, model: SequenceToSequence) -> dict[str, Tensor]:
    """The tensors by name, after a comparison with the names and shapes that `model` has."""
    expected = {name: list(tensor.shape) for name, tensor in _stored_once(model).items()}
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
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            raise ModelFolderError(f"{path}: {name} holds {tensor.dtype}, not floating-point numbers.")
    return weights


def _stored_once(model: SequenceToSequence) -> dict[str, Tensor]:
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
