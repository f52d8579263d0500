"""`heedful fill-mask`: the words that a masked language model would put into a text."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heedful.tasks.masked_language_modelling_folder import Filled


def fill_mask(
    model: Annotated[Path, typer.Argument(help="Model folder, or the folder of a run.")],
    text: Annotated[
        str | None,
        typer.Argument(
            help="Text with [MASK] for each word to fill in.", show_default="lines of standard input"
        ),
    ] = None,
    best: Annotated[int, typer.Option(min=1, help="Fillings of each [MASK].")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, an object for each text.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Fill in the words of a text that are hidden, with the probability of each filling.

    Several are filled independently of each other; beside each filling
    stands the text with it, and with the likeliest ones elsewhere.

    heedful fill-mask runs/bert-mlm "The [MASK] sat on the [MASK]."
    """
    from heedful.machine import prepare

    prepare(threads)  # before PyTorch is loaded
    from heedful.cli.input import lines
    from heedful.tasks.masked_language_modelling_folder import load

    filler = load(model, device=device)
    texts = [filler.fill(text, best)] if text is not None else filler.stream(lines(None), best)
    for number, filled in enumerate(texts):
        if filled.unknown:
            typer.echo(
                f"note: {filled.unknown} tokens of {filled.asked!r} are not in the vocabulary; they are left out of "
                "what is shown.",
                err=True,
            )
        if as_json:
            print(json.dumps(filled.to_json(), ensure_ascii=False), flush=True)
            continue
        if number:
            print()
        _show(filled)


def _show(filled: "Filled") -> None:
    """A line for each filling; with several holes, a line before those of each."""
    for number, fillings in enumerate(filled.masks, start=1):
        if len(filled.masks) > 1:
            print(f"[MASK] {number}")
        width = max(len(filling.piece) for filling in fillings)
        for filling in fillings:
            print(f"{100 * filling.probability:5.1f}%  {filling.piece:{width}}  {filling.text}", flush=True)
