"""Small figures for the pages, as SVG text: heat maps and curves, beside each other.

    picture = beside(heat(weights, "causal()"), curves(x, {"a": y}, "likeness"))

A page draws nothing by hand: what is dark or high is a number that the page has just computed. `docs/run.py` saves what
a block has left in `picture`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

BLUE, RED, GREY = "#1f5fa8", "#b3331f", "#8a8a8a"
COLOURS = (BLUE, RED, "#2f8f4e", "#8b5fb0", "#c98a12")


@dataclass
class Panel:
    """One drawing with its size in pixels."""

    width: float
    height: float
    lines: list[str]


def heat(
    weights: Tensor,
    title: str = "",
    rows: Iterable[str] = (),
    columns: Iterable[str] = (),
    *,
    cell: float = 16,
    numbers: bool = False,
) -> Panel:
    """Draw weights (rows, columns) between -1 and 1 as squares: the darker, the further from 0; below 0 in red."""
    rows, columns = list(rows), list(columns)
    left = 8 + 6.5 * max(map(len, rows), default=0)
    top = 24 + (14 if columns else 0)
    height, width = (cell * size for size in weights.shape)
    lines = [_text(left + width / 2, 14, title, "middle")]
    lines += [_text(left - 5, top + cell * (i + 0.5) + 4, name, "end") for i, name in enumerate(rows)]
    lines += [_text(left + cell * (j + 0.5), top - 4, name, "middle") for j, name in enumerate(columns)]
    for i, row in enumerate(weights.tolist()):
        for j, weight in enumerate(row):
            x, y = left + cell * j, top + cell * i
            if abs(weight) > 0.01:
                place = f'x="{x:g}" y="{y:g}" width="{cell:g}" height="{cell:g}"'
                colour = f'fill="{BLUE if weight > 0 else RED}" fill-opacity="{min(abs(weight), 1):.2f}"'
                lines.append(f"<rect {place} {colour}/>")
            if numbers:
                colour = "white" if weight > 0.55 else "black"
                lines.append(_text(x + cell / 2, y + cell / 2 + 4, f"{weight:.2f}", "middle", colour))
    lines.append(_frame(left, top, width, height))
    return Panel(left + max(width, 6.2 * len(title)) + 8, top + height + 10, lines)


def curves(
    x: Tensor,
    ys: Mapping[str, Tensor],
    title: str = "",
    under: str = "",
    *,
    points: tuple[Tensor, Tensor] | None = None,
    width: float = 300,
    height: float = 150,
) -> Panel:
    """Draw y over x for each named y, and single points (x, y); axes span what is drawn."""
    left, top = 44.0, 24.0
    every_y = torch.cat([*ys.values(), *([points[1]] if points else [])]).double()
    low, high = every_y.min().item(), every_y.max().item()
    first, last = x.min().item(), x.max().item()

    def across(value: float) -> float:
        return left + width * (value - first) / (last - first)

    def up(value: float) -> float:
        return top + height - (height - 8) * (value - low) / (high - low) - 4

    lines = [_text(left + width / 2, 14, title, "middle"), _frame(left, top, width, height)]
    for value in (low, high):
        lines.append(_text(left - 5, up(value) + 4, f"{value:.3g}", "end"))
    for value, where in ((first, "start"), (last, "end")):
        lines.append(_text(across(value), top + height + 14, f"{value:.3g}", where))
    lines.append(_text(left + width / 2, top + height + 14, under, "middle"))
    for number, (name, y) in enumerate(ys.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        lines.append(_text(left + width + 8, top + 14 + 16 * number, name, colour=colour))
    for a, b in zip(*(part.tolist() for part in points), strict=True) if points else ():
        lines.append(f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="4"/>')
    return Panel(left + width + 16 + 6.5 * max(map(len, ys)), top + height + 24, lines)


def beside(*panels: Panel, columns: int = 4, gap: float = 14) -> str:
    """Give the SVG of panels, from left to right, `columns` in a row."""
    parts, y, whole = [], 0.0, 0.0
    for start in range(0, len(panels), columns):
        x = 0.0
        for panel in panels[start : start + columns]:
            parts += [f'<g transform="translate({x:g} {y:g})">', *panel.lines, "</g>"]
            x += panel.width + gap
        whole = max(whole, x)
        y += max(panel.height for panel in panels[start : start + columns])
    # On white, so that a dark page does not swallow the letters.
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole:g} {y:g}" width="{whole:g}" height="{y:g}" '
    head += 'font-family="sans-serif" font-size="11">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "black") -> str:
    if not text:
        return ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _frame(x: float, y: float, width: float, height: float) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="none" stroke="{GREY}"/>'
