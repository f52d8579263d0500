"""A Transformer that gives one vector of a text: an encoder, a pooling, and in training a layer more.

    vectors = model(tokens)                        # (batch, d_model)

The layer, z = tanh(W h + b), is what SimCSE trains on top of BERT and leaves away afterwards (Gao, Yao and Chen 2021,
section 3): in evaluation mode the vector is the pooled one, h.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from heedful.models.encoder import Encoder, HeadedEncoder
from heedful.text.special import END, PAD, START

TextPooling = Literal["mean", "cls", "last"]


class SentenceEncoder(HeadedEncoder):
    """An encoder whose vectors become one.

    pooling: mean over the tokens of the text, start and end left out; cls is the first token, last the last
    projection: whether there is a layer more in training
    """

    def __init__(self, encoder: Encoder, pooling: TextPooling = "mean", projection: bool = False) -> None:
        super().__init__(encoder)
        self.pooling: TextPooling = pooling
        self.output = nn.Linear(encoder.width, encoder.width) if projection else None

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (batch, length), padded with PAD on the right -> (batch, d_model)."""
        pooled = pool(self.encoder(tokens), tokens, self.pooling)
        if self.output is None or not self.training:
            return pooled
        return torch.tanh(self.output(pooled))


def pool(vectors: Tensor, tokens: Tensor, pooling: TextPooling) -> Tensor:
    """vectors (batch, length, d_model) of tokens (batch, length) -> (batch, d_model); of no token at all zeros."""
    if pooling == "cls":
        return vectors[:, 0]
    if pooling == "last":
        last = (tokens != PAD).sum(1) - 1
        return vectors[torch.arange(len(tokens), device=tokens.device), last]
    own = ((tokens != PAD) & (tokens != START) & (tokens != END)).to(vectors.dtype).unsqueeze(-1)
    return (vectors * own).sum(1) / own.sum(1).clamp(min=1)
