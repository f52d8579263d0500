"""Look inside: see what every attention module attended to, without slowing it down.

    with observe(model) as seen:
        model(source, target)
    record = seen["decoder.layers.2.cross_attention"]
    record.weights(rows=slice(0, 8))     # exact softmax weights, computed when asked for
    record.entropy()                     # and what can be told of them without the matrix

A record keeps queries, keys and the mask, not the queries x keys weights: memory linear in length. The forward pass
stays on its fast kernel and gives the same bits with and without an observer. Weights are those before dropout.
Observers may be nested; each sees all. What other threads do with the same model meanwhile is not seen.

In decoding a module is called once for each step, with one query: the row of weights is kept instead of all the keys
that it was made of, and `seen.joined(name)` puts the rows together again.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention import tap
from heedful.attention.attending import Attending
from heedful.attention.call import Call
from heedful.attention.matrix import Joined, Matrix, Written
from heedful.attention.recomputed import Recomputed
from heedful.attention.record import Record

# A record may keep so many bytes alive that are not its own.
KEPT_ALONG = 2**23

Hear = Callable[[str, Call], None]
Source = Callable[[nn.Module, Hear, Callable[[str], bool]], AbstractContextManager[Any]]

SOURCES: list[Source] = []
"""Others who hear models attend: `heedful.interop` adds those of libraries that do not call `attend`.

Each is called with the model, with whom to tell each call and the name of the module that makes it, and with which
names are wanted; it listens while the context that it gives is open.
"""


class Seen:
    """What was seen: the records of every attention module, by the module's name in the model."""

    def __init__(self, names: dict[nn.Module, str] | None = None, elsewhere: str | None = None) -> None:
        self._records: dict[str, list[Record]] = {}
        self._names = names or {}
        # Under which name to keep what no module of these made; None: not at all.
        self._elsewhere = elsewhere
        self._inside: list[str] = []

    def hear(self, call: Call, module: nn.Module | None = None) -> None:
        """Keep one call of `attend` under the name of the module that made it."""
        if module is not None:
            name = self._names.get(module, self._elsewhere)
        else:
            name = self._inside[-1] if self._inside else self._elsewhere
        if name is not None:
            self.keep(name, call)

    def keep(self, name: str, call: Call) -> None:
        """Keep one call as a record of `name`."""
        # Outside of inference mode, in which tensors are made that cannot be added to later.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(call.query.device.type, enabled=False),
        ):
            matrix: Matrix = Recomputed(_kept(call))
            if call.query.shape[2] == 1:
                matrix = Written.of(matrix)
        self._records.setdefault(name, []).append(Record(matrix))

    def enter(self, name: str) -> None:
        """A module begins: what is heard from now on is its own."""
        self._inside.append(name)

    def leave(self, name: str) -> None:
        """The innermost module ends, if it is this one: a module that failed before it began ends without beginning."""
        if self._inside[-1:] == [name]:
            self._inside.pop()

    def clear(self) -> None:
        """Forget what was seen so far (between two steps of decoding, say)."""
        self._records.clear()

    def __getitem__(self, name: str) -> Record:
        """Give the last record of the module `name`."""
        return self.calls(name)[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def calls(self, name: str) -> list[Record]:
        """Give the record of every call of the module `name`, in order: one for each step of decoding.

        Raises KeyError for a name under which nothing was seen.
        """
        if name not in self._records:
            raise KeyError(
                f"No attention was seen in {name!r}; it was seen in: {', '.join(self._records) or 'none'}."
            )
        return self._records[name]

    def joined(self, name: str, calls: slice = slice(None)) -> Record:
        """Give the calls of the module `name`, or some of them, as one record: the steps of decoding as one matrix.

        Its queries are those of the calls, one after the other, its keys those of the last; keys that a call did not
        have yet have a weight of 0. Rows of the batch stay what they were in each call: hypotheses that a beam search
        put in another order between two steps are not followed. Raises ValueError for calls that are not of one
        sequence, because batch or heads differ or keys were lost, and KeyError as `calls` does.
        """
        matrices: list[Matrix] = []
        for step, run in groupby((record.matrix for record in self.calls(name)[calls]), _is_step):
            # Steps are written down together: a pass over them takes a few large blocks, not one for each.
            one_kind = list(run)
            matrices += [Written.of(Joined(one_kind))] if step else one_kind
        if not matrices:
            raise ValueError(
                f"There are no such calls of {name!r}: it was called {len(self.calls(name))} times."
            )
        return Record(matrices[0] if len(matrices) == 1 else Joined(matrices))


@contextmanager
def observe(model: nn.Module | None = None, names: str | Iterable[str] = "") -> Iterator[Seen]:
    """Watch who attends to what in `model`, while the context is open.

    model: its modules that attend are recorded by name. Without a model every call of `attend` is recorded, wherever
        it comes from, under the name "".
    names: only modules whose name contains this, or matches it if it is a pattern ("decoder.*.cross_attention"); or
        several names or patterns, each of a whole name

    Gives what is seen. Raises ValueError for names that no module has.
    """
    wanted = _wanted(names)
    attending: dict[nn.Module, str] = {}
    if model is not None:
        every = dict(model.named_modules())
        if names and not any(map(wanted, every)):
            has = [name for name, module in every.items() if isinstance(module, Attending)] or list(every)
            raise ValueError(f"No module of the model is called {names!r}; there are {', '.join(has)}.")
        attending = {
            module: name for name, module in every.items() if isinstance(module, Attending) and wanted(name)
        }
    seen = Seen(attending, elsewhere="" if model is None else None)

    def tell(what: Callable[[str], None], name: str) -> None:
        if seen in tap.LISTENERS.get():  # not in another thread
            what(name)

    with ExitStack() as stack:
        for module, name in attending.items():
            enter = module.register_forward_pre_hook(lambda *_, name=name: tell(seen.enter, name))
            stack.callback(enter.remove)
            leave = module.register_forward_hook(
                lambda *_, name=name: tell(seen.leave, name), always_call=True
            )
            stack.callback(leave.remove)
        if model is not None:
            for source in SOURCES:
                stack.enter_context(source(model, seen.keep, wanted))
        token = tap.LISTENERS.set((*tap.LISTENERS.get(), seen))
        stack.callback(tap.LISTENERS.reset, token)
        yield seen


def _wanted(names: str | Iterable[str]) -> Callable[[str], bool]:
    """Give whether a name is wanted."""
    if not isinstance(names, str):
        patterns = list(names)
        return lambda name: any(fnmatchcase(name, pattern) for pattern in patterns)
    if any(sign in names for sign in "*?["):
        return lambda name: fnmatchcase(name, names)
    return lambda name: names in name


def _is_step(matrix: Matrix) -> bool:
    return isinstance(matrix, Written)


def _kept(call: Call) -> Call:
    """Give a call as it is kept: without values, without graph, and holding no more memory than its own."""
    score = _without_graph(call.score)
    if score.modifiers:
        score = copy.copy(score)
        score.modifiers = tuple(map(_without_graph, score.modifiers))
    query, key = _compact(call.query), _compact(call.key)
    return replace(call, query=query, key=key, value=key[..., :0], score=score)


def _compact(tensor: Tensor) -> Tensor:
    """Give a tensor without graph; a part of a much larger one is copied.

    Queries, keys and values are often made in one product: what refers to the queries then keeps all three. For short
    texts that is cheaper than a copy, for long ones memory counts.
    """
    tensor = tensor.detach()
    others = tensor.untyped_storage().nbytes() - tensor.numel() * tensor.element_size()
    return tensor.clone(memory_format=torch.contiguous_format) if others > KEPT_ALONG else tensor


def _without_graph(thing: Any) -> Any:
    """Give a score or modifier whose tensors have no graph; parameters stay those that they are."""
    own = {
        name: tensor.detach()
        for name, tensor in vars(thing).items()
        if isinstance(tensor, Tensor) and tensor.grad_fn is not None
    }
    if not own:
        return thing
    thing = copy.copy(thing)
    vars(thing).update(own)
    return thing
