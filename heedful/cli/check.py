"""`heedful check`: a recipe and its data, looked at without training."""

from typing import Annotated

import typer

from heedful.cli import overrides


def check(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a .toml file.")],
) -> None:
    """Check a recipe and the text that it names, without training; takes the same fields as `heedful train`.

    Prints what is wrong with the pairs and what would be left out.
    """
    from rich.console import Console

    from heedful.data import check_corpora, resolve
    from heedful.training.recipe import read

    chosen = read(recipe, overrides.split(context.args)).data
    train, held_out = chosen.train, dict(chosen.tests)
    if chosen.validation is not None:
        held_out["validation"] = chosen.validation
    if chosen.name is not None:
        named = resolve(chosen.name)
        train, held_out = named.train, {"validation": named.validation, **named.tests, **held_out}
    Console().print(check_corpora(train, held_out, chosen.check).table())
