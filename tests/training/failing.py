"""A task that fails when it is told to, in whichever process that is."""

import os

from heedful.tasks.translation import Translation

ROWS_THAT_FIT = 3


class Failing(Translation):
    """Translation, with what goes wrong named by files in its folder.

    memory: there is none for more than three pairs at a time; first: only this process knows how to go on
    """

    def loss(self, model, batch, objective):
        if (self.folder / "memory").exists() and len(batch) > ROWS_THAT_FIT:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 TB")
        first = self.folder / "first"
        if first.exists() and first.read_text() != str(os.getpid()):
            raise LookupError("no such row")
        return super().loss(model, batch, objective)
