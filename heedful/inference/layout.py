"""What lean.cpp is told of a model: its weights, packed once, and where they lie."""

import ctypes
import math
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heedful.attention import MultiHeadAttention
from heedful.attention.positions import distance_buckets
from heedful.inference import library
from heedful.layers.embedding import Embedding
from heedful.layers.transformer_layer import TransformerLayer, TransformerStack
from heedful.models.settings import StackSettings

Precision = Literal["float32", "int8"]

PRECISIONS = {"float32": 0, "int8": 1}
_ACTIVATIONS = {"relu": 0, "gelu": 1, "swiglu": 2, "gelu-tanh": 3}


class Layout:
    """The base of lean models: holds whatever lean.cpp has an address of.

    places: positions that there are tables for
    """

    vocabulary: int
    output: library.Projection

    def __init__(self, loops: ctypes.CDLL, precision: Precision, places: int) -> None:
        self.loops, self.precision, self.places = loops, PRECISIONS[precision], places
        self.kept: list[Any] = []
        self._banned: tuple[tuple[int, ...], NDArray[np.uint8]] | None = None

    def choose(self, vectors: Tensor, count: int, banned: tuple[int, ...], value: int, token: int) -> None:
        """Put the `count` best outputs of each of the vectors (rows, d_model) to the addresses `value` and `token`."""
        kept = self._banned  # another thread may put its own there
        if kept is None or kept[0] != banned:
            self._banned = kept = banned, self.mask(banned)
        self.loops.best(
            ctypes.addressof(self.output),
            self.precision,
            vectors.data_ptr(),
            len(vectors),
            count,
            kept[1].ctypes.data,
            value,
            token,
        )

    def mask(self, banned: tuple[int, ...]) -> NDArray[np.uint8]:
        """Give 1 for each token that is banned."""
        mask = np.zeros(self.vocabulary, dtype=np.uint8)
        mask[list(banned)] = 1
        return mask

    def keep(self, tensor: Tensor) -> Tensor:
        """Give a tensor whose numbers stay where they are."""
        tensor = tensor.detach().contiguous()
        self.kept.append(tensor)
        return tensor

    def projection(self, weight: Tensor, bias: Tensor | None) -> library.Projection:
        """Pack weight (outs, ins)."""
        outs, ins = weight.shape
        packed = torch.empty(self.loops.packed_size(outs, ins, self.precision), dtype=torch.uint8)
        self.loops.pack_matrix(
            weight.detach().contiguous().data_ptr(), outs, ins, self.precision, packed.data_ptr()
        )
        bias = None if bias is None else self.keep(bias)
        return library.Projection(
            self.keep(packed).data_ptr(), None if bias is None else bias.data_ptr(), outs, ins
        )

    def embedding(self, embedding: Embedding) -> library.Embedding:
        """Vectors of tokens and positions."""
        positions = embedding.encoding if embedding.learned is None else embedding.learned.weight
        return library.Embedding(
            self.keep(embedding.table.weight).data_ptr(),
            None if positions is None else self.keep(positions).data_ptr(),
            embedding.scale,
        )

    def stack(self, stack: TransformerStack, settings: StackSettings) -> library.Stack:
        """Layers and what they share."""
        layers = (library.Layer * len(stack.layers))(
            *(self._layer(cast(TransformerLayer, layer)) for layer in stack.layers)
        )
        self.kept.append(layers)
        attention = cast(TransformerLayer, stack.layers[0]).self_attention
        return library.Stack(
            layers,
            len(layers),
            settings.d_model,
            attention.heads,
            attention.kv_heads,
            attention.d_head,
            settings.d_ff,
            settings.norm == "pre",
            _ACTIVATIONS[settings.activation],
            self._norm(stack.norm),
            self._nearby(stack),
            self.places,
            self.turns(attention, self.places),
        )

    def turns(self, attention: MultiHeadAttention, places: int) -> int | None:
        """Cosine and sine of each pair at each position, (places, d_head), as `rotate` takes them."""
        if not attention.rotary:
            return None
        pairs = attention.d_head // 2
        angles = torch.arange(places).unsqueeze(1) * torch.exp(
            -math.log(10_000.0) * torch.arange(pairs) / pairs
        )
        return self.keep(torch.stack((angles.cos(), angles.sin()), -1).flatten(1)).data_ptr()

    def _norm(self, norm: nn.Module | None) -> library.Norm:
        if norm is None:
            return library.Norm()
        weight = self.keep(cast(Tensor, norm.weight)).data_ptr()
        bias = getattr(norm, "bias", None)
        return library.Norm(weight, None if bias is None else self.keep(bias).data_ptr())

    def _layer(self, layer: TransformerLayer) -> library.Layer:
        attention, cross, inner, outer = (
            layer.self_attention,
            layer.cross_attention,
            layer.feed_forward.inner,
            layer.feed_forward.outer,
        )
        described = library.Layer(
            self_in=self.projection(attention.in_weight, attention.in_bias),
            self_out=self.projection(attention.out.weight, attention.out.bias),
            inner=self.projection(inner.weight, inner.bias),
            outer=self.projection(outer.weight, outer.bias),
            self_norm=self._norm(layer.self_norm),
            cross_norm=self._norm(layer.cross_norm),
            feed_forward_norm=self._norm(layer.feed_forward_norm),
        )
        if cross is not None:
            queries = cross.split[0]
            bias = (
                (None, None)
                if cross.in_bias is None
                else cross.in_bias.split([queries, sum(cross.split[1:])])
            )
            described.cross_query = self.projection(cross.in_weight[:queries], bias[0])
            described.cross_memory = self.projection(cross.in_weight[queries:], bias[1])
            described.cross_out = self.projection(cross.out.weight, cross.out.bias)
        return described

    def _nearby(self, stack: TransformerStack) -> int | None:
        """The biases of relative positions or ALiBi, (heads, 2 * places - 1), by distance."""
        distance = torch.arange(1 - self.places, self.places)
        if stack.slopes is not None:
            return self.keep(-stack.slopes.unsqueeze(1) * distance.abs()).data_ptr()
        if stack.relative is None:
            return None
        weight = stack.relative.weight
        buckets = distance_buckets(distance, len(weight), 128, stack.relative.both_sides)
        return self.keep(weight[buckets].T).data_ptr()


def within(tokens: Tensor, vocabulary: int) -> Tensor:
    """Give ids that lean.cpp may look up: it reads whatever lies at their place."""
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
        raise ValueError(f"A token id is outside the vocabulary of {vocabulary}.")
    return tokens.long().contiguous()


def unfit(settings: StackSettings, weight: Tensor) -> str | None:
    """Say why a model with these settings and this output matrix cannot be laid out here, or None."""
    if settings.activation not in _ACTIVATIONS:
        return f"it computes {', '.join(_ACTIVATIONS)}, not {settings.activation}"
    if weight.device.type != "cpu":
        return f"it is for CPUs, and the model is on {weight.device}"
    if weight.dtype != torch.float32:
        return f"its weights are {weight.dtype}, not torch.float32"
    return None if library.load() is not None else library.refusal()
