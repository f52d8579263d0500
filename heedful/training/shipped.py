"""The recipes that come with heedful: `heedful/recipes/*.toml`."""

import difflib
import tomllib
from pathlib import Path

from heedful.errors import RecipeError

FOLDER = Path(__file__).parent.parent / "recipes"


def shipped() -> dict[str, Path]:
    """The files, by the name of the recipe."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def description(path: Path) -> str:
    """What a shipped recipe is for, and how long it takes."""
    return " ".join(tomllib.loads(path.read_text(encoding="utf-8"))["description"].split())


def locate(name: str | Path) -> Path:
    """The file of a recipe; RecipeError, with the nearest name, if there is none."""
    path = Path(name).expanduser()
    recipes = shipped()
    if str(name) in recipes:
        return recipes[str(name)]
    if path.is_file():
        return path
    if path.is_dir():
        raise RecipeError(
            f"{path} is a folder; a recipe is a .toml file or a name that `heedful recipes` lists."
        )
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise RecipeError(
            f"There is no file {path}; give a .toml file or a name that `heedful recipes` lists."
        )
    near = difflib.get_close_matches(str(name), recipes, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise RecipeError(f"There is no recipe named {name}; {hint}`heedful recipes` lists them.")
