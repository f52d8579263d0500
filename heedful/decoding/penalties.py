"""The score of a hypothesis Y for a source X (Wu et al. 2016, "GNMT", equation 14):

    score(Y, X) = log P(Y | X) / lp(Y) + cp(X, Y)
    lp(Y)       = ((5 + |Y|) / 6)^alpha                       "gnmt"
                | |Y|^alpha                                   "average": with alpha = 1 the mean per token
                | 1                                           "none"
    cp(X, Y)    = beta * sum_i log(min(sum_j p_ij, 1))

|Y| counts END. p_ij is the attention that step j pays to source position i (the paper writes p_{i,j} for the
j-th target word on the i-th source word), so sum_j p_ij is how far source position i is covered.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]


def length_penalty(length: ArrayLike, kind: Literal["gnmt", "average", "none"], alpha: float) -> Floats:
    """Give lp of each length; it never falls as the length grows (alpha >= 0)."""
    length = np.asarray(length, dtype=np.float64)
    if kind == "gnmt":
        return ((5 + length) / 6) ** alpha
    return length ** (alpha if kind == "average" else 0.0)


def coverage_penalty(coverage: Floats, source_mask: NDArray[np.bool_], beta: float) -> Floats:
    """Give cp (...), never positive, of the attention summed over steps, `coverage` (..., source_length).

    `source_mask` (..., source_length) is True where the source has a token. Where a token received no
    attention at all, the logarithm of the smallest positive number stands for minus infinity, so that such
    hypotheses can still be ranked.
    """
    covered = np.log(np.clip(coverage, np.finfo(coverage.dtype).tiny, 1))
    return beta * np.where(source_mask, covered, 0).sum(-1)
