"""The scores of one training with several seeds: their mean, and how much chance moves them.

A single seed says little where a test set is small: of 500 questions, one run in three may be a point off by chance.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Spread:
    """A metric over several runs.

    test: the test set; name: of the metric
    values: the score of each run; mean: theirs
    deviation: their standard deviation, with n - 1 for n runs; None of one
    label: what was measured, in words
    """

    test: str
    name: str
    values: tuple[float, ...]
    mean: float
    deviation: float | None
    label: str

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self) | {"values": list(self.values)}


def spread(runs: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[Spread]:
    """Give the spread of every metric of every test set.

    runs: of each, the scores of its test sets by name, as `Score.to_dict()` gives them; what not all have is left out
    """
    found: list[Spread] = []
    for test, scores in runs[0].items():
        for score in scores:
            values = [
                float(other["value"])
                for run in runs
                for other in run.get(test, ())
                if other["name"] == score["name"]
            ]
            if len(values) == len(runs):
                deviation = statistics.stdev(values) if len(values) > 1 else None
                mean = statistics.fmean(values)
                found.append(Spread(test, score["name"], tuple(values), mean, deviation, str(score["label"])))
    return found


def spread_table(found: Sequence[Spread]) -> Table:
    """The spreads for people."""
    count = len(found[0].values) if found else 0
    table = Table("test", "metric", title=f"Scores of {count} seeds")
    for column in ("mean", "deviation", "each"):
        table.add_column(column, justify="right")
    table.add_column("what was measured", overflow="fold")
    for each in found:
        deviation = "" if each.deviation is None else f"{each.deviation:.2f}"
        values = ", ".join(f"{value:.2f}" for value in each.values)
        table.add_row(each.test, each.name, f"{each.mean:.2f}", deviation, values, each.label)
    return table
