"""The weights of one attention in a saved page: so few bytes that a page of any length opens.

    products    queries and keys as the score multiplies them, in float16, with the log-sum-exp of each row and the keys
                that it may see: linear in length. The page makes weights of them, any that are looked at.
    weights     the weights themselves, in float16: where that is less, and for scores that are no products
    exact       the same in float32: of short texts
    levels      the same in 255 steps, each 6.8 % above the one before, from 6e-8 to 1: where weights would be too many

The log-sum-exp is that of the rounded queries and keys, so that rows still sum to one. `page/saved_weights.js` reads
all this.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from heedful.attention import Dot, DotScore, Record
from heedful.attention.matrix import Matrix
from heedful.attention.recomputed import Recomputed
from heedful.attention.record import plainly
from heedful.errors import HeedfulError
from heedful.viewing.looks.part import Part
from heedful.viewing.packed import pack
from heedful.viewing.sample import sample, spread

# So few weights are kept as they are.
FEW = 2**15
# More weights than this are kept in steps of 6.8 %; more than this times eight are too many.
MOST = 2**25
# The smallest step above zero is 2^-DEPTH.
DEPTH = 24
# Weights, or rows of a mask, at a time.
_AT_ONCE = 2**22
# Rows that are compared with the model's own.
_COMPARED = 64


@dataclass(frozen=True, eq=False)
class Kept:
    """The weights of a map as a page keeps them.

    content: packed
    kind: "products", "weights", "exact" or "levels"
    error: the largest difference of a kept weight from the model's own, in rows that were compared
    """

    content: bytes
    kind: str
    error: float


@dataclass(frozen=True, eq=False)
class _Products:
    """query (heads, queries, d), key (kv_heads, keys, d), lse (heads, queries): rounded to float16, in float32."""

    query: Tensor
    key: Tensor
    lse: Tensor


def keep(record: Record) -> Kept:
    """Give the weights of a record of one text, with all heads of its matrix, in as few bytes as they take.

    Raises HeedfulError where they are too many.
    """
    _, heads, queries, keys = record.shape
    count = heads * queries * keys
    with plainly(record.matrix):
        products = None if count <= FEW else _products(record.matrix)
        if (
            products is not None
            and 2 * (products.query.numel() + products.key.numel() + heads * queries) < 2 * count
        ):
            return _keep_products(record, products)
        if count > 8 * MOST:
            raise HeedfulError(
                f"This attention ({queries:,} x {keys:,}, {heads} heads) has a score that is no product of queries and "
                "keys, and too many weights to save one by one: save a shorter text."
            )
        return _keep_weights(record, "exact" if count <= FEW else "weights" if count <= MOST else "levels")


def _products(matrix: Matrix) -> _Products | None:
    """Give queries and keys whose products are the scores; None where there are no such ones."""
    if isinstance(matrix, Part):
        whole = _products(matrix.whole)
        if whole is None:
            return None
        rows = torch.cat([torch.arange(run.start, run.stop) for _, run in matrix.runs]).to(matrix.device)
        return _Products(whole.query[:, rows], whole.key[:, matrix.keys], whole.lse[:, rows])
    if not isinstance(matrix, Recomputed) or not isinstance(matrix.call.score, DotScore):
        return None
    call = matrix.call
    if call.score.modifiers or call.score.tensors():
        return None
    exact = replace(call, query=call.query.to(matrix.dtype), key=call.key.to(matrix.dtype))
    query, key = exact.prepared()
    if max(float(each.abs().max()) if each.numel() else 0.0 for each in (query, key)) > 6e4:
        return None  # beyond float16
    query, key = (each.half().float() for each in (query, key))
    rounded = Recomputed(replace(call, query=query, key=key, value=key[..., :0], score=Dot()))
    lse = rounded.log_sum_exp(slice(0, matrix.shape[1]))
    return _Products(query[0], key[0], lse[0])


def _keep_products(record: Record, products: _Products) -> Kept:
    arrays: dict[str, np.ndarray] = {"lse": products.lse.cpu().numpy().astype(np.float32)}
    arrays |= (
        {"query": _halves(products.query), "key": _halves(products.key)} | _seen(record) | _places(record)
    )
    return Kept(pack({"kind": "products"}, arrays), "products", _error_of_products(record, products))


def _error_of_products(record: Record, products: _Products) -> float:
    rows = spread(record.shape[2], _COMPARED)
    exact = sample(record, rows)
    seen = torch.cat([exact.allowed(slice(place, place + 1)) for place in range(len(rows))], -2)
    heads = record.shape[1]
    key = products.key.repeat_interleave(heads // products.key.shape[0], 0)
    lse = products.lse[:, rows].unsqueeze(-1)
    made = (products.query[:, rows] @ key.mT - lse.masked_fill(lse == -torch.inf, 0.0)).exp()
    made = made.masked_fill(~seen.expand(1, heads, -1, -1)[0], 0.0)
    difference = (made - exact.weights()[0]).abs()
    return float(difference.max()) if difference.numel() else 0.0


def _places(record: Record) -> dict[str, np.ndarray]:
    """Give where keys stand, (keys,), where that is not 0, 1, ...; mean positions are told by it."""
    keys = record.shape[3]
    places = (
        record.matrix.positions(slice(0, 0), slice(0, keys))[1].reshape(-1).cpu().numpy().astype(np.int32)
    )
    return {} if np.array_equal(places, np.arange(keys)) else {"places": places}


def _seen(record: Record) -> dict[str, np.ndarray]:
    """Give "spans", from which key to which each query sees, (1 or heads, queries, 2); if that says it all.

    Else "seen", bits (1 or heads, queries, bytes), which begin with the lowest of each byte.
    """
    _, _, queries, keys = record.shape
    spans, bits, whole = [], [], True
    for rows in _strips(queries, keys):
        allowed = record.allowed(rows).expand(*record.allowed(rows).shape[:-2], rows.stop - rows.start, keys)
        allowed = allowed.reshape(-1, rows.stop - rows.start, keys)  # heads, as the batch is one
        numbers = allowed.to(torch.uint8)
        count = allowed.sum(-1)
        first = numbers.argmax(-1) * (count > 0)
        last = (keys - numbers.flip(-1).argmax(-1)) * (count > 0)
        whole = whole and bool((last - first == count).all())
        spans.append(torch.stack((first, last), -1).cpu().numpy().astype(np.int32))
        bits.append(np.packbits(numbers.cpu().numpy(), axis=-1, bitorder="little"))
    return {"spans": _together(spans)} if whole else {"seen": _together(bits)}


def _together(parts: list[np.ndarray]) -> np.ndarray:
    heads = max(len(part) for part in parts)
    return np.concatenate([np.broadcast_to(part, (heads, *part.shape[1:])) for part in parts], 1)


def _keep_weights(record: Record, kind: str) -> Kept:
    _, heads, queries, keys = record.shape
    parts, error = [], 0.0
    for rows in _strips(queries, heads * keys):
        weights = record.weights(rows)[0].float()
        kept = _to_levels(weights) if kind == "levels" else weights.half() if kind == "weights" else weights
        again = _from_levels(kept) if kind == "levels" else kept.float()
        error = max(error, float((again - weights).abs().max()) if weights.numel() else 0.0)
        parts.append(kept)
    told = {"kind": kind} | ({"depth": DEPTH} if kind == "levels" else {})
    arrays = {"weights": torch.cat(parts, 1).cpu().numpy()} | _seen(record) | _places(record)
    return Kept(pack(told, arrays), kind, error)


def _to_levels(weights: Tensor) -> Tensor:
    codes = (255 + weights.clamp_min(2.0 ** -(DEPTH + 1)).log2() * (254 / DEPTH)).round().clamp(0, 255)
    return codes.masked_fill(weights < 2.0 ** -(DEPTH + 0.05), 0).to(torch.uint8)


def _from_levels(codes: Tensor) -> Tensor:
    return torch.exp2((codes.float() - 255) * (DEPTH / 254)).masked_fill(codes == 0, 0.0)


def _halves(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.half().cpu().numpy())


def _strips(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def precision(kinds: Mapping[str, float]) -> str:
    """Say in a sentence how exact kept weights are; kinds: the largest error of each kind that there is."""
    said = {
        "exact": "kept as the model has them",
        "weights": "kept in half precision",
        "products": "made in this page from queries and keys in half precision",
        "levels": "kept in 255 steps of 6.8 %",
    }
    parts = [
        said[kind] + (f" (within {_shown(error)} of the model's own)" if error else "")
        for kind, error in kinds.items()
    ]
    return f"Weights are {', or '.join(parts)}."


def _shown(error: float) -> str:
    """Round up to one digit."""
    unit = 10.0 ** math.floor(math.log10(max(error, 1e-7)))
    return f"{math.ceil(error / unit - 1e-9) * unit:.0e}" if error >= 1e-7 else "1e-07"
