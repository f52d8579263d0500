"""The settings that all Transformers share, whichever stacks they have."""

from typing import Literal, Self

from pydantic import Field, model_validator

from heedful.layers import Activation, LayerShape, NormKind, Positions
from heedful.layers.normalization import EPSILON
from heedful.settings import Settings


class StackSettings(Settings):
    """The dimensions and choices of Transformer layers; defaults are the base model of Vaswani et al. 2017, table 3."""

    d_model: int = Field(default=512, ge=2, description="width of the vectors between layers")
    d_ff: int = Field(default=2048, ge=1, description="inner width of the feed-forward networks")
    heads: int = Field(default=8, ge=1, description="attention heads")
    kv_heads: int | None = Field(
        default=None, ge=1, description="heads of keys and values; heads when left out"
    )
    d_head: int | None = Field(
        default=None, ge=1, description="width of one head; d_model / heads when left out"
    )
    norm: Literal["post", "pre"] = Field(
        default="post", description="normalise after a sublayer's sum, or before it"
    )
    norm_kind: NormKind = Field(default="layer", description="layer normalisation or RMSNorm")
    # BERT has 1e-12, GPT-2 1e-5.
    norm_epsilon: float = Field(default=EPSILON, gt=0, description="added to the variance in a norm")
    positions: Positions = Field(default="sinusoidal", description="how order is known")
    activation: Activation = Field(default="relu", description="of the feed-forward networks")
    attention_bias: bool = Field(default=False, description="biases in the projections of attention")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on sublayer outputs and embeddings")
    # The paper's section 5.4 has neither.
    attention_dropout: float = Field(default=0.0, ge=0, lt=1, description="on attention weights")
    activation_dropout: float = Field(default=0.0, ge=0, lt=1, description="inside the feed-forward networks")
    maximum_length: int = Field(default=1024, ge=2, description="longest sequence, in tokens")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_head is None and self.d_model % self.heads:
            raise ValueError(f"d_model ({self.d_model}) must be a multiple of heads ({self.heads})")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if (self.d_head or self.d_model // self.heads) % 2 and self.positions == "rotary":
            raise ValueError("rotary positions need heads of even width")
        if self.d_model % 2 and self.positions.startswith("sinusoidal"):
            raise ValueError(f"sinusoidal positions need an even d_model, got {self.d_model}")
        return self

    def layer_shape(self) -> LayerShape:
        """What one layer is made of."""
        return LayerShape(
            d_model=self.d_model,
            d_ff=self.d_ff,
            heads=self.heads,
            kv_heads=self.kv_heads,
            d_head=self.d_head,
            norm=self.norm,
            norm_kind=self.norm_kind,
            norm_epsilon=self.norm_epsilon,
            activation=self.activation,
            attention_bias=self.attention_bias,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation_dropout=self.activation_dropout,
            rotary=self.positions == "rotary",
            alibi=self.positions == "alibi",
        )
