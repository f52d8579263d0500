"""`heedful evaluate`: how good a model, or a translation, is."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    reference: Annotated[Path, typer.Option(help="The right translations, one a line.")],
    model: Annotated[
        Path | None,
        typer.Argument(help="Model folder, or the folder of a run; not needed with --hypotheses."),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="What to translate, one sentence a line.")] = None,
    hypotheses: Annotated[
        Path | None, typer.Option(help="Score this translation, instead of a model's.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="Names, with commas: bleu, chrf, ter, exact-match, bleu-moses-lc, ...")
    ] = "bleu,chrf,ter",
    language: Annotated[
        str | None, typer.Option(help="Target language, such as de.", show_default="that of the model")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    engine: Annotated[
        Literal["auto", "plain", "lean"],
        typer.Option(help="What translates; see `heedful translate --help`."),
    ] = "auto",
    precision: Annotated[Literal["float32", "int8"], typer.Option(help="Of the lean engine.")] = "float32",
    shortlist: Annotated[bool, typer.Option("--shortlist", help="Only the words of the shortlist.")] = False,
) -> None:
    """Translate a test set and score it: with 95% confidence intervals, and signatures to report beside the numbers.

    heedful evaluate runs/multi30k-en-de --source test.en --reference test.de
    heedful evaluate --hypotheses mine.de --reference test.de --language de
    """
    from heedful.errors import DataError, RecipeError

    if (model is None) != (source is None) or (model is None) == (hypotheses is None):
        raise DataError("Give a model folder with --source, or a translation with --hypotheses.")
    from heedful.machine import prepare

    prepare(threads)  # before PyTorch is loaded
    from rich.console import Console

    from heedful.cli.input import lines
    from heedful.evaluation import evaluate, table
    from heedful.evaluation.metrics import METRICS, make_scorer

    references = list(lines(reference))
    names = list(dict.fromkeys(name.strip() for name in metrics.split(",") if name.strip()))
    if not names:
        raise RecipeError(f"--metrics names none; the metrics are {', '.join(METRICS)}.")
    translator = None
    if model is not None:
        from heedful.tasks.translator import load

        translator = load(model, device=device, engine=engine, precision=precision, shortlist=shortlist)
        language = language or translator.languages[1]
    for name in names:
        make_scorer(name, language)  # what it lacks is told now, not after the translation
    texts = list(lines(source or hypotheses))
    if len(texts) != len(references):
        raise DataError(
            f"{source or hypotheses} has {len(texts):,} lines but {reference} has {len(references):,}; they must be "
            "aligned line by line."
        )
    scores = evaluate(
        texts if translator is None else translator.translate(texts), references, names, language
    )
    if as_json:
        print(json.dumps([score.to_dict() for score in scores], ensure_ascii=False, indent=1))
    else:
        Console().print(table(scores))
