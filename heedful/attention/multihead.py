"""Multi-head attention: several attentions side by side, each in its own projection of queries, keys and values.

    MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W^O,   head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V)
                                                                        (Vaswani et al. 2017, section 3.2.2)

Self-attention, cross-attention, and both with a cache; a single head is `heads=1`; `kv_heads` below `heads` lets groups
of queries share keys and values (Ainslie et al. 2023). The module holds parameters and nothing else: what a decoder
remembers is passed in and given back.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from heedful.attention.attend import attend
from heedful.attention.attending import Attending
from heedful.attention.masks import Mask
from heedful.attention.modifiers import Bias, Modifier
from heedful.attention.positions import relative_buckets, rotate
from heedful.attention.scores import ScaledDot


@dataclass(frozen=True)
class KeyValue:
    """Projected keys and values (batch, kv_heads, keys, d_head)."""

    key: Tensor
    value: Tensor

    def append(self, other: "KeyValue") -> "KeyValue":
        """Add later keys and values."""
        return KeyValue(torch.cat((self.key, other.key), 2), torch.cat((self.value, other.value), 2))

    def select(self, rows: Tensor) -> "KeyValue":
        """Keep, reorder or repeat rows of the batch."""
        return KeyValue(self.key.index_select(0, rows), self.value.index_select(0, rows))


class RelativeBias(nn.Module):
    """A learned bias for each head and bucket of distance (Raffel et al. 2020, section 2.1)."""

    def __init__(self, heads: int, both_sides: bool, buckets: int = 32) -> None:
        super().__init__()
        self.both_sides = both_sides
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def forward(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Positions (queries,) and (keys,), or with a batch dimension -> bias (1 or batch, heads, queries, keys)."""
        buckets = relative_buckets(
            query_positions, key_positions, self.weight.shape[0], both_sides=self.both_sides
        )
        bias = self.weight[buckets].movedim(-1, -3)
        return bias if bias.ndim == 4 else bias.unsqueeze(0)


class MultiHeadAttention(Attending):
    """MultiHead(Q, K, V) with its four projections.

    d_model: width of inputs and outputs
    heads, kv_heads: heads of the queries, and of keys and values (heads when None)
    d_head: width of one head (d_model / heads when None)
    bias: whether the projections have a bias; the paper's have none
    dropout: on the attention weights, in training
    rotary: turn queries and keys by their positions (self-attention only)
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        d_head: int | None = None,
        bias: bool = False,
        dropout: float = 0.0,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        kv_heads = kv_heads or heads
        if d_head is None and d_model % heads:
            raise ValueError(
                f"d_model ({d_model}) must be a multiple of heads ({heads}), or d_head be given."
            )
        if heads % kv_heads:
            raise ValueError(f"heads ({heads}) must be a multiple of kv_heads ({kv_heads}).")
        self.heads, self.kv_heads, self.d_head = heads, kv_heads, d_head or d_model // heads
        self.dropout, self.rotary = dropout, rotary
        # One matrix for W^Q, W^K and W^V: self-attention then needs one large product instead of three small ones.
        self.split = (heads * self.d_head, kv_heads * self.d_head, kv_heads * self.d_head)
        self.in_weight = nn.Parameter(torch.empty(sum(self.split), d_model))
        self.in_bias = nn.Parameter(torch.zeros(sum(self.split))) if bias else None
        self.out = nn.Linear(heads * self.d_head, d_model, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot initialisation, each of W^Q, W^K, W^V and W^O as a matrix of its own."""
        for part in self.in_weight.split(self.split):
            nn.init.xavier_uniform_(part)
        nn.init.xavier_uniform_(self.out.weight)
        if self.out.bias is not None:
            nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | KeyValue | None = None,
        *,
        mask: Mask | Tensor | None = None,
        past: KeyValue | None = None,
        positions: Tensor | None = None,
        bias: Tensor | Modifier | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Attend from x to itself (after `past`), or to `memory`.

        x: (batch, queries, d_model)
        memory: what to attend to, (batch, keys, d_model), or its keys and values from an earlier call; None = x itself.
            Of fewer rows than x, each is shared by as many neighbours of x, as by the hypotheses of one sentence; the
            mask then has rows as the memory has
        mask: bool, broadcasts to (batch, heads, queries, keys), keys counting those of `past` first
        past: keys and values of earlier positions (self-attention with a cache)
        positions: of x, (queries,) or (batch, queries); needed when rotary
        bias: added to the scores, broadcasts to (batch, heads, queries, keys); or any modifier of the scores

        Gives the attended vectors (batch, queries, d_model) and the keys and values attended to. Raises ValueError
        for rotary self-attention without positions, for a past of cross-attention, and for a memory whose rows cannot
        be shared out.
        """
        if memory is None:
            if self.rotary and positions is None:
                raise ValueError("Rotary self-attention needs the positions of x, got None.")
            query, key, value = linear(x, self.in_weight, self.in_bias).split(self.split, -1)
            query, key = self._heads(query, positions), self._heads(key, positions)
            seen = KeyValue(key, self._heads(value))
            if past is not None:
                seen = past.append(seen)
        else:
            if past is not None:
                raise ValueError("Attention to a memory takes no past: the past is of self-attention.")
            seen = memory if isinstance(memory, KeyValue) else self.project(memory)
            rows = len(seen.key)
            if len(x) % max(rows, 1):
                raise ValueError(f"A memory of {rows} rows cannot be shared by {len(x)} rows of queries.")
            # Neighbours that share a memory become queries of one row: its keys are read once for all of them.
            sharing = x.reshape(rows, -1, x.shape[-1]) if rows < len(x) else x
            query = self._heads(linear(sharing, *self._part(slice(None, self.split[0]))))
        if isinstance(bias, Tensor):
            bias = Bias(bias)
        attended = attend(
            query,
            seen.key,
            seen.value,
            score=None if bias is None else ScaledDot().then(bias),
            mask=mask,
            dropout=self.dropout if self.training else 0.0,
        )
        # (batch, heads, queries, d_head) -> (batch, queries, heads * d_head)
        return self.out(attended.transpose(1, 2).flatten(2)).view(x.shape), seen

    def project(self, memory: Tensor) -> KeyValue:
        """Give the keys and values of memory (batch, keys, d_model): needed once, however often it is attended to."""
        key, value = linear(memory, *self._part(slice(self.split[0], None))).split(self.split[1:], -1)
        return KeyValue(self._heads(key), self._heads(value))

    def _part(self, rows: slice) -> tuple[Tensor, Tensor | None]:
        return self.in_weight[rows], None if self.in_bias is None else self.in_bias[rows]

    def _heads(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        # (batch, length, heads * d_head) -> (batch, heads, length, d_head)
        x = x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)
        if not self.rotary or positions is None:
            return x
        return rotate(x, positions)
