"""The recipes that come with heedful: `heedful/recipes/*.toml`."""

import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "recipes"


def shipped() -> dict[str, Path]:
    """The files, by the name of the recipe."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def description(path: Path) -> str:
    """What a shipped recipe is for, and how long it takes."""
    return " ".join(tomllib.loads(path.read_text(encoding="utf-8"))["description"].split())
