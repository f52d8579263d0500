"""RNNsearch (Bahdanau et al. 2014, "Neural Machine Translation by Jointly Learning to Align and Translate").

The encoder reads the source forwards and backwards; the annotation of a word is both states, h_j = [->h_j; <-h_j].
The decoder looks, before it writes y_i, at the mean of the annotations that its state asks for:

    s_0 = tanh(W_s <-h_1)
    e_ij = v^T tanh(W_a s_{i-1} + U_a h_j),   alpha_i = softmax(e_i),   c_i = sum_j alpha_ij h_j
    s_i = GRU(s_{i-1}, [y_{i-1}; c_i])
    t_i = maxout(U_o s_{i-1} + V_o y_{i-1} + C_o c_i),   p(y_i) = softmax(W_o t_i)           (section 3, appendix A)

With attention = "none" it is the RNN encoder-decoder that the paper compares with (Cho et al. 2014): one fixed vector,
c_i = ->h at the end of the source, is all that the decoder knows of it. Defaults are the paper's; biases, which it has
but does not write, are here too. The readout takes s_{i-1}, as its formula is printed; its text says s_i
(`readout_state`). Named choices beside the paper: other cells; the conditional GRU of Nematus (Sennrich et al. 2017),
in which one GRU reads the word and asks, and a second reads the answer; a readout by tanh; layer normalisation,
dropout, tied embeddings. Its optimizer, Adadelta, is not here.

How it is fast: only what waits for the state before is inside of the loop over steps; embeddings and their products,
the keys U_a h_j and the readout are computed for all steps at once, and so are the gradients of the weights inside of
the loop (`heedful.layers.repeated`).
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from heedful.attention import Additive, Attention
from heedful.layers.dropout import Dropout
from heedful.layers.normalization import normalization
from heedful.layers.recurrent import CellKind, Hidden, RecurrentCell, last, pick, reversal
from heedful.layers.repeated import RepeatedLinear
from heedful.layers.word_vectors import WordVectors
from heedful.models.attended_source import AttendedSource
from heedful.models.recurrent import RecurrentModel
from heedful.models.tying import Tied, word_tables
from heedful.settings import Settings
from heedful.text.special import PAD


class RNNsearchSettings(Settings):
    """The dimensions and choices of RNNsearch; defaults are the paper's (appendix A.2.3), with its symbols."""

    architecture: Literal["rnnsearch"] = "rnnsearch"
    d_embedding: int = Field(default=620, ge=1, description="m: width of word vectors")
    d_hidden: int = Field(default=1000, ge=1, description="n: width of the states, in either direction")
    d_attention: int = Field(default=1000, ge=1, description="n': hidden units of the additive score")
    d_readout: int = Field(default=500, ge=1, description="l: width of the vectors before the output layer")
    cell: CellKind = Field(
        default="gru", description="gru as printed, gru-reset-after as PyTorch has it, or lstm"
    )
    attention: Literal["additive", "none"] = Field(
        default="additive", description="none: one fixed vector of the source (RNN encoder-decoder)"
    )
    decoder: Literal["single", "conditional"] = Field(
        default="single", description="one cell a step, or one before attention and one after"
    )
    readout: Literal["maxout", "tanh"] = Field(default="maxout", description="what makes t_i")
    readout_state: Literal["before", "after"] = Field(
        default="before", description="the readout takes s_{i-1}, as printed, or s_i"
    )
    tied: Tied = Field(
        default="none",
        description="which embeddings share the output's matrix; needs d_readout = d_embedding",
    )
    start: Literal["paper", "glorot"] = Field(
        default="paper", description="first weights: the paper's small ones, or by Glorot's rule"
    )
    layer_norm: bool = Field(default=False, description="normalise word vectors, annotations and readout")
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1, description="on word vectors")
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1, description="on annotations")
    readout_dropout: float = Field(default=0.0, ge=0, lt=1, description="on t_i")
    maximum_length: int = Field(default=1024, ge=2, description="longest sequence, in tokens")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tied != "none" and self.d_readout != self.d_embedding:
            raise ValueError(
                f"with tied = '{self.tied}' d_readout ({self.d_readout}) must be d_embedding ({self.d_embedding})"
            )
        if self.attention == "none" and self.decoder == "conditional":
            raise ValueError("decoder = 'conditional' has its second cell for attention: choose 'single'")
        return self


@dataclass(frozen=True)
class Memory:
    """What the encoder read.

    annotations: h_j, (batch, source_length, 2 n); without attention c, (batch, n)
    summary: what s_0 is made of, (batch, n)
    lengths: of the sources, (batch,)
    """

    annotations: Tensor
    summary: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class DecoderState:
    """What the decoder remembers: its cell's state, (hypotheses, n), and the source: all of it, or c."""

    hidden: Hidden
    source: AttendedSource | Tensor

    def select(self, rows: Tensor) -> "DecoderState":
        """Keep, reorder or repeat hypotheses."""
        hidden = tuple(part.index_select(0, rows) for part in self.hidden)
        if isinstance(self.source, Tensor):
            return DecoderState(hidden, self.source.index_select(0, rows))
        return DecoderState(hidden, self.source.select(rows))


class RNNsearch(RecurrentModel):
    """Encoder, attention and decoder; see `SequenceToSequence` for what it can be asked."""

    def __init__(self, settings: RNNsearchSettings, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.settings, self.maximum_length = settings, settings.maximum_length
        width, hidden, norm = settings.d_embedding, settings.d_hidden, settings.layer_norm
        source_table, target_table = word_tables(settings.tied, source_vocabulary, target_vocabulary, width)
        self.source_words = WordVectors(source_table, norm, settings.embedding_dropout)
        self.target_words = WordVectors(target_table, norm, settings.embedding_dropout)
        self.forwards = RecurrentCell(settings.cell, width, hidden)
        attends = settings.attention != "none"
        self.backwards = RecurrentCell(settings.cell, width, hidden) if attends else None
        annotation = 2 * hidden if attends else hidden
        self.annotation_norm = normalization("layer", annotation) if norm else nn.Identity()
        self.annotation_dropout = Dropout(settings.encoder_dropout)
        self.attention = Attention(Additive(hidden, annotation, settings.d_attention)) if attends else None
        conditional = settings.decoder == "conditional"
        self.cell = RecurrentCell(settings.cell, width, hidden)
        self.second_cell = RecurrentCell(settings.cell, annotation, hidden) if conditional else None
        # C, C_z and C_r: how the context enters the cell.
        self.context = None if conditional else nn.Linear(annotation, self.cell.blocks * hidden, bias=False)
        self.begin = nn.Linear(hidden, self.cell.parts * hidden)
        pieces = 2 if settings.readout == "maxout" else 1
        self.readout = nn.Linear(hidden + width + annotation, pieces * settings.d_readout)
        self.readout_norm = normalization("layer", settings.d_readout) if norm else nn.Identity()
        self.readout_dropout = Dropout(settings.readout_dropout)
        self.output = nn.Linear(settings.d_readout, target_vocabulary)
        self._reset_parameters()
        if settings.tied != "none":
            self.output.weight = target_table.weight

    def _reset_parameters(self) -> None:
        """Appendix B.1: U orthogonal, W_a and U_a from N(0, 0.001^2), v and biases 0, all others from N(0, 0.01^2)."""
        if self.attention is not None:
            self.attention.score.reset_parameters(self.settings.start)  # pyright: ignore
        paper = self.settings.start == "paper"
        begun = [] if paper else [cell.input for cell in self.modules() if isinstance(cell, RecurrentCell)]
        for module in self.modules():
            if any(module is each for each in begun):
                continue  # a cell has begun by Glorot's rule already, block by block
            if isinstance(module, nn.Linear | nn.Embedding) and paper:
                nn.init.normal_(module.weight, std=0.01)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def encode(self, source: Tensor) -> Memory:
        """source (batch, source_length) -> annotations and what the decoder begins with."""
        lengths = (source != PAD).sum(1)
        words = self.source_words(source.t())
        (forwards, *_) = self.forwards(words)
        if self.backwards is None:
            summary = self.annotation_dropout(self.annotation_norm(last(forwards, lengths)))
            return Memory(summary, summary, lengths)
        turned = reversal(lengths, source.shape[1])
        (backwards, *_) = self.backwards(pick(words, turned))
        annotations = torch.cat((forwards, pick(backwards, turned)), 2).transpose(0, 1)
        return Memory(
            self.annotation_dropout(self.annotation_norm(annotations)), last(backwards, lengths), lengths
        )

    def start(self, memory: Memory) -> DecoderState:
        """Make s_0, and U_a h_j once for all steps."""
        hidden = torch.tanh(self.begin(memory.summary)).chunk(self.cell.parts, 1)
        if self.attention is None:
            return DecoderState(hidden, memory.annotations)
        return DecoderState(
            hidden, AttendedSource.of(self.attention.project(memory.annotations), memory.lengths)
        )

    def _read(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read tokens (length, hypotheses) -> t_i (length, hypotheses, l) and the state after them."""
        words = self.target_words(tokens)
        if self.attention is None or isinstance(state.source, Tensor):
            states, contexts = self._without_attention(words, state.hidden, state.source)  # pyright: ignore
        else:
            states, contexts = self._with_attention(self.attention, words, state.hidden, state.source)
        before_and_after = torch.stack([hidden[0] for hidden in states])
        shown = before_and_after[:-1] if self.settings.readout_state == "before" else before_and_after[1:]
        made = self.readout(torch.cat((shown, words, contexts), 2))
        made = torch.maximum(made[..., 0::2], made[..., 1::2]) if self.settings.readout == "maxout" else made
        made = self.readout_norm(made)
        made = torch.tanh(made) if self.settings.readout == "tanh" else made
        return self.readout_dropout(made), DecoderState(states[-1], state.source)

    def _without_attention(
        self, words: Tensor, hidden: Hidden, context: Tensor
    ) -> tuple[list[Hidden], Tensor]:
        """Give the states before and after each step, and the contexts (length, hypotheses, n): c each time."""
        step, states = self.cell.stepper(), [hidden]
        for now in (self.cell.input(words) + self.context(context)).unbind(0):  # pyright: ignore
            states.append(step(now, states[-1]))
        return states, context.expand(len(words), -1, -1)

    def _with_attention(
        self, attention: Attention, words: Tensor, hidden: Hidden, source: AttendedSource
    ) -> tuple[list[Hidden], Tensor]:
        """Give the states before and after each step, and the contexts c_i (length, hypotheses, 2 n)."""
        step, states, contexts = self.cell.stepper(), [hidden], []
        if self.second_cell is None:
            enter, second = RepeatedLinear(self.context.weight), None  # pyright: ignore
        else:
            enter = RepeatedLinear(self.second_cell.input.weight, self.second_cell.input.bias)
            second = self.second_cell.stepper()
        for now in self.cell.input(words).unbind(0):
            if second is not None:
                hidden = step(now, hidden)
            context = attention(source.queries(hidden[0]), source.memory, mask=source.mask).flatten(0, 1)
            entered = enter(context)
            hidden = step(now + entered, hidden) if second is None else second(entered, hidden)
            states.append(hidden)
            contexts.append(context)
        return states, torch.stack(contexts)
