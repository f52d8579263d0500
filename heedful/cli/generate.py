"""`heedful generate`: text that a language model goes on with."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def generate(
    model: Annotated[Path, typer.Argument(help="Model folder, or the folder of a run.")],
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    prompt_file: Annotated[Path | None, typer.Option(help="A file that holds the prompt instead.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Longest text after the prompt, in tokens.")] = 200,
    samples: Annotated[int, typer.Option(min=1, help="How many texts.")] = 1,
    temperature: Annotated[float, typer.Option(help="Divides logits; below 1 is bolder.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only the k most probable tokens; 0 is all, 1 is greedy.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the fewest tokens with so much probability.")] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1, what occurred becomes rarer.")] = 1.0,
    no_repeat_ngram: Annotated[int, typer.Option(help="No n-gram of this size twice; 0 is no limit.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same texts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each text.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    engine: Annotated[
        Literal["auto", "plain", "lean"],
        typer.Option(
            help="plain: the model in PyTorch; lean: its weights laid out for one thread of a CPU, several times as "
            "fast; auto: lean where it can be had and pays."
        ),
    ] = "auto",
    precision: Annotated[
        Literal["float32", "int8"], typer.Option(help="Of the lean engine; int8 is faster still, and rounds.")
    ] = "float32",
) -> None:
    """Go on from a prompt with a language model.

    heedful generate runs/char-gpt --prompt "To be" --tokens 500 --seed 1
    heedful generate runs/gpt --prompt "Once upon" --samples 3 --top-p 0.9
    """
    from heedful.machine import prepare

    prepare(threads)  # before PyTorch is loaded
    from heedful.cli.input import lines
    from heedful.errors import ModelFolderError, RecipeError
    from heedful.tasks.language_modelling_folder import load
    from heedful.tasks.model_folder import name_of_task

    if prompt_file is not None:
        if prompt:
            raise RecipeError("--prompt and --prompt-file are both given; one of the two.")
        prompt = "\n".join(lines(prompt_file))
    if name_of_task(model) != "language-modelling":
        raise ModelFolderError(
            f"The model in {model} is no language model, so it cannot go on from a prompt; `heedful predict` asks "
            "models of every task."
        )
    found = load(model, device, engine, precision).generate(
        prompt,
        tokens=tokens,
        samples=samples,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram=no_repeat_ngram,
        seed=seed,
    )
    for number, each in enumerate(found, start=1):
        if as_json:
            print(json.dumps(each.to_json(), ensure_ascii=False))
            continue
        if samples > 1:
            print(f"--- {number}")
        print(each)
