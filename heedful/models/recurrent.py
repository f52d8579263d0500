"""What models with a recurrent decoder have in common: one way to read the target, a word or all of it.

Inside, time stands before the batch, as a loop over steps wants it.
"""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from heedful.attention import Attention
from heedful.models.face import SequenceToSequence


class RecurrentModel(SequenceToSequence):
    """A model whose decoder goes on from a state; see `SequenceToSequence` for what it can be asked."""

    attention: Attention | None
    """By which the decoder looks at the source, if it does."""

    @abstractmethod
    def _read(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read tokens (length, hypotheses) -> what `output` takes, (length, hypotheses, width), and the state after."""

    def source_attention(self) -> list[str]:
        """There is one attention, or none."""
        return [] if self.attention is None else ["attention"]

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """tokens (hypotheses,) -> logits (hypotheses, vocabulary) and the state after them."""
        features, new = self._read(tokens.unsqueeze(0), state)
        return self.output(features.squeeze(0)), new

    def features(self, source: Tensor, target: Tensor) -> Tensor:
        """source (batch, source_length), target (batch, target_length) -> (batch, target_length, width)."""
        features, _ = self._read(target.t(), self.start(self.encode(source)))
        return features.transpose(0, 1)
