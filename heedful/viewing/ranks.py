"""Whether lists of numbers put the same things first: rank correlations, with ties.

    spearman   Pearson's correlation of the ranks; equal numbers share the mean of theirs
    kendall    tau-b = (C - D) / sqrt((N - T_a) (N - T_b)): of all N pairs of things C stand in the same order in both
               lists and D in the opposite one; T_a and T_b are the pairs that are equal in one list (Kendall 1945)

1: the same order, -1: the opposite, 0: neither. Of a list whose numbers are all equal there is none: NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Every pair is looked at for Kendall's: of more things than this, so many are taken, evenly.
PAIRED = 512


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Give the ranks, from 1, of numbers (..., things); equal ones share their mean.

    >>> ranks([30, 10, 20, 10])
    array([4. , 1.5, 3. , 1.5])
    """
    numbers = np.asarray(values, np.float64)
    rows = numbers.reshape(-1, numbers.shape[-1])
    found = np.empty_like(rows)
    for row, into in zip(rows, found, strict=True):
        _, group, counts = np.unique(row, return_inverse=True, return_counts=True)
        last = counts.cumsum()
        into[:] = (last - (counts - 1) / 2)[group]
    return found.reshape(numbers.shape)


def spearman(lists: ArrayLike) -> NDArray[np.float64]:
    """Give the correlations of the ranks of several lists (lists, things) with each other, (lists, lists).

    >>> spearman([[1, 2, 3, 4], [10, 20, 40, 30]])[0, 1].round(2)
    np.float64(0.8)
    """
    placed = ranks(lists)
    return _cosines(placed - placed.mean(-1, keepdims=True))


def kendall(lists: ArrayLike) -> NDArray[np.float64]:
    """Give tau-b of several lists (lists, things) with each other, (lists, lists); of `PAIRED` things at most.

    >>> kendall([[1, 2, 3, 4], [10, 20, 40, 30]])[0, 1].round(3)
    np.float64(0.667)
    """
    numbers = np.asarray(lists, np.float64)
    if numbers.shape[-1] > PAIRED:
        numbers = numbers[:, np.linspace(0, numbers.shape[-1] - 1, PAIRED).round().astype(int)]
    # Whether i stands after, with or before j, for all pairs: products of these are pairs in the same order.
    orders = np.sign(numbers[:, :, None] - numbers[:, None, :]).astype(np.float32)
    return _cosines(orders.reshape(len(numbers), -1))


def _cosines(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    products = (rows @ rows.T).astype(np.float64)
    lengths = np.sqrt(products.diagonal())
    lengths = np.where(lengths > 0, lengths, np.nan)
    return np.clip(products / np.outer(lengths, lengths), -1.0, 1.0)
