"""Tiles, sampled rows and the mean of heads: against the matrix of weights, written out."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from heedful.attention import (
    Additive,
    ALiBi,
    Bias,
    Gaussian,
    Record,
    Rotary,
    ScaledDot,
    attend,
    masks,
    observe,
)
from heedful.attention.masks import Mask
from heedful.attention.overview import Overview
from heedful.viewing import tiles
from heedful.viewing.background import Background
from heedful.viewing.mean_of_heads import MeanOfHeads
from heedful.viewing.sample import sample, spread
from heedful.viewing.tiles import Pyramid, Stopped


def observed(queries: int, keys: int, heads: int = 2, kv_heads: int | None = None, **choices) -> Record:
    query = torch.randn(1, heads, queries, 8) * 2
    key, value = torch.randn(2, 1, kv_heads or heads, keys, 8).unbind()
    with observe() as seen:
        attend(query, key, value, **choices)
    return seen[""]


def in_cells(weights: Tensor, cell: int) -> tuple[Tensor, Tensor]:
    """Mean and maximum of cells, by their definition, in float64."""
    exact = weights.double().numpy()
    rows, columns = (np.arange(0, side, cell) for side in exact.shape)

    def reduced(by: np.ufunc, of: np.ndarray) -> np.ndarray:
        return by.reduceat(by.reduceat(of, rows, 0), columns, 1)

    mean = reduced(np.add, exact) / reduced(np.add, np.ones_like(exact))
    return torch.from_numpy(mean), torch.from_numpy(reduced(np.maximum, exact))


SCORES = {
    "scaled dot": dict,
    "causal and rotary": lambda: {"score": Rotary(), "mask": masks.causal()},
    "padding": lambda: {"mask": masks.padding(torch.tensor([100]))},
    "alibi": lambda: {"score": ScaledDot().then(ALiBi(torch.tensor([0.5, 0.25])))},
    "bias of heads": lambda: {"score": ScaledDot().then(Bias(torch.randn(2, 120, 140)))},
    "additive": lambda: {"score": Additive(8, 8, 5)},
    "factors": lambda: {"score": ScaledDot().then(Gaussian(140 * torch.rand(1, 1, 120, 1), 20.0))},
    "factors of heads": lambda: {"score": ScaledDot().then(Gaussian(140 * torch.rand(1, 2, 120, 1), 20.0))},
}


@pytest.mark.parametrize("name", SCORES)
def test_sampled_rows_are_rows_of_the_matrix(name: str):
    record = observed(120, 140, **SCORES[name]())
    rows = [0, 17, 60, 119]
    expected = record.weights()[:, :, rows]
    few = sample(record, rows)
    torch.testing.assert_close(few.weights(), expected)
    torch.testing.assert_close(few.log_sum_exp(), record.log_sum_exp()[:, :, rows])
    torch.testing.assert_close(few.distance(), record.distance()[:, :, rows])
    torch.testing.assert_close(sample(record, rows, slice(1, 2)).weights(), expected[:, 1:])


def test_keys_shared_by_heads_are_sampled_too():
    record = observed(30, 30, heads=4, kv_heads=2, mask=masks.causal())
    torch.testing.assert_close(
        sample(record, [3, 29], slice(1, 3)).weights(), record.weights()[:, 1:3, [3, 29]]
    )


def test_rows_that_see_nothing_have_no_weights():
    allowed = torch.ones(6, 6, dtype=torch.bool)
    allowed[2] = False
    few = sample(observed(6, 6, mask=allowed), [1, 2])
    assert few.weights()[0, :, 1].eq(0).all()
    assert few.log_sum_exp()[0, :, 1].eq(-torch.inf).all()


def test_places_are_spread_over_all():
    assert spread(5, 9) == [0, 1, 2, 3, 4]
    places = spread(1000, 10)
    assert [place // 100 for place in places] == list(range(10))
    assert places == spread(1000, 10)


def test_the_mean_of_heads_is_a_matrix_of_its_own():
    record = observed(40, 50, heads=3, mask=masks.padding(torch.tensor([45])))
    mean = Record(MeanOfHeads(record))
    weights = record.weights().mean(1, keepdim=True)
    torch.testing.assert_close(mean.weights(slice(3, 9), slice(10, 50)), weights[:, :, 3:9, 10:50])
    torch.testing.assert_close(mean.received(), weights.sum(2))
    torch.testing.assert_close(mean.entropy(), torch.special.entr(weights).sum(-1))
    torch.testing.assert_close(
        mean.overview(8).maximum, Record(MeanOfHeads(record)).measure(Overview(8))[0].maximum
    )


@pytest.mark.parametrize(("queries", "keys"), [(400, 400), (300, 500), (1, 600), (520, 3)])
@pytest.mark.parametrize("head", [1, None])
def test_every_tile_of_every_level_is_the_mean_and_maximum_of_its_cells(
    queries: int, keys: int, head: int | None, monkeypatch: pytest.MonkeyPatch
):
    # Small bounds, so that a small matrix has levels of both kinds.
    monkeypatch.setattr(tiles, "SIDE", 64)
    monkeypatch.setattr(tiles, "ON_DEMAND", 2**15)
    monkeypatch.setattr(tiles, "STRIP", 2**10)
    record = observed(queries, keys)
    weights = record.weights()[0, head] if head is not None else record.weights()[0].mean(0)
    pyramid = Pyramid(record, head)
    pyramid.pass_over()
    assert pyramid.done
    for level in range(pyramid.top + 1):
        mean, maximum = in_cells(weights, 2**level)
        for row in range(-(-mean.shape[0] // 64)):
            for column in range(-(-mean.shape[1] // 64)):
                here = slice(row * 64, row * 64 + 64), slice(column * 64, column * 64 + 64)
                tile = pyramid.tile(level, row, column)
                assert not tile.sampled
                # Levels that are kept are kept in float16, of which eleven bits are exact.
                torch.testing.assert_close(tile.mean.double(), mean[here], rtol=5e-4, atol=1e-9)
                if tile.maximum is not None:
                    torch.testing.assert_close(tile.maximum.double(), maximum[here], rtol=5e-4, atol=1e-9)
    assert max(mean.shape) <= 64


def test_level_0_is_the_weights_themselves():
    record = observed(300, 400, score=Rotary(), mask=masks.padding(torch.tensor([390])))
    tile = Pyramid(record, 1).tile(0, 1, 1)
    assert tile.maximum is None
    assert tile.mean.equal(record.head(1).weights(slice(256, 300), slice(256, 400))[0, 0])


def test_before_the_pass_coarse_tiles_are_made_of_one_exact_query_in_each_row_of_cells(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tiles, "SIDE", 32)
    monkeypatch.setattr(tiles, "ON_DEMAND", 2**12)
    record = observed(500, 400, mask=None)
    pyramid = Pyramid(record, 0)
    assert pyramid.base is not None
    weights = record.weights()[0, 0]
    level = pyramid.top
    tile = pyramid.tile(level, 0, 0)
    assert tile.sampled
    assert not pyramid.done
    cell = 2**level
    rows = spread(500, -(-500 // cell))
    expected = in_cells(weights[rows].repeat_interleave(cell, 0), cell)
    torch.testing.assert_close(tile.mean.double(), expected[0], check_dtype=False)
    torch.testing.assert_close(tile.maximum.double(), expected[1], check_dtype=False)
    pyramid.pass_over()
    assert not pyramid.tile(level, 0, 0).sampled


@pytest.mark.parametrize("mask", [masks.causal(), None], ids=["causal", "no mask"])
def test_tracks_are_those_of_the_record(mask: Mask | None):
    record = observed(300, 300, mask=mask)
    tracks = Pyramid(record, 1).tracks()
    head = record.head(1)
    assert not tracks.sampled
    for found, expected in (
        (tracks.entropy, head.entropy()),
        (tracks.largest, head.maximum()),
        (tracks.position, head.position()),
        (tracks.received, head.received()),
        (tracks.received / tracks.seen, head.received(by_receptive_field=True)),
    ):
        torch.testing.assert_close(found, expected[0, 0])


def test_tracks_before_the_pass_are_those_of_the_nearest_sampled_query(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "ON_DEMAND", 2**12)
    monkeypatch.setattr(tiles, "TRACKED", 50)
    record = observed(300, 300)
    pyramid = Pyramid(record, 0)
    tracks = pyramid.tracks()
    assert tracks.sampled
    places = spread(300, 50)
    torch.testing.assert_close(tracks.entropy[places], record.head(0).entropy()[0, 0, places])
    assert tracks.received.sum().item() == pytest.approx(300, rel=1e-4)


def test_a_small_thumbnail_comes_from_the_kept_levels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "SIDE", 32)
    monkeypatch.setattr(tiles, "ON_DEMAND", 2**12)
    record = observed(500, 400)
    pyramid = Pyramid(record, 1)
    assert pyramid.thumbnail(16) is None
    pyramid.pass_over()
    picture = pyramid.thumbnail(16)
    assert picture is not None
    assert picture.cell == (32, 32)
    expected = in_cells(record.weights()[0, 1], 32)
    torch.testing.assert_close(picture.mean[0, 0].double(), expected[0], rtol=5e-4, atol=1e-9)
    torch.testing.assert_close(picture.maximum[0, 0].double(), expected[1], rtol=5e-4, atol=1e-9)
    pyramid.thin(cells=1000)
    assert not pyramid.done
    assert pyramid.thumbnail(4) is not None


def test_many_threads_get_the_same_tiles_while_the_pass_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "SIDE", 32)
    monkeypatch.setattr(tiles, "ON_DEMAND", 2**12)
    torch.manual_seed(0)
    record = observed(400, 400, score=Rotary(), mask=masks.causal())
    torch.manual_seed(0)
    plain = observed(400, 400, score=Rotary(), mask=masks.causal())
    weights = plain.weights()[0, 0]
    asked = Pyramid(record, 0)
    going = threading.Thread(target=asked.pass_over)
    going.start()
    places = [(row, column) for row in range(12) for column in range(12)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: asked.tile(0, *place).mean, places))
    going.join()
    for (row, column), tile in zip(places, found, strict=True):
        torch.testing.assert_close(tile, weights[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32])


def test_what_is_not_there_is_refused():
    record = observed(300, 300)
    with pytest.raises(IndexError, match="no head 2"):
        Pyramid(record, 2)
    pyramid = Pyramid(record, 0)
    with pytest.raises(IndexError, match="no level 2"):
        pyramid.tile(2, 0, 0)
    with pytest.raises(IndexError, match="no tile 2, 0"):
        pyramid.tile(0, 2, 0)
    with pytest.raises(IndexError, match="no tile 0, -1"):
        pyramid.tile(0, 0, -1)


def test_a_pass_that_is_not_wanted_stops():
    pyramid = Pyramid(observed(300, 300), 0)
    with pytest.raises(Stopped):
        pyramid.pass_over(lambda: True)


def test_what_was_asked_for_last_is_done_first_and_what_is_dropped_never():
    background, done, begun, go = Background(), [], threading.Event(), threading.Event()
    background.ask(("one", 0), lambda stop: begun.set() or go.wait(10))
    assert begun.wait(10)  # the rest is asked for while this is being done
    for number in range(3):
        background.ask(("two", number), lambda stop, number=number: done.append(number))
    background.ask(("two", 3), lambda stop: done.append(3), urgent=False)
    background.ask(("three", 0), lambda stop: done.append("dropped"))
    background.ask(("two", 0), lambda stop: done.append(0))
    background.drop("three")
    go.set()
    assert background.wait(10)
    assert done == [0, 2, 1, 3]


def test_what_is_being_done_is_told_to_stop_when_it_is_dropped():
    background, begun, told = Background(), threading.Event(), []

    def work(stop):
        begun.set()
        while not stop():
            pass
        told.append(True)

    background.ask(("scene", 0), work)
    assert begun.wait(10)
    background.drop("scene")
    assert background.wait(10)
    assert told == [True]
