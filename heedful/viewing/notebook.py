"""The page in a notebook, or opened from Python: `heedful.view(model, "A man rides a horse.")`.

It is a saved page (`heedful.viewing.saved`): it stays in the notebook when that is saved, and needs no server.
"""

import html
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from heedful import durable
from heedful.errors import DataError, HeedfulError
from heedful.viewing.looking import opened
from heedful.viewing.saved import SavedPage, page
from heedful.viewing.studio import Studio

HEIGHT = 760
"""Of the page in a notebook, in pixels."""


class Page:
    """A page of one text, or of two side by side; in a notebook it shows itself."""

    def __init__(self, made: SavedPage) -> None:
        self.made = made

    def __repr__(self) -> str:
        return "\n".join(
            ["A page of heedful; .save(path) writes it, .open() shows it in a browser.", *self.made.contents]
        )

    def _repr_html_(self) -> str:
        # A frame of its own: the notebook's style stays outside, and what is in the page inside.
        return (
            f'<iframe srcdoc="{html.escape(self.made.html)}" title="What the model attends to" width="100%" '
            f'height="{HEIGHT}" style="border: 0" sandbox="allow-scripts allow-downloads"></iframe>'
        )

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the page into a file. Raises DataError if there is one already (unless `overwrite`)."""
        path = Path(path)
        if path.exists() and not overwrite:
            raise DataError(f"{path} is there already; choose another name, or give overwrite=True.")
        try:
            durable.write_text(path, self.made.html)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error
        return path

    def open(self) -> Path:
        """Show the page in a browser, out of a file that is left in the folder for temporary ones."""
        folder = Path(tempfile.mkdtemp(prefix="heedful-"))
        path = self.save(folder / "page.html")
        try:
            shown = webbrowser.open(path.as_uri())
        except webbrowser.Error:
            shown = False
        if not shown:
            raise HeedfulError(f"There is no browser here: open {path} in one.")
        return path


def view(
    model: Any, text: str, target: str | None = None, *, beside: str | None = None, seconds: float = 5.0
) -> Page:
    """Look into a model: the page of `heedful view` over a text, inline in a notebook, else in a browser.

    model: what `heedful.load` gives, or the path of a folder
    target: the second text, of models that ask for one: a translation of your own
    beside: another text for the same model, to compare
    seconds: so long gradients and the like are made for the page

    Raises DataError for texts that the model cannot read, and HeedfulError for a model that does not attend.
    """
    one = opened(model)
    studio = Studio([one])
    names = [ask.name for ask in one.asks]
    if target is not None and len(names) < 2:
        raise DataError(f"This model reads one text, its {names[0]}; there is no second to give it.")
    second = {} if target is None else {names[1]: target}
    views = [studio.open("0", {names[0]: each} | second) for each in (text, beside) if each is not None]
    found = Page(page(studio, views, seconds))
    if not _in_notebook():
        found.open()
    return found


def _in_notebook() -> bool:
    """Whether what an expression gives is shown by its _repr_html_."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")
