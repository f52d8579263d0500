"""Bad inputs: what a user may do wrong, each with a way to do it and the command that meets it.

In a folder with `train.tsv`, `validation.tsv` and the recipe `numbers.toml`, beside a finished run `trained`.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

TRAIN = ("train", "numbers.toml")
OWN = ("train", "custom", "--data.validation.pairs", "validation.tsv", "--data.train.source")
ALIGNED = (*OWN, "a.en", "--data.train.target", "a.de")


@dataclass(frozen=True)
class Bad:
    """What is wrong, how it comes about (None: only the command is wrong), and the command."""

    name: str
    prepare: Callable[[Path], object] | None
    command: tuple[str, ...]


def text(name: str, content: str | bytes) -> Callable[[Path], object]:
    """A file with this content."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def recipe(old: str, new: str) -> Callable[[Path], object]:
    """The recipe with something changed."""

    def change(folder: Path) -> None:
        path = folder / "numbers.toml"
        content = path.read_text(encoding="utf-8")
        assert old in content
        path.write_text(content.replace(old, new), encoding="utf-8")

    return change


def both(*steps: Callable[[Path], object]) -> Callable[[Path], object]:
    """One after the other."""
    return lambda folder: [step(folder) for step in steps]


def copied(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """A copy `model` of the trained model, damaged."""

    def prepare(folder: Path) -> None:
        shutil.copytree(Path(os.environ["TRAINED"]) / "model", folder / "model")
        change(folder / "model")

    return prepare


def cut(name: str) -> Callable[[Path], object]:
    """The first half of a file."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return change


def without_tensor(folder: Path) -> None:
    """The weights, less one."""
    weights = load_file(folder / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / "model.safetensors")


def other_tokenizer(folder: Path) -> None:
    """A tokenizer that was made for something else."""
    from heedful.text import Tokenizer, TokenizerSettings

    settings = TokenizerSettings(kind="words", vocabulary_size=80, min_frequency=1)
    Tokenizer.train(["something else"], settings).save(folder / "tokenizer.json")


def another_format(folder: Path) -> None:
    """A config.json of the future."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


def run_of_another_recipe(folder: Path) -> None:
    """The folder of a run that was started with other settings."""
    shutil.copytree(os.environ["TRAINED"], folder / "runs" / "numbers")
    recipe("warmup = 2", "warmup = 3")(folder)


def damaged_checkpoint(folder: Path) -> None:
    """A run, not finished, whose last checkpoint is damaged."""
    run = folder / "runs" / "numbers"
    shutil.copytree(os.environ["TRAINED"], run)
    (run / "evaluation.json").unlink()
    cut("tensors.safetensors")(sorted((run / "checkpoints").glob("step-*"))[-1])


BAD_INPUTS = (
    # files
    Bad("a missing file", None, (*OWN, "nowhere.en", "--data.train.target", "a.de")),
    Bad("a misspelt file", text("corpus.en", "a\n"), (*OWN, "corpus.em", "--data.train.target", "a.de")),
    Bad("a folder in place of a file", lambda folder: (folder / "a.en").mkdir(), ALIGNED),
    Bad(
        "unequal numbers of lines",
        both(text("a.en", "one\ntwo\nthree\n"), text("a.de", "eins\nzwei\n")),
        ALIGNED,
    ),
    Bad("a binary file", both(text("a.en", b"\x89PNG\x00\x00"), text("a.de", "eins\n")), ALIGNED),
    Bad(
        "a line that is not UTF-8",
        both(text("a.en", b"one\ntw\xff\n"), text("a.de", "eins\nzwei\n")),
        ALIGNED,
    ),
    Bad("an empty file", both(text("a.en", ""), text("a.de", "")), ALIGNED),
    Bad(
        "a damaged archive",
        both(text("a.en.gz", b"\x1f\x8b\x08\x00broken"), text("a.de", "eins\n")),
        (*OWN, "a.en.gz", "--data.train.target", "a.de"),
    ),
    Bad("a TSV line with one column", text("train.tsv", "1 2\t2 1\n3 4\n"), TRAIN),
    Bad(
        "a JSONL line that is not JSON",
        both(
            text("train.jsonl", '{"source": "1", "target": "1"}\n{"source": \n'),
            recipe("train.tsv", "train.jsonl"),
        ),
        TRAIN,
    ),
    Bad(
        "a JSONL line without the key",
        both(text("train.jsonl", '{"source": "1"}\n'), recipe("train.tsv", "train.jsonl")),
        TRAIN,
    ),
    Bad("nothing but empty pairs", text("train.tsv", "\t\n\t\n"), TRAIN),
    Bad("pairs that are all too long", recipe("maximum_length = 20", "maximum_length = 1"), TRAIN),
    Bad("a full disk", text("full", ""), TRAIN),
    # recipes
    Bad("no such recipe", None, ("train", "multi30k-en-ed")),
    Bad("no such recipe file", None, ("train", "mine.toml")),
    Bad("a recipe that is not TOML", text("numbers.toml", "[training\nsteps = 6\n"), TRAIN),
    Bad("a misspelt key in a recipe", recipe("steps = 6", "stepps = 6"), TRAIN),
    Bad("a misspelt key as an option", None, (*TRAIN, "--training.shedule.rate", "0.1")),
    Bad("a value of the wrong kind", recipe("steps = 6", 'steps = "many"'), TRAIN),
    Bad("a value out of range", None, (*TRAIN, "--model.dropout", "1.5")),
    Bad("heads that do not divide the model", None, (*TRAIN, "--model.heads", "3")),
    Bad("settings that contradict each other", None, (*TRAIN, "--tokenizer.dropout", "0.1")),
    Bad("a tied model with two vocabularies", None, (*TRAIN, "--tokenizer.joint", "false")),
    Bad("no training data", recipe("data.train.pairs", "data.tests.more.pairs"), TRAIN),
    Bad("no validation data", recipe("data.validation.pairs", "data.tests.more.pairs"), TRAIN),
    Bad("no such data set", None, ("data", "multi30k-en-pl")),
    Bad("no such metric", None, (*TRAIN, "--training.metric", "blue")),
    # runs
    Bad("a run of another recipe", run_of_another_recipe, TRAIN),
    Bad(
        "a folder that is no run",
        both(lambda folder: (folder / "precious").mkdir(), text("precious/thesis.txt", "...")),
        (*TRAIN, "--run", "precious"),
    ),
    Bad("a truncated checkpoint", damaged_checkpoint, TRAIN),
    # models
    Bad("a model that is not there", None, ("translate", "runs/nowhere")),
    Bad("a folder that is no model", lambda folder: (folder / "model").mkdir(), ("translate", "model")),
    Bad(
        "a run that has no model yet",
        both(
            lambda folder: (folder / "young").mkdir(),
            lambda folder: shutil.copy(Path(os.environ["TRAINED"]) / "recipe.toml", folder / "young"),
        ),
        ("translate", "young"),
    ),
    Bad("truncated weights", copied(cut("model.safetensors")), ("translate", "model")),
    Bad("weights that lack a tensor", copied(without_tensor), ("translate", "model")),
    Bad("a tokenizer of another model", copied(other_tokenizer), ("translate", "model")),
    Bad("a truncated tokenizer", copied(cut("tokenizer.json")), ("translate", "model")),
    Bad("a model of a later heedful", copied(another_format), ("translate", "model")),
    Bad(
        "a line that is too long, not to be split",
        text("in.txt", "7 8\n" + "1 " * 60 + "\n"),
        ("translate", "TRAINED", "--source", "in.txt", "--long", "refuse"),
    ),
    Bad(
        "an output that exists",
        both(text("in.txt", "7 8\n"), text("out.txt", "precious\n")),
        ("translate", "TRAINED", "--source", "in.txt", "--output", "out.txt"),
    ),
    Bad(
        "more answers than the beam holds",
        text("in.txt", "7 8\n"),
        ("translate", "TRAINED", "--source", "in.txt", "--beam", "2", "--n-best", "5"),
    ),
    Bad(
        "hypotheses and references of unequal number",
        both(text("h.txt", "a\nb\n"), text("r.txt", "a\n")),
        ("evaluate", "--hypotheses", "h.txt", "--reference", "r.txt"),
    ),
)
