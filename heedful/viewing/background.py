"""Work that nobody waits for, one piece at a time in a thread of its own; what was asked for last comes first.

background.ask(("scene", 3), pyramid.pass_over)      # pass_over(stop): it looks at stop() now and then
background.drop("scene")                             # all pieces whose key begins with that
"""

import sys
import traceback
from collections.abc import Callable, Hashable
from threading import Condition, Thread

Key = tuple[Hashable, ...]
Work = Callable[[Callable[[], bool]], None]


class Background:
    """A thread that begins with the first piece of work and ends with the process."""

    def __init__(self) -> None:
        self._waiting: dict[Key, Work] = {}
        self._running: Key | None = None
        self._unwanted: set[Key] = set()
        self._failed: set[Key] = set()
        self._changed = Condition()
        self._thread: Thread | None = None

    def ask(self, key: Key, work: Work, urgent: bool = True) -> None:
        """Have a piece of work done; asked for again while it waits, it moves to the front.

        urgent: before all that waits; otherwise after it
        """
        with self._changed:
            if key == self._running or key in self._failed or (key in self._waiting and not urgent):
                return
            self._waiting.pop(key, None)
            # Dictionaries keep their order: what comes last is taken first.
            self._waiting = self._waiting | {key: work} if urgent else {key: work} | self._waiting
            if self._thread is None:
                self._thread = Thread(target=self._work, name="heedful-background", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drop(self, first: Hashable) -> None:
        """Leave out all pieces whose key begins with `first`; the one that is being done is told to stop."""
        with self._changed:
            self._waiting = {key: work for key, work in self._waiting.items() if key[0] != first}
            self._failed = {key for key in self._failed if key[0] != first}
            if self._running is not None and self._running[0] == first:
                self._unwanted.add(self._running)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do; False if that takes longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and self._running is None, timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                key, work = self._waiting.popitem()
                self._running = key
            try:
                work(lambda key=key: key in self._unwanted)
            except Exception as error:  # noqa: BLE001 -- the thread goes on; what was sampled stays sampled
                if key not in self._unwanted:
                    traceback.print_exception(error, file=sys.stderr)
                    self._failed.add(key)
            with self._changed:
                self._unwanted.discard(key)
                self._running = None
                self._changed.notify_all()
