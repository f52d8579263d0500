"""`heedful shortlist`: which target tokens a source can lead to, learnt for faster translation."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heedful.data.store import PairStore
    from heedful.text.tokenizer import Tokenizer

_WINDOW = 8192  # pairs that are encoded together
_HELD_OUT = 50  # of files one pair in so many is not learnt from but measured with


def shortlist(
    model: Annotated[Path, typer.Argument(help="Folder of a run, or a model folder.")],
    source: Annotated[
        Path | None,
        typer.Option(help="Source text to learn from, one sentence a line.", show_default="that of the run"),
    ] = None,
    target: Annotated[Path | None, typer.Option(help="Its translations, line by line.")] = None,
    translations: Annotated[int, typer.Option(min=1, help="Translations kept of each source token.")] = 50,
    frequent: Annotated[int, typer.Option(min=0, help="Frequent target tokens that all lists have.")] = 100,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs learnt from at most.")] = 1_000_000,
) -> None:
    """Learn which target tokens a source can lead to, so that translation need not weigh the whole vocabulary.

        heedful shortlist runs/multi30k-en-de
        heedful shortlist my-model --source train.en --target train.de

    Writes shortlist.safetensors into the model folder, and says how much of
    held-out references its lists let through: the validation pairs of the run,
    or one in fifty of the pairs in the files.
    """
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from heedful.errors import DataError
    from heedful.tasks.shortlisting import coverage, learn_shortlist, training_text
    from heedful.tasks.translation_folder import SHORTLIST, load_parts

    if (source is None) != (target is None):
        raise DataError("Give both --source and --target, or neither to learn from the text of a run.")
    parts = load_parts(model)
    tokenizers = parts.source_tokenizer, parts.target_tokenizer
    # Beside what it may be as large as, not in a small /tmp.
    with TemporaryDirectory(dir=parts.folder.parent, prefix=".shortlist.") as folder:
        scratch = Path(folder)
        if source is not None and target is not None:
            train, held_out = _encoded(source, target, tokenizers, scratch)
            texts = [train]
        else:
            data = _run_data(parts.folder, tokenizers)
            texts, held_out = training_text(data, tokenizers, scratch), _validation(data)
        learnt = learn_shortlist(
            texts,
            tokenizers,
            fingerprints={**parts.config.tokenizers},
            translations=translations,
            frequent=frequent,
            pairs=pairs,
        )
        measured, pairs_measured = coverage(learnt, held_out), len(held_out)
    learnt.save(parts.folder / SHORTLIST)
    console = Console(soft_wrap=True, highlight=False)
    if pairs_measured:
        console.print(
            f"By {pairs_measured:,} held-out pairs: a source's list has {measured.size:,.0f} of "
            f"{learnt.target_vocabulary:,} tokens; {measured.tokens:.1%} of the reference's tokens are in it, and all "
            f"of them in {measured.sentences:.1%} of the references."
        )
    console.print(f"The shortlist is in {parts.folder / SHORTLIST}; translate with --shortlist.")


def _run_data(folder: Path, tokenizers: "tuple[Tokenizer, Tokenizer]") -> Path:
    """The prepared data of the run that the model `folder` belongs to.

    Raises DataError if it belongs to none, or the data was made with other tokenizers.
    """
    from heedful.errors import DataError
    from heedful.text.tokenizer import Tokenizer
    from heedful.training.run import Run

    run = Run(folder.absolute().parent)
    if folder.name != run.model.name or not (run.data / "check.json").exists():
        raise DataError(
            f"{folder} is not in the folder of a run, which would hold its training text; give text with --source "
            "and --target."
        )
    for side, tokenizer in zip(("source", "target"), tokenizers, strict=True):
        if Tokenizer.load(run.data / f"tokenizer.{side}.json").fingerprint() != tokenizer.fingerprint():
            raise DataError(
                f"The text in {run.data} was prepared with another {side} tokenizer than that of the model in "
                f"{folder}; give text with --source and --target."
            )
    return run.data


def _validation(data: Path) -> "PairStore":
    from heedful.data.store import PairStore

    return PairStore.open(data / "validation.arrow")


def _encoded(
    source: Path, target: Path, tokenizers: "tuple[Tokenizer, Tokenizer]", scratch: Path
) -> "tuple[PairStore, PairStore]":
    """The ids of two files, line by line: what is learnt from, and what is kept back to measure with."""
    from heedful.cli.input import corpus_of
    from heedful.data.corpus import read_pairs
    from heedful.data.store import Pair, PairStore

    held_out: list[Pair] = []

    def train():
        lines = read_pairs(corpus_of(source=source, target=target))
        number = 0
        while window := list(islice(lines, _WINDOW)):
            sides = zip(*window, strict=True)
            ids = [tokenizer.encode_batch(texts) for tokenizer, texts in zip(tokenizers, sides, strict=True)]
            for pair in zip(*ids, strict=True):
                number += 1
                if number % _HELD_OUT:
                    yield pair
                else:
                    held_out.append(pair)

    return PairStore.write(scratch / "train.arrow", train()), PairStore.write(
        scratch / "held-out.arrow", held_out
    )
