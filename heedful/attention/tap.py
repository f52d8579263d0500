"""The tap: where `attend` tells its observers, if there are any, what was attended to.

Without an observer this is one look at a context variable; with one, the observer keeps references to the queries
and keys that exist anyway, so the result of the forward pass is the same bits.
"""

from contextvars import ContextVar
from typing import Protocol

from torch import Tensor

from heedful.attention.scores import ScaledDot


class Listener(Protocol):
    """Whoever wants to know what is attended to."""

    def hear(self, query: Tensor, key: Tensor, score: ScaledDot, mask: Tensor | None) -> None:
        """Take one call of `attend`."""
        ...


# A context variable: what another thread attends to is not heard.
LISTENERS: ContextVar[tuple[Listener, ...]] = ContextVar("heedful-attention-listeners", default=())


def report(query: Tensor, key: Tensor, score: ScaledDot, mask: Tensor | None) -> None:
    """Tell the listeners."""
    for listener in LISTENERS.get():
        listener.hear(query, key, score, mask)
