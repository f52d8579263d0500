"""What fine-tuning builds on: a Transformer stack that reads text, and the base of models with a head on top of it.

    vectors = encoder(tokens)                                    # (batch, length, d_model)
    model.layer_of("encoder.stack.encoder.layers.0.self_norm.weight")   # 1: embeddings are 0, the head is last

A stack comes from a model trained on plain text (`heedful.tasks.pretrained` finds its weights), or begins anew. What it
guessed tokens with there, its output layer, is left away. A tagger, a classifier, a reader of questions is a
`HeadedEncoder` with a head of its own, whose last layer is called `output`; it is trained whole, or with its lower
layers frozen.
"""

import re
from typing import Annotated, Any

import torch
from pydantic import Discriminator, Tag
from torch import Tensor, nn

from heedful.attention.positions import relative_buckets
from heedful.models.decoder_only import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer
from heedful.text.special import PAD, SPECIAL_TOKENS

# Parts of the stacks that only guess tokens.
_OF_GUESSING = ("output", "transform", "pooler", "next_sentence")
_LAYER = re.compile(r"\blayers\.(\d+)\.")
_LAST_NORM = re.compile(r"encoder\.stack\.(encoder|decoder)\.norm\.")


def _architecture(settings: Any) -> Any:
    """Which architecture settings are of: encoder-only where they do not say."""
    if isinstance(settings, dict):
        return settings.get("architecture", "encoder-only")
    return getattr(settings, "architecture", None)


EncoderSettings = Annotated[
    Annotated[EncoderOnlySettings, Tag("encoder-only")] | Annotated[DecoderOnlySettings, Tag("decoder-only")],
    Discriminator(
        _architecture,
        custom_error_type="architecture",
        custom_error_message="architecture must be one of 'encoder-only', 'decoder-only'",
    ),
]


def longest(settings: EncoderSettings) -> int:
    """The most tokens that an encoder with these settings reads at once."""
    # A decoder-only stack has positions for a source and for a target.
    return settings.maximum_length * (2 if isinstance(settings, DecoderOnlySettings) else 1)


class Encoder(nn.Module):
    """A stack as a reader of text: a vector for each token, made of all tokens, or of those before it.

    settings: of the stack; vocabulary: its entries
    word_dropout: the probability that a word is not seen at all in training (Iyyer et al. 2015): it is
        masked like padding, and its place stays; special tokens are always seen. A decoder-only stack reads
        padding in its place.
    special: how many entries of the vocabulary are special tokens; one for the mask is there or not
    """

    def __init__(
        self,
        settings: EncoderSettings,
        vocabulary: int,
        word_dropout: float = 0.0,
        special: int = len(SPECIAL_TOKENS),
    ) -> None:
        super().__init__()
        self.settings, self.word_dropout, self.special = settings, word_dropout, special
        self.width, self.maximum_length = settings.d_model, longest(settings)
        if isinstance(settings, DecoderOnlySettings):
            self.stack = DecoderOnlyTransformer(settings, vocabulary, vocabulary)
        else:
            self.stack = EncoderOnlyTransformer(settings, vocabulary)
        for name in _OF_GUESSING:
            if hasattr(self.stack, name):
                delattr(self.stack, name)

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it: then the last vector is the one that knows the whole text."""
        return isinstance(self.stack, DecoderOnlyTransformer)

    @property
    def segments(self) -> int:
        """How many kinds of segments the stack tells apart; 0 where it has no segment embeddings."""
        return getattr(self.settings, "segments", 0)

    def forward(
        self, tokens: Tensor, segments: Tensor | None = None, features: Tensor | None = None
    ) -> Tensor:
        """Read texts.

        tokens: (batch, length), at most `maximum_length` long, padded with PAD on the right
        segments: (batch, length), of pairs 0 for the first text and 1 for the second; passed over by a stack that has
            no segment embeddings
        features: (batch, length, d_model), what else is known of each token, added to its embedding; encoder-only

        Gives (batch, length, d_model); the vectors of padding mean nothing.
        """
        return self.read(self.dropped(tokens), segments, features)

    def read(self, tokens: Tensor, segments: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """As `forward`, without word dropout."""
        if isinstance(self.stack, DecoderOnlyTransformer):
            return self.stack.features(tokens[:, :0], tokens)
        return self.stack(tokens, segments if self.segments else None, features=features)

    @torch.no_grad()
    def look_beside(self, strength: float) -> None:
        """Let each head of a new encoder begin by looking at one neighbour: -1, +1, -2, +2, ... places away.

        strength: what is added to the score of that neighbour, in every layer; all of it can be unlearnt

        A layer whose heads look at one place each is a convolution (Cordonnier et al. 2020, theorem 1), and from few
        texts it is hard to learn to be one (d'Ascoli et al. 2021, ConViT, begins vision models so).
        Raises ValueError for a stack without relative positions.
        """
        stack = self.stack.decoder if isinstance(self.stack, DecoderOnlyTransformer) else self.stack.encoder
        bias = stack.relative
        if bias is None:
            raise ValueError("Heads can look beside only by relative positions.")
        for head in range(bias.weight.shape[1]):
            distance = 1 + (head if self.causal else head // 2)
            offset = distance if head % 2 and not self.causal else -distance
            places = torch.tensor([distance]), torch.tensor([distance + offset])
            bucket = relative_buckets(*places, len(bias.weight), both_sides=bias.both_sides)
            bias.weight[int(bucket), head] = strength

    def dropped(self, tokens: Tensor) -> Tensor:
        """The tokens that are seen: all of them, but for word dropout in training."""
        if not self.training or self.word_dropout == 0:
            return tokens
        unseen = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
        return tokens.masked_fill(unseen & (tokens >= self.special), PAD)


class HeadedEncoder(nn.Module):
    """The base of models that are an encoder and a head: which layer a weight is of, and which are frozen.

    encoder: what reads; whatever else a model has is its head
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def layers(self) -> int:
        """How many layers there are, embeddings and head included: those of the stack and two."""
        return self.encoder.settings.layers + 2

    def layer_of(self, name: str) -> int:
        """The layer of a parameter: 0 for embeddings, 1 for the lowest of the stack, ..., `layers` - 1 for the head.

        The norm after the last layer belongs to it; what layers share, such as relative positions, to the embeddings.
        """
        if not name.startswith("encoder."):
            return self.layers - 1
        if found := _LAYER.search(name):
            return int(found[1]) + 1
        return self.layers - 2 if _LAST_NORM.match(name) else 0

    @property
    def pooler(self) -> nn.Linear | None:
        """The part of the head that is BERT's pooler, tanh(W x_1 + b), where there is one: `init` may have weights."""
        return None

    def freeze(self, lower: int | None) -> None:
        """Keep embeddings and so many layers above them as they are; None leaves all free.

        Raises ValueError for more layers than there are.
        """
        if lower is None:
            return
        if not 0 <= lower <= self.encoder.settings.layers:
            raise ValueError(
                f"{lower} layers are to be frozen, but the encoder has {self.encoder.settings.layers}."
            )
        for name, parameter in self.named_parameters():
            if self.layer_of(name) <= lower:
                parameter.requires_grad_(False)
