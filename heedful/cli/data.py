"""`heedful data`: which data sets can be had by name, and where they are."""

from typing import Annotated

import typer


def data(
    name: Annotated[
        str | None, typer.Argument(help="Fetch or generate this one, and say where it is.")
    ] = None,
) -> None:
    """List the named data sets with their terms, or fetch one.

    A folder with copies, for machines without a network, is named by the
    environment variable HEEDFUL_DATA. What is fetched is kept in the folder that
    HEEDFUL_CACHE names, by default the user's cache.
    """
    from rich.console import Console
    from rich.table import Table

    from heedful.data.named import list_names, resolve

    if name is None:
        shown = Table("data set", "what it is, its size, its terms", box=None, pad_edge=False)
        for listing in list_names():
            shown.add_row(listing.name, f"{listing.description}\n{listing.size}\n[dim]{listing.terms}[/dim]")
        Console(highlight=False).print(shown)
        return
    found = resolve(name)
    parts = [
        *(("train", corpus) for corpus in found.train),
        ("validation", found.validation),
        *found.tests.items(),
    ]
    for part, corpus in parts:
        print(f"{part}: {corpus}")
    for test, reason in found.unavailable.items():
        typer.echo(f"note: the test set {test} is left out: {reason}", err=True)
