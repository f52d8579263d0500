"""The compiled loops of `lean.cpp`, and what they take, field by field as it stands there."""

import ctypes
from pathlib import Path

from heedful.attention.kernels import compiled

SOURCE = Path(__file__).with_name("lean.cpp")

_NUMBERS = _IDS = _BYTES = ctypes.c_void_p
Size = ctypes.c_int64


class Projection(ctypes.Structure):
    """A packed matrix and its bias, or null."""

    _fields_ = (("packed", _BYTES), ("bias", _NUMBERS), ("outs", Size), ("ins", Size))


class Norm(ctypes.Structure):
    """Weight and bias of a normalisation; no bias is RMSNorm."""

    _fields_ = (("weight", _NUMBERS), ("bias", _NUMBERS))


class Layer(ctypes.Structure):
    """One layer of either stack; an encoder's has no cross-attention."""

    _fields_ = (
        *((name, Projection) for name in ("self_in", "self_out", "cross_query", "cross_memory", "cross_out")),
        *((name, Projection) for name in ("inner", "outer")),
        *((name, Norm) for name in ("self_norm", "cross_norm", "feed_forward_norm")),
    )


class Stack(ctypes.Structure):
    """Layers and what they share."""

    _fields_ = (
        ("layers", ctypes.POINTER(Layer)),
        *((name, Size) for name in ("count", "d_model", "heads", "kv_heads", "d_head", "d_ff", "pre")),
        ("activation", Size),
        ("last", Norm),
        ("nearby", _NUMBERS),
        ("reach", Size),
        ("turns", _NUMBERS),
    )


class Embedding(ctypes.Structure):
    """Vectors of tokens and of positions."""

    _fields_ = (("table", _NUMBERS), ("positions", _NUMBERS), ("scale", ctypes.c_float))


class Model(ctypes.Structure):
    """The whole."""

    _fields_ = (
        ("source", Embedding),
        ("target", Embedding),
        ("encoder", Stack),
        ("decoder", Stack),
        ("output", Projection),
        ("precision", Size),
        ("epsilon", ctypes.c_float),
    )


class TextModel(ctypes.Structure):
    """A stack that reads texts without a source."""

    _fields_ = (
        ("embedding", Embedding),
        ("stack", Stack),
        ("output", Projection),
        ("precision", Size),
        ("epsilon", ctypes.c_float),
    )


class Texts(ctypes.Structure):
    """What was read of texts."""

    _fields_ = (
        ("numbers", ctypes.c_void_p),
        *((name, Size) for name in ("capacity", "first", "kept", "position")),
    )


class Memory(ctypes.Structure):
    """Keys and values of the sentences of a batch."""

    _fields_ = (("numbers", _NUMBERS), ("layer_stride", Size), ("starts", _IDS), ("lengths", _IDS))


class Past(ctypes.Structure):
    """What hypotheses said."""

    _fields_ = (
        ("blocks", ctypes.c_void_p),
        ("block_rows", _IDS),
        ("ancestors", _IDS),
        ("stride", Size),
        ("position", Size),
    )


class Among(ctypes.Structure):
    """Outputs that each sentence has for itself, their ids, and which are banned."""

    _fields_ = (("outputs", ctypes.POINTER(Projection)), ("ids", _IDS), ("banned", _BYTES))


def refusal() -> str | None:
    """Say why there are no compiled loops here, or None."""
    return compiled.refusal(SOURCE)


def load() -> ctypes.CDLL | None:
    """Give the loops, compiled now or before; None where that cannot be, as `refusal` then says."""
    library = compiled.load(SOURCE)
    if library is not None:
        pointer = ctypes.c_void_p
        library.lanes.restype = library.packed_size.restype = Size
        library.packed_size.argtypes = (Size, Size, Size)
        library.pack_matrix.argtypes = (pointer, Size, Size, Size, pointer)
        library.pack_rows.argtypes = (pointer, pointer, Size, Size, Size, pointer)
        library.encode.argtypes = (pointer, pointer, pointer, Size, pointer)
        library.step.argtypes = (pointer, pointer, Size, pointer, pointer, pointer, pointer)
        library.read_texts.argtypes = (pointer, pointer, Size, Size, pointer, pointer)
        library.outputs.argtypes = (pointer, Size, pointer, Size, pointer)
        library.logits.argtypes = (pointer, pointer, Size, pointer)
        library.best.argtypes = (pointer, Size, pointer, Size, Size, pointer, pointer, pointer)
        library.best_among.argtypes = (pointer, Size, pointer, Size, pointer, Size, pointer, pointer)
        library.greedy.argtypes = (
            *(pointer, pointer, pointer, pointer, Size),
            *(Size, Size, pointer, Size, pointer, pointer),
            *(Size, pointer, pointer, pointer),
        )
    return library
