"""`heedful contexts`: how far the vectors of words depend on their contexts, layer by layer."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.cli.embed import ModelArgument

if TYPE_CHECKING:
    from heedful.tasks.contexts import Occurrence
    from heedful.tasks.readers import Reader


def contexts(
    model: ModelArgument,
    text: Annotated[Path, typer.Argument(help="Sentences, one a line.")],
    word: Annotated[
        list[str] | None,
        typer.Option(
            "--word", help="A word or phrase to follow; any number.", show_default="all frequent words"
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the words of --word too, into this .svg file.")
    ] = None,
    sentences: Annotated[int, typer.Option(min=2, help="Sentences that are read, at most.")] = 1000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of the figure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Measure how contextual the vectors of each layer are, as Ethayarajh 2019 did; or follow words.

    Of all words that stand in five sentences or more: how alike a word is to
    itself elsewhere, how alike the words of a sentence are to their mean, and how
    much one direction explains of a word; each less what random words have.

    heedful contexts runs/bert-mlm sentences.txt

    heedful contexts runs/bert-mlm sentences.txt --word ball --word "couch potato" --figure ball.svg
    """
    from heedful.errors import DataError
    from heedful.machine import prepare

    if figure is not None and not word:
        raise DataError("A figure is of words: name them with --word.")
    prepare(threads)  # before PyTorch is loaded
    from itertools import islice

    from heedful.cli.input import lines
    from heedful.cli.output import check_figure
    from heedful.tasks import readers
    from heedful.tasks.contexts import read_words

    if figure is not None:
        check_figure(figure, overwrite)
    reader = readers.read(model, device)
    read = read_words(reader, islice(filter(str.strip, lines(text)), sentences))
    if word:
        _follow(reader, read, word, figure, overwrite, as_json)
    else:
        _measure(reader, read, as_json)


def _measure(reader: "Reader", read: Any, as_json: bool) -> None:
    """A row for each layer, over all words."""
    from dataclasses import asdict

    from heedful.tasks.contexts import by_layer

    measured = by_layer(reader, read)
    if as_json:
        layers = [asdict(one) | {"adjusted": one.adjusted()} for one in measured]
        print(json.dumps(layers, indent=1))
        return
    names = {
        "anisotropy": lambda one: one.anisotropy,
        "self-similarity": lambda one: one.adjusted()["self_similarity"],
        "intra-sentence": lambda one: one.adjusted()["intra_sentence_similarity"],
        "explainable variance": lambda one: one.adjusted()["explainable_variance"],
    }
    rows = [[str(layer), *(f"{of(one):.3f}" for of in names.values())] for layer, one in enumerate(measured)]
    _print(["layer", *names], rows, "each but the first less what random words have")


def _follow(
    reader: "Reader", read: Any, words: list[str], figure: Path | None, overwrite: bool, as_json: bool
) -> None:
    """A column for each word: how alike its occurrences are in each layer."""
    from heedful.cli.output import size, writing
    from heedful.errors import DataError
    from heedful.evaluation.vectors import self_similarity
    from heedful.tasks.contexts import found_in

    found: dict[str, list[Occurrence]] = found_in(reader, read, words)
    for word, ones in found.items():
        if len(ones) < 2:
            times = "once" if ones else "not at all"
            raise DataError(
                f"{word!r} stands {times} in the text; its contexts are compared, so give two at least."
            )
    alike = {
        word: [self_similarity(_of_layer(ones, layer)) for layer in range(reader.layers + 1)]
        for word, ones in found.items()
    }
    if as_json:
        told = {
            word: {"sentences": [one.number for one in ones], "self_similarity": alike[word]}
            for word, ones in found.items()
        }
        print(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        rows = [
            [str(layer), *(f"{alike[word][layer]:.3f}" for word in found)]
            for layer in range(reader.layers + 1)
        ]
        heads = [f"{word} ({len(ones)})" for word, ones in found.items()]
        _print(["layer", *heads], rows, "how alike a word is to itself elsewhere: mean cosine")
    if figure is not None:
        from heedful.viewing.contexts import contexts_figure

        if sum(map(len, found.values())) < 3:
            raise DataError("A figure needs three occurrences of the words at least; give more sentences.")
        with writing(figure, overwrite) as file:
            file.write(contexts_figure(found))
        print(size(figure), file=sys.stderr)


def _of_layer(ones: "list[Occurrence]", layer: int) -> Any:
    import numpy as np

    return np.stack([one.vectors[layer] for one in ones])


def _print(heads: list[str], rows: list[list[str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
