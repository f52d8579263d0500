"""Softmax of large logits where they stand, in compiled loops: one pass over memory for each row, and no copy."""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from heedful.attention.kernels import compiled

SOURCE = Path(__file__).with_name("softmax.cpp")


def soften(logits: Tensor) -> Tensor | None:
    """Turn logits (rows, classes) into probabilities, in place, and give log sum exp of each row, (rows, 1).

    None, and nothing is done, where there are no loops for it: they are for float32 on a CPU.
    """
    if not compiled.reads(logits) or not logits.is_contiguous() or not logits.numel():
        return None
    if (library := compiled.load(SOURCE)) is None:
        return None
    normaliser = logits.new_empty(len(logits), 1)
    library.soften(
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in (logits, normaliser)),
        *(ctypes.c_int64(size) for size in (*logits.shape, torch.get_num_threads())),
    )
    return normaliser
