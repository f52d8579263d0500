"""The face that every sequence-to-sequence model shows to the trainer, the search and the viewer.

    memory = model.encode(source)                # once per sentence
    state  = model.start(memory)                 # decoder state: a cache, an RNN state, ...
    logits, state = model.step(tokens, state)    # one position for every hypothesis
    state  = state.select(rows)                  # keep / reorder / repeat hypotheses
    logits = model(source, target)               # all positions at once, for training

`step` repeated gives the logits of `forward`.

Shapes: source (batch, source_length), target (batch, target_length), logits (batch, target_length, vocabulary);
in `step`: tokens (hypotheses,), logits (hypotheses, vocabulary). Token ids; the source ends in END and is padded
with PAD on the right; the target given to `forward` begins with START.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol, Self

from torch import Tensor, nn


class State(Protocol):
    """What a decoder remembers between two steps, one row for each hypothesis."""

    def select(self, rows: Tensor) -> Self:
        """Give the state of the hypotheses `rows`, a LongTensor (new_hypotheses,) that may drop, reorder or repeat."""
        ...


class SequenceToSequence(nn.Module, ABC):
    """A model that reads one sequence and writes another."""

    output: nn.Linear
    """The map from features (..., d_model) to logits (..., vocabulary)."""

    maximum_length: int
    """The longest sequence, in tokens with END, that the model can read or write."""

    @abstractmethod
    def encode(self, source: Tensor) -> Any:
        """Read the source (batch, source_length) and give the memory that `start` and `features` take."""

    @abstractmethod
    def start(self, memory: Any) -> State:
        """Give the decoder state before the first step: one row for each source sentence."""

    @abstractmethod
    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read a token of each hypothesis: (hypotheses,) -> logits (hypotheses, vocabulary) and the new state."""

    @abstractmethod
    def features(self, source: Tensor, target: Tensor) -> Tensor:
        """Give the vectors (batch, target_length, d_model) that `output` turns into logits."""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Give the logits (batch, target_length, vocabulary) of every target position at once."""
        return self.output(self.features(source, target))
