"""An encoder with a head for whole texts: classes, or a number.

    logits = model(tokens, segments, texts)           # (texts, outputs)

    z = W_o Dropout(h) + b_o,   h = pool(x_1 ... x_n),   or   h = tanh(W_h pool(x_1 ... x_n) + b_h)

What `pool` may be: the mean or the greatest of each coordinate; the first vector, as in BERT (Devlin et al. 2019,
section 4.1; W_h is the pooler of the authors' code); the last one, as in GPT (Radford et al. 2018, section 3.2); or
attention,

    pool(x) = sum_i alpha_i x_i,   alpha = softmax(v^T tanh(W x_i + b))       (Yang et al. 2016, equations 5 to 7)

A text that is longer than the encoder comes as several windows; its logits are the mean of theirs.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.attention import Additive, Attention, masks
from heedful.layers import Dropout
from heedful.models.encoder import Encoder, HeadedEncoder
from heedful.settings import Settings
from heedful.text.special import PAD

Pooled = Literal["mean", "max", "mean-max", "first", "last", "attention"]


class HeadSettings(Settings):
    """What stands between the encoder's vectors and the classes."""

    pooling: Pooled = Field(
        default="mean", description="one vector of all: mean, max, mean-max (both), first, last, attention"
    )
    hidden: int | None = Field(default=None, ge=1, description="width of a layer in between; unset: none")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on the vector that is classified")
    # Iyyer et al. 2015 take 0.3.
    word_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="words of a text that are not seen in training, as a share"
    )


class Pooling(nn.Module):
    """One vector of many.

    kind: see `HeadSettings`; width: of the vectors
    """

    def __init__(self, kind: Pooled, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.width = 2 * width if kind == "mean-max" else width
        self.attention = Attention(Additive(1, width, width)) if kind == "attention" else None

    def forward(self, vectors: Tensor, seen: Tensor) -> Tensor:
        """vectors (batch, length, width), seen (batch, length): which are no padding -> (batch, `self.width`)."""
        if self.attention is not None:
            # The query says nothing: v^T tanh(W 0 + U x + b).
            nothing = vectors.new_zeros(len(vectors), 1, 1)
            return self.attention(nothing, vectors, mask=masks.as_mask(seen[:, None, None])).squeeze(1)
        if self.kind == "first":
            return vectors[:, 0]
        if self.kind == "last":
            places = torch.arange(seen.shape[1], device=seen.device) * seen
            return vectors[torch.arange(len(vectors), device=seen.device), places.argmax(1)]
        kept = seen.unsqueeze(-1)
        parts: list[Tensor] = []
        if "mean" in self.kind:
            parts.append((vectors * kept).sum(1) / kept.sum(1).clamp(min=1))
        if "max" in self.kind:
            parts.append(vectors.masked_fill(~kept, torch.finfo(vectors.dtype).min).amax(1))
        return torch.cat(parts, -1)


class Classifier(HeadedEncoder):
    """An encoder that classifies texts, or gives a number for each.

    outputs: how many classes there are; 1 for a number
    """

    def __init__(self, encoder: Encoder, outputs: int, settings: HeadSettings) -> None:
        super().__init__(encoder)
        self.head_settings = settings
        self.pooling = Pooling(settings.pooling, encoder.width)
        width = self.pooling.width
        self.hidden = None if settings.hidden is None else nn.Linear(width, settings.hidden)
        self.dropout = Dropout(settings.dropout)
        self.output = nn.Linear(settings.hidden or width, outputs)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, segments: Tensor | None, texts: Tensor) -> Tensor:
        """Classify texts.

        tokens, segments: (windows, length), as `Encoder` takes them
        texts: which text each window is of, from 0 in order, (windows,)

        Gives (texts, outputs).
        """
        return mean_by(self.output(self.features(tokens, segments)), texts)

    @property
    def pooler(self) -> nn.Linear | None:
        """See `HeadedEncoder`: the layer in between, as wide as the encoder, of the first vector."""
        fits = self.head_settings.pooling == "first" and self.head_settings.hidden == self.encoder.width
        return self.hidden if fits else None

    def features(self, tokens: Tensor, segments: Tensor | None) -> Tensor:
        """The vectors that are classified, (windows, width)."""
        tokens = self.encoder.dropped(tokens)
        pooled = self.pooling(self.encoder.read(tokens, segments), tokens != PAD)
        if self.hidden is not None:
            pooled = torch.tanh(self.hidden(pooled))
        return self.dropout(pooled)


def mean_by(rows: Tensor, groups: Tensor) -> Tensor:
    """Give the mean of the rows of each group: rows (rows, width), groups (rows,) from 0 -> (groups, width)."""
    count = int(groups[-1]) + 1 if len(groups) else 0
    if count == len(rows):
        return rows
    sums = rows.new_zeros(count, rows.shape[1]).index_add(0, groups, rows)
    return sums / groups.bincount(minlength=count).unsqueeze(1)
