"""Numbers as the page would read them, for tests: what `heedful.viewing.packed` wrote."""

import json
import math
from typing import Any

import numpy as np


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Give what is told, and the arrays by name."""
    length = int.from_bytes(content[:4], "little")
    told = json.loads(content[4 : 4 + length])
    arrays = {}
    for name, of in told.pop("arrays").items():
        kind = np.dtype(of["type"]).newbyteorder("<")
        arrays[name] = np.frombuffer(content, kind, math.prod(of["shape"]), 4 + length + of["start"]).reshape(
            of["shape"]
        )
    return told, arrays
