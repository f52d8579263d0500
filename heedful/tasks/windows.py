"""From texts to what an encoder reads: tokens between START and END, long ones in windows.

    START a END                 a text                     segments 0 0 0
    START a END b END           a pair                     segments 0 0 0 1 1, the END of b included

A text of more tokens than a window holds is read in several that overlap, so that nothing is cut off; of a pair it is
the second that goes on from window to window, beside the beginning of the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from heedful.text.special import END, PAD, START
from heedful.text.tokenizer import Tokenizer

_FRAME = 3  # tokens around a pair: START, END, END


@dataclass(frozen=True)
class Reading:
    """How texts are read.

    window: tokens of a window at most, START and END included; overlap: tokens that a window shares with that before it
    """

    tokenizer: Tokenizer
    window: int
    overlap: int = 0

    def windows(self, first: Sequence[int], second: Sequence[int] | None) -> list[tuple[list[int], int]]:
        """The windows of a text or pair, given by tokens, and how many tokens of each are of segment 0."""
        if second is None:
            room = self.window - 2
            return [([START, *part, END], len(part) + 2) for part in self._parts(first, room)]
        # A long first text may take half of the window.
        room = self.window - _FRAME
        kept = list(first[: max(room - len(second), room // 2)])
        return [
            ([START, *kept, END, *part, END], len(kept) + 2) for part in self._parts(second, room - len(kept))
        ]

    def _parts(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        if len(tokens) <= room:
            return [tokens]
        # Beside a long first text there is little room, and a window is to have more that is new than that is not.
        overlap = min(self.overlap, room // 2)
        starts = range(0, len(tokens) - overlap, room - overlap)
        # The last window is as full as the others: it begins earlier rather than to be short.
        return [tokens[min(start, len(tokens) - room) :][:room] for start in starts]


class Texts:
    """Many texts or pairs as windows, in little memory.

    texts: one or two texts each
    """

    def __init__(self, texts: Sequence[tuple[str, str | None]], reading: Reading) -> None:
        self.reading = reading
        firsts = reading.tokenizer.encode_batch([first for first, _ in texts])
        seconds = reading.tokenizer.encode_batch([second or "" for _, second in texts])
        tokens: list[np.ndarray] = []
        lengths: list[int] = []
        heads: list[int] = []
        counts = np.zeros(len(texts), np.int64)
        for row, (first, (_, second)) in enumerate(zip(firsts, texts, strict=True)):
            windows = reading.windows(first, None if second is None else seconds[row])
            counts[row] = len(windows)
            for window, head in windows:
                tokens.append(np.array(window, np.int32))
                lengths.append(len(window))
                heads.append(head)
        self.tokens = np.concatenate(tokens) if tokens else np.zeros(0, np.int32)
        self.lengths, self.heads = np.array(lengths, np.int64), np.array(heads, np.int64)
        self.starts = self.lengths.cumsum() - self.lengths
        self.counts = counts
        self.first = counts.cumsum() - counts
        self.size = np.add.reduceat(self.lengths, self.first) if len(texts) else np.zeros(0, np.int64)
        self.paired = bool(texts) and texts[0][1] is not None

    def __len__(self) -> int:
        return len(self.counts)

    def tensors(
        self, rows: np.ndarray, most: int | None = None, draw: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Tokens and segments (windows, length) of some texts, and which of `rows` each window is of (windows,).

        most: windows of a text at most; which of them, `draw` says
        """
        chosen: list[np.ndarray] = []
        for row in rows.tolist():
            windows = int(self.first[row]) + np.arange(int(self.counts[row]))
            if most is not None and draw is not None and len(windows) > most:
                windows = np.sort(draw.permutation(windows)[:most])
            chosen.append(windows)
        of = np.repeat(np.arange(len(rows)), [len(windows) for windows in chosen])
        windows = np.concatenate(chosen)
        tokens = np.full((len(windows), int(self.lengths[windows].max())), PAD, np.int64)
        for line, window in enumerate(windows):
            length, start = self.lengths[window], self.starts[window]
            tokens[line, :length] = self.tokens[start : start + length]
        segments = None
        if self.paired:
            places = np.arange(tokens.shape[1])
            segments = torch.from_numpy((places >= self.heads[windows, None]).astype(np.int64))
        return torch.from_numpy(tokens), segments, torch.from_numpy(of)
