"""What figures are drawn with: matplotlib, an extra: pip install 'heedful[figures]'."""

from typing import Any

from heedful.errors import HeedfulError


def matplotlib() -> Any:
    """The package. Raises HeedfulError where it is not installed."""
    try:
        import matplotlib.figure
    except ImportError as error:
        raise HeedfulError(
            "Drawing a figure needs the package matplotlib: pip install matplotlib, or heedful's extra [figures]."
        ) from error
    return matplotlib
