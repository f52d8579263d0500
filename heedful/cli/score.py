"""`heedful score`: how probable given translations are."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

_WINDOW = 4096  # pairs held at a time


def score(
    model: Annotated[Path, typer.Argument(help="Model folder, or the folder of a run.")],
    source: Annotated[Path, typer.Option(help="Source sentences, one a line.")],
    target: Annotated[Path, typer.Option(help="Their translations, line by line.")],
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens scored at once.")] = 4096,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Print the natural logarithm of P(target | source) for each pair of lines.

    heedful score runs/multi30k-en-de --source test.en --target test.de
    """
    from heedful.machine import prepare

    prepare(threads)  # before PyTorch is loaded
    from heedful.cli.input import corpus_of
    from heedful.data.corpus import read_pairs
    from heedful.tasks.translator import load

    pairs = read_pairs(corpus_of(source=source, target=target))
    translator = load(model, device=device)
    done = 0
    while window := list(islice(pairs, _WINDOW)):
        sources, targets = zip(*window, strict=True)
        for value in translator.score(sources, targets, batch_tokens=batch_tokens, before=done):
            print(f"{value:.6f}")
        done += len(window)
