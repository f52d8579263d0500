"""Trained models laid out for answering, not for learning: the same numbers from less work."""

from heedful.inference.lean import LeanTransformer, Precision, refusal

__all__ = ["LeanTransformer", "Precision", "refusal"]
