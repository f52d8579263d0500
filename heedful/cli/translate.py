"""`heedful translate`: raw text in, raw text out, in order."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from heedful.decoding import SearchSettings
    from heedful.tasks import Answer, Translator
    from heedful.tasks.translator import Options

Format = Literal["text", "jsonl", "nbest"]

_SEARCH = "Search; what is not given is as the model's recipe has it"
_SAMPLING = "Sampling"
_SPEED = "Speed"


def translate(
    model: Annotated[Path, typer.Argument(help="Model folder, or the folder of a run.")],
    source: Annotated[
        Path | None,
        typer.Option(help="File to translate, one sentence a line.", show_default="standard input"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write to; whole or not at all.", show_default="standard output"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --output, --alignments.")] = False,
    format: Annotated[
        Format,
        typer.Option(
            help="text: the best translation; nbest: NUMBER ||| TRANSLATION ||| SCORE; jsonl: tokens, scores, "
            "alignment, an object a line."
        ),
    ] = "text",
    alignments: Annotated[
        Path | None, typer.Option(help="File for word alignments in the Pharaoh format: 0-0 1-2 ...")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="What every translation must begin with.", show_default=False)
    ] = None,
    prefixes: Annotated[Path | None, typer.Option(help="File with a prefix for each line.")] = None,
    long: Annotated[
        Literal["split", "refuse"],
        typer.Option(help="What becomes of a line that is longer than the model reads."),
    ] = "split",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores", rich_help_panel=_SPEED)
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=_SPEED)
    ] = "auto",
    engine: Annotated[
        Literal["auto", "plain", "lean"],
        typer.Option(
            help="plain: the model in PyTorch; lean: its weights laid out for a CPU, several times as fast; auto: lean "
            "where it can be had.",
            rich_help_panel=_SPEED,
        ),
    ] = "auto",
    precision: Annotated[
        Literal["float32", "int8"],
        typer.Option(help="Of the lean engine; int8 is faster still, and rounds.", rich_help_panel=_SPEED),
    ] = "float32",
    shortlist: Annotated[
        bool,
        typer.Option(
            "--shortlist",
            help="Only the words that the source can lead to; see `heedful shortlist`.",
            rich_help_panel=_SPEED,
        ),
    ] = False,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Source tokens translated at once.",
            show_default="4096; 1024 a thread of the lean engine",
            rich_help_panel=_SPEED,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No remarks on standard error.")] = False,
    beam: Annotated[
        int | None, typer.Option(help="Hypotheses kept; 1 is greedy.", rich_help_panel=_SEARCH)
    ] = None,
    n_best: Annotated[
        int | None, typer.Option(help="Translations of each line.", rich_help_panel=_SEARCH)
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Length penalty; larger favours long ones.", rich_help_panel=_SEARCH)
    ] = None,
    length_penalty: Annotated[
        Literal["gnmt", "average", "none"] | None, typer.Option(help="Its formula.", rich_help_panel=_SEARCH)
    ] = None,
    stopping: Annotated[
        Literal["bound", "count"] | None,
        typer.Option(
            help="bound: until nothing alive can still win; count: until as many as the beam have ended, sooner.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    coverage_penalty: Annotated[
        float | None, typer.Option(help="Weight of source words not attended to.", rich_help_panel=_SEARCH)
    ] = None,
    no_repeat_ngram: Annotated[
        int | None, typer.Option(help="No n-gram of this size twice.", rich_help_panel=_SEARCH)
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1: repeat less.", rich_help_panel=_SEARCH)
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw at random instead of searching.", rich_help_panel=_SAMPLING)
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Below 1 is bolder.", rich_help_panel=_SAMPLING)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Of the k likeliest tokens.", rich_help_panel=_SAMPLING)
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Of the fewest with this probability.", rich_help_panel=_SAMPLING)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides the samples.", rich_help_panel=_SAMPLING)] = None,
) -> None:
    """Translate raw text, line by line; line n of the output belongs to line n of the input.

        heedful translate runs/multi30k-en-de < in.en > out.de

    An empty line stays empty. A line that is longer than the model reads is
    translated in pieces, and told about. Input that is not typed is read some
    thousand lines at a time.
    """
    from heedful.machine import prepare

    prepare(threads)  # before PyTorch is loaded
    from heedful.cli.input import lines, named
    from heedful.cli.output import check, flush, writing
    from heedful.errors import DataError
    from heedful.tasks import Remarks
    from heedful.tasks.alignment import AlignmentSettings
    from heedful.tasks.translator import load

    if prefix is not None and prefixes is not None:
        raise DataError("--prefix and --prefixes are both given; leave one out.")
    if alignments is not None and output is not None and alignments.resolve() == output.resolve():
        raise DataError(f"--output and --alignments are the same file, {output}.")
    for path in (output, alignments):
        if path is not None:
            check(path, overwrite)
    translator = load(model, device=device, engine=engine, precision=precision, shortlist=shortlist)
    search = searched(
        translator.search,
        method="sample" if sample else None,
        beam=beam,
        n_best=n_best,
        alpha=alpha,
        length_penalty=length_penalty,
        stopping=stopping,
        coverage_penalty=coverage_penalty,
        no_repeat_ngram=no_repeat_ngram,
        repetition_penalty=repetition_penalty,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    if n_best is not None and n_best > 1 and format == "text":
        raise DataError(
            "--n-best gives several translations of a line: add --format nbest, or --format jsonl."
        )
    texts, starts = lines(source), None if prefixes is None else lines(prefixes)
    if prefix is not None:
        texts, again = tee(texts)
        starts = (prefix for _ in again)
    options: Options = {
        "search": search,
        "batch_tokens": batch_tokens,
        "long": long,
        "alignment": AlignmentSettings() if alignments is not None or format == "jsonl" else None,
    }
    # A person who types a line wants to see its translation before typing the next.
    typed = source is None and sys.stdin.isatty()
    if typed:
        answers = _one_by_one(translator, texts, starts, options)
    else:
        answers = translator.stream(texts, prefixes=starts, **options)
    remarks = Remarks()
    with ExitStack() as files:
        file = files.enter_context(writing(output, overwrite))
        links = None if alignments is None else files.enter_context(writing(alignments, overwrite))
        files.enter_context(named(source))
        for answer in answers:
            for line in _written(answer, format):
                file.write(line + "\n")
            flush(file)
            if links is not None:
                links.write((answer.candidates[0].pharaoh if answer.candidates else "") + "\n")
            remarks.hear(answer)
    if not quiet:
        for message in remarks.messages():
            typer.echo(f"note: {message}", err=True)


def searched(default: "SearchSettings", **options: Any) -> "SearchSettings":
    """The search that the options ask for (None: not given), the rest as in `default`.

    Raises RecipeError, naming the options, for values that are not possible.
    """
    from pydantic import ValidationError

    from heedful.decoding import SearchSettings
    from heedful.errors import RecipeError
    from heedful.training.complaints import complaints

    given = {name: value for name, value in options.items() if value is not None}
    sampling = [name for name in ("temperature", "top_k", "top_p", "seed") if name in given]
    if sampling and "method" not in given and default.method != "sample":
        raise RecipeError(f"{_option(sampling[0])} is for sampling: add --sample.")
    if "beam" in given and "method" not in given:
        given = {"method": "beam", "temperature": 1.0, "top_k": 0, "top_p": 1.0, **given}
    try:
        return SearchSettings.model_validate({**default.model_dump(), **given})
    except ValidationError as error:
        told = complaints(error, SearchSettings, lambda place: _option(str(place[0])) if place else "")
        raise RecipeError("\n".join(told)) from error


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _one_by_one(
    translator: "Translator", texts: Iterator[str], prefixes: Iterator[str] | None, options: "Options"
) -> Iterator["Answer"]:
    """The answers as `stream` gives them, each as soon as its line is there."""
    for number, text in enumerate(texts, start=1):
        (answer,) = translator.answers(
            [text], prefixes=None if prefixes is None else [next(prefixes, "")], **options
        )
        yield replace(answer, number=number)


def _written(answer: "Answer", format: Format) -> list[str]:
    """The lines that an answer becomes."""
    if format == "jsonl":
        return [json.dumps(answer.to_json(), ensure_ascii=False)]
    if format == "nbest":
        # Moses numbers sentences from 0.
        return [
            f"{answer.number - 1} ||| {' '.join(candidate.text.splitlines())} ||| {candidate.score:.6f}"
            for candidate in answer.candidates
        ]
    return [answer.line]
