"""The encoder-only Transformer: from tokens to a vector for each, made of all tokens around it (Devlin et al. 2019).

    vectors = model(tokens)              # (batch, length, d_model)
    logits = model.logits(vectors)       # (batch, length, vocabulary), to guess masked tokens
    follows = model.follows(vectors)     # (batch, 2), whether the second segment follows the first

The stack is that of `heedful.models.transformer`, with the same choices. BERT is `bert_settings`: post-norm with
learned positions, segments, a norm of the embeddings, and a transformation of the vectors before the output,

    logits = Norm(GELU(x W + b)) E^T + c        (section 3.1 and the authors' code; E is the table of token vectors)
    follows = tanh(x_1 W' + b') V + d           (task 2; x_1 is the vector of the first token)

Encoders since then leave most of it away: norm = "pre", positions = "rotary", activation = "swiglu", no segments.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.attention import masks
from heedful.attention.positions import document_positions
from heedful.layers import Activation, Embedding, TransformerStack, embedding_table, normalization
from heedful.layers.initialization import draw_normal
from heedful.models.settings import StackSettings
from heedful.models.tying import tie_output
from heedful.text.special import PAD

# Of the transformation before the output; a gate has no place there.
_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "gelu-tanh": partial(nn.GELU, approximate="tanh"),
    "swiglu": nn.GELU,
}


class EncoderOnlySettings(StackSettings):
    """The dimensions and choices of an encoder-only Transformer; sizes are the base model's of Vaswani et al. 2017."""

    architecture: Literal["encoder-only"] = "encoder-only"
    layers: int = Field(default=6, ge=1, description="layers of the stack")
    tied: Literal["all", "none"] = Field(
        default="all", description="whether embedding and output share a matrix"
    )
    # What follows is BERT's where it is not the default.
    segments: int = Field(default=0, ge=0, description="kinds of segments told apart; BERT has 2, 0 is none")
    scale_embeddings: bool = Field(
        default=True, description="multiply token vectors by sqrt(d_model); not so in BERT"
    )
    embedding_norm: bool = Field(default=False, description="normalise the sum of the embeddings")
    transform: bool = Field(
        default=False, description="a layer with activation and norm before the output that guesses tokens"
    )
    next_sentence: bool = Field(
        default=False,
        description="a tanh layer on the first vector, and a guess whether two segments belong together",
    )
    deviation: float | None = Field(
        default=None,
        gt=0,
        description="draw all weights from N(0, deviation^2), 0.02 in BERT; unset: Glorot's",
    )


def bert_settings(**sizes: Any) -> EncoderOnlySettings:
    """Give BERT's settings, of the base model where `sizes` (any settings) do not say otherwise."""
    bert = {
        "d_model": 768,
        "d_ff": 3072,
        "heads": 12,
        "layers": 12,
        "norm": "post",
        "norm_epsilon": 1e-12,
        "positions": "learned",
        "activation": "gelu",
        "attention_bias": True,
        "attention_dropout": 0.1,
        "maximum_length": 512,
        "segments": 2,
        "scale_embeddings": False,
        "embedding_norm": True,
        "transform": True,
        "next_sentence": True,
        "deviation": 0.02,
    }
    return EncoderOnlySettings(**{**bert, **sizes})


class EncoderOnlyTransformer(nn.Module):
    """A stack in which every token attends to every other, and what guesses tokens and neighbours from its vectors."""

    def __init__(self, settings: EncoderOnlySettings, vocabulary: int) -> None:
        super().__init__()
        self.settings, self.maximum_length = settings, settings.maximum_length
        width = settings.d_model

        def norm() -> nn.Module:
            return normalization(settings.norm_kind, width, settings.norm_epsilon)

        table = embedding_table(vocabulary, width)
        self.embedding = Embedding(
            table,
            settings.positions,
            settings.maximum_length,
            settings.dropout,
            scale=settings.scale_embeddings,
            segments=settings.segments,
            norm=norm() if settings.embedding_norm else None,
        )
        relative = "both" if settings.positions == "relative" else "no"
        self.encoder = TransformerStack(
            settings.layer_shape(), settings.layers, cross=False, relative=relative
        )
        self.transform = None
        if settings.transform:
            activation = _ACTIVATIONS[settings.activation]()
            self.transform = nn.Sequential(nn.Linear(width, width), activation, norm())
        self.output = nn.Linear(width, vocabulary)
        nn.init.zeros_(self.output.bias)
        tie_output(self.output, table, settings.tied)
        self.pooler = nn.Linear(width, width) if settings.next_sentence else None
        self.next_sentence = nn.Linear(width, 2) if settings.next_sentence else None
        if settings.deviation is not None:
            draw_normal(self, settings.deviation)

    def forward(
        self,
        tokens: Tensor,
        segments: Tensor | None = None,
        documents: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Read texts.

        tokens: (batch, length), padded with PAD
        segments: (batch, length), the segment of each token; all are of segment 0 when left out
        documents: integers (batch, length), which document of its row each token is of, in rising order. A token then
            attends to its own document and stands where it would if that were alone; all are one when left out
        features: (batch, length, d_model), what else is known of each token: added to the embeddings

        Gives (batch, length, d_model); the vectors of padding mean nothing.
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        mask = masks.not_padding(tokens, PAD)
        if documents is not None:
            mask = mask & masks.document(documents)
            positions = document_positions(documents)
        vectors, _ = self.encoder(
            self.embedding(tokens, positions, segments, features), positions, mask=mask, keep=False
        )
        return vectors

    def transformed(self, vectors: Tensor) -> Tensor:
        """Give what `output` turns into logits: (..., d_model) -> (..., d_model)."""
        return vectors if self.transform is None else self.transform(vectors)

    def logits(self, vectors: Tensor) -> Tensor:
        """Guess tokens: vectors (..., d_model) -> (..., vocabulary)."""
        return self.output(self.transformed(vectors))

    def pooled(self, vectors: Tensor) -> Tensor:
        """Give BERT's vector of the whole, (batch, length, d_model) -> (batch, d_model), as the first token's goes on.

        Raises ValueError for a model that has none.
        """
        if self.pooler is None:
            raise ValueError("This model has no pooled vector: its settings say next_sentence = false.")
        return self.pooler(vectors[:, 0]).tanh()

    def follows(self, vectors: Tensor) -> Tensor:
        """Guess whether the second segment follows the first: (batch, length, d_model) -> logits (batch, 2).

        Class 0 says it does, class 1 that it is from elsewhere, as in the authors' code. Raises ValueError for a
        model that was not made for it.
        """
        pooled = self.pooled(vectors)
        if self.next_sentence is None:
            raise ValueError(
                "This model tells nothing of the next sentence: its settings say next_sentence = false."
            )
        return self.next_sentence(pooled)
