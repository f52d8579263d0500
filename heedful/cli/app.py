"""`heedful`: the commands together, and what becomes of errors.

Nothing here or at the top of a command's file imports PyTorch, so that `heedful --help` answers at once.

A mistake of the user's is one message on standard error and exit status 2; Ctrl-C is 130, SIGTERM 143.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import heedful
from heedful.cli import (
    bpe,
    by_length,
    check,
    compile,
    contexts,
    data,
    demo,
    embed,
    evaluate,
    export,
    figure,
    fill_mask,
    generate,
    import_,
    nearest,
    predict,
    recipes,
    recombine,
    score,
    shortlist,
    train,
    translate,
    view,
)
from heedful.errors import HeedfulError

app = typer.Typer(
    name="heedful",
    help="Train, run and look inside attention models, on your own data, on the machine you have.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Any field of a recipe is an option of these; `overrides` reads them.
_FREE = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command(rich_help_panel="Models", context_settings=_FREE)(train.train)
app.command(rich_help_panel="Models")(translate.translate)
app.command(rich_help_panel="Models")(predict.predict)
app.command("fill-mask", rich_help_panel="Models")(fill_mask.fill_mask)
app.command(rich_help_panel="Models")(generate.generate)
app.command(rich_help_panel="Models")(embed.embed)
app.command(rich_help_panel="Models")(nearest.nearest)
app.command(rich_help_panel="Models")(evaluate.evaluate)
app.command("by-length", rich_help_panel="Models")(by_length.by_length)
app.command(rich_help_panel="Models")(score.score)
app.command(rich_help_panel="Models")(shortlist.shortlist)
app.command(rich_help_panel="Models")(compile.compile)
app.command("import", rich_help_panel="Models")(import_.import_)
app.command(rich_help_panel="Models")(export.export)
app.command(rich_help_panel="Recipes and data")(recipes.recipes)
app.command(rich_help_panel="Recipes and data")(data.data)
app.command(rich_help_panel="Recipes and data", context_settings=_FREE)(check.check)
app.command(rich_help_panel="Recipes and data")(recombine.recombine)
app.command(rich_help_panel="To look at")(view.view)
app.command(rich_help_panel="To look at")(figure.figure)
app.command(rich_help_panel="To look at")(demo.demo)
app.command(rich_help_panel="To look at")(contexts.contexts)
app.command(rich_help_panel="To look at")(bpe.bpe)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(heedful.__version__)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the arguments name (default: those of the process) and exit with its status."""
    try:
        app(arguments)
        status = 0
    except SystemExit as ending:
        status = ending.code
    except HeedfulError as error:
        status = _tell(str(error))
    except OSError as error:
        # What no command expects: a full disk, a folder without permission. The system's own words say which.
        status = _tell(f"{error.filename or 'the system says'}: {error.strerror or error}.")
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not try to write the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _tell(message: str) -> int:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return 2
