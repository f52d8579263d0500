"""From the words of a sentence to one vector, without a recurrence (Sukhbaatar et al. 2015, section 4.1).

    bag        sum_j E x_j
    position   sum_j l_j * (E x_j),   l_kj = 1 + 4 (k / d - (d + 1) / 2d) (j / J - (J + 1) / 2J)

with j and k (of d, the width) counted from 1; J is how many words the sentence has, or the longest one. Under position
encoding the order of words matters. This l is that of the authors' code. The one printed in the paper, (1 - j / J) -
(k / d) (1 - 2 j / J), is half of it but for the place of the middle: 1 / 2 + 2 (k / d - 1 / 2) (j / J - 1 / 2). Vectors
should have the size that they have as a bag.
"""

from typing import Literal

import torch
from torch import Tensor

from heedful.text.special import PAD

Encoding = Literal["position", "bag"]


def sentence_vectors(
    words: Tensor, table: Tensor, encoding: Encoding, width: int, longest: int | None = None
) -> Tensor:
    """Give the vector of each sentence by tables of words; words that are PAD add nothing.

    words: (sentences, words)
    table: (..., vocabulary, tables * width), tables of vectors of `width` side by side
    longest: J of position encoding for all sentences; each has its own when None

    Gives (..., sentences, tables * width). The weights l_kj are straight lines in k, a_j - (k / d) b_j: so the sum over
    words is two products of how much of each word is in a sentence with the table, faster than to gather vectors while
    a vocabulary has few thousand words.
    """
    constant, slope = position_weights(words, encoding, width, longest, table.dtype)
    entries, side_by_side = table.shape[-2], table.shape[-1] // width
    amounts = constant.new_zeros(len(words), entries)
    vectors = amounts.scatter_add(1, words, constant) @ table
    if slope is None:
        return vectors
    k = torch.arange(1, width + 1, device=words.device, dtype=table.dtype) / width
    return vectors - k.repeat(side_by_side) * (amounts.scatter_add(1, words, slope) @ table)


def position_weights(
    words: Tensor,
    encoding: Encoding,
    width: int,
    longest: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor | None]:
    """Give a_j and b_j, each (sentences, words), of the weights l_kj = a_j - (k / d) b_j; for a bag b_j is None."""
    real = (words != PAD).to(dtype)
    if encoding == "bag":
        return real, None
    length = real.sum(1, keepdim=True) if longest is None else torch.full_like(real[:, :1], longest)
    place = torch.arange(1, words.shape[1] + 1, device=words.device, dtype=dtype)
    from_middle = (place - (length + 1) / 2) / length.clamp(min=1)
    return (1 - 2 * (width + 1) / width * from_middle) * real, -4 * from_middle * real
