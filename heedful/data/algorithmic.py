"""Copy and reverse: sequences of symbols whose right answer is plain, for trying a model out.

    copy      3 1 9 2   ->  3 1 9 2
    reverse   41 7 7 0  ->  0 7 7 41

`reverse` is JoeyNMT's: 50,000 sequences of 1 to 25 of 50 symbols to learn from, and 1,000 each for validation
and test that are up to 30 long, so that one in six is longer than anything seen; JoeyNMT's recurrent model
with attention reaches 95 BLEU on it. `copy` is the Annotated Transformer's: at most ten of the symbols 1 to 10, as
many sequences as its 20 epochs of 20 batches of 80. There each begins with 1 and is ten long; here the first
symbol and the length are drawn like the rest.

Symbols and lengths are drawn evenly, with repetition. No sequence of validation or test occurs elsewhere. To
leave room for that, the shortest sequences, of which there are few, are only learnt from.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from heedful.data.dates import write_rows
from heedful.errors import DataError

VERSION = 1  # counts up whenever the files change
SEED = 42


@dataclass(frozen=True)
class Algorithm:
    """What one task draws: its symbols, its sizes, and the lengths (shortest, longest) of the sequences."""

    symbols: range
    train: int
    train_lengths: tuple[int, int]
    held_out: int  # validation has so many, and test too
    held_out_lengths: tuple[int, int]
    step: int  # the answer is source[::step]


TASKS = {
    "copy": Algorithm(range(1, 11), 32_000, (1, 10), 1_000, (4, 10), step=1),
    "reverse": Algorithm(range(50), 50_000, (1, 25), 1_000, (3, 30), step=-1),
}


def sequences(task: str) -> dict[str, list[tuple[int, ...]]]:
    """The sources of "validation", "test" and "train", the same at every call.

    Raises `DataError` for a task that is not in `TASKS`.
    """
    if task not in TASKS:
        raise DataError(f"there is no task named {task!r}; there are {' and '.join(TASKS)}.")
    algorithm = TASKS[task]
    draw = random.Random(SEED)
    held_out: dict[tuple[int, ...], None] = {}
    for sequence in _stream(draw, algorithm.symbols, algorithm.held_out_lengths):
        held_out.setdefault(sequence)
        if len(held_out) == 2 * algorithm.held_out:
            break
    train: list[tuple[int, ...]] = []
    for sequence in _stream(draw, algorithm.symbols, algorithm.train_lengths):
        if sequence not in held_out:
            train.append(sequence)
        if len(train) == algorithm.train:
            break
    apart = list(held_out)
    return {"validation": apart[: algorithm.held_out], "test": apart[algorithm.held_out :], "train": train}


def write(folder: str | Path, task: str) -> None:
    """Write `train.tsv`, `validation.tsv` and `test.tsv` (source TAB target) of `task` into `folder`.

    Raises `DataError` for an unknown task, or if the files cannot be written. A file is there whole or not.
    """
    for name, sources in sequences(task).items():
        step = TASKS[task].step
        write_rows(
            Path(folder) / f"{name}.tsv", ((_text(source), _text(source[::step])) for source in sources)
        )


def _stream(draw: random.Random, symbols: range, lengths: tuple[int, int]) -> Iterator[tuple[int, ...]]:
    while True:
        yield tuple(draw.choices(symbols, k=draw.randint(*lengths)))


def _text(sequence: tuple[int, ...]) -> str:
    return " ".join(map(str, sequence))
