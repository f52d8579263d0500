"""The public names, one a line, so that no change adds, moves or removes one unseen.

`.venv/bin/python tests/test_public_surface.py` writes the list anew; a name that goes is told in CHANGELOG.md under
"Breaking".
"""

import importlib
import pkgutil
from pathlib import Path

import heedful

SNAPSHOT = Path(__file__).with_name("public_surface.txt")


def public_surface() -> list[str]:
    """List what heedful and its rooms export through `__all__`."""
    rooms = [f"heedful.{room.name}" for room in pkgutil.iter_modules(heedful.__path__) if room.ispkg]
    modules = [importlib.import_module(name) for name in ["heedful", *rooms]]
    return sorted(
        f"{module.__name__}.{name}" for module in modules for name in getattr(module, "__all__", ())
    )


def test_the_public_names_are_those_of_the_snapshot():
    assert public_surface() == SNAPSHOT.read_text("utf-8").splitlines()


def test_every_public_name_exists_once():
    names = public_surface()
    assert len(set(names)) == len(names)
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


if __name__ == "__main__":
    SNAPSHOT.write_text("".join(f"{name}\n" for name in public_surface()), "utf-8")
