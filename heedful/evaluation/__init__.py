"""How good an answer is: corpus metrics with signatures and confidence intervals."""

from heedful.evaluation.metrics import METRICS, MetricKind, metric_kind
from heedful.evaluation.scores import Comparison, Score, compare, corpus_score, evaluate, table
from heedful.evaluation.settings import MetricSettings

__all__ = [
    "METRICS",
    "Comparison",
    "MetricKind",
    "MetricSettings",
    "Score",
    "compare",
    "corpus_score",
    "evaluate",
    "metric_kind",
    "table",
]
