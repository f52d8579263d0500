"""Fields of a recipe as options: `--training.steps 500 --data.train.source=a.en`."""

from collections.abc import Sequence

from heedful.errors import RecipeError


def split(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """The names and values, in order; of a name given twice, the last is what counts.

    >>> split(["--training.steps", "500", "--training.clip=1"])
    [('training.steps', '500'), ('training.clip', '1')]

    Raises RecipeError for what is no option, and for an option without a value.
    """
    found: list[tuple[str, str]] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise RecipeError(
                f"{argument!r} was not expected here: give one recipe, then fields as --table.field value."
            )
        if not equals:
            value = next(rest, None)
            if value is None or value.startswith("--"):
                raise RecipeError(f"--{name} needs a value: --{name} VALUE.")
        found.append((name, value))
    return found
