"""Trained models laid out for answering, not for learning: the same numbers from less work."""

from heedful.inference.layout import Precision
from heedful.inference.lean import LeanTransformer, refusal
from heedful.inference.lean_text import LeanText, text_refusal

__all__ = ["LeanText", "LeanTransformer", "Precision", "refusal", "text_refusal"]
