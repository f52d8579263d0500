"""Scores by source length as a figure: one line a system, its interval as a band (Bahdanau et al. 2014, figure 2).

    svg = lengths_figure({"with attention": by_length(...), "without": by_length(...)}, unit="words")

It needs matplotlib, an extra: pip install 'heedful[figures]'.
"""

import io
from collections.abc import Mapping, Sequence

from heedful.evaluation.by_length import LengthScore
from heedful.viewing import plotting

_SIZE = (6.0, 3.6)  # inches: half a page of a paper


def lengths_figure(
    systems: Mapping[str, Sequence[LengthScore]], unit: str = "words", title: str | None = None
) -> str:
    """Draw the scores of each system over the mean source length of each bucket: SVG, the same for the same numbers.

    Args:
        systems: name to its buckets, all by one metric.
        unit: what lengths count.
        title: above the figure; none by default.

    Raises HeedfulError if matplotlib is not installed, and ValueError for no system or more than one metric.
    """
    metrics = {bucket.score.name for buckets in systems.values() for bucket in buckets}
    if len(metrics) != 1:
        raise ValueError(f"a figure shows one metric, not {len(metrics)}: {sorted(metrics)}")
    matplotlib = plotting.matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Letters stay letters, and what would be random or of today is left out: the file can be compared and committed.
    fixed = {"svg.fonttype": "none", "svg.hashsalt": "heedful", "text.parse_math": False}
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        for name, buckets in systems.items():
            middle = [bucket.mean for bucket in buckets]
            (line,) = axes.plot(middle, [bucket.score.value for bucket in buckets], "o-", ms=4, label=name)
            bounds = [
                (bucket.score.value if edge is None else edge)
                for bucket in buckets
                for edge in (bucket.score.low, bucket.score.high)
            ]
            axes.fill_between(
                middle, bounds[::2], bounds[1::2], color=line.get_color(), alpha=0.15, linewidth=0
            )
        axes.set_xlabel(f"source length ({unit})")
        axes.set_ylabel(metrics.pop())
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        if title:
            axes.set_title(title)
        drawn = io.StringIO()
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": "heedful"})
    return drawn.getvalue()
