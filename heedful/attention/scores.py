"""Score functions: how well a key answers a query.

A score is a small object called as `score(query, key)`; it gives one number for each pair of query and key. What it
adds to the plain product (a bias for relative positions, ALiBi's slopes) is part of the score, so that every kernel
sees the same definition.

Shapes: query (batch, heads, queries, d_k), key (batch, heads, keys, d_k) -> scores (batch, heads, queries, keys).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScaledDot:
    """score(q, k) = q . k / sqrt(d_k) + bias (Vaswani et al. 2017, equation 1).

    bias: an optional tensor that broadcasts to (batch, heads, queries, keys), such as relative position biases.
    """

    bias: Tensor | None = None

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """query (batch, heads, queries, d_k), key (batch, heads, keys, d_k) -> (batch, heads, queries, keys)."""
        scores = torch.matmul(query * (1.0 / math.sqrt(query.shape[-1])), key.transpose(-2, -1))
        return scores if self.bias is None else scores + self.bias
