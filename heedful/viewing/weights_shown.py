"""The weights of a head as a figure shows them: whole or in cells, by tokens or by words, with columns taken out.

A row of words is the mean of its tokens' rows, a column of words the sum of its tokens' columns: rows still sum to what
they did.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heedful.errors import DataError
from heedful.viewing.head_names import Chosen
from heedful.viewing.letters import together
from heedful.viewing.scene import Scene, Token

Without = Literal["special", "first"]

_NAMED = {"special": "special tokens", "first": "the first token"}

# Of longer texts the mean of cells is shown.
MOST = 1024


@dataclass(frozen=True)
class Shown:
    """A matrix for the eye.

    weights: (rows, columns)
    queries, keys: the text of each row and column; of cells, that of their first token
    cell: how many queries and keys each has
    notes: what was done to the weights, in words
    """

    weights: NDArray[np.float64]
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    cell: tuple[int, int]
    notes: tuple[str, ...]


def shown(scene: Scene, chosen: Chosen, *, words: bool = False, without: Sequence[Without] = ()) -> Shown:
    """Give the weights of a head, or of the mean of all.

    words: whole words in place of tokens
    without: columns that are taken out, special tokens or the first; what is left of each row is made to sum to one

    Raises DataError for words, or columns to take out, of more than 1,024 tokens: of these, cells are shown.
    """
    one = chosen.map
    record = one.record if chosen.head == "mean" else one.record.head(chosen.head)
    queries, keys = scene.axes[one.queries].tokens, scene.axes[one.keys].tokens
    notes: list[str] = []
    if (longest := max(len(queries), len(keys))) > MOST:
        _refuse(longest, words, without)
        picture = record.overview(MOST)
        notes.append(f"means of cells of {picture.cell[0]} × {picture.cell[1]} weights")
        down, across = picture.cell
        return Shown(
            picture.mean[0].mean(0).double().cpu().numpy(),
            tuple(token.text for token in queries[::down]),
            tuple(token.text for token in keys[::across]),
            picture.cell,
            tuple(notes),
        )
    weights = record.weights()[0].mean(0).double().cpu().numpy()
    if any(left_out := _left_out(keys, without)):
        kept = [number for number, out in enumerate(left_out) if not out]
        weights, keys = weights[:, kept], tuple(keys[number] for number in kept)
        total = weights.sum(1, keepdims=True)
        weights = weights / np.where(total > 0, total, 1.0)
        notes.append(f"without {' and '.join(map(_NAMED.__getitem__, without))}, the rest renormalised")
    rows, columns = [token.text for token in queries], [token.text for token in keys]
    if words:
        weights = _by_words(_by_words(weights, keys, 1).T, queries, None).T
        rows, columns = _words(queries), _words(keys)
        notes.append("words: means of their tokens' rows, sums of their columns")
    return Shown(weights, tuple(rows), tuple(columns), (1, 1), tuple(notes))


def _refuse(length: int, words: bool, without: Sequence[Without]) -> None:
    """Raise DataError for what cells of several tokens cannot be shown with."""
    asked = [name for name, wanted in (("words", words), ("columns taken out", without)) if wanted]
    if asked:
        raise DataError(
            f"A figure of {length:,} tokens shows means of cells, which cannot be drawn with {' and '.join(asked)}: "
            f"give a text of at most {MOST:,} tokens, or leave --words and --without-special out."
        )


def _left_out(keys: Sequence[Token], without: Sequence[Without]) -> list[bool]:
    return [
        (token.special and "special" in without) or (number == 0 and "first" in without)
        for number, token in enumerate(keys)
    ]


def _runs(tokens: Iterable[Token]) -> list[list[int]]:
    """Give the numbers of tokens that belong together: those of a word beside each other, others alone."""
    numbered = enumerate(tokens)
    runs: list[list[int]] = []
    for word, run in groupby(numbered, lambda pair: pair[1].word):
        own = [number for number, _ in run]
        runs += [own] if word is not None else [[number] for number in own]
    return runs


def _words(tokens: Sequence[Token]) -> list[str]:
    texts = (together(tokens[number].text for number in run) for run in _runs(tokens))
    return [text.strip(" ") or text for text in texts]


def _by_words(
    weights: NDArray[np.float64], tokens: Sequence[Token], total: int | None
) -> NDArray[np.float64]:
    """Put columns of words together: their sum, or their mean where `total` is None."""
    columns = [weights[:, run].sum(1) if total else weights[:, run].mean(1) for run in _runs(tokens)]
    return np.stack(columns, 1)
