"""attend: the one function that all attention goes through.

    Attention(Q, K, V) = softmax(score(Q, K)) V        (Vaswani et al. 2017, equation 1)

The score says *what* is computed, the kernel only *how*: all kernels are tested against `kernels.reference`, values
and gradients. What is attended to can be watched from outside with `heedful.attention.observe`.
"""

from typing import Literal

import torch
from torch import Tensor

from heedful.attention import tap
from heedful.attention.kernels import explicit, fused, reference
from heedful.attention.scores import ScaledDot

Kernel = Literal["auto", "reference", "explicit", "fused"]

# Below this many weights for one head the explicit kernel wins on a CPU (benchmarks/NOTES.md).
EXPLICIT_WEIGHTS = 256 * 256


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    score: ScaledDot | None = None,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    kernel: Kernel = "auto",
) -> Tensor:
    """Give each query the mean of the values, weighted by how well their keys answer it.

    query: (batch, heads, queries, d_k)
    key: (batch, kv_heads, keys, d_k); heads is a multiple of kv_heads (grouped queries)
    value: (batch, kv_heads, keys, d_v)
    score: the score function; scaled dot product when None
    mask: bool, broadcasts to (batch, heads, queries, keys); True = may attend; a query that may attend to nothing
        gets zeros
    dropout: the probability with which a weight is set to zero (the others grow by 1 / (1 - dropout))
    kernel: how to compute it; "auto" takes the fastest that is exact

    Gives (batch, heads, queries, d_v). Raises ValueError for shapes that do not fit together, a mask that is not
    bool, and a kernel that does not exist or cannot express what is asked.

    >>> import torch
    >>> query = key = torch.eye(2).reshape(1, 1, 2, 2)
    >>> attend(query, key, torch.tensor([[[[0.0], [1.0]]]])).squeeze().round(decimals=4)
    tensor([0.3302, 0.6698])
    """
    score = score or ScaledDot()
    _check(query, key, value, score, mask)
    chosen = _choose(query, key, value, score, dropout) if kernel == "auto" else kernel
    if chosen == "fused":
        if (reason := fused.refusal(query, value, score, dropout)) is not None:
            raise ValueError(f"The fused kernel cannot compute this attention: {reason}. Use kernel='auto'.")
        attended = fused.attend(query, key, value, score, mask, dropout)
    elif chosen == "explicit":
        attended = explicit.attend(query, key, value, score, mask, dropout)
    elif chosen == "reference":
        attended = reference.attend(query, key, value, score, mask, dropout)
    else:
        raise ValueError(f"There is no kernel {kernel!r}; there are auto, reference, explicit and fused.")
    tap.report(query, key, score, mask)
    return attended


def _choose(query: Tensor, key: Tensor, value: Tensor, score: ScaledDot, dropout: float) -> Kernel:
    if fused.refusal(query, value, score, dropout) is not None:
        return "explicit"
    if query.device.type != "cpu":
        return "fused"
    return "explicit" if query.shape[2] * key.shape[2] <= EXPLICIT_WEIGHTS else "fused"


def _check(query: Tensor, key: Tensor, value: Tensor, score: ScaledDot, mask: Tensor | None) -> None:
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(f"attend takes four dimensions (batch, heads, length, width), got {shapes}.")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"Queries and keys need one width d_k, got {shapes}.")
    if key.shape[:3] != value.shape[:3]:
        raise ValueError(f"Each key needs a value: the first three dimensions differ in {shapes}.")
    if query.shape[0] != key.shape[0] or query.shape[1] % key.shape[1]:
        raise ValueError(f"The batches must agree and heads be a multiple of kv_heads, got {shapes}.")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"A mask is bool (True = may attend), got {mask.dtype}.")
    # (batch, heads, queries, keys); a larger mask would widen the result without a word.
    weights = (*query.shape[:3], key.shape[2])
    for name, given in (("mask", mask), ("bias", score.bias)):
        if given is not None and not _broadcasts(given.shape, weights):
            raise ValueError(
                f"The {name} {tuple(given.shape)} does not broadcast to (batch, heads, queries, keys) = {weights}."
            )


def _broadcasts(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether a tensor of `shape` can be expanded to `full`."""
    if len(shape) > len(full):
        return False
    return all(size in (1, whole) for size, whole in zip(reversed(shape), reversed(full), strict=False))
