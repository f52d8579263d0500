"""`heedful predict`: the answers of a model of any task."""

import json
from pathlib import Path
from typing import Annotated

import typer


def predict(
    model: Annotated[Path, typer.Argument(help="Model folder, or the folder of a run.")],
    input: Annotated[
        Path | None, typer.Option(help="What to answer, as the task reads it.", show_default="standard input")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="All that is known of each answer, as JSON.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Answer what stands in the lines of the input, an answer a line.

    What a line is depends on the task of the model: a sentence to translate,
    a line of a story or a question about it, the path of a picture. The
    README.md in the model folder says it.

    heedful predict runs/babi < story.txt
    heedful predict runs/babi --json < story.txt
    """
    from heedful.machine import prepare

    prepare(threads)  # before PyTorch is loaded
    from heedful.cli.input import lines, named
    from heedful.tasks import load

    with named(input):
        for answer in load(model, device=device).stream(lines(input)):
            print(json.dumps(answer.to_json(), ensure_ascii=False) if as_json else answer.line, flush=True)
