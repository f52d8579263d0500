"""How well a language model predicts text: total surprise, by what it is divided by.

    cross-entropy        nats a token
    perplexity           e^(nats a token)
    bits-per-character   bits a character: comparable between tokenizers
    bits-per-byte        bits a byte of UTF-8: comparable between languages' papers, too
    word-perplexity      e^(nats a word between white space), as papers on word models give it

Tokens are those predicted, the ends of documents among them. Lower is better.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.evaluation.confidence import RESAMPLES, SEED, bootstrap_values, interval
from heedful.evaluation.scores import Score

METRICS = {
    "cross-entropy": "negative log-likelihood of a token, in nats",
    "perplexity": "e to the negative log-likelihood of a token in nats",
    "bits-per-character": "negative log-likelihood of a character, in bits",
    "bits-per-byte": "negative log-likelihood of a byte of UTF-8, in bits",
    "word-perplexity": "e to the negative log-likelihood of a word in nats",
}
_UNITS = {"bits-per-character": "characters", "bits-per-byte": "bytes", "word-perplexity": "words"}


def metric_value(name: str, nats: float, tokens: float, amount: Mapping[str, int]) -> float:
    """Give a metric of METRICS; amount: how many characters, bytes and words the text has."""
    each = nats / (amount[_UNITS[name]] if name in _UNITS else tokens)
    if name.startswith("bits"):
        return each / math.log(2)
    if name.endswith("perplexity"):
        return math.exp(each) if each < 700 else math.inf
    return each


def language_scores(
    nats: NDArray[np.float64],
    tokens: NDArray[np.int64],
    amount: Mapping[str, int],
    metrics: Sequence[str],
    signature: str,
) -> list[Score]:
    """Score a text whose windows have these sums of nats and numbers of predictions, (windows,) each.

    The 95% intervals are of a bootstrap over windows, in which a token keeps its share of characters and words.
    """
    total = float(tokens.sum())
    sums = np.stack([nats, tokens.astype(np.float64)], axis=1)

    def value_of(name: str) -> Callable[[NDArray[np.float64]], float]:
        return lambda sum: metric_value(name, float(sum[0] / sum[1]) * total, total, amount)

    scores: list[Score] = []
    for name in metrics:
        value = value_of(name)
        low, high = interval(bootstrap_values(sums, value, RESAMPLES, SEED))
        scores.append(
            Score(
                name, value(sums.sum(0)), low, high, f"{signature}|bs:{RESAMPLES}|seed:{SEED}", METRICS[name]
            )
        )
    return scores
