"""`heedful train`: from raw text to a model folder and its scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.cli import overrides

if TYPE_CHECKING:
    from heedful.tasks.face import Task
    from heedful.training.progress import Progress
    from heedful.training.recipe import Recipe
    from heedful.training.run import Run


def train(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="Name of a shipped recipe (see `heedful recipes`), or a .toml file.")
    ],
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/ and the name of the recipe")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Train with so many seeds, and give mean and deviation of the scores.")
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show nothing but errors and the scores.")] = False,
) -> None:
    """Train a model: check the data, learn the tokenizer, train, evaluate. The same command resumes a run.

    Any field of the recipe can be given as an option, for example

        heedful train multi30k-en-de --training.steps 20000 --model.norm pre

    Paths are relative to the current folder. A run that was interrupted, by
    Ctrl-C, kill -9 or a power cut, goes on from its last checkpoint when the
    same command is given again.

    With --seeds 3 there are three runs, in the folders seed-1 to seed-3 of the
    run's folder, whose seeds count up from training.seed. Without a test set
    mean and deviation are of validation.
    """
    from heedful.machine import prepare

    prepare()  # before PyTorch is loaded
    from rich.console import Console

    from heedful.training.progress import Progress
    from heedful.training.recipe import read
    from heedful.training.run import Run

    given = overrides.split(context.args, overrides.of(context))
    chosen = read(recipe, given)
    folder = run or Path("runs") / Path(recipe).stem
    progress = Progress(Console(stderr=True, highlight=False, quiet=quiet))
    if seeds == 1:
        train_in(Run(folder), chosen, progress)
    else:
        first = chosen.training.seed
        recipes = {
            seed: read(recipe, [*given, ("training.seed", str(seed))]) for seed in range(first, first + seeds)
        }
        _train_each(folder, recipes, progress)
        folder = folder / f"seed-{first}"
    if not quiet:
        typer.echo(f"The model is in {folder / 'model'}. Next:\n{_next(chosen.task, folder)}", err=True)


def _train_each(folder: Path, recipes: "dict[int, Recipe]", progress: "Progress") -> None:
    """Train the recipe of every seed in a folder of its own, and print mean and deviation of the scores.

    Without a test set those are the scores in validation that the best models were chosen by.
    """
    import json

    from rich.console import Console

    from heedful import durable
    from heedful.errors import RecipeError
    from heedful.evaluation.spread import spread, spread_table
    from heedful.training.run import Run

    if (folder / "recipe.toml").exists():
        raise RecipeError(
            f"{folder} is a run with one seed; name another folder with --run, or leave out --seeds."
        )
    runs = [Run(folder / f"seed-{seed}") for seed in recipes]
    for run, recipe in zip(runs, recipes.values(), strict=True):
        progress.say(f"Seed {recipe.training.seed}:")
        train_in(run, recipe, progress)
    found = spread([_tested(run) or _validated(run) for run in runs])
    told = {"seeds": list(recipes), "scores": [each.to_dict() for each in found]}
    durable.write_text(folder / "seeds.json", json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    Console().print(spread_table(found))


# What a model of these tasks is asked with.
_USES = {
    "language-modelling": "generate {} --prompt TEXT",
    "masked-language-modelling": "fill-mask {} 'A text with a [MASK] in it.'",
    "contrastive": "nearest {} TEXTS 'a query'",
}


def _next(task: str, folder: Path) -> str:
    """The commands that use a model."""
    if task == "translation":
        return (
            f"  heedful translate {folder} < INPUT > OUTPUT\n"
            f"  heedful evaluate {folder} --source SOURCE --reference REFERENCE"
        )
    if task in _USES:
        return f"  heedful {_USES[task].format(folder)}"
    return f"  heedful predict {folder} < INPUT"


def train_in(run: "Run", recipe: "Recipe", progress: "Progress") -> None:
    """Train `recipe` in the folder of `run` to its end, evaluate, and print the scores.

    Does what is left to do: nothing but print if the run is finished. Exits with 128 + signal after an interruption.
    """
    from heedful.cli.run_folder import claimed
    from heedful.machine import prepare
    from heedful.tasks.registry import task_of
    from heedful.training.trainer import Trainer

    with claimed(run, recipe):
        if run.evaluation.exists():
            progress.say(f"The run {run.folder} is finished; nothing is left to do.")
            _print(run)
            return
        prepare(recipe.training.threads)
        task = task_of(recipe.task)(recipe, run.data, progress)
        # What a metric lacks is told now, not after the training.
        task.check_metrics(recipe.needed_metrics())
        task.prepare()
        outcome = Trainer(recipe.training, task, run, progress).train()
        if outcome.signal is not None:
            raise typer.Exit(128 + outcome.signal)
        if outcome.ending == "patience":
            progress.say(
                f"Stopped at step {outcome.step:,}: {recipe.training.patience} validations without improvement."
            )
        best = (
            ""
            if outcome.best is None
            else f", with {recipe.training.metric} {outcome.best:.2f} in validation"
        )
        progress.say(f"The best model is that of step {outcome.best_step:,}{best}.")
        _evaluate(task, run, recipe)
        _print(run)


def _evaluate(task: "Task", run: "Run", recipe: "Recipe") -> None:
    """Score the best model on the test sets: in evaluation.json, and in what the model folder tells of itself."""
    import json

    from heedful import durable
    from heedful.machine import resolve_device
    from heedful.tasks.model_folder import add_scores
    from heedful.tasks.registry import config_of

    scores = task.evaluate(run.model, resolve_device(recipe.training.device))
    told = {name: [score.to_dict() for score in found] for name, found in scores.items()}
    add_scores(run.model, config_of(recipe.task), told)
    durable.write_text(run.evaluation, json.dumps(told, ensure_ascii=False, indent=1) + "\n")


def _tested(run: "Run") -> dict[str, list[dict[str, Any]]]:
    """The scores of a finished run by test set; none where there is no test set."""
    import json

    return json.loads(run.evaluation.read_text(encoding="utf-8"))


def _validated(run: "Run") -> dict[str, list[dict[str, Any]]]:
    """The score of the best model of a run in validation, as if that were a test set."""
    from heedful.evaluation import Score
    from heedful.tasks.model_folder import CONFIG, read_json

    best = read_json(run.model / CONFIG)["trained"]["validation"]
    label = "of the best model, which it was chosen by"
    return {
        "validation": [Score(name, value, None, None, "", label).to_dict() for name, value in best.items()]
    }


def _print(run: "Run") -> None:
    """Print the scores of a finished run."""
    from rich.console import Console

    from heedful.evaluation import Score, table

    for name, scores in _tested(run).items():
        shown = table([Score(**score) for score in scores])
        shown.title = name
        Console().print(shown)
