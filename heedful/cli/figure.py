"""`heedful figure`: attention as a figure for a paper."""

from pathlib import Path
from typing import Annotated

import typer


def figure(
    model: Annotated[
        Path, typer.Argument(help="A model folder, a run, or a folder of transformers.", show_default=False)
    ],
    save: Annotated[Path, typer.Option(help="The file: .svg, .pdf or .png.", show_default=False)],
    text: Annotated[
        str | None,
        typer.Option(
            "--text", "--source", help="What the model reads: a file of this name, or the text itself."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Its second text: the translation.", show_default="the model's own"),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            help="decoder.3.cross, decoder.3.cross:2, encoder.1:all, or a module's name; any number.",
        ),
    ] = None,
    all_of: Annotated[
        str | None, typer.Option("--all", help="All heads of a kind: encoder, decoder, cross or memory.")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Whole words in place of tokens; with --head.")
    ] = False,
    without_special: Annotated[
        bool,
        typer.Option(
            "--without-special", help="Take special tokens out of the columns and renormalise; with --head."
        ),
    ] = False,
    width: Annotated[float | None, typer.Option(min=0.5, max=100, help="Inches; needs --height too.")] = None,
    height: Annotated[float | None, typer.Option(min=0.5, max=100, help="Inches.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Draw what heads attend to, for a paper: vector graphics with the tokens along the sides.

    Layers and heads are counted from 1; a layer without a head is the mean of its
    heads. Several --head are drawn beside each other.

    heedful figure runs/de --source "A man rides a horse." --head decoder.3.cross --save fig.svg

    heedful figure runs/bert-mlm --text "The cat sat." --all encoder --save all.pdf
    """
    from heedful.errors import DataError
    from heedful.machine import prepare

    if text is None:
        raise DataError("A figure shows one pass over a text: give it with --source, or --text.")
    if (head is None) == (all_of is None):
        raise DataError("Say what to draw: --head decoder.3.cross:2, or --all cross; one of the two.")
    if all_of is not None and (words or without_special):
        raise DataError(
            "--all draws heads small, without their tokens; --words and --without-special are for heads named by "
            "--head, such as --head encoder.1:all."
        )
    if (width is None) != (height is None):
        raise DataError("A size has a --width and a --height.")
    prepare(threads)  # before PyTorch is loaded
    from heedful.cli import output
    from heedful.cli.input import text_or_file
    from heedful.viewing import figure as figures
    from heedful.viewing.looking import look, open_model

    figures.kind_of(save)
    output.check(save, overwrite)
    scene = look(
        open_model(model, device), text_or_file(text), None if target is None else text_or_file(target)
    )
    size = None if width is None or height is None else (width, height)
    if all_of is not None:
        drawn = figures.overview(scene, all_of, size=size)
    else:
        without = ["special"] if without_special else []
        drawn = figures.draw(scene, head or [], size=size, words=words, without=without)  # pyright: ignore
    figures.save(drawn, save, tight=size is None)
    print(output.size(save))
