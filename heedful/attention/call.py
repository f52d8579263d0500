"""One call of attention: all that decides what is attended to, in one place for kernels and observers."""

from dataclasses import dataclass

from torch import Tensor

from heedful.attention.grid import Grid
from heedful.attention.masks import Mask
from heedful.attention.scores import Score


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """query (batch, heads, queries, d_q), key (batch, kv_heads, keys, d_k), value (batch, kv_heads, keys, d_v)."""

    query: Tensor
    key: Tensor
    value: Tensor
    score: Score
    mask: Mask | None
    dropout: float
    grid: Grid

    def prepared(self) -> tuple[Tensor, Tensor]:
        """Give the query and key as the score prepares them, heads and kv_heads as they are."""
        return self.score.prepare(self.query, self.key, self.grid)


def repeat_heads(tensor: Tensor, heads: int) -> Tensor:
    """Repeat (batch, kv_heads, keys, d) to (batch, heads, keys, d): each group of queries shares one head."""
    kv_heads = tensor.shape[1]
    if kv_heads == heads:
        return tensor
    # A view until a product reads it.
    return tensor[:, :, None].expand(-1, -1, heads // kv_heads, -1, -1).flatten(1, 2)
