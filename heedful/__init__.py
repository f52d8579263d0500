"""heedful trains, runs and looks inside attention models, on your own data, on the machine you have."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from heedful.attention import attend, observe
    from heedful.tasks import load
    from heedful.viewing.notebook import view

__all__ = ["__version__", "attend", "load", "observe", "view"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch only when it is asked for, so that `heedful --help` answers at once."""
    if name in ("attend", "observe"):
        import heedful.attention
        import heedful.interop  # whose models `observe` hears too

        return getattr(heedful.attention, name)
    if name == "load":
        import heedful.tasks

        return heedful.tasks.load
    if name == "view":
        import heedful.viewing.notebook

        return heedful.viewing.notebook.view
    raise AttributeError(f"module 'heedful' has no attribute {name!r}")
