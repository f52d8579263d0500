"""Batches of padded sequences: bucketed by length, deterministic, resumable at any batch.

An epoch is a permutation of the pairs, a pure function of (seed, epoch). It is taken in pools; a pool is bucketed by
length, and its batches come in shuffled order, a pure function of (seed, epoch, pool). So the place in the stream is
three small numbers, and going on from there is exact.

    rows * max(source width, target width) <= tokens        for every batch

Two ways to choose the shapes of the tensors:

- `exact`: pairs sorted by length within the pool, each batch as wide as its longest pair. Least padding.
- `grid`: widths from a short list (multiples of 2 up to 16, of 4 up to 32, of 8 up to 64, ...) and a fixed number of
  rows for each width. What does not fill a batch moves up into the next larger shape, so that nearly all batches of
  all epochs share a few dozen shapes; libraries that prepare a kernel for each new shape (oneDNN, compilers, CUDA
  graphs) then rarely meet a new one.

Nothing is cut: a pair that is too long is left out, counted and named (`Batches.left_out`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from heedful.data.store import PairStore, Ragged
from heedful.errors import CheckpointError, DataError
from heedful.settings import Settings
from heedful.text.special import END, PAD, START

Side = Literal["source", "target"]
Expand = Callable[[np.ndarray, Side, tuple[int, int, int]], Sequence[int] | np.ndarray]

TOO_LONG = "longer than maximum_length"
OVER_BUDGET = "wider than the token budget"

# Where lengths are sparse, the next larger shape may be many times larger: moving up must not cost more than this.
FURTHEST = 1.5

# How many of the pairs left out are named: enough to look at, few enough to print.
EXAMPLES = 5


class BatchSettings(Settings):
    """How pairs are put into batches."""

    # Vaswani et al. 2017 use 25,000 on 8 GPUs; a sixth of it keeps one update under a second on two CPU cores.
    tokens: int = Field(default=4096, ge=1, description="the most padded tokens a batch may have on a side")
    # About 25 MB at 25 tokens a side: little memory, and enough pairs that every shape fills.
    pool: int = Field(default=131_072, ge=1, description="pairs that are shuffled and bucketed together")
    # A sentence of more than 256 tokens is nearly always a failed sentence split.
    maximum_length: int = Field(
        default=256, ge=1, description="a pair with a longer side is left out and counted"
    )
    # "grid": on recurring shapes oneDNN trains a small Transformer up to twice as fast, for about 1% more padding.
    shapes: Literal["grid", "exact"] = Field(
        default="grid", description="widths from a short list, or as they come"
    )


@dataclass(frozen=True)
class Batch:
    """Padded pairs, ready for a model and its loss.

    - `source (rows, source_width)`: ids, END, then PAD
    - `target_input (rows, target_width)`: START, ids, then PAD
    - `target_output (rows, target_width)`: ids, END, then PAD
    - `tokens`: how many of `target_output` are real (END counts, PAD does not)
    - `epoch`: the epoch that the batch belongs to, from 0
    - `pairs (rows,)`: which pair each row is; `Batches.locate` says in which store
    """

    source: torch.Tensor
    target_input: torch.Tensor
    target_output: torch.Tensor
    tokens: int
    epoch: int
    pairs: np.ndarray

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        return replace(
            self,
            source=self.source.to(device, non_blocking=True),
            target_input=self.target_input.to(device, non_blocking=True),
            target_output=self.target_output.to(device, non_blocking=True),
        )

    def __len__(self) -> int:
        return len(self.source)

    def split(self, parts: int) -> list["Batch"]:
        """Cut it into at most `parts` of about equally many rows; `tokens` stays that of the whole."""
        pieces = []
        for rows in torch.arange(len(self)).tensor_split(min(parts, len(self))):
            here = slice(int(rows[0]), int(rows[-1]) + 1)
            pieces.append(
                replace(
                    self,
                    source=self.source[here],
                    target_input=self.target_input[here],
                    target_output=self.target_output[here],
                    pairs=self.pairs[here],
                )
            )
        return pieces

    def first(self, count: int) -> str:
        """Name the first pairs, for messages."""
        return f"training pairs {self.pairs[:count].tolist()}"


@dataclass(frozen=True)
class LeftOut:
    """How many pairs were left out for one reason, and the first few of them (numbers as in `Batch.pairs`)."""

    count: int
    examples: tuple[int, ...]


class Batches:
    """An endless, deterministic stream of batches over weighted stores.

    Args:
        sources: stores of token ids, each with its weight. An epoch has every pair of a store `floor(weight)` times,
            and for the rest of the weight a share of the pairs, chosen in turn: after any number of epochs no pair of a
            store has been used more than once more than another.
        settings: see `BatchSettings`.
        seed: the order is a function of it and the epoch alone.
        expand: if given, the stores hold ids of another kind (words, say), and `expand(ids, side, (seed, epoch, pair))`
            gives the token ids of one side of one pair in one epoch. Lengths are then taken after it.

    Raises `DataError` if there is no pair to use (with `expand`: once every pair has been tried).
    """

    def __init__(
        self,
        sources: Sequence[tuple[PairStore, float]],
        settings: BatchSettings,
        seed: int,
        expand: Expand | None = None,
    ) -> None:
        for store, weight in sources:
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {store.path} is {weight}; it must be above 0")
        self.settings = settings
        self._stores = [store for store, _ in sources]
        self._weights = [float(weight) for _, weight in sources]
        self._seed = seed
        self._expand = expand
        # Pair i of store s has the number firsts[s] + i.
        self._firsts = np.cumsum([0] + [len(store) for store in self._stores])
        self._left_out: dict[str, LeftOut] = {}
        # The rows left out of every epoch, by store; with `expand` they are found pool by pool instead.
        self._excluded = [np.zeros(0, dtype=np.int64) for _ in self._stores]
        if expand is None:
            for number, store in enumerate(self._stores):
                source, target = store.lengths()
                rows = self._excluded[number] = self._too_wide(source, target)
                self._leave_out(rows + self._firsts[number], source[rows], target[rows])
        if sum(len(rows) for rows in self._excluded) == self._firsts[-1]:
            raise self._nothing_left()
        self._epoch, self._pool, self._batch = 0, 0, 0
        self._order: tuple[int, np.ndarray] | None = None  # the epoch that was permuted last
        self._prepared: tuple[int, int, _Pool] | None = None  # the epoch and number of the pool prepared last

    @property
    def left_out(self) -> dict[str, LeftOut]:
        """The pairs left out, by reason: of all stores; with `expand`, what this epoch left out so far."""
        return dict(self._left_out)

    def locate(self, pair: int) -> tuple[int, int]:
        """The number of the store, and the index in it, of a pair as numbered in `Batch.pairs` and `left_out`."""
        store = int(np.searchsorted(self._firsts, pair, side="right")) - 1
        return store, int(pair - self._firsts[store])

    def state(self) -> dict[str, Any]:
        """The place in the stream, small and ready for JSON: where the next batch stands."""
        return {
            "epoch": self._epoch,
            "pool": self._pool,
            "batch": self._batch,
            "left_out": {reason: [left.count, *left.examples] for reason, left in self._left_out.items()},
            "drawn_from": self._drawn_from(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`: the very batches follow that would have followed there.

        Raises `CheckpointError` if the state was noted for other data, weights, settings or seed.
        """
        given, mine = state["drawn_from"], self._drawn_from()
        different = [name for name in mine if given.get(name) != mine[name]]
        if different:
            raise CheckpointError(
                "the place in the training data cannot be found again: it was noted for other "
                + ", ".join(f"{name} ({given.get(name)}, now {mine[name]})" for name in different)
                + "; go on with what the run was started with, or start a new run."
            )
        self._epoch, self._pool, self._batch = state["epoch"], state["pool"], state["batch"]
        self._left_out = {
            reason: LeftOut(left[0], tuple(left[1:])) for reason, left in state["left_out"].items()
        }
        self._prepared = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        barren = 0
        while True:
            order = self._permutation()
            pools = -(-len(order) // self.settings.pool)
            while self._pool < pools:
                pool = self._current_pool(order, pools)
                if self._batch < len(pool.plan):
                    self._batch += 1
                    return pool.batch(self._batch - 1, self._epoch)
                self._pool, self._batch = self._pool + 1, 0
            # One epoch may be without a batch (a weight of 0.1 on 5 pairs); in this many, every pair has had its turn.
            barren += 1
            if barren > 2 + 1 / min(self._weights):
                raise self._nothing_left()
            self._epoch, self._pool = self._epoch + 1, 0
            if self._expand is not None:
                self._left_out = {}

    def _drawn_from(self) -> dict[str, Any]:
        return {
            "pairs": [len(store) for store in self._stores],
            "weights": self._weights,
            "seed": self._seed,
            **self.settings.model_dump(),
        }

    def _random(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=purpose))

    def _permutation(self) -> np.ndarray:
        """The numbers of the pairs of this epoch, in order: four bytes a pair."""
        if self._order is not None and self._order[0] == self._epoch:
            return self._order[1]
        self._order = None  # freed first: it is as long as the corpus
        numbers = np.int32 if self._firsts[-1] < 2**31 else np.int64
        parts: list[np.ndarray] = []
        for number, (first, excluded) in enumerate(zip(self._firsts, self._excluded, strict=False)):
            usable = np.arange(first, self._firsts[number + 1], dtype=numbers)
            if len(excluded):
                usable = np.delete(usable, excluded)
            whole, part = divmod(self._weights[number], 1)
            parts.extend([usable] * int(whole))
            if part:
                # A window moves round one fixed permutation: each pair has its turn before any has a second one.
                turns = self._random(0, number).permutation(usable)
                share = part * len(usable)
                window = np.arange(int(share * self._epoch), int(share * (self._epoch + 1)))
                parts.append(turns.take(window, mode="wrap"))
        order = np.concatenate(parts)
        self._random(1, self._epoch).shuffle(order)
        self._order = self._epoch, order
        return order

    def _current_pool(self, order: np.ndarray, pools: int) -> "_Pool":
        """The pool at the cursor: its pairs read, expanded, measured, and planned into batches."""
        if self._prepared is not None and self._prepared[:2] == (self._epoch, self._pool):
            return self._prepared[2]
        self._prepared = None
        # Pools of equal size: a last one of a handful of pairs would make small batches.
        begin, end = (len(order) * (self._pool + step) // pools for step in (0, 1))
        pairs = np.sort(order[begin:end])
        source, target = self._gather(pairs)
        if self._expand is not None:
            source = self._expanded(source, "source", pairs, self._expand)
            target = self._expanded(target, "target", pairs, self._expand)
            rows = self._too_wide(source.lengths, target.lengths)
            # A cursor inside the pool was restored: what the pool leaves out is counted already.
            if self._batch == 0:
                self._leave_out(pairs[rows], source.lengths[rows], target.lengths[rows])
            pairs, source, target = np.delete(pairs, rows), source.without(rows), target.without(rows)
        plan = plan_batches(
            source.lengths + 1, target.lengths + 1, self.settings, self._random(2, self._epoch, self._pool)
        )
        pool = _Pool(source, target, pairs, plan)
        self._prepared = self._epoch, self._pool, pool
        return pool

    def _gather(self, pairs: np.ndarray) -> tuple[Ragged, Ragged]:
        bounds = np.searchsorted(pairs, self._firsts)
        sources: list[Ragged] = []
        targets: list[Ragged] = []
        for number, store in enumerate(self._stores):
            rows = pairs[bounds[number] : bounds[number + 1]] - self._firsts[number]
            source, target = store.gather(rows)
            sources.append(source)
            targets.append(target)
        return Ragged.join(sources), Ragged.join(targets)

    def _expanded(self, sequences: Ragged, side: Side, pairs: np.ndarray, expand: Expand) -> Ragged:
        seed, epoch = self._seed, self._epoch
        return Ragged.of(
            expand(sequences[row], side, (seed, epoch, pair)) for row, pair in enumerate(pairs.tolist())
        )

    def _too_wide(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The rows that are in no batch, from the lengths (END not counted) of both sides."""
        longer = np.maximum(source, target)
        return np.flatnonzero(longer > min(self.settings.maximum_length, self.settings.tokens - 1))

    def _leave_out(self, pairs: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
        """Count and note `pairs`, which are too wide."""
        too_long = np.maximum(source, target) > self.settings.maximum_length
        for reason, chosen in ((TOO_LONG, pairs[too_long]), (OVER_BUDGET, pairs[~too_long])):
            if len(chosen):
                before = self._left_out.get(reason, LeftOut(0, ()))
                examples = (*before.examples, *chosen[:EXAMPLES].tolist())[:EXAMPLES]
                self._left_out[reason] = LeftOut(before.count + len(chosen), examples)

    def _nothing_left(self) -> DataError:
        reasons = " and ".join(f"{left.count} {reason}" for reason, left in self._left_out.items())
        return DataError(
            f"there is no pair to make batches of: {reasons or 'the corpora are empty'}. "
            "Raise data.batches.maximum_length or data.batches.tokens, or split the text into sentences."
        )


@dataclass(frozen=True)
class Planned:
    """A batch to be: rows of the pool, and the widths of its tensors."""

    rows: np.ndarray
    source_width: int
    target_width: int


@dataclass(frozen=True)
class _Pool:
    source: Ragged
    target: Ragged
    pairs: np.ndarray
    plan: list[Planned]

    def batch(self, number: int, epoch: int) -> Batch:
        planned = self.plan[number]
        source, _ = _padded(self.source, planned.rows, planned.source_width)
        output, ids = _padded(self.target, planned.rows, planned.target_width)
        # [a, b, END, PAD] -> [START, a, b, PAD]: moved by one, and only ids, not END.
        shifted = np.full_like(output, PAD)
        shifted[:, 0] = START
        np.copyto(shifted[:, 1:], output[:, :-1], where=ids[:, :-1])
        return Batch(
            source=torch.from_numpy(source),
            target_input=torch.from_numpy(shifted),
            target_output=torch.from_numpy(output),
            tokens=int(self.target.lengths[planned.rows].sum()) + len(planned.rows),
            epoch=epoch,
            pairs=self.pairs[planned.rows],
        )


def _padded(side: Ragged, rows: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """`(rows, width)` int64: the ids of each row, END, then PAD; and a mask of where the ids are."""
    lengths = side.lengths[rows]
    positions = np.arange(width)
    ids = positions < lengths[:, None]
    padded = np.full(ids.shape, PAD, dtype=np.int64)
    padded[ids] = side.values[(side.starts[rows][:, None] + positions)[ids]]
    padded[np.arange(len(rows)), lengths] = END
    return padded, ids


def plan_batches(
    source: np.ndarray, target: np.ndarray, settings: BatchSettings, random: np.random.Generator
) -> list[Planned]:
    """Put pairs of these widths (END counted, none above the budget) into batches, in shuffled order."""
    order = random.permutation(len(source))
    if settings.shapes == "grid":
        widest = min(settings.tokens, settings.maximum_length + 1)
        plan = _grid(_rounded(source, widest), _rounded(target, widest), settings.tokens, order)
    else:
        plan = _packed(source, target, settings.tokens, order)
    return [plan[number] for number in random.permutation(len(plan))]


def _packed(source: np.ndarray, target: np.ndarray, tokens: int, order: np.ndarray) -> list[Planned]:
    """Sort the pairs of `order` by width, ties as they come, and cut wherever the budget is full."""
    width = np.maximum(source, target)
    order = order[np.lexsort((source[order] + target[order], width[order]))]
    plan: list[Planned] = []
    while len(order):
        # Widths ascend, so n pairs take n * (the width of the nth), which ascends too.
        taken = width[order[: tokens // int(width[order[0]])]]
        rows = int(np.searchsorted(np.arange(1, len(taken) + 1) * taken, tokens, side="right"))
        chosen, order = order[:rows], order[rows:]
        plan.append(Planned(chosen, int(source[chosen].max()), int(target[chosen].max())))
    return plan


def _rounded(width: np.ndarray, widest: int) -> np.ndarray:
    """The next width of the grid: multiples of 2 up to 16, of 4 up to 32, of 8 up to 64, and so on."""
    step = 2 ** np.maximum(1, np.ceil(np.log2(width)).astype(np.int64) - 3)
    return np.minimum(-(-width // step) * step, widest)


def _grid(source: np.ndarray, target: np.ndarray, tokens: int, order: np.ndarray) -> list[Planned]:
    """Fill batches of fixed shapes with the pairs of `order`; widths are on the grid already."""
    # Shapes in order of their longer side, then of both together: what encloses a shape comes after it.
    base = 2 * int(max(source.max(), target.max())) + 1 if len(order) else 1
    keys, cell = np.unique(
        (np.maximum(source, target) * base + source + target) * base + source, return_inverse=True
    )
    shapes = [(int(key % base), int(key // base % base - key % base)) for key in keys]
    members = np.split(order[np.argsort(cell[order], kind="stable")], np.cumsum(np.bincount(cell))[:-1])
    plan: list[Planned] = []
    rest: list[np.ndarray] = []
    for number, (s, t) in enumerate(shapes):
        rows = tokens // max(s, t)
        if rows >= 16:
            rows -= rows % 8
        here = members[number]
        full = len(here) // rows * rows
        plan += [Planned(chosen, s, t) for chosen in here[:full].reshape(-1, rows)]
        if full == len(here):
            continue
        left = here[full:]
        enclosing = (k for k in range(number + 1, len(shapes)) if shapes[k][0] >= s and shapes[k][1] >= t)
        nearest = min(enclosing, key=lambda k: sum(shapes[k]), default=None)
        if nearest is not None and sum(shapes[nearest]) <= FURTHEST * (s + t):
            # Those that came up go first, so that they rarely move up again.
            members[nearest] = np.concatenate([left, members[nearest]])
        else:
            rest.append(left)
    if rest:
        plan += _packed(source, target, tokens, np.concatenate(rest))
    return plan
