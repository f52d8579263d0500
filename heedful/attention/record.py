"""One observed call of attention: any of its weights, and what can be told of them without the matrix.

    record.weights(rows=slice(0, 512), keys=slice(0, 512))     # exact, and no more than that is computed
    record.head(3).entropy()                                   # pays for one head
    record.measure(Entropy(), Received(), Overview(512))       # one pass for all; kept

A record keeps queries and keys, not the queries x keys weights; see `heedful.attention.statistics` for what each
statistic is. All are float32, or float64 where the model is, have no gradient, and are those before dropout.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from heedful.attention.call import Call
from heedful.attention.grid import Grid
from heedful.attention.masks import Mask
from heedful.attention.matrix import Block, Matrix
from heedful.attention.overview import Overview, Thumbnail
from heedful.attention.recomputed import Recomputed
from heedful.attention.score import Score
from heedful.attention.statistics import (
    Distance,
    Entropy,
    Maximum,
    Position,
    Received,
    Spread,
    Statistic,
    Top,
    measure,
)

Keys = int | slice | Sequence[int] | Tensor

# Queries at a time where only a few keys of each are looked at.
ROWS = 256


class Record:
    """What one call of attention attended to.

    matrix: the weights, or the call that they are made of
    heads: those that are looked at; all when None
    """

    def __init__(self, matrix: Matrix | Call, heads: slice | None = None) -> None:
        self.matrix: Matrix = Recomputed(matrix) if isinstance(matrix, Call) else matrix
        self._heads = heads or slice(0, self.matrix.shape[1])
        self._measured: dict[Statistic[Any], Any] = {}
        self._of_heads: dict[int, Record] = {}

    def __repr__(self) -> str:
        return "Record of {} sentences, {} heads, {} queries, {} keys".format(*self.shape)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(batch, heads, queries, keys)."""
        batch, _, queries, keys = self.matrix.shape
        return batch, self._heads.stop - self._heads.start, queries, keys

    @property
    def call(self) -> Call:
        """The call, without values; ValueError for a step of decoding and for calls that were joined."""
        if not isinstance(self.matrix, Recomputed):
            raise ValueError(
                "A record of one step, or of several joined, has weights but neither queries nor keys."
            )
        return self.matrix.call

    @property
    def query(self) -> Tensor:
        """(batch, heads, queries, d_q)."""
        return self.call.query

    @property
    def key(self) -> Tensor:
        """(batch, kv_heads, keys, d_k)."""
        return self.call.key

    @property
    def score(self) -> Score:
        """The score function."""
        return self.call.score

    @property
    def mask(self) -> Mask | None:
        """Who may attend to whom; None: all to all."""
        return self.call.mask

    @property
    def grid(self) -> Grid:
        """Where queries and keys stand."""
        return self.call.grid

    def head(self, number: int) -> "Record":
        """Give the record of one head: what is asked of it is computed for this head only.

        Raises IndexError where there is no such head.
        """
        count = self.shape[1]
        if not -count <= number < count:
            raise IndexError(f"There is no head {number}: the record has {count}, counted from 0.")
        number %= count
        if number not in self._of_heads:
            first = self._heads.start + number
            self._of_heads[number] = Record(self.matrix, slice(first, first + 1))
        return self._of_heads[number]

    def weights(self, rows: slice = slice(None), keys: slice = slice(None)) -> Tensor:
        """Give the exact weights (batch, heads, rows, keys) of some queries (`rows`) on some keys.

        What is computed is this rectangle; and, when rows are first asked for, the log-sum-exp of each, which takes a
        look at all their keys.
        """
        _, _, queries, keys_ = self.shape
        with plainly(self.matrix):
            return self.matrix.tile(self._heads, _within(rows, queries), _within(keys, keys_))

    def row(self, query: int) -> Tensor:
        """Give the weights of one query, (batch, heads, keys); IndexError where there is no such query."""
        queries = self.shape[2]
        if not -queries <= query < queries:
            raise IndexError(f"There is no query {query}: the record has {queries}, counted from 0.")
        query %= queries
        return self.weights(slice(query, query + 1)).squeeze(2)

    def log_sum_exp(self) -> Tensor:
        """Give the logarithm of what each query's weights were divided by, (batch, heads, queries).

        It is -inf for a query that sees nothing.
        """
        with plainly(self.matrix):
            return self.matrix.log_sum_exp(self._heads)

    def blocks(self) -> Iterator[Block]:
        """Give all weights in blocks of some heads and some rows, each with all keys that they may see; no logarithms.

        Blocks of the same rows come one after the other; rows that see nothing may be missing. See `plainly`.
        """
        return self.matrix.blocks(self._heads, logs=False)

    def allowed(self, rows: slice = slice(None)) -> Tensor:
        """Say which keys some queries may see, bool that broadcasts to (batch, heads, rows, keys)."""
        allowed = self.matrix.allowed(_within(rows, self.shape[2]))
        return allowed[..., self._heads, :, :] if allowed.ndim > 2 and allowed.shape[-3] > 1 else allowed

    def measure(self, *statistics: Statistic[Any]) -> list[Any]:
        """Give several statistics, made in one pass over the weights; those made before are not made again."""
        wanted = [one for one in dict.fromkeys(statistics) if one not in self._measured]
        if wanted:
            with plainly(self.matrix):
                self._measured.update(zip(wanted, measure(self.matrix, wanted, self._heads), strict=True))
        return [self._measured[one] for one in statistics]

    def entropy(self) -> Tensor:
        """Give how undecided each query is, in nats, (batch, heads, queries)."""
        return self.measure(Entropy())[0]

    def maximum(self) -> Tensor:
        """Give the largest weight of each query, (batch, heads, queries)."""
        return self.measure(Maximum())[0]

    def position(self) -> Tensor:
        """Give where each query looks, on average, (batch, heads, queries)."""
        return self.measure(Position())[0]

    def distance(self) -> Tensor:
        """Give how far from itself each query looks, on average, (batch, heads, queries)."""
        return self.measure(Distance())[0]

    def spread(self) -> Tensor:
        """Give how widely each query looks around its mean position, (batch, heads, queries)."""
        return self.measure(Spread())[0]

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """Give the k largest weights of each query and the keys that have them, (batch, heads, queries, k) each.

        Where there are fewer, the weight is 0 and the key -1.
        """
        return self.measure(Top(k))[0]

    def overview(self, size: int) -> Thumbnail:
        """Give a picture of the whole matrix of at most size x size cells: mean and maximum of each."""
        return self.measure(Overview(size))[0]

    def received(self, by_receptive_field: bool = False) -> Tensor:
        """Give how much attention each key gets from all queries together, (batch, heads, keys).

        by_receptive_field: divide by the number of queries that may see the key. In a decoder the first keys are seen
            by all and the last by few, so that without it the first always seem to matter most.
        """
        received = self.measure(Received())[0]
        return received / self._seen_by().clamp_min(1) if by_receptive_field else received

    def mass(self, keys: Keys) -> Tensor:
        """Give how much of each query's attention goes to some keys, (batch, heads, queries).

        keys: the number of a key (0, the first; -1, the last), a slice, numbers, or bool (keys,) or (batch, keys): the
            separators, say

        Only the columns of these keys are computed. Raises ValueError for bools of another shape, and IndexError for a
        key that is not there.
        """
        chosen = _chosen(keys, self.shape[0], self.shape[3], self.matrix.device)
        found = torch.zeros(self.shape[:3], dtype=self.matrix.dtype, device=self.matrix.device)
        for run in _runs(chosen.any(0)):
            own = chosen[:, None, None, run]
            for rows in self._rows():
                found[:, :, rows] += (self.weights(rows, run) * own).sum(-1)
        return found

    def at(self, offset: int) -> Tensor:
        """Give the weight of the key that stands `offset` after each query, (batch, heads, queries).

        -1 is the token before, 0 the token itself, 1 the next; 0 where there is no such key. Only weights near the
        diagonal are computed where keys stand in order.
        """
        found = torch.zeros(self.shape[:3], dtype=self.matrix.dtype, device=self.matrix.device)
        for rows in self._rows():
            keys = self.matrix.near(rows, offset)
            query_positions, key_positions = self.matrix.positions(rows, keys)
            there = key_positions - query_positions == offset
            found[:, :, rows] = (self.weights(rows, keys) * there).sum(-1)
        return found

    def summary(self, queries: Tensor | None = None) -> dict[str, Tensor]:
        """Give for each head the means of its statistics over the queries, (batch, heads) each, by name: one pass.

        queries: which of them count, bool (queries,) or (batch, queries), those that are no padding, say; by default
            all that see anything
        """
        names = "entropy", "maximum", "position", "distance", "spread"
        found = dict(
            zip(names, self.measure(Entropy(), Maximum(), Position(), Distance(), Spread()), strict=True)
        )
        found |= {"first": self.mass(0), "previous": self.at(-1), "itself": self.at(0), "next": self.at(1)}
        count = self.log_sum_exp() > -torch.inf
        if queries is not None:
            count = count & (queries if queries.ndim == 1 else queries.unsqueeze(1))
        return {name: (of * count).sum(-1) / count.sum(-1).clamp_min(1) for name, of in found.items()}

    def _rows(self) -> Iterator[slice]:
        for start in range(0, self.shape[2], ROWS):
            yield slice(start, min(start + ROWS, self.shape[2]))

    def _seen_by(self) -> Tensor:
        """Give how many queries may see each key, broadcasting to (batch, heads, keys)."""
        count: Tensor | int = 0
        for rows in self._rows():
            size = rows.stop - rows.start
            allowed = self.allowed(rows)
            count = count + allowed.sum(-2) * (size if allowed.shape[-2] == 1 else 1)
        return torch.as_tensor(count)


@contextmanager
def plainly(matrix: Matrix) -> Iterator[None]:
    """Compute without gradients, and in the types that tensors have."""
    with torch.no_grad(), torch.autocast(matrix.device.type, enabled=False):
        yield


def _within(part: slice, length: int) -> slice:
    start, stop, step = part.indices(length)
    if step != 1:
        raise ValueError(f"Rows and keys are taken without gaps, got a slice of step {step}.")
    return slice(start, max(start, stop))


def _chosen(keys: Keys, batch: int, length: int, device: torch.device) -> Tensor:
    """Give which keys are meant, bool (1 or batch, keys)."""
    if isinstance(keys, Tensor) and keys.dtype == torch.bool:
        if tuple(keys.shape) not in ((length,), (1, length), (batch, length)):
            raise ValueError(
                f"Keys are chosen by bools ({length},) or ({batch}, {length}), got {tuple(keys.shape)}."
            )
        return keys.to(device).reshape(-1, length)
    chosen = torch.zeros(1, length, dtype=torch.bool, device=device)
    if isinstance(keys, slice):
        chosen[:, keys] = True
        return chosen
    for key in [keys] if isinstance(keys, int) else [int(key) for key in keys]:
        if not -length <= key < length:
            raise IndexError(f"There is no key {key}: the record has {length}, counted from 0.")
        chosen[:, key] = True
    return chosen


def _runs(chosen: Tensor) -> Iterator[slice]:
    """Give the runs of True in (keys,)."""
    numbers = chosen.nonzero().flatten().tolist()
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            yield slice(numbers[start], numbers[end - 1] + 1)
            start = end
