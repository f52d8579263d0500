"""Scoring a corpus: hypotheses against references, by any of the metrics, with confidence and signatures.

    evaluate       every metric asked for, with a 95% interval: what is reported
    compare        two systems on the same lines: is the difference more than chance?
    corpus_score   one number and nothing else: what training validates with
    table          scores for people to read

Text goes in raw: detokenised, cased, as a person would read it. One reference a line.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.markup import escape
from rich.table import Table

from heedful.errors import DataError
from heedful.evaluation.confidence import RESAMPLES, SEED, bootstrap_values, interval, p_value
from heedful.evaluation.metrics import make_scorer, metric_kind


@dataclass(frozen=True)
class Score:
    """A corpus score in percent, with its 95% interval where asked for, and how it came about."""

    name: str  # as in METRICS
    value: float
    low: float | None
    high: float | None
    signature: str
    label: str  # what was measured, in words

    def to_dict(self) -> dict[str, str | float | None]:
        """The fields by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """A system against a baseline by one metric: both scores, their difference and its 95% interval."""

    name: str
    baseline: float
    system: float
    difference: float  # system - baseline
    low: float
    high: float
    p_value: float  # chance of such a difference, either way, between equally good systems
    signature: str
    label: str

    def to_dict(self) -> dict[str, str | float]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def evaluate(
    hypotheses: Sequence[str],
    references: Sequence[str],
    metrics: Sequence[str] = ("bleu", "chrf", "ter"),
    language: str | None = None,
    confidence: bool = True,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Score]:
    """Score raw `hypotheses` against raw `references`, line by line, by each of `metrics` (names of METRICS).

    `language` is the code of the target language ("de"): it chooses how BLEU and TER split words, and the
    Moses metrics cannot do without it. With `confidence`, each score has the 95% interval of a bootstrap.

    Raises `DataError` for unequal or empty corpora, `RecipeError` for an unknown metric or no language.
    """
    _check_parallel(hypotheses, references, "hypotheses")
    bootstrap = {"bs": resamples, "seed": seed} if confidence else {}
    scores: list[Score] = []
    for name, scorer in [(name, make_scorer(name, language)) for name in metrics]:
        statistics = scorer.statistics(hypotheses, references)
        value = scorer.value(statistics.sum(axis=0))
        low = high = None
        if confidence:
            low, high = interval(bootstrap_values(statistics, scorer.value, resamples, seed))
        scores.append(Score(name, value, low, high, scorer.signature(**bootstrap), metric_kind(name).label))
    return scores


def corpus_score(
    name: str, hypotheses: Sequence[str], references: Sequence[str], language: str | None = None
) -> float:
    """One metric as one number, without a bootstrap: what training validates with. Raises as `evaluate`."""
    return evaluate(hypotheses, references, (name,), language, confidence=False)[0].value


def compare(
    baseline: Sequence[str],
    system: Sequence[str],
    references: Sequence[str],
    metrics: Sequence[str] = ("bleu", "chrf", "ter"),
    language: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Comparison]:
    """Compare the raw output of two systems on the same lines by paired bootstrap. Raises as `evaluate`."""
    _check_parallel(baseline, references, "hypotheses of the baseline")
    _check_parallel(system, references, "hypotheses of the system")
    comparisons: list[Comparison] = []
    for name, scorer in [(name, make_scorer(name, language)) for name in metrics]:
        both = [scorer.statistics(hypotheses, references) for hypotheses in (baseline, system)]
        first, second = (scorer.value(statistics.sum(axis=0)) for statistics in both)
        # The same seed draws the same lines for both systems: that is what makes the test paired.
        drawn_first, drawn_second = (
            bootstrap_values(statistics, scorer.value, resamples, seed) for statistics in both
        )
        differences = drawn_second - drawn_first
        low, high = interval(differences)
        comparisons.append(
            Comparison(
                name=name,
                baseline=first,
                system=second,
                difference=second - first,
                low=low,
                high=high,
                p_value=p_value(differences, second - first),
                signature=scorer.signature(bs=resamples, seed=seed),
                label=metric_kind(name).label,
            )
        )
    return comparisons


def table(scores: Sequence[Score]) -> Table:
    """Scores for the terminal: value, interval, and what was measured, how, in words and by signature."""
    shown = Table("metric", title="Scores")
    shown.add_column("score", justify="right")
    shown.add_column("95% interval", justify="right")
    shown.add_column("what was measured", overflow="fold")
    for score in scores:
        between = "" if score.low is None or score.high is None else f"{score.low:.2f} to {score.high:.2f}"
        how = f"{escape(score.label)}\n[dim]{escape(score.signature)}[/dim]"
        shown.add_row(score.name, f"{score.value:.2f}", between, how)
    return shown


def _check_parallel(hypotheses: Sequence[str], references: Sequence[str], what: str) -> None:
    for name, lines in ((what, hypotheses), ("references", references)):
        if isinstance(lines, str):
            raise TypeError(f"The {name} are one string; give a list with one string a line.")
    if len(hypotheses) != len(references):
        raise DataError(
            f"There are {len(hypotheses)} {what} but {len(references)} references: each line is scored "
            "against the line of the same number, so both need equally many."
        )
    if not references:
        raise DataError(f"There is nothing to score: the {what} and the references are empty.")
