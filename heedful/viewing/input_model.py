"""A scene's model as a function of the vectors that it reads, for gradients and for what-if.

    model = InputModel(scene, output=3)
    score, gradients = model.gradients(model.vectors)         # log-probability of output 3; {axis: (tokens, d_model)}
    model.score({**model.vectors, "source": others})          # had it read these instead

Vectors are met by forward hooks where they leave the modules that `Scene.inputs` names; the model is not changed.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from heedful.errors import HeedfulError
from heedful.text.special import UNKNOWN
from heedful.viewing.scene import Scene

Vectors = dict[str, Tensor]
"""Of each axis, (tokens, d_model)."""

LONGEST = 8192


class InputModel:
    """A scene's model as a function of the vectors that it reads: the log-probability of one output.

    vectors: of each axis as they were read, (tokens, d_model)
    baseline: of each axis those of a text that says nothing; baseline_title: which they are
    """

    def __init__(self, scene: Scene, output: int) -> None:
        # What no map looks at has no axis, and its vectors stay what they are.
        self._inputs = {axis: module for axis, module in scene.inputs.items() if axis in scene.axes}
        if scene.run is None or scene.outputs is None or not self._inputs:
            raise HeedfulError(
                "This model gives no scores to take gradients of, or does not say what it reads."
            )
        taken = scene.outputs[1]
        if not 0 <= output < len(taken):
            raise HeedfulError(f"There is no output {output}: there are {len(taken)}, counted from 0.")
        tokens = sum(len(scene.axes[axis].tokens) for axis in self._inputs)
        if tokens > LONGEST:
            raise HeedfulError(
                f"Gradients of {tokens:,} tokens would take too long here: give a text of at most {LONGEST:,}."
            )
        self.scene, self.output, self.taken, self._run = scene, output, taken[output], scene.run
        self._lengths = {axis: len(scene.axes[axis].tokens) for axis in self._inputs}
        self.vectors = self._read(None)
        if lost := [axis for axis in self._inputs if axis not in self.vectors]:
            raise HeedfulError(
                f"The vectors of {scene.axes[lost[0]].title} did not pass where they were looked for."
            )
        nothing = {module: _nothing(module) for module in self._inputs.values()}
        if None in nothing.values():
            self.baseline = {axis: torch.zeros_like(of) for axis, of in self.vectors.items()}
            self.baseline_title = "vectors of zero"
        else:
            self.baseline = self._read(nothing)
            known = all(token == UNKNOWN for token in nothing.values())
            self.baseline_title = f"the {'unknown' if known else 'padding'} token at every place"

    def score(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """Give the log-probability of the output where these vectors are read, with gradients if they are on."""

        def put(axis: str, given: Tensor) -> Tensor:
            return vectors[axis].to(given.dtype).view(given.shape)

        with self._passing(put):
            scores = self._run(slice(self.output, self.output + 1))
        return scores[0].double().log_softmax(-1)[self.taken]

    def gradients(self, vectors: Mapping[str, Tensor]) -> tuple[float, Vectors]:
        """Give the score and, for each axis, its gradient (tokens, d_model)."""
        # cuDNN has no gradients of recurrent layers outside of training.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            leaves = {axis: of.detach().clone().requires_grad_() for axis, of in vectors.items()}
            score = self.score(leaves)
            found = torch.autograd.grad(score, list(leaves.values()), allow_unused=True)
        pairs = zip(leaves.items(), found, strict=True)
        return float(score.detach()), {
            axis: torch.zeros_like(of) if g is None else g for (axis, of), g in pairs
        }

    def _read(self, tokens: Mapping[nn.Module, int | None] | None) -> Vectors:
        """Give the vectors that are read, or would be if all tokens of a module were this one."""
        found: Vectors = {}
        here = threading.get_ident()

        def keep(axis: str, given: Tensor) -> None:
            found[axis] = given.detach().flatten(0, 1)

        def fill(module: nn.Module, read: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if tokens is None or threading.get_ident() != here:
                return None
            return _filled(read, named, tokens[module])

        with ExitStack() as hooks, torch.no_grad(), self._passing(keep):
            for module in tokens or ():
                hooks.callback(module.register_forward_pre_hook(fill, with_kwargs=True).remove)
            self._run(slice(self.output, self.output + 1))
        return found

    @contextmanager
    def _passing(self, meet: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
        """Meet the vectors of each axis where they are read, and have what is given read in their place."""
        waiting: dict[nn.Module, list[str]] = {}
        for axis, module in self._inputs.items():
            waiting.setdefault(module, []).append(axis)
        here = threading.get_ident()

        def read(module: nn.Module, _: Any, given: Tensor) -> Tensor | None:
            # What another thread computes with the same model is its own affair.
            if threading.get_ident() == here and given.ndim == 3:
                for axis in waiting[module]:
                    # (1, tokens, d_model), or (tokens, 1, d_model)
                    if given.shape[0] * given.shape[1] == self._lengths[axis]:
                        waiting[module].remove(axis)
                        return meet(axis, given)
            return None

        with ExitStack() as hooks:
            for module in list(waiting):
                hooks.callback(module.register_forward_hook(read).remove)
            yield


def _nothing(module: nn.Module) -> int | None:
    """Give the token that says nothing to a module: the unknown one, or padding; None where neither is known."""
    tables = [table for table in module.modules() if isinstance(table, nn.Embedding)]
    # In our vocabularies the unknown token is always the same.
    if tables and type(module).__module__.startswith("heedful."):
        return UNKNOWN
    return next((table.padding_idx for table in tables if table.padding_idx is not None), None)


def _filled(read: tuple[Any, ...], named: dict[str, Any], token: int | None) -> Any:
    """Give the arguments of a call with all its tokens replaced: those come first, or by name."""
    name = next(
        (name for name in ("input_ids", "tokens", "input") if isinstance(named.get(name), Tensor)), None
    )
    if name is not None:
        return read, {**named, name: torch.full_like(named[name], token or 0)}
    return (torch.full_like(read[0], token or 0), *read[1:]), named
