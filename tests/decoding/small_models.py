"""Two small models with the face, in float64: one whose probabilities are a table, one with a memory of all it said."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heedful.models.face import SequenceToSequence
from heedful.text.special import END, PAD


@dataclass(frozen=True)
class Rows:
    """A decoder state that is one tensor, and the memory that each row belongs to."""

    memory: Tensor
    value: Tensor

    def select(self, rows: Tensor) -> "Rows":
        return Rows(self.memory[rows], self.value[rows])


class Table(SequenceToSequence):
    """Logits of the next token from the last two tokens and the sum of the source ids."""

    def __init__(
        self, vocabulary: int, *, maximum_length: int = 5, seed: int = 0, sharpness: float = 2.0
    ) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        shape = (7, vocabulary, vocabulary, vocabulary)
        self.table = nn.Parameter(sharpness * torch.randn(shape, generator=random, dtype=torch.float64))
        self.output = nn.Linear(vocabulary, vocabulary, bias=False, dtype=torch.float64)
        nn.init.eye_(self.output.weight)
        self.maximum_length = maximum_length
        self.rows_read: list[int] = []
        self.eval()

    def encode(self, source: Tensor) -> Tensor:
        return source.sum(1) % 7

    def start(self, memory: Tensor) -> Rows:
        return Rows(memory, torch.full_like(memory, PAD))

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Rows]:
        self.rows_read.append(len(tokens))
        return self.table[state.memory, state.value, tokens], Rows(state.memory, tokens)

    def features(self, source: Tensor, target: Tensor) -> Tensor:
        before = nn.functional.pad(target[:, :-1], (1, 0), value=PAD)
        return self.table[self.encode(source).unsqueeze(1), before, target]


class Recurrent(SequenceToSequence):
    """A GRU that begins with the mean embedding of the source; every token said changes what follows."""

    def __init__(self, vocabulary: int, *, maximum_length: int = 60, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(vocabulary, 16, dtype=torch.float64)
        self.cell = nn.GRUCell(16, 16, dtype=torch.float64)
        self.output = nn.Linear(16, vocabulary, dtype=torch.float64)
        with torch.no_grad():
            self.output.weight *= 6
            self.output.bias[END] += 1.5
        self.maximum_length = maximum_length
        self.eval()

    def encode(self, source: Tensor) -> Tensor:
        mask = (source != PAD).unsqueeze(2)
        return (self.embedding(source) * mask).sum(1) / mask.sum(1)

    def start(self, memory: Tensor) -> Rows:
        return Rows(memory, memory)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Rows]:
        hidden = self.cell(self.embedding(tokens), state.value)
        return self.output(hidden), Rows(state.memory, hidden)

    def features(self, source: Tensor, target: Tensor) -> Tensor:
        state = self.start(self.encode(source)).value
        vectors: list[Tensor] = []
        for column in target.unbind(1):
            state = self.cell(self.embedding(column), state)
            vectors.append(state)
        return torch.stack(vectors, 1)


def sources(count: int, vocabulary: int, *, longest: int = 5, seed: int = 0) -> Tensor:
    """Random source sentences (count, longest) of different lengths, ending in END."""
    random = torch.Generator().manual_seed(seed)
    batch = torch.randint(3, vocabulary, (count, longest), generator=random)
    for row, length in zip(
        batch, torch.randint(1, longest + 1, (count,), generator=random).tolist(), strict=True
    ):
        row[length - 1] = END
        row[length:] = PAD
    return batch
