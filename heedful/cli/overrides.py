"""Fields of a recipe as options: `--training.steps 500 --data.train.text a.txt b.txt --metrics=bleu`."""

import json
from collections.abc import Sequence

from heedful.errors import RecipeError


def split(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """The names and values, in order; of a name given twice, the last is what counts.

    Several values after a name, as a shell makes of *.txt, are a list, in TOML's spelling.

    >>> split(["--training.steps", "500", "--training.clip=1", "--data.train.text", "a.txt", "b.txt"])
    [('training.steps', '500'), ('training.clip', '1'), ('data.train.text', '["a.txt", "b.txt"]')]

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
                raise RecipeError(f"--{name} needs a value: --{name} VALUE.")
            value = values[0] if len(values) == 1 else json.dumps(values, ensure_ascii=False)
        found.append((name, value))
    return found
