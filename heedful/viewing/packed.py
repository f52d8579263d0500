"""Numbers on their way to the page: a line of JSON about them, then the arrays themselves, as a processor has them.

    4 bytes       length of the JSON, little-endian
    JSON          {"arrays": {"weights": {"type": "float32", "shape": [2, 3], "start": 0}}, ...whatever else is told}
    arrays        little-endian, each beginning at a multiple of 8 bytes, counted from the end of the JSON

The JSON is filled up with spaces to a multiple of 8 bytes with its length, so that the page can look at arrays where
they lie. `page/packed.js` reads it.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

TYPES = ("float32", "float16", "uint8", "uint16", "int32", "uint32")
_ALIGNED = 8


def pack(told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Pack arrays, and what is told of them, into bytes.

    told: JSON's types; "arrays" is taken. Raises ValueError for an array of another type than TYPES.
    """
    parts: list[bytes] = []
    index: dict[str, Any] = {}
    start = 0
    for name, array in arrays.items():
        if array.dtype.name not in TYPES:
            raise ValueError(
                f"{name!r} has type {array.dtype.name}; what is packed has one of {', '.join(TYPES)}."
            )
        content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        index[name] = {"type": array.dtype.name, "shape": list(array.shape), "start": start}
        content += bytes(-len(content) % _ALIGNED)
        parts.append(content)
        start += len(content)
    head = json.dumps({**told, "arrays": index}, ensure_ascii=False, allow_nan=False).encode()
    head += b" " * (-(len(head) + 4) % _ALIGNED)
    return b"".join((len(head).to_bytes(4, "little"), head, *parts))
