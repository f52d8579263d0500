"""The encoder-only Transformer: from tokens to a vector for each, made of all tokens around it (Devlin et al. 2019).

    vectors = model(tokens)              # (batch, length, d_model)
    logits = model.output(vectors)       # (batch, length, vocabulary), to guess masked tokens

The stack is that of `heedful.models.transformer`, with the same choices; BERT base is d_model = 768, d_ff = 3072,
heads = 12, layers = 12, positions = "learned", activation = "gelu", attention_bias = true, maximum_length = 512. What
it does not have of BERT: segment embeddings, the norm of the embeddings (they are scaled to variance 1 instead), and
the transformation of the vectors before the output.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.attention import masks
from heedful.layers import Embedding, TransformerStack, embedding_table
from heedful.models.settings import StackSettings
from heedful.text.special import PAD


class EncoderOnlySettings(StackSettings):
    """The dimensions and choices of an encoder-only Transformer; sizes are the base model's of Vaswani et al. 2017."""

    architecture: Literal["encoder-only"] = "encoder-only"
    layers: int = Field(default=6, ge=1, description="layers of the stack")
    tied: Literal["all", "none"] = Field(
        default="all", description="whether embedding and output share a matrix"
    )


class EncoderOnlyTransformer(nn.Module):
    """A stack in which every token attends to every other."""

    def __init__(self, settings: EncoderOnlySettings, vocabulary: int) -> None:
        super().__init__()
        self.settings, self.maximum_length = settings, settings.maximum_length
        width = settings.d_model
        table = embedding_table(vocabulary, width)
        self.embedding = Embedding(table, settings.positions, settings.maximum_length, settings.dropout)
        relative = "both" if settings.positions == "relative" else "no"
        self.encoder = TransformerStack(
            settings.layer_shape(), settings.layers, cross=False, relative=relative
        )
        self.output = nn.Linear(width, vocabulary)
        nn.init.zeros_(self.output.bias)
        if settings.tied == "none":
            nn.init.normal_(self.output.weight, std=width**-0.5)
        else:
            self.output.weight = table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (batch, length), padded with PAD -> (batch, length, d_model); the vectors of padding mean nothing."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        vectors, _ = self.encoder(
            self.embedding(tokens, positions), positions, mask=masks.not_padding(tokens, PAD), keep=False
        )
        return vectors
