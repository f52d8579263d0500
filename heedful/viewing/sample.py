"""Some queries of an attention, with the exact weights of each: what can be shown of a long text at once.

    few = sample(record, spread(65_536, 96))     # a Record of 96 queries and all keys
    few.overview(48), few.summary()              # of these queries

Keys are prepared once for all of them, and all are multiplied in one product where the score lets them.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from heedful.attention import AdditiveScore, Record
from heedful.attention.call import Call, repeat_heads
from heedful.attention.matrix import Written
from heedful.attention.recomputed import Recomputed
from heedful.attention.record import plainly

# So many weights are made at a time.
AT_ONCE = 2**22


def spread(length: int, count: int) -> list[int]:
    """Give `count` places of `length`, one in each part of equal size, in order; all places where there are no more.

    Which one in its part is by chance, so that what repeats itself in the text is not always met or always missed; the
    same length and count give the same places.
    """
    if count >= length:
        return list(range(length))
    chance = random.Random(length)
    ends = [number * length // count for number in range(count + 1)]
    return [chance.randrange(start, stop) for start, stop in pairwise(ends)]


def sample(record: Record, queries: Sequence[int], heads: slice = slice(None)) -> Record:
    """Give the record of some queries and some heads, with all their weights written down.

    record: with all heads of its matrix
    """
    matrix = record.matrix
    keys = slice(0, matrix.shape[3])
    rows = [slice(query, query + 1) for query in queries]
    first, last, _ = heads.indices(matrix.shape[1])
    some = slice(first, last)
    with plainly(matrix):
        seen = torch.cat([_of_heads(matrix.allowed(row), some, keys) for row in rows], -2)
        positions = torch.cat([matrix.positions(row, keys)[0] for row in rows], -2)
        if isinstance(matrix, Recomputed):
            weights, lse = _recomputed(matrix, queries, some, seen)
        else:
            weights = torch.cat([matrix.tile(some, row, keys) for row in rows], 2)
            lse = torch.cat([matrix.log_sum_exp(some, row) for row in rows], 2)
        return Record(Written(weights, lse, seen, positions, matrix.positions(slice(0, 0), keys)[1]))


def _of_heads(allowed: Tensor, heads: slice, keys: slice) -> Tensor:
    """(batch or 1, heads or 1, 1, keys) of what one query may see."""
    allowed = allowed.reshape((1,) * (4 - allowed.ndim) + allowed.shape)
    allowed = allowed[:, heads] if allowed.shape[1] > 1 else allowed
    return allowed.expand(-1, -1, -1, keys.stop)


def _recomputed(
    matrix: Recomputed, queries: Sequence[int], heads: slice, seen: Tensor
) -> tuple[Tensor, Tensor]:
    """Give weights and log-sum-exp of some queries."""
    call, dtype = matrix.call, matrix.dtype
    exact = replace(call, query=call.query.to(dtype), key=call.key.to(dtype))
    query, key = exact.prepared()
    batch, whole, _, keys = matrix.shape
    key = repeat_heads(key, whole)
    # A modifier is asked for one row at a time, as it is for a row of a kernel's tile; and for all heads, as its
    # tensors may be of all.
    together = not call.score.modifiers and (
        not call.score.tensors() or isinstance(call.score, AdditiveScore)
    )
    if together:
        query, key = query[:, heads], key[:, heads]
    weights = torch.empty(
        batch, heads.stop - heads.start, len(queries), keys, dtype=dtype, device=matrix.device
    )
    lse = torch.empty(weights.shape[:3], dtype=dtype, device=matrix.device)
    narrow = not together or isinstance(call.score, AdditiveScore)  # a tanh of d_hidden numbers for each pair
    step = 1 if narrow else max(1, AT_ONCE // max(1, batch * weights.shape[1] * keys))
    for start in range(0, len(queries), step):
        here = slice(start, min(start + step, len(queries)))
        places = list(queries[here])
        if together:
            scores, factor = call.score.pairs(query[:, :, places], key, *call.score.tensors()), None
        else:
            scores, factor = _row(call, query, key, places[0], heads)
        scores = scores.masked_fill(~seen[:, :, here], -torch.inf)
        total = scores.logsumexp(-1)
        lse[:, :, here] = total
        made = (scores - total.masked_fill(total == -torch.inf, 0.0).unsqueeze(-1)).exp_()
        weights[:, :, here] = made if factor is None else made * factor
    return weights, lse


def _row(call: Call, query: Tensor, key: Tensor, place: int, heads: slice) -> tuple[Tensor, Tensor | None]:
    """Give the scores of one query, and what its weights are multiplied with."""
    row = slice(place, place + 1)
    tile = call.grid.tile(row)
    scores = call.score.tile(query[:, :, row], key, tile).expand(-1, query.shape[1], -1, -1)[:, heads]
    factor = call.score.factor(tile)
    if factor is not None and factor.ndim > 2 and factor.shape[-3] > 1:
        factor = factor[..., heads, :, :]
    return scores, factor
