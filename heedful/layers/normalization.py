"""Normalisation of coordinates: layer normalisation (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019)."""

from typing import Literal

from torch import nn

NormKind = Literal["layer", "rms"]

# tensor2tensor's value; PyTorch's default of 1e-5 differs.
EPSILON = 1e-6


def normalization(kind: NormKind, width: int, epsilon: float = EPSILON) -> nn.Module:
    """Give the normalisation named `kind` for vectors (..., width); epsilon is added to their variance."""
    if kind == "layer":
        return nn.LayerNorm(width, eps=epsilon)
    if kind == "rms":
        return nn.RMSNorm(width, eps=epsilon)
    raise ValueError(f"There is no normalisation {kind!r}; there are 'layer' and 'rms'.")
