"""Token embeddings with positions.

    x = Dropout(sqrt(d_model) E[token] + PE[position])          (Vaswani et al. 2017, sections 3.4, 3.5, 5.4)
    x = Dropout(Norm(E[token] + S[segment] + P[position]))      (Devlin et al. 2019, section 3 and figure 2)

Rotary and relative positions and ALiBi are added to no embedding: attention knows them.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from heedful.attention.positions import Layout, sinusoidal
from heedful.layers.dropout import Dropout

Positions = Literal["sinusoidal", "sinusoidal-concatenated", "learned", "rotary", "relative", "alibi", "none"]


class Embedding(nn.Module):
    """Turn tokens into vectors that know their position.

    positions: "sinusoidal" (the paper's, interleaved), "sinusoidal-concatenated" (tensor2tensor's and fairseq's),
        "learned" (a vector for each position); for "rotary", "relative", "alibi" and "none" nothing is
        added here.
    scale: whether token vectors are multiplied by sqrt(d_model)
    segments: kinds of segments, each with a vector of its own; 0 for none
    norm: applied to the sum
    """

    def __init__(
        self,
        table: nn.Embedding,
        positions: Positions,
        maximum_length: int,
        dropout: float,
        scale: bool = True,
        segments: int = 0,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.table = table
        width = table.embedding_dim
        self.scale = math.sqrt(width) if scale else 1.0
        self.dropout = Dropout(dropout)
        self.learned = nn.Embedding(maximum_length, width) if positions == "learned" else None
        if self.learned is not None:
            nn.init.normal_(self.learned.weight, std=width**-0.5)
        self.segments = nn.Embedding(segments, width) if segments else None
        if self.segments is not None:
            nn.init.normal_(self.segments.weight, std=width**-0.5)
        self.norm = norm
        if positions in ("sinusoidal", "sinusoidal-concatenated"):
            layout = "interleaved" if positions == "sinusoidal" else "concatenated"
            # Computed, not learned: it need not be stored in a model folder.
            self.register_buffer("encoding", _encoding(maximum_length, width, layout), persistent=False)
        else:
            self.encoding = None

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        segments: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """tokens (batch, length), positions (length,) or (batch, length) -> (batch, length, d_model).

        segments: (batch, length), of which kind each token is; all 0 when left out
        features: (batch, length, d_model), what else is known of each token: added to the sum
        """
        x = self.table(tokens) * self.scale
        if self.learned is not None:
            x = x + self.learned(positions)
        elif self.encoding is not None:
            x = x + self.encoding[positions].to(x.dtype)
        if self.segments is not None:
            x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        if features is not None:
            x = x + features
        return self.dropout(x if self.norm is None else self.norm(x))


def _encoding(length: int, width: int, layout: Layout) -> Tensor:
    if torch.get_default_device().type == "meta" and width % 2 == 0:
        # Only the shape is asked for, and to compute there PyTorch would load its compiler, which takes seconds.
        return torch.empty(length, width)
    return sinusoidal(torch.arange(length), width, layout)


def embedding_table(vocabulary: int, width: int) -> nn.Embedding:
    """Give a table of token vectors with coordinates from N(0, 1 / width): times sqrt(width) they have variance 1."""
    table = nn.Embedding(vocabulary, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    return table
