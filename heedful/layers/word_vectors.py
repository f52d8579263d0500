"""Token embeddings without positions, as recurrent models read them: order is in the recurrence.

x = Dropout(Norm(E[token]))
"""

from torch import Tensor, nn

from heedful.layers.dropout import Dropout
from heedful.layers.normalization import normalization


class WordVectors(nn.Module):
    """Turn tokens into vectors.

    table: E, which may be shared with the output
    norm: whether vectors are layer-normalised, with a scale and an offset of their own
    dropout: on their coordinates
    """

    def __init__(self, table: nn.Embedding, norm: bool, dropout: float) -> None:
        super().__init__()
        self.table = table
        self.norm = normalization("layer", table.embedding_dim) if norm else nn.Identity()
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens of any shape -> (..., d_embedding)."""
        return self.dropout(self.norm(self.table(tokens)))
