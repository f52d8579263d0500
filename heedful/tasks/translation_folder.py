"""The model folder of a translation model.

    tokenizer.json         of both sides; or tokenizer.source.json and tokenizer.target.json
    shortlist.safetensors  where one was learnt: which target tokens a source can lead to, for faster translation

Beside what every model folder has; config.json has vocabulary sizes, languages and search settings too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from heedful.decoding.settings import SearchSettings
from heedful.decoding.shortlist import Shortlist
from heedful.errors import ModelFolderError, TokenizerError
from heedful.models import ModelSettings, SequenceToSequence, build
from heedful.tasks.model_folder import CONFIG, ModelConfig, opened, place, read_model, writing
from heedful.tasks.replacing import standing
from heedful.text.tokenizer import Tokenizer

JOINT, SOURCE, TARGET = "tokenizer.json", "tokenizer.source.json", "tokenizer.target.json"
SHORTLIST = "shortlist.safetensors"

TokenizerFile = Literal["tokenizer.json", "tokenizer.source.json", "tokenizer.target.json"]


class TranslationConfig(ModelConfig):
    """What config.json holds of a translation model."""

    files = (JOINT, SOURCE, TARGET, SHORTLIST)
    use = """    heedful translate PATH < input.txt > output.txt

In Python:

    import heedful
    model = heedful.load("PATH")
    model.translate(["..."])

The text goes in and comes out raw: the tokenizer is in the folder."""

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

    @model_validator(mode="after")
    def _one_tokenizer_or_two(self) -> Self:
        if set(self.tokenizers) not in ({JOINT}, {SOURCE, TARGET}):
            raise ValueError(f"tokenizers must name {JOINT}, or {SOURCE} and {TARGET}")
        return self

    def title(self) -> str:
        """What the model is for, for its card."""
        source, target = self.source_language, self.target_language
        return f"{source} to {target}" if source and target else "sequence to sequence"

    def facts(self) -> dict[str, Any]:
        """The vocabulary of both sides, or of each."""
        if len(self.tokenizers) == 1:
            return {"vocabulary": self.source_vocabulary}
        return {"source_vocabulary": self.source_vocabulary, "target_vocabulary": self.target_vocabulary}


@dataclass(frozen=True)
class ModelParts:
    """What a model folder gives: a model in evaluation mode and float32, with its tokenizers."""

    folder: Path
    model: SequenceToSequence
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    config: TranslationConfig

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
    folder = place(folder)
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
    config = TranslationConfig(
        model=settings,
        source_vocabulary=len(source_tokenizer),
        target_vocabulary=len(target_tokenizer),
        tokenizers={name: tokenizer.fingerprint() for name, tokenizer in tokenizers.items()},
        source_language=languages[0],
        target_language=languages[1],
        search=search or SearchSettings(),
        trained=dict(trained or {}),
    )
    existing = standing(folder)
    shortlist = None if existing is None else _shortlist_of(config.tokenizers, existing / SHORTLIST)
    with writing(folder, config, model) as new:
        for name, tokenizer in tokenizers.items():
            tokenizer.save(new / name)
        if shortlist is not None:
            shortlist.save(new / SHORTLIST)
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
    folder, config = opened(path, TranslationConfig)
    source, target = read_tokenizers(folder, config)
    sizes = config.source_vocabulary, config.target_vocabulary
    model = read_model(folder, lambda: build(config.model, *sizes))
    return ModelParts(folder, model, source, target, config)


def read_tokenizers(folder: Path, config: TranslationConfig) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of source and target. Raises ModelFolderError where they are not this model's."""
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
