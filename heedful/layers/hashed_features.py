"""A linear layer over features that are given by number, few of very many: the "wide" part of wide and deep models.

y = s * sum over the features f of W[f]          (Cheng et al. 2016, section 3.1, without a bias)
"""

import torch
from torch import Tensor, nn

from heedful.layers.dropout import Dropout

# Adam moves a weight by the learning rate, whatever its gradient is; that of a network is too small for weights of
# features that most batches do not have.
_SCALE = 10.0


class HashedFeatures(nn.Module):
    """Score sparse features; it begins with zeros.

    features: how many there are; outputs: the scores that each has a weight for
    dropout: the probability that a feature is not seen in training
    """

    def __init__(self, features: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Embedding(features, outputs)
        nn.init.zeros_(self.weights.weight)
        self.dropout = Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """features: numbers from 0, (..., count) -> (..., outputs)."""
        seen = self.dropout(torch.ones(*features.shape, 1, device=features.device))
        return _SCALE * (seen * self.weights(features)).sum(-2)
