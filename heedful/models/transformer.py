"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017): encoder and decoder.

The defaults are the paper's base model: post-norm, interleaved sinusoids, embeddings scaled by sqrt(d_model), one
matrix for both embeddings and the output, dropout on every sublayer's output and on the embeddings, none on attention
weights, projections without bias. The variants that people expect are one named choice each.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.attention import KeyValue, masks
from heedful.layers import Embedding, TransformerStack
from heedful.models.attended_source import kept_sources
from heedful.models.face import SequenceToSequence
from heedful.models.settings import StackSettings
from heedful.models.tying import Tied, tie_output, word_tables
from heedful.text.special import PAD


class TransformerSettings(StackSettings):
    """The dimensions and choices of a Transformer; defaults are the base model of Vaswani et al. 2017, table 3."""

    architecture: Literal["transformer"] = "transformer"
    encoder_layers: int = Field(default=6, ge=1, description="layers of the encoder")
    decoder_layers: int = Field(default=6, ge=1, description="layers of the decoder")
    tied: Tied = Field(default="all", description="which embeddings share the output's matrix")


@dataclass(frozen=True)
class Memory:
    """What the encoder read.

    vectors: (batch, source_length, d_model)
    mask: who is no padding, bool (batch, 1, 1, source_length)
    """

    vectors: Tensor
    mask: Tensor


@dataclass(frozen=True)
class DecoderState:
    """What the decoder remembers.

    past: each layer's keys and values of the target so far, one row for each hypothesis
    memory: each layer's keys and values of the source, one row for `sharing` hypotheses beside each other
    memory_mask: who is no padding in the source, bool (hypotheses / sharing, 1, 1, source_length)
    position: where the next token stands
    sharing: of how many hypotheses each source is the memory
    """

    past: list[KeyValue] | None
    memory: list[KeyValue]
    memory_mask: Tensor
    position: int
    sharing: int = 1

    def select(self, rows: Tensor) -> "DecoderState":
        """Keep, reorder or repeat hypotheses. Those of one source share its memory if each source has as many."""
        past = None if self.past is None else [layer.select(rows) for layer in self.past]
        sources, sharing = kept_sources(rows, self.sharing)
        memory, mask = self.memory, self.memory_mask
        if not torch.equal(sources, torch.arange(len(mask), device=rows.device)):
            memory = [layer.select(sources) for layer in memory]
            mask = mask.index_select(0, sources)
        return DecoderState(past, memory, mask, self.position, sharing)


class Transformer(SequenceToSequence):
    """Encoder and decoder; see `SequenceToSequence` for what it can be asked."""

    def __init__(self, settings: TransformerSettings, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.settings, self.maximum_length = settings, settings.maximum_length
        width = settings.d_model
        source_table, target_table = word_tables(settings.tied, source_vocabulary, target_vocabulary, width)
        embedding = {
            "positions": settings.positions,
            "maximum_length": settings.maximum_length,
            "dropout": settings.dropout,
        }
        self.source_embedding = Embedding(source_table, **embedding)
        self.target_embedding = Embedding(target_table, **embedding)
        relative = settings.positions == "relative"
        shape = settings.layer_shape()
        self.encoder = TransformerStack(
            shape, settings.encoder_layers, cross=False, relative="both" if relative else "no"
        )
        self.decoder = TransformerStack(
            shape, settings.decoder_layers, cross=True, relative="before" if relative else "no"
        )
        self.output = nn.Linear(width, target_vocabulary, bias=False)
        tie_output(self.output, target_table, settings.tied)

    def encode(self, source: Tensor) -> Memory:
        """source (batch, source_length) -> the encoder's vectors."""
        positions = torch.arange(source.shape[1], device=source.device)
        real = (source != PAD)[:, None, None, :]
        vectors, _ = self.encoder(self.source_embedding(source, positions), positions, mask=real, keep=False)
        return Memory(vectors, real)

    def start(self, memory: Memory) -> DecoderState:
        """Project the memory to each layer's keys and values, once for all steps."""
        projected = [layer.cross_attention.project(memory.vectors) for layer in self.decoder.layers]  # pyright: ignore
        return DecoderState(past=None, memory=projected, memory_mask=memory.mask, position=0)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """tokens (hypotheses,) -> logits (hypotheses, vocabulary) and the state after them."""
        position = torch.tensor([state.position], device=tokens.device)
        x, past = self.decoder(
            self.target_embedding(tokens.unsqueeze(1), position),
            position,
            memory=state.memory,
            memory_mask=state.memory_mask,
            past=state.past,
            key_positions=torch.arange(state.position + 1, device=tokens.device),
        )
        new = replace(state, past=past, position=state.position + 1)
        return self.output(x.squeeze(1)), new

    def features(self, source: Tensor, target: Tensor) -> Tensor:
        """source (batch, source_length), target (batch, target_length) -> (batch, target_length, d_model)."""
        memory = self.encode(source)
        positions = torch.arange(target.shape[1], device=target.device)
        x, _ = self.decoder(
            self.target_embedding(target, positions),
            positions,
            mask=masks.causal(),
            memory=memory.vectors,
            memory_mask=memory.mask,
            keep=False,
        )
        return x
