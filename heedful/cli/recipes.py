"""`heedful recipes`: which recipes there are, and what is in them."""

from typing import Annotated

import typer


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this one, with its comments.")] = None,
) -> None:
    """List the recipes that come with heedful, or show one.

    To change one: heedful recipes NAME > my.toml, edit, heedful train my.toml.
    """
    from rich.console import Console
    from rich.table import Table

    from heedful.training.shipped import description, locate, shipped

    if name is not None:
        print(locate(name).read_text(encoding="utf-8"), end="")
        return
    shown = Table("recipe", "what for", box=None, pad_edge=False)
    for recipe, path in shipped().items():
        shown.add_row(recipe, description(path))
    Console(highlight=False).print(shown)
