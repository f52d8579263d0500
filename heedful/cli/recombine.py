"""`heedful recombine`: more training pairs out of few."""

from pathlib import Path
from typing import Annotated

import typer


def recombine(
    pairs: Annotated[
        Path, typer.Argument(help="A .tsv file: word, tab, what it is read as (symbols between spaces).")
    ],
    count: Annotated[int, typer.Option(min=1, help="How many new pairs to make.")] = 12_000,
    seed: Annotated[int, typer.Option(min=0, help="Another one gives other pairs.")] = 0,
    output: Annotated[Path | None, typer.Option(help="A .tsv file.", show_default="standard output")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file.")] = False,
) -> None:
    """Make new words and their readings out of parts of given ones that fit together, to train on beside them.

    heedful recombine train.tsv --count 12000 --output more.tsv
    """
    from heedful.cli.input import corpus_of
    from heedful.cli.output import check, writing
    from heedful.data.corpus import read_pairs
    from heedful.data.recombination import recombined_words

    if output is not None:
        check(output, overwrite)
    found = recombined_words(read_pairs(corpus_of(pairs=pairs)), count, seed)
    with writing(output, overwrite) as file:
        file.writelines(f"{word}\t{symbols}\n" for word, symbols in found)
    if len(found) < count:
        typer.echo(f"note: no more than {len(found):,} pairs were found", err=True)
