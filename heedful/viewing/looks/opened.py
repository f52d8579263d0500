"""A model that is open to be looked into: what it asks for, and the scene that it makes of that.

Each kind of model is a subclass in a file of its own; `heedful.viewing.looking` knows them all.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention import observe
from heedful.attention.observe import Seen
from heedful.errors import DataError
from heedful.viewing.scene import Scene


@dataclass(frozen=True)
class Ask:
    """A text that a model asks for.

    name: in `Scene.texts`; title: for people; example: in the model's language where that is known
    """

    name: str
    title: str
    optional: bool = False
    example: str = ""


class Opened(ABC):
    """A model that can be looked into.

    model: what was loaded: a `Translator`, say
    network: the module in it that computes, an `nn.Module` of its own kind
    title: for people; task: as model folders name it
    asks: the texts that it reads, in order
    folder_name: of the folder that it was opened from, "" where it was none
    writes: whether it has a search that writes token by token
    """

    model: Any
    network: Any
    title: str
    task: str
    asks: tuple[Ask, ...]
    folder_name: str = ""
    writes: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers were learnt, tied ones once."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def look(self, texts: Mapping[str, str], **options: Any) -> Scene:
        """Pass over texts, by the names of `asks`; options are those of the kind of model.

        Raises DataError for a text that is missing, empty, too long, or not asked for.
        """
        names = [ask.name for ask in self.asks]
        if unknown := [name for name in texts if name not in names]:
            raise DataError(f"This model reads {' and '.join(names)}, there is no {unknown[0]!r} to give it.")
        given = {name: texts.get(name) or "" for name in names}
        for ask in self.asks:
            if not ask.optional and not given[ask.name].strip():
                raise DataError(f"The {ask.name} is empty: there is nothing to look at.")
        return self._look(given, **options)

    @abstractmethod
    def _look(self, texts: dict[str, str], **options: Any) -> Scene:
        """`look`, of texts that are all there; optional ones may be empty."""


@dataclass
class Pass:
    """What a model was called with, and who attended to what meanwhile."""

    seen: Seen
    arguments: tuple[Any, ...] = ()
    calls: int = 0


@contextmanager
def watched(network: nn.Module) -> Iterator[Pass]:
    """Watch a model that others call, as a predictor does: its one call, and what it attended to in it.

    Calls of other threads meanwhile, as for a picture of another text, are not seen.

    Raises DataError if it was called several times, as with a text that is read in several parts.
    """
    here = threading.get_ident()
    with observe(network) as seen:
        noted = Pass(seen)

        def note(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            if threading.get_ident() == here:
                noted.arguments, noted.calls = arguments, noted.calls + 1

        handle = network.register_forward_pre_hook(note)
        try:
            yield noted
        finally:
            handle.remove()
    noted.arguments = tuple(map(_plain, noted.arguments))
    tensors = [each for each in noted.arguments if isinstance(each, Tensor)]
    if noted.calls > 1 or (tensors and len(tensors[0]) > 1):
        raise DataError(
            "The text is longer than this model reads at once, and a picture shows one pass: shorten it."
        )


def _plain(argument: Any) -> Any:
    """Give what a model was called with as gradients can go through it: predictors compute in inference mode."""
    if isinstance(argument, Tensor):
        return argument.clone()
    if is_dataclass(argument) and not isinstance(argument, type):
        return replace(
            argument, **{one.name: _plain(getattr(argument, one.name)) for one in fields(argument)}
        )
    return argument


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The model without dropout, in the types that it has; then as it was before."""
    training = network.training
    network.eval()
    try:
        with torch.autocast(next(network.parameters()).device.type, enabled=False):
            yield
    finally:
        network.train(training)


def run_of(network: nn.Module, scores: Callable[[slice], Tensor]) -> Callable[..., Tensor]:
    """Give the `run` of a scene: `scores` of some rows, computed by the model as it answers."""

    def run(rows: slice = slice(None)) -> Tensor:
        with evaluating(network):
            return scores(rows)

    return run
