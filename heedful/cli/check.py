"""`heedful check`: a recipe and its data, looked at without training."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.cli import overrides

if TYPE_CHECKING:
    from heedful.training.recipe import Recipe


def check(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a .toml file.")],
) -> None:
    """Check a recipe and the data that it names, without training; takes the same fields as `heedful train`.

    Prints what is wrong with the data and what would be left out.
    """
    from rich.console import Console

    from heedful.data import check_corpora, resolve
    from heedful.training.recipe import read

    whole = read(recipe, overrides.split(context.args, overrides.of(context)))
    if whole.task != "translation":
        _prepare(whole)
        return
    chosen: Any = whole.data
    train, held_out = chosen.train, dict(chosen.tests)
    if chosen.validation is not None:
        held_out["validation"] = chosen.validation
    if chosen.name is not None:
        named = resolve(chosen.name)
        train, held_out = named.train, {"validation": named.validation, **named.tests, **held_out}
    Console().print(check_corpora(train, held_out, chosen.check).table())


def _prepare(recipe: "Recipe") -> None:
    """Prepare the data as a training would, and forget it: the tasks tell what they find."""
    from rich.console import Console

    from heedful.tasks.registry import task_of
    from heedful.training.progress import Progress

    with tempfile.TemporaryDirectory() as folder:
        task_of(recipe.task)(recipe, Path(folder) / "data", Progress(Console(highlight=False))).prepare()
