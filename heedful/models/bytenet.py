"""ByteNet: translation in linear time, by dilated convolutions alone (Kalchbrenner et al. 2016).

    block      x + W_3 ReLU LN  C ReLU LN  W_1 ReLU LN x           W_1: 2d -> d,  C: d -> d,  W_3: d -> 2d  (figure 3)
    encoder    blocks whose convolutions C see both sides, over a source of t^ = a |s| + b positions
    decoder    blocks whose convolutions end at their own position, over  x_i = E[y_{i-1}] + s_i

C has a window of `kernel` positions that stand 1, 2, 4, 8, 16 apart from one block of a set to the next, so that a set
of five sees 63 positions. The decoder stands on the encoder: at position i it reads the encoder's vector s_i, and no
other. So that there is one for (nearly) every letter of the target, the source is continued to the length t^ that the
target will hardly exceed; the decoder may go on after it, where s_i is zero ("dynamic unfolding", section 3.2). Nothing
looks at all of a sequence: time and memory are linear in its length.

d_model is the 2d of the paper. After the last block stand LN, ReLU, a map 2d -> 2d and ReLU, before the output.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from heedful.layers import Dropout, Embedding, normalization
from heedful.layers.convolution import Convolution
from heedful.models.face import SequenceToSequence
from heedful.models.tying import Tied, tie_output, word_tables
from heedful.settings import Settings
from heedful.text.special import PAD


class ByteNetSettings(Settings):
    """The dimensions of a ByteNet; defaults are the paper's for English to German (section 6)."""

    architecture: Literal["bytenet"] = "bytenet"
    d_model: int = Field(
        default=1600, ge=2, multiple_of=2, description="width between blocks: the paper's 2d"
    )
    sets: int = Field(
        default=6, ge=1, description="how often the dilations are gone through, in encoder and decoder each"
    )
    dilations: tuple[int, ...] = Field(
        default=(1, 2, 4, 8, 16), min_length=1, description="of the blocks of a set, each at least 1"
    )
    kernel: int = Field(default=3, ge=1, description="positions that a convolution sees")
    unfold_factor: float = Field(default=1.2, ge=0, description="a of t^ = a |s| + b, the source's length")
    unfold_add: float = Field(default=0.0, ge=0, description="b of t^ = a |s| + b")
    tied: Tied = Field(default="none", description="which embeddings share the output's matrix")
    # The paper has none, for 4.5 million pairs.
    dropout: float = Field(default=0.0, ge=0, lt=1, description="on embeddings and on what each block adds")
    # There are no positions to run out of; this bounds memory.
    maximum_length: int = Field(default=4096, ge=2, description="longest sequence, in tokens")


@dataclass(frozen=True)
class ByteNetState:
    """What the decoder remembers.

    past: the last inputs of each block's convolution, (hypotheses, (kernel - 1) dilation, d_model / 2)
    memory: the encoder's vectors (sources, length, d_model)
    source: which of them each hypothesis reads, (hypotheses,)
    position: where the next token stands
    """

    past: list[Tensor]
    memory: Tensor
    source: Tensor
    position: int = 0

    def select(self, rows: Tensor) -> "ByteNetState":
        """Keep, reorder or repeat hypotheses."""
        past = [inputs.index_select(0, rows) for inputs in self.past]
        return replace(self, past=past, source=self.source.index_select(0, rows))


class ByteNet(SequenceToSequence):
    """Encoder and decoder; see `SequenceToSequence` for what it can be asked."""

    def __init__(self, settings: ByteNetSettings, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.settings, self.maximum_length = settings, settings.maximum_length
        width = settings.d_model
        source_table, target_table = word_tables(settings.tied, source_vocabulary, target_vocabulary, width)
        self.source_embedding = Embedding(source_table, "none", settings.maximum_length, settings.dropout)
        self.target_embedding = Embedding(target_table, "none", settings.maximum_length, settings.dropout)
        self.encoder = _stack(settings, causal=False)
        self.decoder = _stack(settings, causal=True)
        self.final_norm, self.final = normalization("layer", width), _map(width, width)
        self.output = nn.Linear(width, target_vocabulary)
        nn.init.zeros_(self.output.bias)
        tie_output(self.output, target_table, settings.tied)

    def unfolded(self, lengths: Tensor) -> Tensor:
        """|s| -> t^ = a |s| + b, rounded down, but at least |s|: integers of any shape."""
        estimate = (self.settings.unfold_factor * lengths.double() + self.settings.unfold_add + 1e-9).floor()
        return estimate.to(lengths.dtype).maximum(lengths)

    def source_attention(self) -> list[str]:
        """Nothing attends: each position of the target reads one of the source."""
        return []

    def encode(self, source: Tensor) -> Tensor:
        """source (batch, source_length) -> vectors (batch, longest t^, d_model), zero from a sentence's t^ on."""
        real = source != PAD
        lengths = self.unfolded(real.sum(1))
        # As wide as the padded source asks for, so that no number has to be fetched from a GPU.
        longest = int(self.unfolded(torch.tensor(source.shape[1])))
        place = torch.arange(longest, device=source.device)
        inside = (place < lengths.unsqueeze(1)).unsqueeze(-1)
        # Between the source and t^ there are zeros to read.
        x = self.source_embedding(source, place[: source.shape[1]]) * real.unsqueeze(-1)
        x = pad(x, (0, 0, 0, longest - source.shape[1]))
        for block in self.encoder:
            x = block(x, inside)
        return x * inside

    def start(self, memory: Tensor) -> ByteNetState:
        """Before the first step, no block has seen anything."""
        past = [block.convolution.start(len(memory), memory) for block in self.decoder]  # pyright: ignore
        return ByteNetState(past, memory, torch.arange(len(memory), device=memory.device))

    def step(self, tokens: Tensor, state: ByteNetState) -> tuple[Tensor, ByteNetState]:
        """tokens (hypotheses,) -> logits (hypotheses, vocabulary) and the state after them."""
        place = torch.tensor([state.position], device=tokens.device)
        x = self.target_embedding(tokens.unsqueeze(1), place)
        if state.position < state.memory.shape[1]:
            x = x + state.memory[state.source, state.position].unsqueeze(1)
        past: list[Tensor] = []
        for block, inputs in zip(self.decoder, state.past, strict=True):
            x, inputs = block.step(x, inputs)  # pyright: ignore
            past.append(inputs)
        return self.output(self._finish(x.squeeze(1))), replace(state, past=past, position=state.position + 1)

    def features(self, source: Tensor, target: Tensor) -> Tensor:
        """source (batch, source_length), target (batch, target_length) -> (batch, target_length, d_model)."""
        length = target.shape[1]
        memory = self.encode(source)
        x = self.target_embedding(target, torch.arange(length, device=target.device))
        x = x + pad(memory[:, :length], (0, 0, 0, max(length - memory.shape[1], 0)))
        for block in self.decoder:
            x = block(x)
        return self._finish(x)

    def _finish(self, x: Tensor) -> Tensor:
        return relu(self.final(relu(self.final_norm(x))))


class ByteNetBlock(nn.Module):
    """The residual block with ReLUs: figure 3, left.

    width: of what it adds to, 2d; its convolution is half as wide
    """

    def __init__(self, width: int, kernel: int, dilation: int, causal: bool, dropout: float = 0.0) -> None:
        super().__init__()
        inner = width // 2
        self.norms = nn.ModuleList(normalization("layer", size) for size in (width, inner, inner))
        self.narrow, self.widen = _map(width, inner), _map(inner, width)
        self.convolution = Convolution(_map(kernel * inner, inner), kernel, dilation, causal)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(batch, length, width) -> the same; what is not `inside`, bool (batch, length, 1), is seen as zero."""
        before = self._before(x)
        return self._after(x, self.convolution(before if inside is None else before * inside))

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Go on: the next x (batch, length, width), past (batch, (kernel - 1) dilation, width / 2) -> both anew."""
        convolved, past = self.convolution.step(self._before(x), past)
        return self._after(x, convolved), past

    def _before(self, x: Tensor) -> Tensor:
        return relu(self.norms[1](self.narrow(relu(self.norms[0](x)))))

    def _after(self, x: Tensor, convolved: Tensor) -> Tensor:
        return x + self.dropout(self.widen(relu(self.norms[2](convolved))))


def _stack(settings: ByteNetSettings, causal: bool) -> nn.ModuleList:
    return nn.ModuleList(
        ByteNetBlock(settings.d_model, settings.kernel, dilation, causal, settings.dropout)
        for dilation in settings.dilations * settings.sets
    )


def _map(in_features: int, out_features: int) -> nn.Linear:
    """Give a map of what a ReLU left, which keeps its variance (He et al. 2015, equation 10)."""
    linear = nn.Linear(in_features, out_features)
    nn.init.normal_(linear.weight, std=math.sqrt(2 / in_features))
    nn.init.zeros_(linear.bias)
    return linear
