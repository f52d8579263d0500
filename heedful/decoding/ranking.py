"""The largest values, with equal values in a defined order."""

import torch
from torch import Tensor


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Give the `count` largest of each row (rows, choices) and their indices; among equals the lower first.

    `torch.topk` leaves open which of equal values it gives, and devices differ. Only the order among values
    of -inf, which stand for what is not allowed, is left open here too.
    """
    choices = values.shape[1]
    top, index = values.topk(min(count + 1, choices), dim=-1)
    if choices > count:
        last, next_ = top[:, count - 1], top[:, count]
        if bool(((last == next_) & (last > -torch.inf)).any()):
            top, index = values.sort(dim=-1, descending=True, stable=True)
        top, index = top[:, :count], index[:, :count]
    index = index.sort(dim=-1).values
    top, order = values.gather(1, index).sort(dim=-1, descending=True, stable=True)
    return top, index.gather(1, order)
