"""One layer of a Transformer, and the stack of them: self-attention, optionally cross-attention, feed-forward.

    post-norm: x = Norm(x + Dropout(Sublayer(x)))              (Vaswani et al. 2017, section 3.1 and 5.4)
    pre-norm:  x = x + Dropout(Sublayer(Norm(x)))              (and one Norm after the last layer)

The same layer serves the encoder, the decoder and decoder-only models; it remembers nothing between calls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from heedful.attention import ALiBi, KeyValue, Modifier, MultiHeadAttention, RelativeBias
from heedful.attention.masks import Mask, as_mask
from heedful.attention.positions import alibi_slopes
from heedful.layers.dropout import Dropout
from heedful.layers.feedforward import Activation, FeedForward
from heedful.layers.normalization import EPSILON, NormKind, normalization


@dataclass(frozen=True)
class LayerShape:
    """What a layer is made of; the names are those of `heedful.models.settings`."""

    d_model: int
    d_ff: int
    heads: int
    kv_heads: int | None = None
    d_head: int | None = None
    norm: Literal["post", "pre"] = "post"
    norm_kind: NormKind = "layer"
    norm_epsilon: float = EPSILON
    activation: Activation = "relu"
    attention_bias: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    rotary: bool = False
    alibi: bool = False


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention to a memory if `cross`, and a feed-forward network."""

    def __init__(self, shape: LayerShape, cross: bool) -> None:
        super().__init__()
        self.pre = shape.norm == "pre"
        attention = {
            "kv_heads": shape.kv_heads,
            "d_head": shape.d_head,
            "bias": shape.attention_bias,
            "dropout": shape.attention_dropout,
        }
        self.self_attention = MultiHeadAttention(shape.d_model, shape.heads, rotary=shape.rotary, **attention)
        self.self_norm = normalization(shape.norm_kind, shape.d_model, shape.norm_epsilon)
        self.cross_attention = MultiHeadAttention(shape.d_model, shape.heads, **attention) if cross else None
        self.cross_norm = normalization(shape.norm_kind, shape.d_model, shape.norm_epsilon) if cross else None
        self.feed_forward = FeedForward(shape.d_model, shape.d_ff, shape.activation, shape.activation_dropout)
        self.feed_forward_norm = normalization(shape.norm_kind, shape.d_model, shape.norm_epsilon)
        self.dropout = Dropout(shape.dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | KeyValue | None = None,
        *,
        mask: Mask | Tensor | None = None,
        memory_mask: Mask | Tensor | None = None,
        past: KeyValue | None = None,
        positions: Tensor | None = None,
        bias: Tensor | Modifier | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """x (batch, length, d_model) -> the same shape, and the keys and values of self-attention, for a cache."""
        kept: list[KeyValue] = []

        def attend_to_self(x: Tensor) -> Tensor:
            x, seen = self.self_attention(x, mask=mask, past=past, positions=positions, bias=bias)
            kept.append(seen)
            return x

        x = self._sublayer(x, self.self_norm, attend_to_self)
        if self.cross_attention is not None and self.cross_norm is not None:
            cross = self.cross_attention
            x = self._sublayer(x, self.cross_norm, lambda x: cross(x, memory, mask=memory_mask)[0])
        x = self._sublayer(x, self.feed_forward_norm, self.feed_forward)
        return x, kept[0]

    def _sublayer(self, x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        if self.pre:
            return self.dropout(sublayer(norm(x)), x)
        return norm(self.dropout(sublayer(x), x))


class TransformerStack(nn.Module):
    """Layers on top of each other, with the relative biases that they share and the last norm of pre-norm."""

    slopes: Tensor | None

    def __init__(
        self, shape: LayerShape, layers: int, *, cross: bool, relative: Literal["no", "both", "before"]
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(shape, cross) for _ in range(layers))
        self.norm = (
            normalization(shape.norm_kind, shape.d_model, shape.norm_epsilon) if shape.norm == "pre" else None
        )
        # One bias for all layers, as in T5.
        self.relative = RelativeBias(shape.heads, both_sides=relative == "both") if relative != "no" else None
        # Computed, not learned: they need not be stored in a model folder.
        self.register_buffer("slopes", alibi_slopes(shape.heads) if shape.alibi else None, persistent=False)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        *,
        mask: Mask | Tensor | None = None,
        memory: Tensor | list[KeyValue] | None = None,
        memory_mask: Mask | Tensor | None = None,
        past: list[KeyValue] | None = None,
        key_positions: Tensor | None = None,
        keep: bool = True,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Run all layers.

        x: (batch, length, d_model); positions: of x, (length,) or (batch, length)
        memory: (batch, keys, d_model) for cross-attention, or each layer's keys and values of it
        past: each layer's keys and values of earlier positions
        key_positions: where all keys of self-attention stand, those of `past` and of x (needed for relative biases)
        keep: whether anyone will go on from here; long texts have large keys and values

        Gives (batch, length, d_model) and each layer's keys and values, `past` first (none unless `keep`).
        """
        # Once for all layers, which share what is made of a mask.
        mask = None if mask is None else as_mask(mask)
        memory_mask = None if memory_mask is None else as_mask(memory_mask)
        bias = None
        if self.relative is not None:
            bias = self.relative(positions, positions if key_positions is None else key_positions)
        elif self.slopes is not None:
            bias = _alibi(self.slopes, positions, key_positions)
        kept = []
        for number, layer in enumerate(self.layers):
            x, seen = layer(
                x,
                memory[number] if isinstance(memory, list) else memory,
                mask=mask,
                memory_mask=memory_mask,
                past=None if past is None else past[number],
                positions=positions,
                bias=bias,
            )
            if keep:
                kept.append(seen)
            # Or this name would keep the last layer's keys and values alive while the next layer runs.
            del seen
        return x if self.norm is None else self.norm(x), kept


def _alibi(slopes: Tensor, positions: Tensor, key_positions: Tensor | None) -> Tensor | Modifier:
    """What ALiBi takes from the scores; where all rows stand alike, as a rule that is never written out."""
    if positions.ndim == 1:
        return ALiBi(slopes)
    keys = positions if key_positions is None else key_positions
    distance = (positions.unsqueeze(-1) - keys.unsqueeze(-2)).abs()
    return -slopes.view(-1, 1, 1) * distance.unsqueeze(1)
