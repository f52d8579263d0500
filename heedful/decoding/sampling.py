"""Drawing the next token, so that a sample depends on the seed and the sentence but not on the batch.

One uniform number for each step and sample of a sentence is drawn ahead, by a generator that belongs to the
sentence; the token is where that number falls in the cumulative distribution.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from heedful.decoding.ranking import largest


def uniforms(seed: int, numbers: Sequence[int], samples: int, steps: int) -> Tensor:
    """Give the random numbers in [0, 1) of the sentences `numbers`: (sentences * samples, steps), float64.

    Those of a sentence are a function of the seed and its number alone; more steps only add to them.
    """
    drawn: list[Tensor] = []
    for number in numbers:
        # A hash, because seed + number would give two sentences the same sample under neighbouring seeds.
        digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True))
        drawn.append(torch.rand(steps, samples, generator=generator, dtype=torch.float64).T)
    return torch.cat(drawn)


def truncate(
    log_probabilities: Tensor, temperature: float, top_k: int, top_p: float
) -> tuple[Tensor, Tensor]:
    """Give the distribution to draw from: probabilities (rows, choices) that sum to one, and their token ids.

    In this order: divide by the temperature; keep the `top_k` most probable (0: all; Fan et al. 2018); keep
    the smallest set of most probable tokens whose probability reaches `top_p` (Holtzman et al. 2020, section
    3.1). Among equals the lower token id comes first, so a set has exactly the size that was asked for.
    """
    tempered = log_probabilities / temperature
    rows, vocabulary = tempered.shape
    if top_k > 0:
        tempered, tokens = largest(tempered, min(top_k, vocabulary))
    elif top_p < 1:
        tempered, tokens = tempered.sort(dim=-1, descending=True, stable=True)
    else:
        tokens = torch.arange(vocabulary, device=tempered.device).expand(rows, vocabulary)
    probabilities = tempered.softmax(-1)
    if top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= top_p, 0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities, tokens


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Give for each row of probabilities (rows, choices) the choice (rows,) at which `uniform` (rows,) falls.

    Choice c is taken when the uniform number lies between the sum of the probabilities before c and that
    including c.
    """
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    choice = (cumulative <= uniform.to(total).unsqueeze(1) * total).sum(-1)
    # Rounding may put the product at the total itself; the last choice of positive probability is meant.
    return torch.minimum(choice, (cumulative < total).sum(-1))
