"""ConvS2S: convolutions that read and write, with attention in every layer of the decoder (Gehring et al. 2017).

    block       h^l = GLU(W [h^{l-1}_{i-k/2}; ...; h^{l-1}_{i+k/2}] + b) + h^{l-1}_i,   GLU([A B]) = A sigmoid(B)
    attention   d^l_i = W_d h^l_i + b_d + g_i,   a^l_ij = softmax_j(d^l_i . z_j)        (equation 1)
                c^l_i = sum_j a^l_ij (z_j + e_j)                                        (equation 2), added to h^l_i

e and g are the embeddings of source and target, token plus position; z is the encoder's output. Each layer asks with
what the layers below have found, which the paper calls attention in several steps, or hops. The decoder's windows end
at their own position.

Section 3.4, which keeps the variance of activations near that of the embeddings: every sum of two is multiplied with
sqrt(1/2), c with m sqrt(1/m) for m words of source, and the gradients that reach the encoder are divided by the number
of attentions. The paper names the sums of residuals; the authors' code (fairseq) scales the sums with g, e and c as
well, and so does this. Section 3.5, the initialisation: N(0, 0.1^2) for embeddings; for maps before a GLU N(0, 4p/n)
and for others N(0, p/n), with p the probability of dropout to keep a number and n the numbers that a sum is over.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import glu

from heedful.attention import Attention, Dot, KeyValue
from heedful.layers import Dropout, Embedding
from heedful.layers.convolution import Convolution, mapped
from heedful.layers.gradient import scale_gradient
from heedful.layers.weight_normalization import WeightNormLinear, Weights, weights_of
from heedful.models.attended_source import AttendedSource
from heedful.models.face import SequenceToSequence
from heedful.models.tying import Tied, word_tables
from heedful.settings import Settings
from heedful.text.special import PAD

HALF = math.sqrt(0.5)
"""What keeps the variance of a sum of two."""

EMBEDDING_DEVIATION = 0.1


class BlockSettings(Settings):
    """Blocks of one size: what the paper writes as 10 x 512 (k3)."""

    layers: int = Field(default=1, ge=1, description="how many")
    width: int = Field(ge=1, description="numbers between blocks")
    kernel: int = Field(default=3, ge=1, description="positions that a convolution sees")


class ConvS2SSettings(Settings):
    """The dimensions of a ConvS2S; defaults are the paper's for English to Romanian (section 4.2)."""

    architecture: Literal["convs2s"] = "convs2s"
    d_model: int = Field(default=512, ge=1, description="width of embeddings, and of attention")
    encoder_blocks: tuple[BlockSettings, ...] = Field(
        default=(BlockSettings(layers=20, width=512, kernel=3),),
        min_length=1,
        description="blocks of the encoder",
    )
    decoder_blocks: tuple[BlockSettings, ...] = Field(
        default=(BlockSettings(layers=20, width=512, kernel=3),),
        min_length=1,
        description="blocks of the decoder",
    )
    # The output's rows are then those of a lookup table, and not normalised.
    tied: Tied = Field(default="none", description="which embeddings share the output's matrix")
    # 0.1 on WMT's large sets, 0.2 on the small one of section 5.1.
    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="on embeddings, on the input of each block, before the output"
    )
    maximum_length: int = Field(default=1024, ge=2, description="longest sequence, in tokens")


@dataclass(frozen=True)
class ConvS2SState:
    """What the decoder remembers.

    past: the last kernel - 1 inputs of each block's convolution, (hypotheses, kernel - 1, width)
    source: what each block attends to
    weights: the normalised matrices, made once
    position: where the next token stands
    """

    past: list[Tensor]
    source: AttendedSource
    weights: Weights
    position: int = 0

    def select(self, rows: Tensor) -> "ConvS2SState":
        """Keep, reorder or repeat hypotheses."""
        past = [inputs.index_select(0, rows) for inputs in self.past]
        return replace(self, past=past, source=self.source.select(rows))


class ConvS2S(SequenceToSequence):
    """Encoder and decoder; see `SequenceToSequence` for what it can be asked."""

    def __init__(self, settings: ConvS2SSettings, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.settings, self.maximum_length = settings, settings.maximum_length
        width, dropout = settings.d_model, settings.dropout
        source_table, target_table = word_tables(
            settings.tied, source_vocabulary, target_vocabulary, width, nn.Embedding
        )
        self.source_embedding = _embedding(source_table, settings)
        self.target_embedding = _embedding(target_table, settings)
        self.encoder = Encoder(width, settings.encoder_blocks, dropout)
        self.decoder = Decoder(width, settings.decoder_blocks, dropout)
        if settings.tied == "none":
            self.output: nn.Linear = projection(width, target_vocabulary, dropout)
        else:
            self.output = nn.Linear(width, target_vocabulary)
            nn.init.zeros_(self.output.bias)
            self.output.weight = target_table.weight

    def source_attention(self) -> list[str]:
        """Every block of the decoder attends to the source."""
        return [f"decoder.blocks.{number}.attention" for number in range(len(self.decoder.blocks))]

    def encode(self, source: Tensor) -> AttendedSource:
        """source (batch, source_length) -> keys z and values (z + e) sqrt(1/2), (batch, 1, source_length, d_model)."""
        real = source != PAD
        e = self.source_embedding(source, torch.arange(source.shape[1], device=source.device))
        z = scale_gradient(self.encoder(e, real.unsqueeze(-1)), 1 / len(self.decoder.blocks))
        return AttendedSource.of(KeyValue(z.unsqueeze(1), ((z + e) * HALF).unsqueeze(1)), real.sum(1))

    def start(self, memory: AttendedSource) -> ConvS2SState:
        """Before the first step, no block has seen anything."""
        rows, like = len(memory.lengths), memory.memory.key
        past = [block.convolution.start(rows, like) for block in self.decoder.blocks]  # pyright: ignore
        return ConvS2SState(past, memory, weights_of(self))

    def step(self, tokens: Tensor, state: ConvS2SState) -> tuple[Tensor, ConvS2SState]:
        """tokens (hypotheses,) -> logits (hypotheses, vocabulary) and the state after them."""
        position = torch.tensor([state.position], device=tokens.device)
        g = self.target_embedding(tokens.unsqueeze(1), position)
        x, past = self.decoder(g, state.source, state.past, state.weights)
        new = replace(state, past=past, position=state.position + 1)
        return mapped(self.output, x.squeeze(1), state.weights), new

    def features(self, source: Tensor, target: Tensor) -> Tensor:
        """source (batch, source_length), target (batch, target_length) -> (batch, target_length, d_model)."""
        g = self.target_embedding(target, torch.arange(target.shape[1], device=target.device))
        return self.decoder(g, self.encode(source))[0]


class Encoder(nn.Module):
    """From embeddings e to z, by the blocks of these groups."""

    def __init__(self, d_model: int, groups: tuple[BlockSettings, ...], dropout: float) -> None:
        super().__init__()
        self.into = projection(d_model, groups[0].width, dropout)
        self.blocks = nn.ModuleList(Block(*sizes, dropout, causal=False) for sizes in _written_out(groups))
        self.out = projection(groups[-1].width, d_model)

    def forward(self, e: Tensor, real: Tensor) -> Tensor:
        """e (batch, length, d_model), real (batch, length, 1): what is no padding -> z (batch, length, d_model)."""
        x = self.into(e)
        for block in self.blocks:
            x = block(x, real)
        return self.out(x)


class Decoder(nn.Module):
    """From embeddings g to features, by the blocks of these groups, each with its attention."""

    def __init__(self, d_model: int, groups: tuple[BlockSettings, ...], dropout: float) -> None:
        super().__init__()
        self.into = projection(d_model, groups[0].width, dropout)
        self.blocks = nn.ModuleList(DecoderBlock(*sizes, dropout, d_model) for sizes in _written_out(groups))
        self.out = projection(groups[-1].width, d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        g: Tensor,
        source: AttendedSource,
        past: list[Tensor] | None = None,
        weights: Weights | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """g (batch, length, d_model) -> features (batch, length, d_model) and each block's new past.

        past, weights: those of a state; without them g begins the sentence, and there is no new past
        """
        x, new = mapped(self.into, g, weights), []
        for number, block in enumerate(self.blocks):
            x, inputs = block(x, g, source, None if past is None else past[number], weights)
            new.append(inputs)
        return self.dropout(mapped(self.out, x, weights)), new


class Block(nn.Module):
    """A convolution with a gate, and the residual around it; where widths differ, it is projected."""

    def __init__(self, before: int, width: int, kernel: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        # n, of the initialisation, is the numbers of a window; a gate halves the deviation, hence 4.
        gated = WeightNormLinear(kernel * before, 2 * width, math.sqrt(4 * (1 - dropout) / (kernel * before)))
        self.convolution = Convolution(gated, kernel, causal=causal)
        self.residual = projection(before, width) if before != width else None

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x (batch, length, before), real (batch, length, 1): what is no padding -> (batch, length, width)."""
        # Padding would be seen from the last words.
        h = glu(self.convolution(self.dropout(x) * real))
        return (h + self.around(x)) * HALF

    def around(self, x: Tensor, weights: Weights | None = None) -> Tensor:
        """What goes past the convolution."""
        return x if self.residual is None else mapped(self.residual, x, weights)


class DecoderBlock(Block):
    """A block that ends at its own position and attends to the source."""

    def __init__(self, before: int, width: int, kernel: int, dropout: float, d_model: int) -> None:
        super().__init__(before, width, kernel, dropout, causal=True)
        self.ask = projection(width, d_model)
        self.attention = Attention(Dot())
        self.answer = projection(d_model, width)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, g: Tensor, source: AttendedSource, past: Tensor | None, weights: Weights | None
    ) -> tuple[Tensor, Tensor | None]:
        """x (batch, length, before), g (batch, length, d_model) -> (batch, length, width) and the new past."""
        dropped = self.dropout(x)
        if past is None:
            h = self.convolution(dropped)
        else:
            h, past = self.convolution.step(dropped, past, weights)
        h = glu(h)
        d = (mapped(self.ask, h, weights) + g) * HALF
        # Hypotheses that share a source become queries of one row.
        asked = d.reshape(len(source.lengths), -1, d.shape[-1])
        # m sqrt(1/m), with nothing to divide by where a sentence has no word.
        scale = source.lengths.to(d.dtype).sqrt()[:, None, None]
        c = self.attention(asked, source.memory, mask=source.mask) * scale
        h = (mapped(self.answer, c.view_as(d), weights) + h) * HALF
        return (h + self.around(x, weights)) * HALF, past


def projection(in_features: int, out_features: int, dropout: float = 0.0) -> WeightNormLinear:
    """Give a map of numbers that dropout left, which no gate follows."""
    return WeightNormLinear(in_features, out_features, math.sqrt((1 - dropout) / in_features))


def _written_out(groups: tuple[BlockSettings, ...]) -> list[tuple[int, int, int]]:
    """Of each block the width before it, its own, and its kernel."""
    blocks = [group for group in groups for _ in range(group.layers)]
    return [
        (before.width, block.width, block.kernel)
        for before, block in zip(blocks[:1] + blocks, blocks, strict=False)
    ]


def _embedding(table: nn.Embedding, settings: ConvS2SSettings) -> Embedding:
    embedding = Embedding(table, "learned", settings.maximum_length, settings.dropout, scale=False)
    for parameter in embedding.parameters():
        nn.init.normal_(parameter, std=EMBEDDING_DEVIATION)
    return embedding
