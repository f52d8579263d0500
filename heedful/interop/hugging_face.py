"""Look inside models of Hugging Face's `transformers`, on their fast path.

    with heedful.observe(model) as seen:      # BERT, GPT-2, Llama, Marian, BART, Whisper, ViT, T5, Gemma, ...
        model(**inputs)                       # no output_attentions, no eager attention
    seen["encoder.layer.0.attention.self"].weights()

The attention of these models asks one registry for the function that computes it, `AttentionInterface.get_interface`
(transformers 5.1 and later). While an observer listens, the registry hands out that function with a listener beside it:
it is called with what the model gives it, so its output is the same bits, and what it was called with is told to the
observer (read by `heedful.interop.attention_functions`).

A model that computes its attention itself cannot be heard, and is refused; so is a compiled one, whose graph asks no
registry. `transformers` is never imported from here: who has one of its models has imported it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.attending import Attending
from heedful.attention.call import Call
from heedful.interop.attention_functions import called


@dataclass(eq=False)
class Ear:
    """The modules that one observer listens to, with their names, and whom to tell; and what there was so far."""

    names: dict[nn.Module, str]
    hear: Callable[[str, Call], None]
    ran: bool = False
    heard: bool = False

    def note(self, *_: Any) -> None:
        """A model ran, in this thread or another."""
        self.ran = self.ran or self in _EARS.get()


# A context variable: what another thread computes with the same model is not heard.
_EARS: ContextVar[tuple[Ear, ...]] = ContextVar("heedful-ears-in-transformers", default=())


@contextmanager
def listening_to_transformers(
    model: nn.Module, hear: Callable[[str, Call], None], wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[None]:
    """Tell `hear(name, call)` each attention of the `transformers` models in `model` whose module's name is wanted.

    Does nothing where there is no such model. Raises ValueError for a model whose attention does not go through the
    attention interface, at the end too if it ran and nothing was heard; for a compiled one; and for a transformers that
    has no such interface.
    """
    transformers = sys.modules.get("transformers.modeling_utils")
    known = () if transformers is None else transformers.PreTrainedModel
    interface: Any = getattr(transformers, "AttentionInterface", None)
    foreign = [module for module in model.modules() if isinstance(module, known)] if known else []
    if known and interface and not foreign:  # a layer of one, or its attention alone
        foreign = [module for module in model.modules() if _asks(module, interface)]
    if not foreign:
        yield
        return
    # Where heedful's own attention is heard, theirs may be missing: a convolutional network that reads images, say.
    alone = not any(isinstance(module, Attending) for module in model.modules())
    _check(foreign[0], model, interface, alone)
    ear = Ear({module: name for name, module in model.named_modules() if wanted(name)}, hear)
    with ExitStack() as stack:
        for module in foreign:
            stack.callback(module.register_forward_hook(ear.note).remove)
        stack.enter_context(_registry.heard(interface))
        token = _EARS.set((*_EARS.get(), ear))
        stack.callback(_EARS.reset, token)
        yield
        if alone and ear.ran and not ear.heard:
            raise ValueError(
                f"{type(foreign[0]).__name__} ran, and nothing was heard: none of the {len(ear.names)} modules "
                f"observed asked the attention interface of transformers; {_own(model, wanted)}. Observe all names to "
                "see which modules do ask it."
            )


def _check(foreign: nn.Module, model: nn.Module, interface: Any, alone: bool) -> None:
    kind = type(foreign).__name__
    if not hasattr(interface, "get_interface"):
        version = getattr(sys.modules.get("transformers"), "__version__", "of unknown version")
        raise ValueError(
            f"To observe {kind}, heedful needs transformers 5.1 or later, got {version}: earlier ones have no one "
            "place that all attention goes through. Use pip install 'heedful[hf]'."
        )
    if any(map(_compiled, model.modules())):
        raise ValueError(
            f"{kind} cannot be observed while it is compiled: nothing inside its graph is heard. Observe and call the "
            "model as it was before torch.compile."
        )
    if alone and not any(_asks(module, interface) for module in model.modules()):
        raise ValueError(
            f"{kind} cannot be observed: {_own(model)}, nothing goes through the attention interface of transformers, "
            "and so there is nothing to be heard."
        )


def _own(model: nn.Module, wanted: Callable[[str], bool] = lambda name: True) -> str:
    """Say which module, the first that is called an attention, computes it with code of its own."""
    for name, module in model.named_modules():
        if wanted(name) and "attention" in type(module).__name__.lower():
            return f"{name!r} ({type(module).__name__}) computes its attention with code of its own"
    return "it has no module that is called an attention"


def _asks(module: nn.Module, interface: type) -> bool:
    """Whether the file that defines this module has the registry at hand."""
    file = sys.modules.get(type(module).__module__)
    return any(isinstance(thing, interface) for thing in vars(file).values()) if file else False


def _compiled(module: nn.Module) -> bool:
    """Whether torch.compile made this module of another, or changed it in place."""
    return "_orig_mod" in module._modules or module._compiled_call_impl is not None


class _Registry:
    """The registry of transformers, changed while anyone listens, in any thread, and then as it was before."""

    def __init__(self) -> None:
        self._lock, self._listeners = Lock(), 0

    @contextmanager
    def heard(self, interface: Any) -> Iterator[None]:
        """Have the registry hand out functions that are heard."""
        with self._lock:
            if self._listeners == 0:
                self._get_interface = interface.get_interface
                interface.get_interface = _heard(self._get_interface)
            self._listeners += 1
        try:
            yield
        finally:
            with self._lock:
                self._listeners -= 1
                if self._listeners == 0:
                    interface.get_interface = self._get_interface


_registry = _Registry()


def _heard(get_interface: Callable[..., Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
    """Give `get_interface` for functions that tell what they are called with."""

    def get_heard(registry: Any, attn_implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        function = get_interface(registry, attn_implementation, default)
        # Some generation compiles for itself: no listener in its graph.
        if torch.compiler.is_compiling() or not _EARS.get():
            return function
        kind = "eager" if function is default else attn_implementation

        def attend(
            module: nn.Module,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attention_mask: Any = None,
            **choices: Any,
        ) -> Any:
            attended = function(module, query, key, value, attention_mask, **choices)
            ears = [ear for ear in _EARS.get() if module in ear.names]
            if ears:
                call = called(kind, module, query, key, value, attention_mask, **choices)
                for ear in ears:
                    ear.heard = True
                    ear.hear(ear.names[module], call)
            return attended

        return attend

    return get_heard
