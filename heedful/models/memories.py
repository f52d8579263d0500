"""What models that answer questions over stored facts have in common: what they read, and their many starts.

Such a model is small and its weights decide much where it ends: of ten trainings the best is kept (Sukhbaatar et al.
2015, section 4.2). So these models hold `starts` sets of weights side by side, which never meet: ten cost little more
time than one, because on small tensors a processor is busy with all but arithmetic. `best(start)` makes a model of one.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.layers.sentences import Encoding
from heedful.settings import Settings


@dataclass(frozen=True)
class Memories:
    """Stories with a question each, as numbers. Every distinct sentence stands there once.

    sentences: the words of the distinct sentences and questions, (sentences, words), padded with PAD
    keys: which sentences the facts of a story are found by, the oldest first, (batch, facts); -1 after the last
    questions: which sentence is asked, (batch,)
    values: which sentences say what the facts tell, (batch, facts); the keys themselves when None
    """

    sentences: Tensor
    keys: Tensor
    questions: Tensor
    values: Tensor | None = None

    def to(self, device: str | torch.device) -> Self:
        """Give the same on a device."""
        values = None if self.values is None else self.values.to(device)
        return type(self)(self.sentences.to(device), self.keys.to(device), self.questions.to(device), values)

    def rows(self, rows: slice) -> Self:
        """Give some of the stories."""
        values = None if self.values is None else self.values[rows]
        return type(self)(self.sentences, self.keys[rows], self.questions[rows], values)


class MemorySettings(Settings):
    """What the settings of all such models have."""

    architecture: Any
    d_model: int = Field(ge=1, description="width of the vectors of sentences")
    hops: int = Field(ge=1, description="how often the memories are looked at")
    memories: int = Field(ge=1, description="how many facts of a story are remembered, the last ones")
    encoding: Encoding = Field(
        default="position", description="how words become a sentence: position (their order counts) or bag"
    )
    longest: int | Literal["data"] | None = Field(
        default=None,
        description="J of position encoding, one for all sentences as in the authors' code (data: the longest to learn "
        "from); unset: each sentence its own, as printed",
    )
    starts: int = Field(
        default=1, ge=1, description="sets of weights that are trained side by side; the best is kept"
    )


class MemoryModel(nn.Module, ABC):
    """A model that answers a question over facts with one entry of its vocabulary."""

    settings: Any

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """What makes logits of features, (starts, vocabulary, d_model)."""

    @abstractmethod
    def features(self, memories: Memories) -> Tensor:
        """Give what is known after the last hop, (starts, batch, d_model)."""

    def forward(self, memories: Memories) -> Tensor:
        """Give the logits of every entry as answer, (starts, batch, vocabulary)."""
        return self.features(memories) @ self.output_weight.mT

    def best(self, start: int) -> Self:
        """Give the model whose weights are those of one start."""
        entries = self.output_weight.shape[1]
        # The weights drawn here are all replaced; whoever draws next must not notice.
        with torch.random.fork_rng(devices=[]):
            alone = type(self)(self.settings.model_copy(update={"starts": 1}), entries)
        with torch.no_grad():
            alone.to(self.output_weight)  # device and precision
            for name, parameter in self.named_parameters():
                alone.get_parameter(name).copy_(parameter[start : start + 1])
            for name, buffer in self.named_buffers():
                alone.get_buffer(name).copy_(buffer)
        return alone.train(self.training)
