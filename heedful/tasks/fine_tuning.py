"""The settings that all fine-tuned tasks share, and how their models begin.

    init = "runs/bert-mlm"               # begin with the encoder and the tokenizer of this model
    freeze = 2                           # and keep its embeddings and two lower layers as they are

With `init`, model and tokenizer are those of the folder, and a recipe need not repeat them: of its `model` only the
dropouts count. Without it the encoder begins anew, as the recipe's `model` says.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from heedful.models.encoder import Encoder, EncoderOnlySettings, EncoderSettings, HeadedEncoder
from heedful.tasks.face import TaskSettings
from heedful.tasks.pretrained import read_pretrained
from heedful.text.settings import TokenizerSettings
from heedful.text.tokenizer import Tokenizer

_DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")


class FineTuningSettings(TaskSettings):
    """What a task that reads text with an encoder needs of a recipe.

    Raises ModelFolderError for an `init` that cannot be begun with.
    """

    init: Path | None = Field(
        default=None, description="the model folder or run to begin with; unset: begin anew"
    )
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

    @model_validator(mode="before")
    @classmethod
    def _taken_over(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("init") is None:
            return values
        start, given = read_pretrained(values["init"]), values.get("model") or {}
        if not isinstance(given, dict):
            given = given.model_dump()
        dropouts = {name: given[name] for name in _DROPOUTS if name in given}
        model = type(start.model).model_validate({**start.model.model_dump(), **dropouts})
        return {**values, "model": model, "tokenizer": start.tokenizer.settings}

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

    def tokenizer_of(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer of `init`; without it, one that is learnt from texts."""
        if self.init is not None:
            return read_pretrained(self.init).tokenizer
        return Tokenizer.train(texts, self.tokenizer)

    def encoder(self, vocabulary: int, word_dropout: float = 0.0) -> Encoder:
        """A new encoder, its weights from PyTorch's random generator."""
        return Encoder(self.model, vocabulary, word_dropout, len(self.tokenizer.special_tokens))
