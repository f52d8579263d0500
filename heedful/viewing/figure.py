"""Attention as a figure for a paper: heads as matrices, tokens along their sides.

    figure = draw(scene, ["decoder.3.cross:2", "decoder.3.cross:mean"])
    save(figure, "fig.pdf")
    save(overview(scene, "cross"), "all.svg")           # all heads of a group, small

What can be named stands in `heedful.viewing.head_names`. In SVG letters stay letters: whoever shows it brings the
fonts. In PDF and PNG they are drawn with fonts of this machine; a character that none of them has is an error, not a
box. The same scene gives the same file. It needs matplotlib, an extra: pip install 'heedful[figures]'.
"""

import io
import json
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heedful import durable
from heedful.errors import DataError, HeedfulError
from heedful.viewing import plotting
from heedful.viewing.head_names import Chosen, find, of_group
from heedful.viewing.letters import visible
from heedful.viewing.scene import Scene
from heedful.viewing.weights_shown import Shown, Without, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")

_FONT = 7.0  # points, of a paper's captions and figures
_CELL = 0.15  # inches; a line of that font fits in
_SMALL = 0.62  # inches, of a matrix of the overview
_LONGEST = 40  # characters of a token, or of a fact
_AS_CELLS = 4096  # weights that are drawn each as a square; of more, an image
_BESIDE = (4, 3, 5, 2)  # panels, where they fill rows
_LONG = 96  # tokens that have their cells' full size
_PADDING = 0.03  # inches
_POINTS = 72
_DOTS = 300  # an inch, in PNG
# What would be of today is left out: the same numbers give the same file.
_METADATA = {
    "svg": {"Date": None, "Creator": "heedful"},
    "pdf": {"CreationDate": None, "Creator": "heedful"},
}
_FIXED = {"svg.fonttype": "none", "svg.hashsalt": "heedful", "pdf.fonttype": 42, "font.size": _FONT}


def draw(
    scene: Scene,
    heads: Sequence[str],
    *,
    size: tuple[float, float] | None = None,
    words: bool = False,
    without: Sequence[Without] = (),
) -> "Figure":
    """Draw some heads, as small multiples where there are several.

    heads: their names: "decoder.3.cross:2", "encoder.1:all"
    size: width and height in inches; as large as the tokens need when None
    words: whole words in place of tokens
    without: columns that are taken out, "special" tokens or the "first"; the figure says so

    Raises HeedfulError for a name that there is not, and without matplotlib.
    """
    chosen = [one for name in heads for one in find(scene, name)]
    if not chosen:
        raise HeedfulError("Name a head to draw, such as decoder.3.cross:2.")
    panels = [shown(scene, one, words=words, without=without) for one in chosen]
    greatest = max(float(panel.weights.max(initial=0.0)) for panel in panels) or 1.0
    figure_class = plotting.matplotlib().figure.Figure
    # Labels that all have stand once, above and at the left.
    shared = len({(panel.queries, panel.keys) for panel in panels}) == 1
    with _settings(_letters(panels)):
        columns = _columns(len(panels))
        rows = -(-len(panels) // columns)
        if size is None:
            size = _size(panels, rows, columns, shared)
        figure = figure_class(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
        for place, axes in enumerate(grid.flat):
            if place >= len(panels):
                axes.set_axis_off()
                continue
            row, column = divmod(place, columns)
            image = _matrix(axes, panels[place], greatest)
            axes.tick_params(labeltop=row == 0 or not shared, labelleft=column == 0 or not shared)
            axes.set_title(chosen[place].title, fontsize=_FONT + 1, pad=4)
            if place + columns >= len(panels):
                axes.set_xlabel(_axis(scene, chosen[place].map.keys), color=_MUTED)
            if column == 0 or not shared:
                axes.set_ylabel(_axis(scene, chosen[place].map.queries), color=_MUTED)
        bar = figure.colorbar(image, ax=grid, shrink=min(1.0, 0.4 + 0.2 / rows), aspect=18, pad=0.02)  # pyright: ignore
        bar.outline.set_visible(False)
        bar.set_label("weight")
        if notes := list(dict.fromkeys(note for panel in panels for note in panel.notes)):
            figure.supxlabel("; ".join(notes), fontsize=_FONT - 1, color=_MUTED)
    return figure


def overview(scene: Scene, group: str, *, size: tuple[float, float] | None = None) -> "Figure":
    """Draw all heads of a group, a row for each layer: each in its own scale, from nothing to its largest weight."""
    maps = of_group(scene, group)
    columns = max(one.heads for one in maps)
    figure_class = plotting.matplotlib().figure.Figure
    with _settings(set()):
        first = maps[0].record.shape
        tall = min(max(first[2] / max(first[3], 1), 0.4), 2.5)
        if size is None:
            size = (0.5 + columns * (_SMALL + 0.08), 0.45 + len(maps) * (_SMALL * tall + 0.08))
        figure = figure_class(figsize=size, layout="constrained")
        grid = figure.subplots(len(maps), columns, squeeze=False)
        for row, one in zip(grid, maps, strict=True):
            for head, axes in enumerate(row):
                if head >= one.heads:
                    axes.set_axis_off()
                    continue
                panel = shown(scene, Chosen(one, head))
                _small(axes, panel)
                if one is maps[0] and columns > 1:
                    axes.set_title(str(head + 1), fontsize=_FONT, pad=2, color=_MUTED)
            row[0].set_ylabel(str(one.layer + 1), rotation=0, ha="right", va="center", color=_MUTED)
        figure.supylabel("hop" if group == "memory" else f"{group} layer", fontsize=_FONT)
        if columns > 1:
            figure.suptitle("head", fontsize=_FONT)
    return figure


def save(figure: "Figure", path: str | Path, *, tight: bool = True) -> None:
    """Write a figure: .svg, .pdf or .png, by the name of the file, in place of one that is there.

    tight: cut off margins, so that a figure may be a little smaller than its size

    Raises DataError for another ending or a file that cannot be written, and HeedfulError for characters that no font
    of this machine has, or that this matplotlib cannot write; an SVG takes all.
    """
    path = Path(path)
    kind = kind_of(path)
    plotting.matplotlib()
    texts = _texts(figure)
    with _settings(texts), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if kind != "svg":
            _check_letters(texts)
        try:
            with durable.replacing(path) as unfinished:
                figure.savefig(
                    unfinished,
                    format=kind,
                    dpi=_DOTS,
                    metadata=_METADATA.get(kind),
                    facecolor="white",
                    bbox_inches="tight" if tight else None,
                    pad_inches=_PADDING,
                )
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error


def to_svg(figure: "Figure") -> str:
    """Give a figure as SVG, for a notebook or a page."""
    drawn = io.StringIO()
    with _settings(_texts(figure)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(
            drawn, format="svg", metadata=_METADATA["svg"], bbox_inches="tight", pad_inches=_PADDING
        )
    return drawn.getvalue()


def kind_of(path: Path) -> str:
    """Give the format that a file's name ends in; DataError where it is none of ours."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise DataError(f"A figure is written as .svg, .pdf or .png; {path.name} ends in none of them.")
    return kind


_MUTED = "#5b5a66"


def _matrix(axes: "Axes", panel: Shown, greatest: float) -> Any:
    """Draw one matrix with its tokens; give what a bar of colours is made of."""
    rows, columns = panel.weights.shape
    look: dict[str, Any] = {"cmap": _colours(), "vmin": 0.0, "vmax": greatest}
    if rows * columns <= _AS_CELLS:
        # Squares, each a shape of its own: sharp at any size.
        image = axes.pcolormesh(
            np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5, panel.weights, **look
        )
        image.set_edgecolor("face")
        image.set_linewidth(0.15)
        axes.set_ylim(rows - 0.5, -0.5)
    else:
        image = axes.imshow(panel.weights, interpolation="nearest", **look)
    axes.set_aspect("equal" if panel.cell == (1, 1) else "auto")
    axes.xaxis.set_ticks_position("top")
    axes.tick_params(length=0, pad=2)
    for axis, texts in ((axes.xaxis, panel.keys), (axes.yaxis, panel.queries)):
        places = range(0, len(texts), max(1, -(-len(texts) // 96)))
        whole = panel.cell == (1, 1)
        size = panel.cell[0 if axis is axes.yaxis else 1]
        labels = [_label(texts[place]) if whole else f"{place * size:,}" for place in places]
        if not whole:
            places, labels = list(places)[:: max(1, len(labels) // 8)], labels[:: max(1, len(labels) // 8)]
        axis.set_ticks(list(places), labels)
    for label in axes.get_xticklabels():
        label.set_rotation(90)
        label.set_parse_math(False)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    for side in axes.spines.values():
        side.set_visible(False)
    return image


def _small(axes: "Axes", panel: Shown) -> None:
    greatest = float(panel.weights.max(initial=0.0)) or 1.0
    axes.imshow(
        panel.weights, cmap=_colours(), vmin=0.0, vmax=greatest, interpolation="nearest", aspect="auto"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_linewidth(0.4)
        side.set_color("#d8d6e0")


def _label(text: str) -> str:
    """Give a token as a label: what would not be seen made visible, long ones cut; $ stays a dollar sign."""
    text = visible(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _axis(scene: Scene, name: str) -> str:
    return _label_of_axis(scene.axes[name].title)


def _label_of_axis(title: str) -> str:
    return title if len(title) <= 60 else title[:59] + "…"


def _columns(panels: int) -> int:
    """Give how many panels stand beside each other: rows as full as can be."""
    return next((columns for columns in _BESIDE if panels % columns == 0), 3) if panels > 3 else panels


def _size(panels: Sequence[Shown], rows: int, columns: int, shared: bool) -> tuple[float, float]:
    """Give the inches that matrices need with their tokens."""
    wide = max(_CELL * min(panel.weights.shape[1], _LONG) for panel in panels)
    high = max(_CELL * min(panel.weights.shape[0], _LONG) for panel in panels)
    left = max(_length(panel.queries) for panel in panels)
    top = max(_length(panel.keys) for panel in panels)
    beside, above = (1, 1) if shared else (columns, rows)
    return (
        0.9 + columns * (max(wide, 1.0) + 0.15) + beside * left,
        0.4 + rows * (max(high, 0.4) + 0.35) + above * top,
    )


def _length(texts: Iterable[str]) -> float:
    """Inches of the longest label."""
    return max((_cells(_label(text)) for text in texts), default=1) * 0.58 * _FONT / _POINTS


def _cells(text: str) -> int:
    """How wide a text is, in letters: Chinese characters are two wide."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@cache
def _colours() -> Any:
    """The colours of the page, of its light theme."""
    from matplotlib.colors import LinearSegmentedColormap

    content = resources.files("heedful.viewing").joinpath("page/colors.json").read_text(encoding="utf-8")
    stops = np.array(json.loads(content)["light"]["weights"], dtype=float) / 255
    return LinearSegmentedColormap.from_list("heedful", [tuple(stop) for stop in stops])


# Letters

_OWN = "DejaVu Sans"  # comes with matplotlib
_BOTH_WAYS = (3, 11)  # the first matplotlib that writes from the right and joins letters


def _settings(characters: set[str]) -> Any:
    """What is fixed while something is drawn, and the fonts that it needs."""
    return plotting.matplotlib().rc_context({**_FIXED, "font.family": [_OWN, *_others(characters)]})


def _letters(panels: Sequence[Shown]) -> set[str]:
    return {letter for panel in panels for text in (*panel.queries, *panel.keys) for letter in _label(text)}


def _texts(figure: "Figure") -> set[str]:
    from matplotlib.text import Text

    return {letter for text in figure.findobj(Text) for letter in text.get_text()}


def _check_letters(characters: set[str]) -> None:
    """Raise HeedfulError for characters that would be drawn as boxes, or in the wrong order."""
    missing = _beyond(characters)
    for name in _others(characters):
        missing -= _known(_fonts()[name])
    if missing:
        raise HeedfulError(
            f"No font on this machine has {' '.join(sorted(missing)[:8])}: save the figure as .svg, which leaves "
            "letters to whoever shows it, or install a font that has them, such as Noto Sans CJK, or for emoji "
            "Symbola; fonts of coloured pictures cannot be drawn."
        )
    matplotlib = plotting.matplotlib()
    if matplotlib.__version_info__[:2] < _BOTH_WAYS and any(map(_from_the_right, characters)):
        raise HeedfulError(
            f"matplotlib {matplotlib.__version__} writes Arabic and Hebrew from the left, in letters that are not "
            "joined: save the figure as .svg, or pip install 'matplotlib>=3.11'."
        )


def _from_the_right(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL", "AN")


def _others(characters: set[str]) -> tuple[str, ...]:
    """Give the names of fonts for what ours has not; matplotlib is told of those installed since it made its list."""
    wanted = frozenset(_beyond(characters))
    found = _families(wanted)
    if wanted.difference(*(_known(_fonts()[name]) for name in found)) and _installed_since():
        _fonts.cache_clear()
        _families.cache_clear()
        found = _families(wanted)
    return found


@cache
def _installed_since() -> int:
    """Add the fonts that matplotlib, which keeps its list, does not know; give how many."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known, added = {font.fname for font in fontManager.ttflist}, 0
    for file in sorted(set(findSystemFonts()) - known):
        try:
            fontManager.addfont(file)
        except (OSError, RuntimeError, ValueError, KeyError):
            continue  # damaged, or of coloured pictures
        added += 1
    return added


def _beyond(characters: set[str]) -> set[str]:
    return {each for each in characters if each.isprintable()} - _known(_fonts()[_OWN])


@cache
def _fonts() -> dict[str, str]:
    """The files of the fonts of this machine by their names, the regular one of each where it says so."""
    from matplotlib.font_manager import fontManager

    # The last resort has a box for everything; the Computer Modern of formulas has other letters than it says.
    found: dict[str, str] = {}
    for font in sorted(
        fontManager.ttflist,
        key=lambda font: (
            font.style != "normal",
            font.weight not in (400, "normal"),
            "Sans" not in font.name,
        ),
    ):
        if not font.name.startswith(("Last Resort", "cm")):
            found.setdefault(font.name, font.fname)
    return found


@cache
def _known(file: str) -> frozenset[str]:
    """The characters that a font has; of a damaged one none."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(map(chr, get_font(file).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@cache
def _families(characters: frozenset[str]) -> tuple[str, ...]:
    """Give fonts that have these characters, as few as come first."""
    wanted, found = set(characters), list[str]()
    for name, file in _fonts().items():
        if not wanted:
            break
        if wanted & (has := _known(file)):
            found.append(name)
            wanted -= has
    return tuple(found)
