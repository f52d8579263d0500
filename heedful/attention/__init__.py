"""What attention is: one function, its scores, masks, positions and kernels, and a way to look inside."""

from heedful.attention import masks, positions
from heedful.attention.attend import attend
from heedful.attention.multihead import KeyValue, MultiHeadAttention, RelativeBias
from heedful.attention.observe import Record, Seen, observe
from heedful.attention.scores import ScaledDot

__all__ = [
    "KeyValue",
    "MultiHeadAttention",
    "Record",
    "RelativeBias",
    "ScaledDot",
    "Seen",
    "attend",
    "masks",
    "observe",
    "positions",
]
