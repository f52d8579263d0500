"""The decoder-only Transformer: one stack that reads the source as a prefix and goes on with the target.

    source_1 ... source_S  END  START  target_1 ... target_T  END

Every token attends to what stands before it (`source_attention = "causal"`: Liu et al. 2018, "Generating Wikipedia by
Summarizing Long Sequences", section 4.2.3), or tokens of the source also to the source after them ("full": the prefix
language model of Raffel et al. 2020, section 3.2.1). Without a source it is a language model: see
`DecoderOnlyTransformer.language`.

In a batch the padding of shorter sources stands between source and target. It is masked and takes no position: the
target goes on from the length of its own source, so padding changes nothing.

The stack is that of `heedful.models.transformer`, with the same choices; GPT-2 (Radford et al. 2019) is
`gpt2_settings`.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.attention import KeyValue, masks
from heedful.attention.positions import document_positions
from heedful.layers import Embedding, TransformerStack, embedding_table
from heedful.layers.initialization import draw_normal
from heedful.models.face import SequenceToSequence
from heedful.models.settings import StackSettings
from heedful.models.tying import tie_output
from heedful.text.special import PAD


class DecoderOnlySettings(StackSettings):
    """The dimensions and choices of a decoder-only Transformer; sizes are the base model's of Vaswani et al. 2017."""

    architecture: Literal["decoder-only"] = "decoder-only"
    layers: int = Field(default=6, ge=1, description="layers of the stack")
    # GPT-2's, and that of nearly every decoder-only model since: deep stacks train without a long warm-up.
    norm: Literal["post", "pre"] = Field(
        default="pre", description="normalise after a sublayer's sum, or before it"
    )
    # Better than causal wherever there is a source: Raffel et al. 2020, table 2.
    source_attention: Literal["causal", "full"] = Field(
        default="full",
        description="what a source token attends to: the source before it, or all of the source",
    )
    tied: Literal["all", "none"] = Field(
        default="all", description="whether embedding and output share a matrix"
    )
    output_bias: bool = Field(
        default=False, description="a number for each token that is added to its logit: how common it is"
    )
    scale_embeddings: bool = Field(
        default=True, description="multiply token vectors by sqrt(d_model); not so in GPT-2"
    )
    deviation: float | None = Field(
        default=None,
        gt=0,
        description="draw all weights from N(0, deviation^2), and those that a residual sum adds up from the less the "
        "more layers there are; 0.02 in GPT-2; unset: Glorot's",
    )


def gpt2_settings(**sizes: Any) -> DecoderOnlySettings:
    """Give GPT-2's settings, of its smallest model where `sizes` (any settings) do not say otherwise."""
    gpt2 = {
        "d_model": 768,
        "d_ff": 3072,
        "heads": 12,
        "layers": 12,
        "norm": "pre",
        "norm_epsilon": 1e-5,
        "positions": "learned",
        "activation": "gelu-tanh",
        "attention_bias": True,
        "attention_dropout": 0.1,
        "maximum_length": 512,  # of source and target each: 1,024 positions
        "scale_embeddings": False,
        "deviation": 0.02,
    }
    return DecoderOnlySettings(**{**gpt2, **sizes})


@dataclass(frozen=True)
class Prefix:
    """What the stack made of the source: each layer's keys and values, which of them are no padding (batch,
    source_length), and how many (batch,)."""

    past: list[KeyValue]
    seen: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class DecoderOnlyState:
    """What the model remembers, one row for each hypothesis.

    past: each layer's keys and values, of the source and of the target so far
    seen: which of the keys are no padding, bool (hypotheses, keys)
    key_positions: where the keys stand (hypotheses, keys)
    position: where the next token stands (hypotheses,)
    """

    past: list[KeyValue]
    seen: Tensor
    key_positions: Tensor
    position: Tensor

    def select(self, rows: Tensor) -> "DecoderOnlyState":
        """Keep, reorder or repeat hypotheses."""
        return DecoderOnlyState(
            past=[layer.select(rows) for layer in self.past],
            seen=self.seen.index_select(0, rows),
            key_positions=self.key_positions.index_select(0, rows),
            position=self.position.index_select(0, rows),
        )


@dataclass(frozen=True)
class TextState:
    """What the model remembers of texts without a source, all of one length.

    past: each layer's keys and values, of the last tokens
    length: how many tokens were read
    """

    past: list[KeyValue]
    length: int

    @property
    def seen(self) -> int:
        """How many of the tokens are remembered."""
        return self.past[0].key.shape[2]

    def select(self, rows: Tensor) -> "TextState":
        """Keep, reorder or repeat texts."""
        return TextState([layer.select(rows) for layer in self.past], self.length)

    def last(self, count: int) -> "TextState":
        """Forget all but the last tokens: for positions that are relative."""
        if self.seen <= count:
            return self
        past = [KeyValue(layer.key[:, :, -count:], layer.value[:, :, -count:]) for layer in self.past]
        return TextState(past, self.length)


class DecoderOnlyTransformer(SequenceToSequence):
    """One stack for source and target; see `SequenceToSequence` for what it can be asked.

    `maximum_length` is for source and target each: there are twice as many positions.
    """

    def __init__(self, settings: DecoderOnlySettings, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        if source_vocabulary != target_vocabulary:
            raise ValueError(
                "A decoder-only model reads source and target as one sequence and needs one vocabulary, got "
                f"{source_vocabulary} source and {target_vocabulary} target tokens; use a joint tokenizer."
            )
        self.settings, self.maximum_length = settings, settings.maximum_length
        width = settings.d_model
        table = embedding_table(target_vocabulary, width)
        self.embedding = Embedding(
            table,
            settings.positions,
            2 * settings.maximum_length,
            settings.dropout,
            scale=settings.scale_embeddings,
        )
        relative = "no"
        if settings.positions == "relative":
            relative = "both" if settings.source_attention == "full" else "before"
        self.decoder = TransformerStack(
            settings.layer_shape(), settings.layers, cross=False, relative=relative
        )
        self.output = nn.Linear(width, target_vocabulary, bias=settings.output_bias)
        if settings.output_bias:
            nn.init.zeros_(self.output.bias)
        tie_output(self.output, table, settings.tied)
        if settings.deviation is not None:
            draw_normal(self, settings.deviation, settings.layers)

    def encode(self, source: Tensor) -> Prefix:
        """source (batch, source_length) -> the keys and values of every layer. No column at all is no source."""
        positions = torch.arange(source.shape[1], device=source.device).expand_as(source)
        seen = source != PAD
        _, past = self._read(source, positions, seen, source.shape[1])
        return Prefix(past, seen, seen.sum(1))

    def start(self, memory: Prefix) -> DecoderOnlyState:
        """Go on after the source, each row from its own length."""
        positions = torch.arange(memory.seen.shape[1], device=memory.seen.device).expand_as(memory.seen)
        return DecoderOnlyState(memory.past, memory.seen, positions, memory.lengths)

    def step(self, tokens: Tensor, state: DecoderOnlyState) -> tuple[Tensor, DecoderOnlyState]:
        """tokens (hypotheses,) -> logits (hypotheses, vocabulary) and the state after them."""
        position = state.position.unsqueeze(1)
        seen = torch.cat((state.seen, torch.ones_like(position, dtype=torch.bool)), 1)
        key_positions = torch.cat((state.key_positions, position), 1)
        x, past = self.decoder(
            self.embedding(tokens.unsqueeze(1), position),
            position,
            mask=seen[:, None, None],
            past=state.past,
            key_positions=key_positions,
        )
        new = DecoderOnlyState(past, seen, key_positions, state.position + 1)
        return self.output(x.squeeze(1)), new

    def features(self, source: Tensor, target: Tensor) -> Tensor:
        """source (batch, source_length), target (batch, target_length) -> (batch, target_length, d_model)."""
        seen = source != PAD
        before = torch.arange(source.shape[1], device=source.device).expand_as(source)
        after = seen.sum(1, keepdim=True) + torch.arange(target.shape[1], device=target.device)
        x, _ = self._read(
            torch.cat((source, target), 1),
            torch.cat((before, after), 1),
            torch.cat((seen, torch.ones_like(target, dtype=torch.bool)), 1),
            source.shape[1],
            keep=False,
        )
        return x[:, source.shape[1] :]

    def language(self, tokens: Tensor) -> Tensor:
        """Predict each next token of a text: tokens (batch, length) -> logits (batch, length, vocabulary).

        As `text_features`, of one document.
        """
        return self.output(self.text_features(tokens))

    def text_features(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Read texts without a source: tokens (batch, length) -> (batch, length, d_model), to predict what comes next.

        tokens may be padded on the right; their length is at most 2 * maximum_length where positions are absolute
        documents: integers (batch, length), which document of its row each token is of, in rising order. A token then
            attends to its own document and stands where it would if that were alone; all are one when left out
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        mask = masks.causal()
        if documents is not None:
            mask = mask & masks.document(documents)
            positions = document_positions(documents)
        x, _ = self.decoder(self.embedding(tokens, positions), positions, mask=mask, keep=False)
        return x

    def read_text(self, tokens: Tensor, past: "TextState | None" = None) -> tuple[Tensor, "TextState"]:
        """Read more of texts without a source: tokens (batch, length) -> logits (batch, vocabulary) of what follows.

        past: what `read_text` gave for the text so far; left out, the text begins here
        """
        at = 0 if past is None else past.length
        positions = torch.arange(at, at + tokens.shape[1], device=tokens.device)
        seen = 0 if past is None else past.seen
        x, kept = self.decoder(
            self.embedding(tokens, positions),
            positions,
            mask=masks.causal() if tokens.shape[1] > 1 else None,
            past=None if past is None else past.past,
            key_positions=torch.arange(at - seen, at + tokens.shape[1], device=tokens.device),
        )
        return self.output(x[:, -1]), TextState(kept, at + tokens.shape[1])

    def _read(
        self, tokens: Tensor, positions: Tensor, seen: Tensor, source_length: int, keep: bool = True
    ) -> tuple[Tensor, list[KeyValue]]:
        """Run the stack on tokens (batch, length) at positions (batch, length); only those `seen` are attended to."""
        mask = positions.unsqueeze(-2) <= positions.unsqueeze(-1)
        if self.settings.source_attention == "full":
            mask = mask | (torch.arange(tokens.shape[1], device=tokens.device) < source_length)
        mask = (mask & seen.unsqueeze(1)).unsqueeze(1)
        return self.decoder(self.embedding(tokens, positions), positions, mask=mask, keep=keep)
