"""What an objective gives: sums over the predictions of a batch, so that parts of a batch add up to the whole."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """The sums over the predictions of a batch.

    smoothed: the loss to minimise, with its gradient
    likelihood: the negative log-likelihood in nats, without gradient
    tokens: how many predictions they are over: target tokens, answers, labels
    """

    smoothed: Tensor
    likelihood: Tensor
    tokens: int
