"""Parts that several architectures share."""

from heedful.layers.dropout import Dropout
from heedful.layers.embedding import Embedding, Positions, embedding_table
from heedful.layers.feedforward import Activation, FeedForward
from heedful.layers.normalization import NormKind, normalization
from heedful.layers.transformer_layer import LayerShape, TransformerLayer, TransformerStack

__all__ = [
    "Activation",
    "Dropout",
    "Embedding",
    "FeedForward",
    "LayerShape",
    "NormKind",
    "Positions",
    "TransformerLayer",
    "TransformerStack",
    "embedding_table",
    "normalization",
]
