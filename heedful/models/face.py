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
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from heedful.attention.attending import Attending


class State(Protocol):
    """What a decoder remembers between two steps, one row for each hypothesis."""

    def select(self, rows: Tensor) -> Self:
        """Give the state of the hypotheses `rows`, a LongTensor (new_hypotheses,) that may drop, reorder or repeat."""
        ...


class Decodable(Protocol):
    """What a search asks of a model: the face without training."""

    training: bool
    """True where dropout would change the answers."""

    maximum_length: int
    """The longest sequence, in tokens with END, that the model can read or write."""

    def encode(self, source: Tensor) -> Any:
        """Read the source (batch, source_length)."""
        ...

    def start(self, memory: Any) -> State:
        """Give the decoder state before the first step: one row for each source sentence."""
        ...

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read a token of each hypothesis: (hypotheses,) -> logits (hypotheses, vocabulary) and the new state."""
        ...


class Choices(NamedTuple):
    """The best continuations of each hypothesis, by falling value, among equals the lower token first.

    All are (hypotheses, count).
    """

    value: NDArray[np.floating[Any]]
    """What a search compares: log-probabilities after its constraints; -inf is not allowed."""

    token: NDArray[np.int64]

    own: NDArray[np.floating[Any]]
    """The log-probabilities of the model itself."""


@runtime_checkable
class Chooses(Decodable, Protocol):
    """A model that finds the best continuations itself, without giving all logits."""

    vocabulary: int

    def best(self, tokens: Tensor, state: Any, count: int, banned: Sequence[int]) -> tuple[Choices, Any]:
        """Read a token of each hypothesis, and give its `count` best continuations and the new state.

        Ids in `banned` are not chosen, but have their share of the probability. Where fewer than `count` can be
        chosen, values of -inf fill the rest; where a logit is not finite, all values are NaN.
        """
        ...

    def greedy(
        self, memory: Any, limits: NDArray[np.int64], minimum: int, banned: Sequence[int]
    ) -> Sequence[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Give what a greedy search would: for each sentence its tokens and their log-probabilities, END included.

        limits: (sentences,), the longest lengths; minimum: the shortest; NaN where a logit is not finite
        """
        ...

    def among(self, tokens: Sequence[Tensor]) -> "Chooses":
        """Give the model that has for each sentence of a batch no other outputs than these tokens, sorted ids."""
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

    def source_attention(self) -> list[str]:
        """Give the names of the modules by which the decoder attends to the source, its first layer first.

        Those called `cross_attention`; where there are none, those in `decoder` called `self_attention`, which attend
        to source and target in one. A model that calls its modules otherwise says so; one without attention gives none.
        """
        names = [name for name, module in self.named_modules() if isinstance(module, Attending)]
        return [name for name in names if name.endswith("cross_attention")] or [
            name for name in names if name.startswith("decoder.") and name.endswith("self_attention")
        ]

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Give the logits (batch, target_length, vocabulary) of every target position at once."""
        return self.output(self.features(source, target))
