"""`heedful by-length`: how good translations are where sentences are long."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from heedful.evaluation.by_length import LengthScore


def by_length(
    systems: Annotated[
        list[Path],
        typer.Argument(
            help="Model folders, folders of runs, or files of translations, one a line; any number."
        ),
    ],
    source: Annotated[Path | None, typer.Option(help="What to translate, one sentence a line.")] = None,
    reference: Annotated[Path | None, typer.Option(help="The right translations, one a line.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Instead of files: all test sets of a named data set, taken together.")
    ] = None,
    metric: Annotated[str, typer.Option(help="bleu, chrf, ter, exact-match, wer, ...")] = "bleu",
    language: Annotated[
        str | None,
        typer.Option(help="Target language, such as de.", show_default="that of the data or model"),
    ] = None,
    count: Annotated[Literal["words", "characters"], typer.Option(help="What a length counts.")] = "words",
    step: Annotated[
        int,
        typer.Option(min=1, help="Width of a bucket of lengths; the last is wide enough to have 50 lines."),
    ] = 5,
    figure: Annotated[Path | None, typer.Option(help="Draw it too, into this .svg file.")] = None,
    names: Annotated[
        str | None, typer.Option(help="Of the systems, with commas.", show_default="names of their folders")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of the figure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Score one or more systems by the length of the source, with 95% intervals; draw it as Bahdanau et al. 2014 did.

    heedful by-length runs/with runs/without --source test.en --reference test.de --figure lengths.svg
    """
    from heedful.errors import DataError

    if data is not None and (source is not None or reference is not None):
        raise DataError("--data and --source or --reference are both given; leave one out.")
    if data is None and (source is None or reference is None):
        raise DataError("Give --source and --reference, or --data with the name of a data set.")
    called = [name.strip() for name in names.split(",")] if names else [_name(system) for system in systems]
    if len(called) != len(systems) or len(set(called)) < len(called):
        raise DataError(
            f"{len(systems)} systems need as many different names; they are {', '.join(called)}. Give --names."
        )
    from heedful.machine import prepare

    prepare(threads)  # before PyTorch is loaded
    from rich.console import Console

    from heedful.cli.input import corpus_of
    from heedful.cli.output import check_figure, size, writing
    from heedful.data.corpus import read_pairs
    from heedful.evaluation.by_length import by_length as score_by_length
    from heedful.evaluation.by_length import equal_steps
    from heedful.evaluation.metrics import metric_kind

    kind = metric_kind(metric)  # a misspelt one is told now, not after the translation
    if figure is not None:
        check_figure(figure, overwrite)
    if data is not None:
        from heedful.data.named import resolve

        named = resolve(data)
        corpora, language = list(named.tests.values()), language or named.target_language
    else:
        corpora = [corpus_of(source=source, target=reference)]
    pairs = [pair for each in corpora for pair in read_pairs(each)]
    sources, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    _check_lines(systems, reference if data is None else data, len(references))
    lengths = [len(text.split() if count == "words" else text) for text in sources]
    bounds = equal_steps(lengths, step)
    found: dict[str, list[LengthScore]] = {}
    for name, system in zip(called, systems, strict=True):
        hypotheses, theirs = _translations(system, sources, device)
        found[name] = score_by_length(hypotheses, references, lengths, bounds, metric, language or theirs)
    if as_json:
        told = {name: [bucket.to_dict() for bucket in buckets] for name, buckets in found.items()}
        print(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        Console().print(_table(found, count, f"{metric} ({kind.label}), with 95% intervals"))
    if figure is not None:
        from heedful.viewing.lengths import lengths_figure

        with writing(figure, overwrite) as file:
            file.write(lengths_figure(found, count))
        print(size(figure), file=sys.stderr)


def _name(system: Path) -> str:
    """What a system is called: a run's model by its run."""
    path = system.resolve()
    return path.parent.name if path.name == "model" else path.stem if path.is_file() else path.name


def _check_lines(systems: list[Path], reference: Path | str | None, lines: int) -> None:
    """Refuse a file that does not have a line for each reference, before any model is asked."""
    from heedful.data.corpus import read_lines
    from heedful.errors import DataError

    for system in filter(Path.is_file, systems):
        if (count := sum(1 for _ in read_lines(system))) != lines:
            raise DataError(
                f"{system} has {count} lines but {reference} has {lines}; they must be aligned line by line."
            )


def _translations(system: Path, sources: list[str], device: str) -> tuple[list[str], str | None]:
    """The system's translations, read or made, and the language they are in, where a model says it."""
    if system.is_file():
        from heedful.data.corpus import read_lines

        return list(read_lines(system)), None
    from heedful.tasks.translator import load

    translator = load(system, device=device)
    return translator.translate(sources), translator.languages[1]


def _table(found: dict[str, list["LengthScore"]], count: str, title: str) -> "Table":
    """A row for each bucket, a column for each system."""
    from rich.table import Table

    table = Table(f"source length ({count})", "lines", title=title)
    table.columns[1].justify = "right"
    for name in found:
        table.add_column(name, justify="right")
    for row in zip(*found.values(), strict=True):
        cells = [
            f"{bucket.score.value:.2f} [dim]{bucket.score.low:.2f} to {bucket.score.high:.2f}[/dim]"
            for bucket in row
        ]
        table.add_row(f"{row[0].shortest} to {row[0].longest}", f"{row[0].lines:,}", *cells)
    return table
