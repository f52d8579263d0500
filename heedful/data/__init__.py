"""Parallel text: where it comes from, what is wrong with it, and how it becomes batches.

Names are imported when they are asked for, so that settings can be read without loading PyTorch or Arrow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heedful.data.batching import Batch, Batches, BatchSettings
    from heedful.data.check import CheckSettings, Report, check_corpora, checked_pairs
    from heedful.data.corpus import CorpusSettings, read_lines, read_pairs
    from heedful.data.named import NamedData, list_names, resolve
    from heedful.data.store import PairStore

_HOME = {
    "Batch": "batching",
    "BatchSettings": "batching",
    "Batches": "batching",
    "CheckSettings": "check",
    "CorpusSettings": "corpus",
    "NamedData": "named",
    "PairStore": "store",
    "Report": "check",
    "check_corpora": "check",
    "checked_pairs": "check",
    "list_names": "named",
    "read_lines": "corpus",
    "read_pairs": "corpus",
    "resolve": "named",
}

__all__ = [
    "Batch",
    "BatchSettings",
    "Batches",
    "CheckSettings",
    "CorpusSettings",
    "NamedData",
    "PairStore",
    "Report",
    "check_corpora",
    "checked_pairs",
    "list_names",
    "read_lines",
    "read_pairs",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"heedful.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'heedful.data' has no attribute {name!r}")
