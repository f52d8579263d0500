"""A run's folder, claimed: it belongs to this recipe, and to one training at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from heedful import durable
from heedful.errors import HeedfulError, RecipeError
from heedful.training.checkpoint import Checkpoints
from heedful.training.longer import check_longer
from heedful.training.recipe import Recipe, differences, read
from heedful.training.run import Run
from heedful.training.toml import to_toml

REPORT = "check.json"
"""In the data folder: there when the preparation is done."""
_LOCK = ".lock"


@contextmanager
def claimed(run: Run, recipe: Recipe) -> Iterator[None]:
    """Hold the folder for a training of `recipe`; a new or empty folder becomes a run.

    Of a start that fails before there is anything of it, at its data for example, no folder is left.

    A run of fewer steps goes on where that changes nothing of what was done (`heedful.training.longer`).

    Raises RecipeError if the folder is a run of another recipe (naming the settings that differ), is no run and not
    empty, or is in use by another training.
    """
    _check_folder(run)
    fresh = not run.recipe.exists()
    run.folder.mkdir(parents=True, exist_ok=True)
    # The kernel lets go of the lock when the process ends, however it ends.
    with (run.folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = os.fstat(lock.fileno()).st_nlink > 0  # else it was taken away meanwhile
        except BlockingIOError:
            free = False
        if not free:
            raise RecipeError(
                f"Another training is using {run.folder}; wait for it, or name another folder with --run."
            )
        if run.recipe.exists() and (run.data / REPORT).exists():
            if _may_change(run, recipe):
                # Scores first: without them the run is not finished, whichever recipe it has.
                run.evaluation.unlink(missing_ok=True)
                durable.write_text(run.recipe, to_toml(recipe))
        else:
            # Nothing has been learnt yet: a recipe that did not get past its data may be put right.
            durable.write_text(run.recipe, to_toml(recipe))
        try:
            yield
        except HeedfulError:
            if fresh:
                _take_away(run)
            raise


def _take_away(run: Run) -> None:
    """Remove a run of which there is nothing but its recipe; any other stays."""
    if {entry.name for entry in run.folder.iterdir()} - {run.recipe.name, run.data.name, _LOCK}:
        return
    if run.data.exists():
        if any(run.data.iterdir()):
            return
        run.data.rmdir()
    run.recipe.unlink()
    (run.folder / _LOCK).unlink()
    run.folder.rmdir()


def _check_folder(run: Run) -> None:
    if not run.folder.exists() or run.recipe.exists():
        return
    if not run.folder.is_dir():
        raise RecipeError(f"{run.folder} is a file; a run is a folder. Name another one with --run.")
    # What begins with a dot is a lock, or was being written when a training was killed.
    if others := sorted(entry.name for entry in run.folder.iterdir() if not entry.name.startswith(".")):
        raise RecipeError(
            f"{run.folder} is no run (it has no recipe.toml) and not empty (it holds {others[0]}); it is left alone. "
            "Name another folder with --run."
        )


def _may_change(run: Run, recipe: Recipe) -> bool:
    """Whether `recipe` may take the place of that of the run; False if it is the same. Any other is an error."""
    try:
        before = read(run.recipe.absolute())
    except RecipeError as error:
        raise RecipeError(
            f"{run.folder} was made by another version of heedful, or its recipe was edited; name another folder with "
            f"--run.\n{error}"
        ) from error
    different = differences(before, recipe)
    if different and not Checkpoints(run.checkpoints).steps():
        # Nothing has been learnt yet, and what was prepared does not depend on the training.
        if all(name.startswith("training.") for name in different):
            return True
    elif set(different) == {"training.steps"} and before.training.steps < recipe.training.steps:
        check_longer(run, before, recipe)
        return True
    if different:
        told = [
            f"{name} was {_shown(was)}, and is now {_shown(now)}" for name, (was, now) in different.items()
        ]
        raise RecipeError(
            f"{run.folder} is a run of another recipe: {'; '.join(told)}. Name another folder with --run, or go back "
            "to the old values."
        )
    return False


def _shown(value: object) -> str:
    return "none" if value is None else f'"{value}"' if isinstance(value, str) else str(value)
