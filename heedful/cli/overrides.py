"""Fields of a recipe as options: `--training.steps 500 --data.train.text a.txt b.txt --metrics=bleu`."""

import difflib
import json
from collections.abc import Sequence

import typer

from heedful.errors import RecipeError


def split(arguments: Sequence[str], options: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The names and values, in order; of a name given twice, the last is what counts.

    Several values after a name, as a shell makes of *.txt, are a list, in TOML's spelling.

    >>> split(["--training.steps", "500", "--training.clip=1", "--data.train.text", "a.txt", "b.txt"])
    [('training.steps', '500'), ('training.clip', '1'), ('data.train.text', '["a.txt", "b.txt"]')]

    options: the command's own, such as --quiet: what is nearly one of them and has no value was meant to be it

    Raises RecipeError for what is no option, and for an option without a value.
    """
    found: list[tuple[str, str]] = []
    rest = list(arguments)[::-1]
    while rest:
        argument = rest.pop()
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise RecipeError(
                f"{argument!r} was not expected here: give one recipe, then fields as --table.field value."
            )
        if not equals:
            values: list[str] = []
            while rest and not rest[-1].startswith("--"):
                values.append(rest.pop())
            if not values:
                meant = difflib.get_close_matches(argument, options, n=1)
                raise RecipeError(
                    f"There is no option {argument}; did you mean {meant[0]}?"
                    if meant
                    else f"{argument} needs a value: {argument} VALUE."
                )
            value = values[0] if len(values) == 1 else json.dumps(values, ensure_ascii=False)
        found.append((name, value))
    return found


def of(context: typer.Context) -> list[str]:
    """The names of a command's own options."""
    return ["--help", *(name for one in context.command.params for name in one.opts if name.startswith("--"))]
