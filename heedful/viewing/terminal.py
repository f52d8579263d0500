"""A picture of attention in a terminal: the source along the top, the target down the side, a block for each weight.

            3   m a r s   2 0 1 9
        2                 ▓▓▒▒      ...

Every source token has a column two cells wide, because that is the width of a Chinese character; a token of several
characters is written from top to bottom. Blocks get denser with the weight.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len

# The least weight of each block. Below the first there is a dot: rows and columns stay readable.
_BLOCKS = ((0.75, "██"), (0.5, "▓▓"), (0.25, "▒▒"), (0.1, "░░"), (0.0, "· "))
LEGEND = "   ".join(f"{block} {least:.0%} or more" for least, block in reversed(_BLOCKS[:-1]))
_CELLS = 2
_LEFT_TO_RIGHT = "\u200e"
_END = "⏎"


def picture(
    weights: Sequence[Sequence[float]] | np.ndarray,
    source: Sequence[str],
    target: Sequence[str],
    width: int = 80,
) -> str:
    """Draw the weights (target, source) of a map of attention.

    source, target: the tokens; a space is shown as ␣, the end of the sentence, "</s>", as ⏎
    width: cells of a line; a source too long for it is continued in a second picture below

    Raises ValueError if the weights are not (target, source).

    >>> print(picture([[0.9, 0.1], [0.2, 0.8]], ["a", "b"], ["x", "y"]))
      a b
    x ██░░
    y ░░██
    """
    values = np.asarray(weights, dtype=float)
    if values.shape != (len(target), len(source)):
        raise ValueError(
            f"weights have shape {values.shape}, but there are {len(target)} target and {len(source)} source tokens"
        )
    rows = [_shown(token) for token in target]
    margin = max((cell_len(row) for row in rows), default=0) + 1
    columns = max((width - margin) // _CELLS, 1)
    pictures: list[str] = []
    for first in range(0, len(source), columns):
        part = slice(first, first + columns)
        lines = [" " * margin + line for line in _header([_shown(token) for token in source[part]])]
        for row, name in zip(values[:, part], rows, strict=True):
            blocks = "".join(next(block for least, block in _BLOCKS if weight >= least) for weight in row)
            lines.append(" " * (margin - 1 - cell_len(name)) + name + " " + blocks)
        pictures.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(pictures)


def _header(tokens: Sequence[str]) -> list[str]:
    """The tokens from top to bottom, their last characters in one line."""
    stacks = [_characters(token) for token in tokens]
    height = max(map(len, stacks), default=0)
    lines: list[str] = []
    for level in range(height):
        cells = (stack[level - height] if level >= height - len(stack) else "" for stack in stacks)
        lines.append("".join(cell + " " * (_CELLS - cell_len(cell)) for cell in cells))
    return lines


def _characters(token: str) -> list[str]:
    """What a person takes for characters: marks stay with what they are on; each keeps its place in a line."""
    found: list[str] = []
    for character in token:
        if found and unicodedata.combining(character):
            found[-1] += character
        else:
            found.append(character)
    # Else a terminal that knows Arabic and Hebrew turns their order round, away from their columns.
    return [
        _LEFT_TO_RIGHT + cell + _LEFT_TO_RIGHT
        if unicodedata.bidirectional(cell[0]) in ("R", "AL", "AN")
        else cell
        for cell in found
    ]


def _shown(token: str) -> str:
    if token == "</s>":  # noqa: S105 -- not a password
        return _END
    # A tokenizer may write the space before a word as SentencePiece does.
    spaces = token.replace("\u2581", " ")
    return spaces.strip() or "␣" * len(spaces)
