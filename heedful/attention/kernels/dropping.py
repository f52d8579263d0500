"""Dropout on the weights: which are kept, drawn cheaply and reproducibly.

PyTorch draws one Bernoulli variable for each element, which on a CPU takes longer than the attention itself. There four
weights share one draw of 64 bits: the probability is a multiple of 1/65,536, and the scale is that of the true
probability, so that the expected value of a weight is exactly what it was before dropout.
"""

import torch
from torch import Tensor

_STEPS = 2**16


def keep_factors(like: Tensor, dropout: float, generator: torch.Generator | None = None) -> Tensor:
    """Give a tensor of zeros (with probability `dropout`) and 1 / (1 - dropout), as large as another one."""
    if not like.is_cpu:
        return torch.empty_like(like).bernoulli_(1 - dropout, generator=generator).div_(1 - dropout)
    dropped = min(round(dropout * _STEPS), _STEPS - 1)
    # The full range: a plain random_() leaves the highest bit zero, and every fourth number would not be negative.
    draws = torch.empty((like.numel() + 3) // 4, dtype=torch.int64)
    draws.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    numbers = draws.view(torch.int16)[: like.numel()].view(like.shape)
    kept = torch.ge(numbers, dropped + torch.iinfo(torch.int16).min, out=torch.empty_like(like))
    return kept.mul_(_STEPS / (_STEPS - dropped))


def drop(weights: Tensor, dropout: float) -> Tensor:
    """Set weights to zero with probability `dropout`; the others grow by 1 / (1 - dropout)."""
    if not weights.is_cpu:
        return torch.nn.functional.dropout(weights, dropout)
    return weights * keep_factors(weights, dropout)
