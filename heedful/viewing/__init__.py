"""Pictures of what a model attends to."""

from heedful.viewing.terminal import picture

__all__ = ["picture"]
