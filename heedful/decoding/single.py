"""Greedy search and sampling: every hypothesis goes its own way, one token at a time."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.decoding.choices import Chooser, Floats, Ids
from heedful.decoding.hypothesis import Hypothesis, hypotheses
from heedful.decoding.penalties import coverage_penalty, length_penalty
from heedful.decoding.sampling import draw, truncate, uniforms
from heedful.decoding.settings import SearchSettings
from heedful.decoding.watching import LOOKED_AT, Step, Watch
from heedful.models.face import Choices, State
from heedful.text.special import END, PAD, START


def single_search(
    chooser: Chooser,
    source: Tensor,
    settings: SearchSettings,
    limits: Ids,
    attention: Callable[[], Tensor] | None,
    numbers: Sequence[int],
    watch: Watch | None = None,
) -> list[list[Hypothesis]]:
    """Give n_best hypotheses for each row of `source` (batch, source_length), in no particular order.

    Greedy search takes the most probable token (among equals the lowest id), sampling draws one. `limits`
    (batch,) are the longest lengths; a hypothesis that reaches it without END is unfinished. `numbers` are
    those of the sentences.
    """
    if settings.method != "sample" and attention is None and watch is None:
        whole = chooser.greedy(source, limits)
        if whole is not None:
            return [[_hypothesis(*each, settings)] for each in whole]
    samples = settings.n_best
    found: list[list[Hypothesis]] = [[] for _ in source]
    model = chooser.model
    state: State = model.start(model.encode(source))
    real = (source != PAD).cpu().numpy()
    # One row for each hypothesis that has not ended, in all arrays below:
    sentences = np.arange(len(source)).repeat(samples)
    if samples > 1:
        state = state.select(torch.from_numpy(sentences).to(source.device))
    uniform = None
    if settings.method == "sample":
        uniform = uniforms(settings.seed, numbers, samples, int(limits.max())).to(source.device)
    tokens = np.full((len(sentences), 1), START)
    terms = np.zeros((len(sentences), 0))
    total = np.zeros(len(sentences))
    coverage = np.zeros((len(sentences), source.shape[1]))

    while len(sentences):
        length = tokens.shape[1]
        if uniform is None:
            choices, state = chooser.best(tokens, sentences, state, 1 if watch is None else LOOKED_AT)
        else:
            choices, state = _drawn(chooser, tokens, sentences, state, uniform[:, length - 1])
        if attention is not None:
            coverage = coverage + attention().cpu().numpy()
        total = total + choices.value[:, 0]
        terms = np.concatenate((terms, choices.own[:, :1]), 1)
        tokens = np.concatenate((tokens, choices.token[:, :1]), 1)

        ended = choices.token[:, 0] == END
        leaving = ended | (limits[sentences] == length)
        if watch is None and not leaving.any():
            continue
        score = total / length_penalty(length, settings.length_penalty, settings.alpha)
        if attention is not None:
            score = score + coverage_penalty(coverage, real[sentences], settings.coverage_penalty)
        if watch is not None:
            watch(_step(length, sentences, choices, total, score, leaving))
        if not leaving.any():
            continue
        out = leaving.nonzero()[0]
        new = hypotheses(tokens[out], terms[out], score[out], ended[out])
        for sentence, hypothesis in zip(sentences[out].tolist(), new, strict=True):
            found[sentence].append(hypothesis)

        going = (~leaving).nonzero()[0]
        sentences, tokens, terms = sentences[going], tokens[going], terms[going]
        total, coverage = total[going], coverage[going]
        if len(going):
            rows = torch.from_numpy(going).to(source.device)
            state = state.select(rows)
            uniform = None if uniform is None else uniform[rows]
    return found


def _step(
    length: int,
    sentences: Ids,
    choices: Choices,
    total: Floats,
    score: Floats,
    leaving: NDArray[np.bool_],
) -> Step:
    """Give a step as it is watched: each hypothesis is compared with nothing but itself."""
    first = np.zeros((len(sentences), 1), dtype=np.int64)
    going = np.where(leaving, -1, (~leaving).cumsum() - 1)
    return Step(
        length,
        sentences,
        choices,
        np.arange(len(sentences))[:, None],
        first,
        total[:, None],
        score[:, None],
        leaving[:, None],
        going[:, None],
    )


def _hypothesis(tokens: Ids, terms: Floats, settings: SearchSettings) -> Hypothesis:
    """Give the hypothesis of tokens with their log-probabilities, END included where it was said."""
    total = math.fsum(terms.tolist())
    ended = bool(tokens[-1] == END)
    return Hypothesis(
        tokens=tuple(tokens[:-1].tolist() if ended else tokens.tolist()),
        log_probability=total,
        score=total / float(length_penalty(len(tokens), settings.length_penalty, settings.alpha)),
        token_log_probabilities=tuple(terms.tolist()),
        finished=ended,
    )


def _drawn(
    chooser: Chooser, tokens: Ids, sentences: Ids, state: State, uniform: Tensor
) -> tuple[Choices, Any]:
    """Give one continuation of each hypothesis, drawn where its number of `uniform` (hypotheses,) falls."""
    settings = chooser.constraints.settings
    own, allowed, state = chooser.all(tokens, sentences, state)
    probabilities, ids = truncate(allowed, settings.temperature, settings.top_k, settings.top_p)
    said = ids.gather(1, draw(probabilities, uniform).unsqueeze(1))
    columns = allowed.gather(1, said), said, own.gather(1, said)
    return Choices(*(column.cpu().numpy() for column in columns)), state
