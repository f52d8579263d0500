"""Averages of weights, which score better than the last weights themselves.

- `ema`: avg <- decay * avg + (1 - decay) * weights after every step; the decay is smaller in the first steps,
  min(decay, (1 + step) / (10 + step)), so that the random start is soon forgotten.
- `checkpoints`: the mean of the weights at the last n validations (Vaswani et al. 2017, section 6.1: the last 5 or
  20).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn


class MovingAverage:
    """The exponential moving average of a model's parameters."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.parameters = parameters
        self.average = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after `step` in."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [parameter.detach() for parameter in self.parameters.values()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]


@torch.no_grad()
def mean_of_checkpoints(files: Sequence[Path], prefix: str) -> dict[str, Tensor]:
    """Give the mean of the tensors called `prefix` + name in safetensors files, one file in memory at a time."""
    total: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - a safetensors handle is not a mapping
                if name.startswith(prefix):
                    tensor = opened.get_tensor(name).double() / len(files)
                    short = name.removeprefix(prefix)
                    total[short] = total[short] + tensor if short in total else tensor
    return {name: tensor.float() for name, tensor in total.items()}


@contextmanager
def weights_of(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Give the parameters other values for a while; None leaves them as they are."""
    if values is None:
        yield
        return
    own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        _assign(parameters, values)
        yield
    finally:
        _assign(parameters, own)


@torch.no_grad()
def _assign(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
