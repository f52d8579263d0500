"""Masks: who may attend to whom. True = may attend, everywhere and with no exception.

    masks.causal() & masks.padding(lengths) | masks.prefix(3)

Masks combine with `&`, `|` and `~`, with each other and with bool tensors that broadcast to (batch, heads, queries,
keys). What depends on order (`causal`, `window`, `around`, `prefix`, `block`) goes by where queries and keys stand,
never by corners of the matrix, so that a cached step and a full pass agree; what is said of tokens (`padding`,
`not_padding`, `document`) goes by their place in the tensor. Beside this file: how masks combine (`mask_algebra`),
their rules (`mask_rules`), and the conventions of other libraries (`foreign_masks`), which `from_ignore_mask`,
`from_key_padding_mask` and `from_additive` read.
"""

import torch
from torch import Tensor

from heedful.attention.foreign_masks import from_additive, from_ignore_mask, from_key_padding_mask
from heedful.attention.mask_algebra import Coverage, Given, Mask, Written, as_mask
from heedful.attention.mask_rules import Around, Block, Causal, Document, Layout, Padding, Prefix, Window

__all__ = [
    "Causal",
    "Coverage",
    "Mask",
    "Written",
    "around",
    "as_mask",
    "block",
    "causal",
    "document",
    "from_additive",
    "from_ignore_mask",
    "from_key_padding_mask",
    "not_padding",
    "padding",
    "prefix",
    "window",
]


def causal() -> Mask:
    """Let a query see the keys at its own position and before (Vaswani et al. 2017, section 3.2.3)."""
    return Causal()


def window(left: int | None, right: int | None) -> Mask:
    """Let a query at position p see the keys at p - left to p + right; None = no bound on that side.

    The sliding window of Beltagy et al. 2020 (Longformer, section 3.1) and the local-m of Luong et al. 2015 (section
    3.2, D = left = right). Raises ValueError for a negative width.
    """
    for side, width in (("left", left), ("right", right)):
        if width is not None:
            _check_number(f"window's {side}", width, least=0)
    return Causal() if (left, right) == (None, 0) else Window(left, right)


def around(centers: Tensor, reach: float) -> Mask:
    """Let a query see the keys that stand at most `reach` from its centre.

    centers: real positions, broadcasting to (batch, heads, queries, 1); they get no gradient from here

    The window [p_t - D, p_t + D] of local-p (Luong et al. 2015, section 3.2). Raises ValueError for a negative reach
    and for centres of another shape.
    """
    if not centers.ndim or centers.shape[-1] != 1:
        raise ValueError(
            f"around takes centers that broadcast to (batch, heads, queries, 1), got {tuple(centers.shape)}."
        )
    if not reach >= 0:
        raise ValueError(f"around takes a reach of at least 0, got {reach}.")
    return Around(centers, reach)


def padding(lengths: Tensor) -> Mask:
    """Let every query of sentence b see the first `lengths[b]` keys.

    lengths: (batch,), integers. Raises ValueError for anything else.
    """
    return Padding(_check_integers("padding's lengths", lengths))


def not_padding(tokens: Tensor, padding_token: int) -> Mask:
    """Let every query see the keys that are not padding; tokens (batch, keys)."""
    if tokens.ndim != 2:
        raise ValueError(f"not_padding takes tokens (batch, keys), got {tuple(tokens.shape)}.")
    return Given((tokens != padding_token)[:, None, None, :], "not_padding")


def document(ids: Tensor, query_ids: Tensor | None = None) -> Mask:
    """Let a query see the keys of its own document, where several are packed into one row.

    ids: the document of each key, (batch, keys) or (keys,)
    query_ids: that of each query, (batch, queries) or (queries,); left out, the queries are the last of the keys

    Packing without attention from one text to another: Krell et al. 2021, "Efficient Sequence Packing without
    Cross-contamination". Raises ValueError for ids that are no integers.
    """
    for name, tensor in (("ids", ids), ("query_ids", query_ids)):
        if tensor is not None and (tensor.ndim not in (1, 2) or tensor.is_floating_point()):
            raise ValueError(
                f"document takes integers as {name}, (length,) or (batch, length), got {tensor.dtype} of "
                f"{tuple(tensor.shape)}."
            )
    return Document(ids, query_ids)


def prefix(n: int | Tensor) -> Mask:
    """Let every query see the keys at positions below n, which is one number or one for each sentence, (batch,).

    `causal() | prefix(n)` is the prefix language model (Raffel et al. 2020, section 3.2.1). Raises ValueError for a
    negative number and for numbers that are no integers.
    """
    if isinstance(n, Tensor):
        return Prefix(_check_integers("prefix", n))
    return Prefix(_check_number("prefix", n, least=0))


def block(size: int, layout: Tensor | None = None) -> Mask:
    """Cut positions into blocks of `size`: a query sees the keys of its own block, or of those that `layout` names.

    layout: bool, (query blocks, key blocks) or (heads, query blocks, key blocks); block i is position i * size and on

    Block-sparse attention: Child et al. 2019 (Sparse Transformer), Zaheer et al. 2020 (BigBird). Raises ValueError for
    a size below 1 and for a layout that is not bool or of another shape.
    """
    _check_number("block's size", size, least=1)
    if layout is None:
        return Block(size)
    if layout.dtype != torch.bool or layout.ndim not in (2, 3):
        raise ValueError(
            "block takes a bool layout (query blocks, key blocks) or (heads, query blocks, key blocks), got "
            f"{layout.dtype} of {tuple(layout.shape)}."
        )
    return Layout(size, layout)


def _check_number(name: str, number: int, least: int) -> int:
    if not isinstance(number, int) or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {number!r}.")
    return number


def _check_integers(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim != 1 or tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, (batch,), got {tensor.dtype} of {tuple(tensor.shape)}.")
    return tensor
