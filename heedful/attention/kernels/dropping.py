"""Dropout on the weights: which are kept, drawn cheaply and reproducibly.

PyTorch draws one Bernoulli variable for each element, which on a CPU takes longer than the attention itself. There four
weights share one draw of 64 bits: the probability is a multiple of 1/65,536, and the scale is that of the true
probability, so that the expected value of a weight is exactly what it was before dropout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

_STEPS = 2**16


@dataclass(frozen=True)
class Draws:
    """What is drawn for weights on a CPU: those whose number is less than `below` are dropped, others grow by `kept`.

    numbers: int16, as large as the weights
    """

    numbers: Tensor
    below: int
    kept: float

    @classmethod
    def of(cls, size: Sequence[int], dropout: float, generator: torch.Generator | None = None) -> "Draws":
        """Draw for weights of a size."""
        dropped = min(round(dropout * _STEPS), _STEPS - 1)
        # The full range: a plain random_() leaves the highest bit zero, and every fourth number would not be negative.
        draws = torch.empty((prod(size) + 3) // 4, dtype=torch.int64)
        draws.random_(torch.iinfo(torch.int64).min, None, generator=generator)
        numbers = draws.view(torch.int16)[: prod(size)].view(*size)
        return cls(numbers, dropped + torch.iinfo(torch.int16).min, _STEPS / (_STEPS - dropped))

    def factors(self, like: Tensor) -> Tensor:
        """Give zeros and `kept`, in the type of a tensor."""
        return torch.ge(self.numbers, self.below, out=torch.empty_like(like)).mul_(self.kept)


def keep_factors(like: Tensor, dropout: float, generator: torch.Generator | None = None) -> Tensor:
    """Give a tensor of zeros (with probability `dropout`) and 1 / (1 - dropout), as large as another one."""
    if not like.is_cpu:
        return torch.empty_like(like).bernoulli_(1 - dropout, generator=generator).div_(1 - dropout)
    return Draws.of(like.shape, dropout, generator).factors(like)


def drop(weights: Tensor, dropout: float) -> Tensor:
    """Set weights to zero with probability `dropout`; the others grow by 1 / (1 - dropout)."""
    if not weights.is_cpu:
        return torch.nn.functional.dropout(weights, dropout)
    return weights * keep_factors(weights, dropout)
