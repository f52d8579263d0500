"""Batches of like lengths: each epoch has every example once, in an order that seed and epoch tell."""

import numpy as np

from heedful.tasks.shuffled import ShuffledBatches

LENGTHS = np.random.default_rng(0).integers(1, 30, 100)


def epochs(seed: int) -> list[tuple[int, ...]]:
    """The examples of the first two epochs, in order."""
    batches = ShuffledBatches(LENGTHS, 8, seed, lambda rows, epoch: (epoch, rows.tolist()))
    found: list[list[int]] = [[], []]
    for _ in range(26):
        epoch, rows = next(batches)
        found[epoch] += rows
    return [tuple(order) for order in found]


def test_an_epoch_has_each_example_once():
    for order in epochs(0):
        assert sorted(order) == list(range(100))


def test_the_order_is_a_function_of_seed_and_epoch():
    assert epochs(0) == epochs(0)
    assert len({*epochs(0), *epochs(1)}) == 4
