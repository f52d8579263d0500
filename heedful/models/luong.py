"""The models of Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation".

A stack of LSTMs reads the source, last word first; a second stack goes on from where it ended. At each step its top
state h_t asks the source, and what comes back is mixed in:

    c_t = sum_s a_t(s) h_s,   h~_t = tanh(W_c [c_t; h_t]),   p(y_t) = softmax(W_s h~_t)          (equations 5 and 6)

    global     a_t = softmax_s(score(h_t, h_s))
    local-m    the same among the s with |s - p_t| <= D, where p_t = t
    local-p    p_t = S sig(v_p^T tanh(W_p h_t)), and after the softmax a_t(s) is multiplied by
               exp(-(s - p_t)^2 / (2 (D / 2)^2)), and not normalised again                      (equations 9 and 10)
    score      dot, general, concat or location                                                (section 3.1, equation 8)

Input feeding gives h~_{t-1} to the first LSTM beside the word. With attention = "none", which takes it off, it is the
sequence-to-sequence model of Sutskever et al. 2014: all that the decoder knows of the source is its first state.

Defaults are the paper's best: local-p with general. Positions are those of words in the sentence, whichever way it is
read. A bidirectional encoder, as JoeyNMT has one, is a choice; the decoder then begins with the last states of both
directions, beside each other.

How it is fast: without input feeding nothing in the decoder waits for attention, so that a layer runs through all
steps before the next begins, and all steps attend at once. With it, words enter for all steps at once, and so are made
the gradients of the weights inside of the loop (`heedful.layers.repeated`).
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from heedful.attention import (
    Attention,
    Concat,
    Dot,
    Gaussian,
    General,
    Location,
    PredictedPosition,
    Score,
    masks,
)
from heedful.layers.dropout import Dropout
from heedful.layers.recurrent import Hidden, RecurrentCell, last, pick, reversal
from heedful.layers.repeated import RepeatedLinear
from heedful.layers.word_vectors import WordVectors
from heedful.models.attended_source import AttendedSource
from heedful.models.recurrent import RecurrentModel
from heedful.models.tying import Tied, word_tables
from heedful.settings import Settings
from heedful.text.special import PAD


class LuongSettings(Settings):
    """The dimensions and choices of Luong's models; defaults are the paper's best single model (section 4, table 1)."""

    architecture: Literal["luong"] = "luong"
    d_embedding: int = Field(default=1000, ge=1, description="width of word vectors")
    d_hidden: int = Field(default=1000, ge=1, description="cells of a layer")
    layers: int = Field(default=4, ge=1, description="of the encoder, and of the decoder")
    encoder: Literal["unidirectional", "bidirectional"] = Field(
        default="unidirectional", description="bidirectional: half of the cells in either direction"
    )
    reverse_source: bool = Field(default=True, description="read the source from its end")
    attention: Literal["global", "local-m", "local-p", "none"] = Field(
        default="local-p", description="all of the source, a window along the diagonal or a predicted one"
    )
    score: Literal["dot", "general", "concat", "location"] = Field(
        default="general", description="how states and source are compared"
    )
    concat_key: Literal["learned", "identity"] = Field(
        default="learned", description="concat: identity is what the paper's experiments had (footnote 15)"
    )
    window: int = Field(default=10, ge=1, description="local: D, how far the window reaches to either side")
    input_feeding: bool = Field(default=True, description="give the last attentional vector to the next step")
    tied: Tied = Field(
        default="none", description="which embeddings share the output's matrix; needs d_embedding = d_hidden"
    )
    start: Literal["paper", "glorot"] = Field(
        default="paper", description="first weights: uniform in [-0.1, 0.1], or by Glorot's rule"
    )
    # Of the paper's models some have 0.2 and some none.
    dropout: float = Field(default=0.2, ge=0, lt=1, description="on what goes from layer to layer")
    maximum_length: int = Field(default=1024, ge=2, description="longest sequence, in tokens")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tied != "none" and self.d_embedding != self.d_hidden:
            raise ValueError(
                f"with tied = '{self.tied}' d_hidden ({self.d_hidden}) must be d_embedding ({self.d_embedding})"
            )
        if self.encoder == "bidirectional" and self.d_hidden % 2:
            raise ValueError(f"a bidirectional encoder needs an even d_hidden, got {self.d_hidden}")
        return self


@dataclass(frozen=True)
class Memory:
    """What the encoder read.

    states: of its top layer, (batch, source_length, d_hidden)
    final: h and c of each layer at the end
    lengths: of the sources, (batch,)
    """

    states: Tensor
    final: list[Hidden]
    lengths: Tensor


@dataclass(frozen=True)
class DecoderState:
    """What the decoder remembers.

    hidden: h and c of each layer, (hypotheses, d_hidden)
    fed: h~ of the step before, (hypotheses, d_hidden)
    source: what is attended to, if anything is
    position: where the next token stands
    """

    hidden: list[Hidden]
    fed: Tensor
    source: AttendedSource | None
    position: int = 0

    def select(self, rows: Tensor) -> "DecoderState":
        """Keep, reorder or repeat hypotheses."""
        return DecoderState(
            [tuple(part.index_select(0, rows) for part in layer) for layer in self.hidden],
            self.fed.index_select(0, rows),
            None if self.source is None else self.source.select(rows),
            self.position,
        )


class Luong(RecurrentModel):
    """Encoder, attention and decoder; see `SequenceToSequence` for what it can be asked."""

    def __init__(self, settings: LuongSettings, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.settings, self.maximum_length = settings, settings.maximum_length
        width, hidden = settings.d_embedding, settings.d_hidden
        source_table, target_table = word_tables(settings.tied, source_vocabulary, target_vocabulary, width)
        self.source_words = WordVectors(source_table, norm=False, dropout=settings.dropout)
        self.target_words = WordVectors(target_table, norm=False, dropout=settings.dropout)
        widths = [width] + [hidden] * (settings.layers - 1)
        both = settings.encoder == "bidirectional"
        size = hidden // 2 if both else hidden
        self.encoder = nn.ModuleList(
            nn.ModuleList(RecurrentCell("lstm", given, size) for _ in range(2 if both else 1))
            for given in widths
        )
        self.decoder = nn.ModuleList(RecurrentCell("lstm", given, hidden) for given in widths)
        self.attention = None if settings.attention == "none" else Attention(self._score())
        self.feeds = settings.input_feeding and self.attention is not None
        self.feed = nn.Linear(hidden, 4 * hidden, bias=False) if self.feeds else None
        self.predict = PredictedPosition(hidden) if settings.attention == "local-p" else None
        self.combine = None if self.attention is None else nn.Linear(2 * hidden, hidden, bias=False)
        self.dropout = Dropout(settings.dropout)
        self.output = nn.Linear(hidden, target_vocabulary, bias=False)
        if settings.start == "paper":
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -0.1, 0.1)
        else:
            for module in self.modules():
                if isinstance(module, nn.Linear) and module.bias is None:
                    nn.init.xavier_uniform_(module.weight)
        if settings.tied != "none":
            self.output.weight = target_table.weight

    def _score(self) -> Score:
        settings, hidden = self.settings, self.settings.d_hidden
        match settings.score:
            case "dot":
                return Dot()
            case "general":
                return General(hidden, hidden)
            case "concat":
                return Concat(hidden, hidden, key_part=settings.concat_key)
            case "location":
                # A batch may be padded beyond its longest source.
                return Location(hidden, settings.maximum_length, longer="ignore")

    def encode(self, source: Tensor) -> Memory:
        """source (batch, source_length) -> the states of the top layer and all last states."""
        lengths = (source != PAD).sum(1)
        turned = reversal(lengths, source.shape[1])
        one = self.settings.encoder == "unidirectional"
        turns = one and self.settings.reverse_source
        x = self.source_words(source.t().gather(0, turned) if turns else source.t())
        final: list[Hidden] = []
        for number, cells in enumerate(self.encoder):
            x = self.dropout(x) if number else x
            read: list[Hidden] = [
                cell(pick(x, turned) if backwards else x)
                for backwards, cell in enumerate(cells)  # pyright: ignore
            ]
            ends = [[last(part, lengths) for part in states] for states in read]
            final.append(tuple(torch.cat(parts, 1) for parts in zip(*ends, strict=True)))
            x = read[0][0] if one else torch.cat((read[0][0], pick(read[1][0], turned)), 2)
        return Memory((pick(x, turned) if turns else x).transpose(0, 1), final, lengths)

    def start(self, memory: Memory) -> DecoderState:
        """Go on from where the encoder ended; project the keys once for all steps."""
        source = None
        if self.attention is not None:
            source = AttendedSource.of(self.attention.project(memory.states), memory.lengths)
        return DecoderState(memory.final, torch.zeros_like(memory.final[-1][0]), source)

    def _read(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read tokens (length, hypotheses) -> h~ (length, hypotheses, d_hidden) and the state after them."""
        words = self.target_words(tokens)
        if self.feeds and state.source is not None and self.attention is not None:
            x, hidden = self._fed(self.attention, words, state, state.source)
        else:
            x, hidden = self._unfed(words, state)
        new = DecoderState(hidden, x[-1], state.source, state.position + len(tokens))
        return self.dropout(x), new

    def _unfed(self, words: Tensor, state: DecoderState) -> tuple[Tensor, list[Hidden]]:
        """Layer by layer, and attention of all steps at once."""
        x, hidden = words, []
        for number, (cell, begin) in enumerate(zip(self.decoder, state.hidden, strict=True)):
            states: Hidden = cell(self.dropout(x) if number else x, begin)
            hidden.append(tuple(part[-1] for part in states))
            x = states[0]
        attention = self.attention
        if state.source is None or attention is None or self.combine is None:
            return x, hidden
        if len(x) == 1:
            context = self._attend(attention, state.source.queries(x[0]), state.source, state.position)
            context = context.flatten(0, 1).unsqueeze(0)
        else:
            context = self._attend(attention, x.transpose(0, 1), state.source, None).transpose(0, 1)
        return torch.tanh(self.combine(torch.cat((context, x), 2))), hidden

    def _fed(
        self, attention: Attention, words: Tensor, state: DecoderState, source: AttendedSource
    ) -> tuple[Tensor, list[Hidden]]:
        """Step by step, as each reads what the one before has made."""
        first, *others = list(self.decoder)
        feed, combine = RepeatedLinear(self.feed.weight), RepeatedLinear(self.combine.weight)  # pyright: ignore
        steps = [cell.stepper() for cell in self.decoder]  # pyright: ignore
        enter = [RepeatedLinear(cell.input.weight, cell.input.bias) for cell in others]  # pyright: ignore
        hidden, fed, made = list(state.hidden), state.fed, []
        for position, now in enumerate(first.input(words).unbind(0), state.position):  # pyright: ignore
            hidden[0] = steps[0](now + feed(fed), hidden[0])
            for number, into in enumerate(enter, 1):
                hidden[number] = steps[number](into(self.dropout(hidden[number - 1][0])), hidden[number])
            top = hidden[-1][0]
            context = self._attend(attention, source.queries(top), source, position).flatten(0, 1)
            fed = torch.tanh(combine(torch.cat((context, top), 1)))
            made.append(fed)
        return torch.stack(made), hidden

    def _attend(
        self, attention: Attention, queries: Tensor, source: AttendedSource, position: int | None
    ) -> Tensor:
        """Give c for queries (sources, queries, d_hidden), which all stand at `position`, or at 0, 1, ..."""
        mask, score, window = source.mask, attention.score, self.settings.window
        positions = None
        if self.settings.attention == "local-m":
            count, device = queries.shape[1], queries.device
            if position is None:
                positions = torch.arange(count, device=device)
            else:
                positions = torch.full((count,), position, device=device)
            mask = mask & masks.window(window, window)
        elif self.predict is not None:
            centers = self.predict(queries.unsqueeze(1), source.lengths)
            score = score.then(Gaussian(centers, window))
            mask = mask & masks.around(centers, window)
        return attention(queries, source.memory, mask=mask, score=score, query_positions=positions)
