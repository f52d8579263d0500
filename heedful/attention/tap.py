"""The tap: where `attend` tells its observers, if there are any, what was attended to.

Without an observer this is one look at a context variable; with one, the observer keeps queries and keys that exist
anyway, so the result of the forward pass is the same bits.
"""

from contextvars import ContextVar
from typing import Protocol

from torch import nn

from heedful.attention.call import Call


class Listener(Protocol):
    """Whoever wants to know what is attended to."""

    def hear(self, call: Call, module: nn.Module | None = None) -> None:
        """Take one call of `attend`, made by this module, or else by the one whose `forward` is running."""
        ...


# A context variable: what another thread attends to is not heard.
LISTENERS: ContextVar[tuple[Listener, ...]] = ContextVar("heedful-attention-listeners", default=())


def report(call: Call, module: nn.Module | None = None) -> None:
    """Tell the listeners."""
    for listener in LISTENERS.get():
        listener.hear(call, module)
