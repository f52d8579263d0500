"""Beam search.

At each step every live hypothesis of a sentence is continued by every token, and the 2 * beam most probable
continuations are looked at. Those that end, if among the first `beam` (or at the length limit), are finished
and leave; the first `beam` that do not end live on, so that finished hypotheses take no room from live ones
(as in fairseq; at most `beam` of the 2 * beam can end, one for each parent). Live hypotheses are compared by
log-probability, finished ones by score (penalties.py). Equal values: the better parent first, then the lower
token id.

The stopping rule, "bound". Let L <= 0 be the log-probability of the best live hypothesis of a sentence, and M
the longest length allowed. However a live hypothesis goes on, each token adds a logarithm of a probability,
so its log-probability stays <= L; its length penalty stays <= lp(M), because lp never falls; and cp <= 0.
Hence

    its score  <=  L / lp(M).

The search of a sentence ends when n_best hypotheses are finished and L / lp(M) is not above the worst of the
n_best best of them: nothing that going on would have found can enter the answer. The rule is exact about the
beam, not about the model: what fell out of the beam is lost, as in any beam search.

The other rule, "count", ends when `beam` hypotheses have finished (as in fairseq): sooner, without that
promise.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from heedful.decoding.choices import Chooser, Ids
from heedful.decoding.hypothesis import Hypothesis, hypotheses
from heedful.decoding.penalties import Floats, coverage_penalty, length_penalty
from heedful.decoding.settings import SearchSettings
from heedful.decoding.watching import Step, Watch
from heedful.models.face import State
from heedful.text.special import END, PAD, START


def beam_search(
    chooser: Chooser,
    source: Tensor,
    settings: SearchSettings,
    limits: Ids,
    attention: Callable[[], Tensor] | None,
    watch: Watch | None = None,
) -> list[list[Hypothesis]]:
    """Give the hypotheses found for each row of `source` (batch, source_length), in no particular order.

    `limits` (batch,) are the longest lengths. At its limit a sentence keeps its live hypotheses as unfinished
    ones. In the code, `length` is |Y| of the hypotheses that a step makes, END included.
    """
    beam, kind, alpha = settings.beam, settings.length_penalty, settings.alpha
    found: list[list[Hypothesis]] = [[] for _ in source]
    model = chooser.model
    state: State = model.start(model.encode(source))
    real = (source != PAD).cpu().numpy()
    # For each sentence still searched: the scores of its best finished hypotheses, how many finished, and the
    # log-probabilities of its live ones, where -inf stands for none.
    sentences = np.arange(len(source))
    best = np.full((len(source), settings.n_best), -np.inf)
    ended_so_far = np.zeros(len(source), dtype=np.int64)
    total = np.zeros((len(source), 1))
    # For each live hypothesis, those of a sentence beside each other: what it said, and how probable that was.
    tokens = np.full((len(source), 1), START)
    terms = np.zeros((len(source), 0))
    coverage = np.zeros(real.shape)

    while True:
        width, length = total.shape[1], tokens.shape[1]
        choices, state = chooser.best(tokens, sentences.repeat(width), state, 2 * beam)

        # (sentences * width, choices) -> (sentences, width * choices): none but the best of each can be among the best
        # of all; better parents come first, and of each the lower token ids.
        count = choices.value.shape[1]
        candidates = (choices.value + total.reshape(-1, 1)).reshape(len(sentences), width * count)
        index = np.argsort(-candidates, axis=1, kind="stable")[:, : 2 * beam]
        value = np.take_along_axis(candidates, index, 1)
        parent = index // count + width * np.arange(len(sentences))[:, None]
        token = choices.token[parent, index % count]
        score = value / length_penalty(length, kind, alpha)
        if attention is not None:
            coverage = coverage + attention().cpu().numpy()
            mask = real[sentences].repeat(width, axis=0)
            score = score + coverage_penalty(coverage, mask, settings.coverage_penalty)[parent]

        limit = limits[sentences]
        at_limit = limit == length
        ends = token == END
        possible = value > -np.inf
        # A low rank does not matter at the limit, where ending is better than being cut.
        ended = ends & possible
        ended[:, beam:] &= at_limit[:, None]
        cut = ~ends & possible & at_limit[:, None]
        if ended.any() or cut.any():
            ended_so_far = ended_so_far + ended.sum(1)
            winners = ended & (score > best[:, -1:])
            scores = np.concatenate((best, np.where(ended, score, -np.inf)), 1)
            best = -np.sort(-scores, axis=1)[:, : settings.n_best]
            cut &= best[:, -1:] == -np.inf
            place, rank = (winners | cut).nonzero()
            if len(place):
                rows, choice = parent[place, rank], index[place, rank] % count
                kept = _extend(tokens, terms, rows, choices.token[rows, choice], choices.own[rows, choice])
                new = hypotheses(*kept, score[place, rank], ends[place, rank])
                for sentence, hypothesis in zip(sentences[place].tolist(), new, strict=True):
                    found[sentence].append(hypothesis)

        # The first `beam` candidates that do not end, in their order.
        order = np.argsort(ends, axis=1, kind="stable")[:, :beam]
        live = np.take_along_axis(np.where(ends, -np.inf, value), order, 1)
        bound = live[:, 0] / length_penalty(limit, kind, alpha)
        done = at_limit | (bound <= best[:, -1])
        if settings.stopping == "count":
            done |= ended_so_far >= beam

        going = (~done).nonzero()[0]
        # As wide as the sentence with the most live hypotheses: one at first, and while a prefix is forced.
        live = live[going]
        wide = int((live > -np.inf).sum(1).max(initial=0))
        order = order[going, :wide]
        if watch is not None:
            places = _places(value.shape, going, order, live[:, :wide])
            watch(Step(length, sentences, choices, parent, index % count, value, score, ended | cut, places))
        if not len(going):
            return found
        rows = np.take_along_axis(parent[going], order, 1).reshape(-1)
        choice = np.take_along_axis(index[going] % count, order, 1).reshape(-1)
        tokens, terms = _extend(tokens, terms, rows, choices.token[rows, choice], choices.own[rows, choice])
        total = live[:, :wide]
        sentences, best, ended_so_far = sentences[going], best[going], ended_so_far[going]
        if not np.array_equal(rows, np.arange(len(choices.value))):
            state, coverage = state.select(torch.from_numpy(rows).to(source.device)), coverage[rows]


def _places(shape: tuple[int, ...], going: Ids, order: Ids, live: Floats) -> Ids:
    """Give which row each candidate (sentences, candidates) is among the live hypotheses of the next step, or -1.

    going: the sentences that are searched on; order, live: of each the candidates that live on, and their values
    """
    places = np.full(shape, -1)
    rows = np.arange(order.size).reshape(order.shape)
    places[going[:, None], order] = np.where(live > -np.inf, rows, -1)
    return places


def _extend(tokens: Ids, terms: Floats, rows: Ids, said: Ids, own: Floats) -> tuple[Ids, Floats]:
    """Give the tokens and log-probabilities of the hypotheses `rows`, each continued by a token of `said`."""
    return (
        np.concatenate((tokens[rows], said[:, None]), 1),
        np.concatenate((terms[rows], own[:, None]), 1),
    )
