"""The search: from a model and source sentences to the best answers.

    settings = SearchSettings(beam=5, n_best=2)
    for best, second in search(model, source, settings):
        print(best.tokens, best.score)

It works for every model with the face of heedful.models.face. What it does not do: tokenise, sort sentences
into batches, put them back in order; heedful.tasks does.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from heedful.decoding.beam import beam_search
from heedful.decoding.choices import Chooser, Ids
from heedful.decoding.constraints import Constraints
from heedful.decoding.hypothesis import Hypothesis, ranked
from heedful.decoding.settings import SearchSettings
from heedful.decoding.single import single_search
from heedful.decoding.watching import Watch
from heedful.errors import DataError, HeedfulError, RecipeError
from heedful.models.face import Decodable
from heedful.text.special import END, PAD, START

__all__ = ["Hypothesis", "SearchSettings", "search"]


@torch.no_grad()
def search(
    model: Decodable,
    source: Tensor,
    settings: SearchSettings | None = None,
    *,
    prefixes: Sequence[Sequence[int]] | None = None,
    numbers: Sequence[int] | None = None,
    attention: Callable[[], Tensor] | None = None,
    among: Sequence[Tensor] | None = None,
    watch: Watch | None = None,
) -> list[list[Hypothesis]]:
    """Find the best answers to each source sentence, whatever its place in the batch and its neighbours.

    Args:
        model: in evaluation mode, because dropout would change the answers.
        source: (batch, source_length), ids ending in END, padded with PAD on the right.
        settings: beam 4 with the GNMT length penalty of 0.6 when left out.
        prefixes: for each sentence the token ids that its answer must begin with, or an empty sequence.
        numbers: for each sentence its number in the whole input, which with the seed determines its
            sample; 0, 1, ... when left out.
        attention: gives the attention over the source, (hypotheses, source_length), that the step just made
            paid; needed for the coverage penalty, and only called with it.
        among: for each sentence the only tokens that its answers can be of (a shortlist), a LongTensor of sorted
            ids with END among them; all when left out. Probabilities are then those among these tokens.
        watch: called after each step with what was looked at (`heedful.decoding.watching`); it changes no answer.

    Returns:
        For each sentence its answers, at most n_best and at least one: finished ones first, each group by
        falling score. An answer that the length limit cut (`finished` is False) appears only where fewer than
        n_best were finished. The limit is maximum_length_factor * source length + maximum_length_add, but no
        more than the model's maximum and no less than minimum_length and prefix ask for.

    Raises:
        DataError: a source or a prefix is longer than the model's maximum.
        RecipeError: settings do not fit the model: a banned id outside its vocabulary, a minimum length above
            its maximum.
        HeedfulError: the model gives NaN, or probability zero to everything that the constraints allow.
    """
    settings = settings or SearchSettings()
    prefixes = [()] * len(source) if prefixes is None else prefixes
    numbers = range(len(source)) if numbers is None else numbers
    _check_call(model, source, settings, prefixes, numbers, attention, among)
    if len(source) == 0:
        return []

    limits = _limits(model, source, settings, prefixes)
    chooser = Chooser(model, Constraints(settings, prefixes, source.device), among)
    if not settings.coverage_penalty:
        attention = None
    if settings.method == "sample" or settings.beam == 1:
        found = single_search(chooser, source, settings, limits, attention, numbers, watch)
    else:
        found = beam_search(chooser, source, settings, limits, attention, watch)

    answers = [ranked(hypotheses, settings.n_best) for hypotheses in found]
    for number, answer in zip(numbers, answers, strict=True):
        if not answer or answer[0].score == -math.inf:
            raise HeedfulError(
                f"sentence {number}: the model gives probability zero to every answer that the constraints "
                "allow; relax the prefix or the bans"
            )
    return answers


def _limits(
    model: Decodable, source: Tensor, settings: SearchSettings, prefixes: Sequence[Sequence[int]]
) -> Ids:
    """Give the longest length, END included, that the answer to each sentence may have: (batch,)."""
    limits: list[int] = []
    for number, (length, prefix) in enumerate(zip((source != PAD).sum(1).tolist(), prefixes, strict=True)):
        if length > model.maximum_length:
            raise DataError(
                f"row {number} of the batch: the source has {length} tokens with END, but the model reads "
                f"at most {model.maximum_length}; split the sentence"
            )
        if len(prefix) + 1 > model.maximum_length:
            raise DataError(
                f"row {number} of the batch: the prefix has {len(prefix)} tokens, but the model writes "
                f"at most {model.maximum_length} with END; shorten the prefix"
            )
        longest = int(settings.maximum_length_factor * length) + settings.maximum_length_add
        limits.append(min(max(longest, settings.minimum_length, len(prefix) + 1), model.maximum_length))
    return np.array(limits)


def _check_call(
    model: Decodable,
    source: Tensor,
    settings: SearchSettings,
    prefixes: Sequence[Sequence[int]],
    numbers: Sequence[int],
    attention: Callable[[], Tensor] | None,
    among: Sequence[Tensor] | None,
) -> None:
    """Refuse a call that makes no sense."""
    if model.training:
        raise ValueError(
            "the model is in training mode, where dropout changes the answers: call model.eval() first"
        )
    if source.dim() != 2 or source.dtype != torch.long:
        raise ValueError(
            "source must be a LongTensor (batch, source_length), "
            f"not {source.dtype} of shape {tuple(source.shape)}"
        )
    for name, given in (("prefixes", prefixes), ("numbers", numbers), ("lists of tokens", among)):
        if given is not None and len(given) != len(source):
            raise ValueError(f"{len(given)} {name} were given for {len(source)} sentences: give one for each")
    for number, prefix in enumerate(prefixes):
        if any(token in (PAD, START, END) or token < 0 for token in prefix):
            raise ValueError(
                f"prefix {number}, {tuple(prefix)}, must not contain PAD, START, END or negative ids"
            )
    if settings.minimum_length > model.maximum_length:
        raise RecipeError(
            f"minimum_length is {settings.minimum_length}, but the model writes at most "
            f"{model.maximum_length} tokens with END: lower minimum_length"
        )
    if settings.coverage_penalty and attention is None:
        raise ValueError("a coverage penalty needs `attention`, the weights over the source at each step")
