"""Calls of attention with all that they were made with, values too, which observers do not keep.

    calls = whole_calls(scene, scene.maps[3])

The scene is run once more, and only one of its modules is listened to. What was heard last stays at hand as long as the
scene does: whoever goes from query to query does not pay for a pass each time.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import nn

from heedful.attention import tap
from heedful.attention.call import Call
from heedful.attention.observe import SOURCES
from heedful.viewing.scene import AttentionMap, Run, Scene

_HEARD: WeakKeyDictionary[Scene, tuple[str, list[Call]]] = WeakKeyDictionary()
_LOCK = threading.Lock()


def whole_calls(scene: Scene, map: AttentionMap) -> Sequence[Call]:
    """Give the calls that the module of a map makes in one pass, in order; none where it cannot be run again."""
    if map.module is None or scene.run is None:
        return []
    with _LOCK:
        name, calls = _HEARD.get(scene, ("", []))
        if name != map.name:
            calls = _listened(map.module, scene.run)
            _HEARD[scene] = map.name, calls
    return calls


def _listened(module: nn.Module, run: Run) -> list[Call]:
    listener = _Listener(module)
    with torch.no_grad(), listener.listening():
        run(slice(0, 1))  # the scores of all outputs of a long text are large, and not wanted
    return listener.calls


class _Listener:
    """Keeps every call that one module makes."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.calls, self._inside = module, list[Call](), 0

    def hear(self, call: Call, module: nn.Module | None = None) -> None:
        if module is self.module or (module is None and self._inside):
            self.keep("", call)

    def keep(self, name: str, call: Call) -> None:
        self.calls.append(
            replace(call, query=call.query.detach(), key=call.key.detach(), value=call.value.detach())
        )

    @contextmanager
    def listening(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.callback(self.module.register_forward_pre_hook(lambda *_: self._step(1)).remove)
            leave = self.module.register_forward_hook(lambda *_: self._step(-1), always_call=True)
            stack.callback(leave.remove)
            for source in SOURCES:
                stack.enter_context(source(self.module, self.keep, lambda name: True))
            token = tap.LISTENERS.set((*tap.LISTENERS.get(), self))
            stack.callback(tap.LISTENERS.reset, token)
            yield

    def _step(self, by: int) -> None:
        if self in tap.LISTENERS.get():  # not in another thread
            self._inside = max(0, self._inside + by)
