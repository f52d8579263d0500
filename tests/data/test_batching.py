"""Batches: every pair as often as its weight says, within the budget, in an order that can be found again."""

import gzip
import itertools
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful.data.batching import OVER_BUDGET, TOO_LONG, Batch, Batches, BatchSettings, Expand, LeftOut, Side
from heedful.data.store import PairStore
from heedful.errors import CheckpointError, DataError
from heedful.text.special import END, PAD, START

in_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
lengths = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), min_size=1, max_size=40)
batch_settings = st.builds(
    BatchSettings,
    tokens=st.integers(16, 200),
    pool=st.integers(1, 50),
    maximum_length=st.integers(14, 20),
    shapes=st.sampled_from(["grid", "exact"]),
)


def make_store(path: Path, pair_lengths: list[tuple[int, int]]) -> PairStore:
    """Pair i is [10 i, 10 i + 1, ...] on both sides, of these lengths."""
    return PairStore.write(
        path,
        (
            (range(10 * i + 4, 10 * i + 4 + s), range(10 * i + 4, 10 * i + 4 + t))
            for i, (s, t) in enumerate(pair_lengths)
        ),
    )


def epochs(batches: Batches, number: int) -> list[Batch]:
    return list(itertools.takewhile(lambda batch: batch.epoch < number, batches))


def uses(taken: list[Batch]) -> Counter[int]:
    return Counter(pair for batch in taken for pair in batch.pairs.tolist())


def same(left: Batch, right: Batch) -> bool:
    return (
        torch.equal(left.source, right.source)
        and torch.equal(left.target_input, right.target_input)
        and torch.equal(left.target_output, right.target_output)
        and (left.tokens, left.epoch, left.pairs.tolist())
        == (right.tokens, right.epoch, right.pairs.tolist())
    )


def split_in_two(ids: np.ndarray, side: Side, key: tuple[int, int, int]) -> list[int]:
    """An expansion in which every epoch and pair gets other ids and lengths."""
    seed, epoch, pair = key
    return [5 + seed + epoch + pair + (side == "target"), *ids.tolist() * (1 + (epoch + pair) % 2)]


def test_the_layout_of_a_batch(tmp_path: Path) -> None:
    store = PairStore.write(tmp_path / "a", [([5, 6, 7], [8]), ([9], [10, 11])])
    batch = next(Batches([(store, 1.0)], BatchSettings(shapes="exact"), seed=1))
    first = batch.pairs.tolist().index(0)
    order = torch.tensor([first, 1 - first])
    assert batch.source[order].tolist() == [[5, 6, 7, END], [9, END, PAD, PAD]]
    assert batch.target_input[order].tolist() == [[START, 8, PAD], [START, 10, 11]]
    assert batch.target_output[order].tolist() == [[8, END, PAD], [10, 11, END]]
    assert batch.source.dtype == batch.target_input.dtype == batch.target_output.dtype == torch.int64
    assert batch.tokens == 5
    assert batch.epoch == 0
    assert same(batch.to("cpu"), batch)
    assert batch.to("meta").source.device.type == "meta"


def test_empty_sides_are_pairs_too(tmp_path: Path) -> None:
    store = PairStore.write(tmp_path / "a", [([], [])])
    batch = next(Batches([(store, 1.0)], BatchSettings(shapes="exact"), seed=1))
    assert batch.source.tolist() == batch.target_output.tolist() == [[END]]
    assert batch.target_input.tolist() == [[START]]


@in_tmp_path
@given(pair_lengths=lengths, settings=batch_settings, seed=st.integers(0, 3), weight=st.integers(1, 3))
def test_every_pair_is_used_as_often_as_its_weight_says(
    pair_lengths: list[tuple[int, int]], settings: BatchSettings, seed: int, weight: int, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "a", pair_lengths)
    other = make_store(tmp_path / "b", [(3, 3)] * 5)
    batches = Batches([(store, float(weight)), (other, 1.0)], settings, seed)
    taken = epochs(batches, 2)
    expected = dict.fromkeys(range(len(store)), 2 * weight)
    expected |= {len(store) + pair: 2 for pair in range(5)}
    assert uses(taken) == expected
    assert batches.left_out == {}
    for batch in taken:
        rows, width = len(batch.pairs), max(batch.source.shape[1], batch.target_output.shape[1])
        assert rows * width <= settings.tokens
        assert width <= settings.maximum_length + 1
        assert batch.tokens == int((batch.target_output != PAD).sum())
        for row, pair in enumerate(batch.pairs.tolist()):
            number, index = batches.locate(pair)
            source, target = (side.tolist() for side in [store, other][number][index])
            for tensor, ids in (
                (batch.source, [*source, END]),
                (batch.target_input, [START, *target]),
                (batch.target_output, [*target, END]),
            ):
                assert tensor[row].tolist() == ids + [PAD] * (tensor.shape[1] - len(ids))


@in_tmp_path
@given(
    pairs=st.integers(1, 30), weight=st.floats(0.05, 3.5), number=st.integers(1, 5), settings=batch_settings
)
def test_a_broken_weight_gives_every_pair_its_turn(
    pairs: int, weight: float, number: int, settings: BatchSettings, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "a", [(2, 3)] * pairs)
    # A second store, so that an epoch in which the first has no turn is not an empty one.
    other = make_store(tmp_path / "b", [(1, 1)])
    taken = epochs(Batches([(store, weight), (other, 1.0)], settings, seed=0), number)
    counts = [uses(taken)[pair] for pair in range(pairs)]
    assert max(counts) - min(counts) <= 1
    assert abs(sum(counts) - weight * pairs * number) <= 1
    for epoch in range(number):
        here = uses([batch for batch in taken if batch.epoch == epoch])
        assert all(int(weight) <= here[pair] <= int(weight) + 1 for pair in range(pairs))


def test_half_a_weight_takes_the_other_half_next(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a", [(2, 2)] * 100)
    taken = epochs(Batches([(store, 0.5)], BatchSettings(), seed=3), 2)
    first, second = (uses([batch for batch in taken if batch.epoch == epoch]) for epoch in (0, 1))
    assert len(first) == len(second) == 50
    assert not first.keys() & second.keys()
    assert sorted(first) not in (list(range(50)), list(range(50, 100)))


def test_a_small_weight_skips_epochs_without_stopping(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a", [(2, 2)] * 2)
    found = [batch.epoch for batch in itertools.islice(Batches([(store, 0.1)], BatchSettings(), seed=0), 3)]
    assert found == [4, 9, 14]


def test_an_epoch_left_out_whole_is_not_the_end(tmp_path: Path) -> None:
    # An epoch has one pair of ten; the expansion makes all but pair 7 too long.
    store = make_store(tmp_path / "a", [(2, 2)] * 10)
    batches = Batches(
        [(store, 0.1)],
        BatchSettings(maximum_length=10),
        seed=0,
        expand=lambda ids, side, key: [4] * (2 if key[2] == 7 else 20),
    )
    taken = list(itertools.islice(batches, 3))
    assert uses(taken) == {7: 3}
    assert [batch.epoch - taken[0].epoch for batch in taken] == [0, 10, 20]


def test_memory_holds_an_order_and_a_pool_but_not_the_corpus(tmp_path: Path) -> None:
    ids = np.arange(4, 54, dtype=np.uint16)
    settings = BatchSettings(tokens=1024, pool=100)

    def peak(pairs: int) -> int:
        store = PairStore.write(tmp_path / "a", ((ids, ids) for _ in range(pairs)))
        tracemalloc.start()
        for _ in itertools.islice(Batches([(store, 1.0)], settings, seed=0), 100):
            pass
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    # A pair takes 200 bytes on the disk. In memory its number takes 4, and 8 while numbers are laid end to end; its
    # lengths take up to 20 while it is seen whether they fit.
    peak(1_000)
    assert 4 <= (peak(120_000) - peak(20_000)) / 100_000 < 24


def test_order_is_a_function_of_seed_and_epoch(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a", [(2 + i % 5, 3 + i % 3) for i in range(300)])
    settings = BatchSettings(tokens=64, pool=100)
    first, again, other = (epochs(Batches([(store, 1.0)], settings, seed), 2) for seed in (0, 0, 1))
    assert all(same(left, right) for left, right in zip(first, again, strict=True))

    def order(taken: list[Batch], epoch: int) -> list[int]:
        return [pair for batch in taken if batch.epoch == epoch for pair in batch.pairs.tolist()]

    assert order(first, 0) != order(first, 1)
    assert order(first, 0) != order(other, 0)
    # Other pairs meet in a pool.
    assert set(order(first, 0)[:100]) != set(order(first, 1)[:100])
    assert sorted(order(first, 0)) == sorted(order(other, 0)) == list(range(300))


@pytest.mark.parametrize("shapes", ["grid", "exact"])
def test_batches_are_in_no_order_of_length_and_pairs_in_none_of_the_corpus(
    tmp_path: Path, shapes: Literal["grid", "exact"]
) -> None:
    store = make_store(tmp_path / "a", [(length, length) for length in (5, 10, 20)] * 400)
    taken = epochs(Batches([(store, 1.0)], BatchSettings(tokens=64, shapes=shapes), seed=0), 1)
    widths = [batch.source.shape[1] for batch in taken]
    assert len(widths) > 250
    assert abs(np.corrcoef(widths, range(len(widths)))[0, 1]) < 0.2  # three standard deviations
    batch_of = {pair: number for number, batch in enumerate(taken) for pair in batch.pairs.tolist()}
    # The next pair of the same length; by chance some 14 are in the same batch.
    assert sum(batch_of[pair] == batch_of[pair + 3] for pair in range(1197)) < 60


@in_tmp_path
@given(
    pair_lengths=lengths,
    settings=batch_settings,
    before=st.integers(0, 30),
    expand=st.sampled_from([None, split_in_two]),
)
def test_restored_batches_are_those_that_would_have_followed(
    pair_lengths: list[tuple[int, int]],
    settings: BatchSettings,
    before: int,
    expand: Expand | None,
    tmp_path: Path,
) -> None:
    # One pair that every expansion leaves usable, and a store of half weight.
    store = make_store(tmp_path / "a", [(1, 1), *pair_lengths])
    half = make_store(tmp_path / "b", [(4, 4)] * 7)

    def make() -> Batches:
        return Batches([(store, 1.0), (half, 0.5)], settings, seed=7, expand=expand)

    undisturbed = make()
    for _ in itertools.islice(undisturbed, before):
        pass
    state = json.loads(json.dumps(undisturbed.state()))
    assert len(json.dumps(state)) < 600
    resumed = make()
    resumed.restore(state)
    # The one that goes back must forget where it was, too.
    strayed = make()
    for _ in itertools.islice(strayed, 5):
        pass
    strayed.restore(state)
    for _ in range(12):
        expected = next(undisturbed)
        assert same(next(resumed), expected)
        assert same(next(strayed), expected)
        assert resumed.left_out == strayed.left_out == undisturbed.left_out
        assert resumed.state() == strayed.state() == undisturbed.state()


@pytest.mark.parametrize(
    ("pairs", "weight", "seed", "tokens", "named"),
    [
        (6, 1.0, 1, 64, r"pairs \(\[5\], now \[6\]\)"),
        (5, 2.0, 1, 64, "weights"),
        (5, 1.0, 2, 64, r"seed \(1, now 2\)"),
        (5, 1.0, 1, 65, "tokens"),
    ],
)
def test_a_state_of_other_batches_is_refused(
    tmp_path: Path, pairs: int, weight: float, seed: int, tokens: int, named: str
) -> None:
    state = Batches([(make_store(tmp_path / "a", [(2, 2)] * 5), 1.0)], BatchSettings(tokens=64), 1).state()
    other = make_store(tmp_path / "b", [(2, 2)] * pairs)
    with pytest.raises(CheckpointError, match=named):
        Batches([(other, weight)], BatchSettings(tokens=tokens), seed).restore(state)


def test_pairs_that_are_too_long_are_counted_and_named(tmp_path: Path) -> None:
    # With END, a side of 30 is one too wide for a budget of 30 tokens.
    first = make_store(tmp_path / "a", [(2, 2), (40, 2), (29, 29), (30, 1)])
    second = make_store(tmp_path / "b", [(1, 41)] * 7 + [(1, 1), (1, 30)])
    settings = BatchSettings(tokens=30, maximum_length=35)
    batches = Batches([(first, 2.0), (second, 1.0)], settings, seed=0)
    assert batches.left_out == {TOO_LONG: LeftOut(8, (1, 4, 5, 6, 7)), OVER_BUDGET: LeftOut(2, (3, 12))}
    assert batches.locate(12) == (1, 8)
    assert uses(epochs(batches, 1)) == {0: 2, 2: 2, 11: 1}
    next(batches)
    assert batches.left_out[TOO_LONG].count == 8


def test_with_an_expansion_the_count_is_of_the_epoch_so_far(tmp_path: Path) -> None:
    def expand(ids: np.ndarray, side: Side, key: tuple[int, int, int]) -> list[int]:
        _, epoch, pair = key
        if pair in (3, 4) and epoch == 0:
            return [4] * 50
        return [4] * (8 if pair == 9 and side == "target" else 2)

    store = make_store(tmp_path / "a", [(1, 1)] * 20)
    batches = Batches(
        [(store, 1.0)], BatchSettings(tokens=8, maximum_length=10, pool=6), seed=0, expand=expand
    )
    assert batches.left_out == {}
    used = {0: Counter[int](), 1: Counter[int]()}
    at_the_end = {0: batches.left_out, 1: batches.left_out}
    for batch in itertools.takewhile(lambda batch: batch.epoch < 2, batches):
        used[batch.epoch].update(batch.pairs.tolist())
        at_the_end[batch.epoch] = batches.left_out
    assert used[0] == dict.fromkeys(set(range(20)) - {3, 4, 9}, 1)
    assert used[1] == dict.fromkeys(set(range(20)) - {9}, 1)
    assert at_the_end[0][TOO_LONG].count == 2
    assert sorted(at_the_end[0][TOO_LONG].examples) == [3, 4]
    assert at_the_end[0][OVER_BUDGET] == LeftOut(1, (9,))
    assert at_the_end[1] == {OVER_BUDGET: LeftOut(1, (9,))}


def test_who_goes_back_to_the_beginning_of_a_pool_counts_what_it_leaves_out_once(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a", [(1, 1)] * 20)
    batches = Batches(
        [(store, 1.0)], BatchSettings(tokens=8), 0, lambda ids, side, key: [4] * (9 if key[2] == 3 else 2)
    )
    begin = batches.state()
    for _ in range(2):
        batches.restore(begin)
        assert batches.left_out == {}
        next(batches)
        assert batches.left_out == {OVER_BUDGET: LeftOut(1, (3,))}
        within = batches.state()
    batches.restore(within)
    next(batches)
    assert batches.left_out == {OVER_BUDGET: LeftOut(1, (3,))}


def test_expansion_gets_its_pair_and_is_padded_as_ids_are(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a", [(i % 4, 3) for i in range(20)])
    batches = Batches([(store, 1.0)], BatchSettings(tokens=64, pool=7), seed=11, expand=split_in_two)
    for batch in epochs(batches, 2):
        for row, pair in enumerate(batch.pairs.tolist()):
            source, target = store[pair]
            key = (11, batch.epoch, pair)
            ids = [*split_in_two(source, "source", key), END]
            assert batch.source[row].tolist() == ids + [PAD] * (batch.source.shape[1] - len(ids))
            ids = [START, *split_in_two(target, "target", key)]
            assert batch.target_input[row].tolist() == ids + [PAD] * (batch.target_input.shape[1] - len(ids))


def test_nothing_to_use_is_an_error(tmp_path: Path) -> None:
    empty = PairStore.write(tmp_path / "empty", [])
    with pytest.raises(DataError, match="the corpora are empty"):
        Batches([(empty, 1.0)], BatchSettings(), seed=0)
    with pytest.raises(DataError, match="the corpora are empty"):
        Batches([], BatchSettings(), seed=0)
    long = make_store(tmp_path / "long", [(20, 20)] * 3)
    with pytest.raises(DataError, match="3 longer than maximum_length"):
        Batches([(long, 1.0)], BatchSettings(maximum_length=10), seed=0)
    with pytest.raises(DataError, match="3 wider than the token budget"):
        next(Batches([(long, 1.0)], BatchSettings(tokens=20), seed=0, expand=lambda ids, side, key: ids))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_a_weight_must_be_above_zero(tmp_path: Path, weight: float) -> None:
    store = make_store(tmp_path / "a", [(2, 2)])
    with pytest.raises(ValueError, match="weight"):
        Batches([(store, weight)], BatchSettings(), seed=0)


def test_an_empty_store_beside_another_does_no_harm(tmp_path: Path) -> None:
    empty = PairStore.write(tmp_path / "empty", [])
    store = make_store(tmp_path / "a", [(2, 2)] * 3)
    taken = epochs(Batches([(empty, 1.5), (store, 1.0), (empty, 1.0)], BatchSettings(), seed=0), 1)
    assert uses(taken) == {0: 1, 1: 1, 2: 1}


@pytest.fixture(scope="module")
def multi30k_lengths(mirror: Path) -> list[tuple[int, int]]:
    """Words of the tokenised training set; subwords are a tenth more."""
    sides: list[list[int]] = []
    for language in ("en", "de"):
        with gzip.open(mirror / f"multi30k/tok/train.lc.norm.tok.{language}.gz", "rt") as file:
            sides.append([len(line.split()) for line in file])
    return list(zip(*sides, strict=True))


def shape_of(batch: Batch) -> tuple[int, int, int]:
    return len(batch.pairs), batch.source.shape[1], batch.target_output.shape[1]


def figures(taken: list[Batch], tokens: int) -> dict[str, Any]:
    padded = sum(batch.source.numel() + batch.target_output.numel() for batch in taken)
    real = sum(int((batch.source != PAD).sum()) + batch.tokens for batch in taken)
    fill = [max(batch.source.numel(), batch.target_output.numel()) / tokens for batch in taken]
    return {
        "padding": 1 - real / padded,
        "shapes": len({shape_of(batch) for batch in taken}),
        "full": np.mean(np.array(fill) > 0.9),
    }


def test_a_grid_has_few_shapes_and_little_padding(
    tmp_path: Path, multi30k_lengths: list[tuple[int, int]]
) -> None:
    store = PairStore.write(tmp_path / "a", (([4] * s, [4] * t) for s, t in multi30k_lengths))
    grid = figures(epochs(Batches([(store, 1.0)], BatchSettings(), seed=1), 3), 4096)
    assert grid["shapes"] <= 40
    assert grid["padding"] <= 0.09
    assert grid["full"] >= 0.95
    exact = figures(epochs(Batches([(store, 1.0)], BatchSettings(shapes="exact"), seed=1), 3), 4096)
    assert exact["padding"] <= grid["padding"]
    # In pools of 5,000, as of any large corpus, lengths as they come give new shapes for ever; a grid does not.
    small = [BatchSettings(shapes=shapes, pool=5_000) for shapes in ("grid", "exact")]
    grid, exact = (figures(epochs(Batches([(store, 1.0)], each, seed=1), 3), 4096) for each in small)
    assert grid["shapes"] <= 40
    assert exact["shapes"] > 2 * grid["shapes"]


def test_a_few_long_pairs_do_not_widen_the_short_ones(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a", [(9, 9)] * 100 + [(250, 250)])
    taken = epochs(Batches([(store, 1.0)], BatchSettings(tokens=1024), seed=0), 1)
    assert sorted(shape_of(batch) for batch in taken) == [(1, 256, 256), (4, 10, 10), (96, 10, 10)]
