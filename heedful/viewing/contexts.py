"""How the vectors of a word part by their contexts, layer by layer, as a figure.

    svg = contexts_figure({"ball": find(reader, sentences, "ball")})

One panel a layer: each occurrence is a point with the number of its sentence, in the plane in which the points of that
layer spread most (their first two principal components; the share of the spread that it shows stands in the title).
Below them the sentences. It needs matplotlib, an extra: pip install 'heedful[figures]'.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.tasks.contexts import Occurrence
from heedful.viewing import plotting

_PANEL = 2.4  # inches
_MOST_PANELS = 6
_LINE = 0.17  # inches, of a sentence below
_LONGEST = 100  # characters of a sentence that are shown


def contexts_figure(found: Mapping[str, Sequence[Occurrence]], layers: Sequence[int] | None = None) -> str:
    """Draw the occurrences of words: SVG, the same for the same numbers.

    layers: which to draw; six at most from the first to the last when left out

    Raises HeedfulError if matplotlib is not installed, and ValueError for fewer than three occurrences.
    """
    occurrences = [one for ones in found.values() for one in ones]
    if len(occurrences) < 3:
        raise ValueError(f"A plane needs three occurrences at least, got {len(occurrences)}.")
    matplotlib = plotting.matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    last = len(occurrences[0].vectors) - 1
    shown = (
        list(layers)
        if layers
        else sorted({round(x) for x in np.linspace(0, last, min(_MOST_PANELS, last + 1))})
    )
    numbers = sorted({one.number: one.sentence for one in occurrences}.items())
    below = _LINE * (len(numbers) + 2)
    # Letters stay letters, and what would be random or of today is left out: the file can be compared and committed.
    fixed = {"svg.fonttype": "none", "svg.hashsalt": "heedful", "font.size": 8, "text.parse_math": False}
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=(max(_PANEL * len(shown), 6.0), _PANEL + below))
        colours = dict(zip(found, matplotlib.colormaps["tab10"].colors * len(found), strict=False))
        height = _PANEL + below
        for column, layer in enumerate(shown):
            left, width = (column + 0.06) / len(shown), 0.88 / len(shown)
            axes = figure.add_axes((left, (below + 0.1) / height, width, (_PANEL - 0.4) / height))
            points, share = plane(np.stack([one.vectors[layer] for one in occurrences]))
            for one, (x, y) in zip(occurrences, points, strict=True):
                colour = colours[one.phrase]
                axes.plot(x, y, "o", ms=4, color=colour)
                axes.annotate(
                    str(one.number), (x, y), xytext=(3, 3), textcoords="offset points", color=colour
                )
            axes.set_title("what layer 1 reads" if layer == 0 else f"layer {layer}: {share:.0%}")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.margins(0.15)
        top = below - _LINE
        for place, phrase in enumerate(found):
            figure.text(0.01 + 0.2 * place, top / height, phrase, color=colours[phrase], weight="bold")
        for place, (number, sentence) in enumerate(numbers, 1):
            text = sentence if len(sentence) <= _LONGEST else sentence[: _LONGEST - 1] + "…"
            figure.text(0.01, (top - _LINE * place) / height, f"{number:>3}  {text}")
        drawn = io.StringIO()
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": "heedful"})
    return drawn.getvalue()


def plane(vectors: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Put vectors (number, width) onto the plane of their first two principal components.

    Gives (number, 2), each component's greatest value positive, and the share of their spread that it has.
    """
    around = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    u, s, _ = np.linalg.svd(around, full_matrices=False)
    points = u[:, :2] * s[:2]
    # A component and its opposite are the same plane; one of them, always.
    strongest = np.abs(points).argmax(0)
    points = points * np.sign(points[strongest, range(points.shape[1])] + 1e-300)
    total = float((s**2).sum())
    return points, float((s[:2] ** 2).sum()) / total if total else 0.0
