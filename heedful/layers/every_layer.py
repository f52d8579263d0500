"""The vectors of every layer of a stack, while it runs.

    with every_layer(model.encoder) as vectors:
        model(tokens)
    vectors[0], vectors[8]               # what the first layer read, what the eighth gave

A tap: outside the context nothing is kept, so that training and searching cost what they cost without it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from heedful.layers.transformer_layer import TransformerStack


@contextmanager
def every_layer(stack: TransformerStack) -> Iterator[list[Tensor]]:
    """Give a list that each run of the stack fills anew: layers + 1 tensors (batch, length, d_model).

    The first is what the stack read (embeddings, with positions where they are added); the last what it gave, after the
    last norm of pre-norm. Those between are the sums that go from layer to layer, as `output_hidden_states` of
    `transformers` numbers them.
    """
    vectors: list[Tensor] = []

    def begin(_stack: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        vectors[:] = [positional[0] if positional else named["x"]]

    def add(_layer: nn.Module, _read: Any, given: tuple[Tensor, Any]) -> None:
        vectors.append(given[0])

    def end(_stack: nn.Module, _read: Any, given: tuple[Tensor, Any]) -> None:
        vectors[-1] = given[0]

    with ExitStack() as hooks:
        hooks.callback(stack.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for layer in stack.layers:
            hooks.callback(layer.register_forward_hook(add).remove)
        hooks.callback(stack.register_forward_hook(end).remove)
        yield vectors
