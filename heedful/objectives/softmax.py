"""Softmax of large logits where they stand, in compiled loops: one pass over memory for each row, and no copy."""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from heedful.attention.kernels import compiled

SOURCE = Path(__file__).with_name("softmax.cpp")


def soften(logits: Tensor, reference: Tensor, share: float) -> Tensor | None:
    """Turn logits (rows, classes) into probabilities, in place, less `share` of each row's reference (rows, 1).

    References are int64, and the caller's word is taken that there are such classes. Gives log sum exp of each row in
    float32, (rows, 1). None, and nothing is done, where there are no loops for it: they are for float32 and bfloat16 on
    a CPU; what is rounded is rounded at the end.
    """
    if not compiled.reads(logits) or not logits.is_contiguous() or not logits.numel():
        return None
    if (library := compiled.load(SOURCE)) is None:
        return None
    reference = reference.contiguous()
    normaliser = logits.new_empty(len(logits), 1, dtype=torch.float32)
    library.soften(
        ctypes.c_void_p(logits.data_ptr()),
        ctypes.c_bool(logits.dtype == torch.bfloat16),
        ctypes.c_void_p(reference.data_ptr()),
        ctypes.c_float(share),
        ctypes.c_void_p(normaliser.data_ptr()),
        *(ctypes.c_int64(size) for size in (*logits.shape, torch.get_num_threads())),
    )
    return normaliser
