"""`heedful demo`: a model trained in minutes, whose answers anybody can judge."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

_EXAMPLES = 14  # one of each language
_PICTURES = ("de", "ja")  # one in letters, one in characters twice as wide


def demo(
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/dates"),
) -> None:
    """Train a small Transformer to read dates in fourteen languages, and show what it does with unseen ones.

    It takes a minute or two on two cores; a run that is finished is shown again.
    """
    from heedful.machine import prepare

    prepare()  # before PyTorch is loaded
    from rich.console import Console

    from heedful.cli.train import train_in
    from heedful.tasks.translator import load
    from heedful.training.progress import Progress
    from heedful.training.recipe import read
    from heedful.training.run import Run
    from heedful.viewing.terminal import LEGEND, picture

    console = Console(highlight=False)
    print("Dates as people write them, to ISO 8601: 'Sonntag, der 3. März 2019' to '2019-03-03'.", flush=True)
    train_in(Run(run), read("dates"), Progress())

    rows = _test_rows()
    translator = load(run)
    answers = translator.translate([source for source, _, _ in rows])
    console.print(_accuracy(rows, answers))
    console.print(_examples(rows, answers))
    for language in _PICTURES:
        source = next(text for text, _, spoken in rows if spoken == language and _in_words(text))
        seen = translator.attention(source)
        print(f"\nWhere the model looks while it writes the date of '{source}', from top to bottom:\n")
        print(picture(seen.weights.numpy(), seen.source_pieces, seen.target_pieces, console.width))
    print(f"\n{LEGEND} of a row's attention; ␣ is a space, ⏎ the end of the text.")
    print(
        f"\nThe model is in {run / 'model'}. Try next:\n"
        f"  echo '24 décembre 1999' | heedful translate {run}\n"
        "  heedful train reverse                 # another small task\n"
        "  heedful train multi30k-en-de          # a real translation model, in about an hour\n"
        "  heedful recipes custom > my.toml      # your own text"
    )


def _in_words(text: str) -> bool:
    """Whether a date is more than digits: there is more to see in its picture."""
    return any(character.isalpha() for character in text)


def _test_rows() -> list[tuple[str, str, str]]:
    """Text, date and language of dates that occur nowhere in training."""
    from heedful.data import read_lines, resolve

    path = resolve("dates").tests["test"].pairs
    if path is None:
        raise ValueError("the data set 'dates' has its pairs in one file")
    rows = (line.split("\t") for line in read_lines(path))
    return [(source, target, language) for source, target, language in rows]


def _accuracy(rows: list[tuple[str, str, str]], answers: list[str]) -> "Table":
    from rich.table import Table

    total, right = Counter[str](), Counter[str]()
    for (_, target, language), answer in zip(rows, answers, strict=True):
        total.update([language, "all"])
        right.update([language, "all"] if answer == target else [])
    shown = Table(title="Right, of unseen dates", title_justify="left", box=None)
    for name in ("language", "right", "of", "percent"):
        shown.add_column(name, justify="left" if name == "language" else "right")
    for language in (*sorted(set(total) - {"all"}), "all"):
        share = f"{100 * right[language] / total[language]:.1f}"
        shown.add_row(language, str(right[language]), str(total[language]), share)
    return shown


def _examples(rows: list[tuple[str, str, str]], answers: list[str]) -> "Table":
    """The first date of each language, and the first mistakes, if there are any."""
    from rich.table import Table
    from rich.text import Text

    both = list(zip(rows, answers, strict=True))
    first = {language: (row, answer) for (row, answer) in reversed(both) for language in [row[2]]}
    wrong = [(row, answer) for row, answer in both if answer != row[1]][:3]
    shown = Table("text", "answer", "", title="Some of them, and mistakes", title_justify="left", box=None)
    for (source, target, _), answer in [*[first[language] for language in sorted(first)], *wrong]:
        shown.add_row(Text(source), Text(answer), "right" if answer == target else f"wrong: it is {target}")
    return shown
