"""The settings that all fine-tuned tasks share, and how their models begin.

    init = "runs/bert-mlm"               # begin with the encoder and the tokenizer of this model
    freeze = 2                           # and keep its embeddings and two lower layers as they are

Without `init` the encoder begins anew, as the recipe's `model` says.
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from heedful.models.encoder import Encoder, EncoderOnlySettings, EncoderSettings, HeadedEncoder
from heedful.tasks.beginning import BegunSettings
from heedful.tasks.pretrained import read_pretrained
from heedful.text.settings import TokenizerSettings


class FineTuningSettings(BegunSettings):
    """What a task that reads text with an encoder needs of a recipe."""

    goes_on: ClassVar[bool] = False

    freeze: int | None = Field(
        default=None,
        ge=0,
        description="embeddings and so many lower layers stay as they are; unset: all is trained",
    )
    look_beside: float = Field(
        default=0.0,
        ge=0,
        description="without init: each head begins by looking at a neighbour, with so much added to its score; needs "
        "model.positions = 'relative'",
    )
    tokenizer: TokenizerSettings = Field(
        default=TokenizerSettings(), description="how text is segmented; with init, that of init"
    )
    model: EncoderSettings = Field(
        default=EncoderOnlySettings(), description="the encoder; with init, that of init but for the dropouts"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.look_beside and self.init is None and self.model.positions != "relative":
            raise ValueError(
                f"look_beside needs relative positions, and model.positions is {self.model.positions}"
            )
        if self.freeze is None:
            return self
        if self.init is None:
            raise ValueError("freeze keeps weights as they begin, which only makes sense with init")
        if self.freeze > self.model.layers:
            raise ValueError(f"freeze is {self.freeze}, but the model of init has {self.model.layers} layers")
        return self

    def begin(self, model: HeadedEncoder) -> None:
        """Give a new model the weights of `init`, or let its heads look beside; freeze what is to stay."""
        if self.init is not None:
            start = read_pretrained(self.init)
            start.load_into(model.encoder)
            if model.pooler is not None:
                start.load_pooler(model.pooler)
        elif self.look_beside:
            model.encoder.look_beside(self.look_beside)
        model.freeze(self.freeze)

    def encoder(self, vocabulary: int, word_dropout: float = 0.0) -> Encoder:
        """A new encoder, its weights from PyTorch's random generator."""
        return Encoder(self.model, vocabulary, word_dropout, len(self.tokenizer.special_tokens))
