"""What models are for: a task reads raw input, asks the model and gives an answer that a person can read.

Names are imported when they are asked for, so that `heedful --help` need not load PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heedful.tasks.alignment import AlignmentSettings, AttentionMap
    from heedful.tasks.answer import Answer, Candidate, Remarks
    from heedful.tasks.registry import load
    from heedful.tasks.translation import Translation, TranslationSettings
    from heedful.tasks.translation_folder import ModelParts, load_parts, save
    from heedful.tasks.translator import Translator

_HOME = {
    "AlignmentSettings": "alignment",
    "Answer": "answer",
    "AttentionMap": "alignment",
    "Candidate": "answer",
    "ModelParts": "translation_folder",
    "Remarks": "answer",
    "Translation": "translation",
    "TranslationSettings": "translation",
    "Translator": "translator",
    "load": "registry",
    "load_parts": "translation_folder",
    "save": "translation_folder",
}

__all__ = [
    "AlignmentSettings",
    "Answer",
    "AttentionMap",
    "Candidate",
    "ModelParts",
    "Remarks",
    "Translation",
    "TranslationSettings",
    "Translator",
    "load",
    "load_parts",
    "save",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"heedful.tasks.{_HOME[name]}"), name)
    raise AttributeError(f"module 'heedful.tasks' has no attribute {name!r}")
