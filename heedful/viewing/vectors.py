"""The vectors of every layer of a scene: how those of a word move with what stands around it.

    layer_vectors(scene, "text")          # [(tokens, d_model)] of what layer 1 reads, and of what each layer gives

A scene knows which modules attend. What stands around one of them alone, its self-attention with a feed-forward network
and the sums between them, is a layer: of all modules that run, the outermost that has the self-attention of one layer
within it and that of no other. So it works for every stack, ours and those of `transformers`.
"""

import threading
from typing import Any

import torch
from torch import Tensor, nn

from heedful.viewing.scene import Scene


def layer_vectors(scene: Scene, axis: str) -> list[Tensor]:
    """Give the vectors (tokens, d_model) that the first layer of an axis reads, and those that each layer gives.

    None, [], where the model is not made of layers that attend to their own axis, or cannot be run again. The last norm
    of a pre-norm stack, which stands after its last layer, is not among them.
    """
    maps = [
        one
        for one in scene.maps
        if one.group in ("encoder", "decoder") and scene_stream(scene, one.queries) == axis
    ]
    modules = {one.module: one.layer for one in maps if one.module is not None}
    length = len(scene.axes[axis].tokens)
    if scene.run is None or not maps or len(modules) != len(maps):
        return []
    read: dict[int, Tensor] = {}
    given: dict[int, Tensor] = {}
    layers_of: dict[nn.Module, int | None] = {}
    here = threading.get_ident()

    def layer_of(module: nn.Module) -> int | None:
        if module not in layers_of:
            inside = {modules[one] for one in module.modules() if one in modules}
            layers_of[module] = inside.pop() if len(inside) == 1 and module not in modules else None
        return layers_of[module]

    def before(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if threading.get_ident() == here and arguments and (layer := layer_of(module)) is not None:
            vectors = _vectors(arguments[0], length)
            if vectors is not None:
                read.setdefault(layer, vectors)  # the outermost begins first

    def after(module: nn.Module, _: Any, output: Any) -> None:
        if threading.get_ident() == here and (layer := layer_of(module)) is not None:
            vectors = _vectors(output, length)
            if vectors is not None:
                given[layer] = vectors  # the outermost ends last

    # A scene does not have the whole model: every module that runs is looked at.
    hooks = (
        nn.modules.module.register_module_forward_pre_hook(before),
        nn.modules.module.register_module_forward_hook(after),
    )
    try:
        with torch.no_grad():
            scene.run(slice(0, 1))
    finally:
        for hook in hooks:
            hook.remove()
    layers = sorted(modules.values())
    if layers[0] not in read or any(layer not in given for layer in layers):
        return []
    return [read[layers[0]], *(given[layer] for layer in layers)]


def scene_stream(scene: Scene, axis: str) -> str:
    """Give the axis by which vectors are called: a decoder's positions read one token and predict another."""
    return "read" if axis == "target" and "read" in scene.axes else axis


def _vectors(thing: Any, length: int) -> Tensor | None:
    """Give the vectors (length, d_model) in what a module is given or gives, if they are there."""
    if isinstance(thing, tuple | list) and thing:
        thing = thing[0]
    if isinstance(thing, Tensor) and thing.ndim == 3 and thing.shape[:2] == (1, length):
        return thing[0].detach()
    return None
