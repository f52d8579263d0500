"""How good an answer is: corpus metrics with signatures and confidence intervals."""

from heedful.evaluation.alignment_error import AlignmentError, GoldAlignment, alignment_error, read_gold
from heedful.evaluation.metrics import METRICS, MetricKind, metric_kind
from heedful.evaluation.scores import Comparison, Score, compare, corpus_score, evaluate, table

__all__ = [
    "METRICS",
    "AlignmentError",
    "Comparison",
    "GoldAlignment",
    "MetricKind",
    "Score",
    "alignment_error",
    "compare",
    "corpus_score",
    "evaluate",
    "metric_kind",
    "read_gold",
    "table",
]
