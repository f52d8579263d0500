"""Dropout that is cheap on a CPU: one random byte for each element.

PyTorch draws a Bernoulli variable for each element, 4.7 ms per million on the machine of benchmarks/RESULTS.md, which
is a tenth of a small model's training step. Here eight elements share one 64-bit draw. The probability is thereby a
multiple of 1/256 (0.1 becomes 26/256 = 0.1016; the largest is 255/256), and the scale is that of the true probability,
so that the expected value is kept exactly. Where there is a compiler, what is dropped and added to a residual stream is
one pass over memory, with the same draws.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.kernels import compiled

SOURCE = Path(__file__).with_name("dropout.cpp")


class Dropout(nn.Module):
    """Set each element to zero with the probability given, in training, and scale the others by 1 / (1 - p)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"A dropout probability is in [0, 1), got {probability}.")
        self.probability = probability

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x of any shape -> the same shape and type; added to a residual of that shape, where there is one."""
        if not self.training or self.probability == 0:
            return x if residual is None else residual + x
        if x.device.type != "cpu":
            left = nn.functional.dropout(x, self.probability)
        else:
            dropped = min(round(self.probability * 256), 255)
            if dropped and (library := _loops(x, residual)) is not None:
                kind = x.dtype if residual is None else residual.dtype
                return _Dropped.apply(library, x, residual, draw(x.numel()), dropped, kind)
            left = x * keep_mask(x, dropped)
        return left if residual is None else residual + left

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{self.probability}"


def draw(count: int) -> Tensor:
    """Give so many random bytes."""
    # The full range of 64 bits: a plain random_() leaves the highest bit zero, and every eighth byte would be small.
    draws = torch.empty((count + 7) // 8, dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
    return draws.view(torch.uint8)[:count]


def keep_mask(x: Tensor, dropped: int) -> Tensor:
    """Give the factors 0 (with probability dropped / 256) and 256 / (256 - dropped), in the shape and type of x."""
    if dropped == 0:
        return torch.ones_like(x)
    return (draw(x.numel()).view(x.shape) >= dropped).to(x.dtype).mul_(256 / (256 - dropped))


def _loops(x: Tensor, residual: Tensor | None) -> ctypes.CDLL | None:
    """Give the loop, if it can be had here; it reads numbers that lie side by side, and gives what a residual is of."""
    tensors = (x,) if residual is None else (x, residual)
    fits = (
        compiled.reads(*tensors)
        and all(y.is_contiguous() and y.shape == x.shape for y in tensors)
        and (residual is None or torch.promote_types(x.dtype, residual.dtype) == residual.dtype)
    )
    return compiled.load(SOURCE) if fits else None


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        library: ctypes.CDLL,
        x: Tensor,
        residual: Tensor | None,
        draws: Tensor,
        dropped: int,
        kind: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(draws)
        ctx.library, ctx.dropped, ctx.added, ctx.kind = library, dropped, residual is not None, x.dtype
        return _drop(library, x, residual, draws, dropped, kind)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        (draws,) = ctx.saved_tensors
        # Where someone wants gradients of gradients, they are dropped alike.
        again = _Dropped.apply if torch.is_grad_enabled() else _drop
        of_x = again(ctx.library, upstream[0].contiguous(), None, draws, ctx.dropped, ctx.kind)
        return None, of_x, upstream[0] if ctx.added else None, None, None, None


def _drop(
    library: ctypes.CDLL, x: Tensor, residual: Tensor | None, draws: Tensor, dropped: int, kind: torch.dtype
) -> Tensor:
    left = torch.empty_like(x, dtype=kind)
    library.drop(
        None if residual is None else ctypes.c_void_p(residual.data_ptr()),
        ctypes.c_void_p(x.data_ptr()),
        ctypes.c_bool(x.dtype == torch.bfloat16),
        ctypes.c_void_p(draws.data_ptr()),
        ctypes.c_int32(dropped),
        ctypes.c_float(256 / (256 - dropped)),
        ctypes.c_void_p(left.data_ptr()),
        ctypes.c_bool(kind == torch.bfloat16),
        ctypes.c_int64(x.numel()),
        ctypes.c_int64(torch.get_num_threads()),
    )
    return left
