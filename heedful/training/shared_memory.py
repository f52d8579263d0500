"""Tensors in memory that several processes share: the weights of a model, and a gradient of each other worker."""

import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from heedful.errors import TrainingError
from heedful.training.checkpoint import buffers_of

# In bytes: no two tensors share a line of a processor's cache.
_ALIGNMENT = 64


class Memory:
    """The tensors that all workers see, in the memory of a file: by names of parameters and buffers.

    weights, buffers: the first worker's; gradients: of each of the others
    """

    def __init__(self, file: int, model: nn.Module, workers: int) -> None:
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        learnt = {
            name: weights[name] for name, parameter in model.named_parameters() if parameter.requires_grad
        }
        groups = [weights, buffers_of(model), *[learnt] * (workers - 1)]
        self.weights, self.buffers, *self.gradients = _mapped(file, groups)

    def hold_weights_of(self, model: nn.Module) -> None:
        """Let the parameters of a model lie here."""
        for name, parameter in model.named_parameters():
            parameter.data = self.weights[name]


def _mapped(file: int, groups: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Give tensors like those of each group, one after the other in the memory of a file, which may be empty yet."""
    begins: list[int] = []
    size = 0
    for tensor in (tensor for group in groups for tensor in group.values()):
        begins.append(size)
        size += -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT
    if os.fstat(file).st_size == 0:
        _reserve(file, size)
    elif os.fstat(file).st_size != size:
        raise RuntimeError("the model of another worker has other parameters")
    memory = torch.frombuffer(mmap.mmap(file, size), dtype=torch.uint8)
    starts = iter(begins)

    def like(tensor: Tensor) -> Tensor:
        begin = next(starts)
        taken = memory[begin : begin + tensor.numel() * tensor.element_size()]
        return taken.view(tensor.dtype).view(tensor.shape)

    return [{name: like(tensor) for name, tensor in group.items()} for group in groups]


def _reserve(file: int, size: int) -> None:
    """Take the memory now: where it does not suffice, using it later would end the process."""
    os.ftruncate(file, size)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            raise TrainingError(
                f"There is no memory for {size / 2**20:,.0f} MiB that training.workers would share: {error.strerror}. "
                "Take fewer workers, in a new run (--run)."
            ) from error


@contextmanager
def anonymous_file() -> Iterator[int]:
    """Give a file without a name, which is gone with the last process that maps it; in memory where there is such."""
    if hasattr(os, "memfd_create"):
        # Not /dev/shm, which is 64 MiB in a container unless one asks for more.
        file = os.memfd_create("heedful")
    else:
        with tempfile.TemporaryFile() as opened:
            file = os.dup(opened.fileno())
    try:
        yield file
    finally:
        os.close(file)
