"""The best continuations of each hypothesis: what a search looks at in each step.

A model gives logits of its whole vocabulary (`step`), of which the best few are chosen here, after the constraints; or
it finds the best few itself (`best`), where nothing but bans of single tokens stands between its logits and the choice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.decoding.constraints import NOT_FINITE, Constraints
from heedful.decoding.ranking import largest
from heedful.errors import HeedfulError
from heedful.models.face import Choices, Chooses, Decodable, State
from heedful.text.special import END

Ids = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


class Chooser:
    """Asks a model what may follow, under the constraints of one search.

    among: for each sentence the only tokens there are (a shortlist), sorted ids; all when None
    """

    def __init__(
        self, model: Decodable, constraints: Constraints, among: Sequence[Tensor] | None = None
    ) -> None:
        self.model, self.constraints, self.among = model, constraints, among
        # Asked once, as asking a protocol takes longer than a small model's step.
        self._chooses = model if isinstance(model, Chooses) else None
        # A hypothesis that has nothing else to say ends before its minimum length: the constraints see to that.
        if (
            self._chooses is not None
            and constraints.settings.minimum_length > 1
            and constraints.leave_only_end(among, self._chooses.vocabulary)
        ):
            self._chooses = None
        if self._chooses is not None and among is not None:
            self._chooses = self._chooses.among(among)
        self._outside: Tensor | None = None

    def best(self, said: Ids, sentences: Ids, state: State, count: int) -> tuple[Choices, Any]:
        """Give the `count` best continuations of each hypothesis, fewer where the vocabulary has fewer.

        said: (hypotheses, 1 + length), beginning with START; sentences: (hypotheses,), to which each belongs
        """
        model, bans = self._chooses, self.constraints.bans(said.shape[1] - 1)
        if bans is None or model is None:
            own, allowed, state = self.all(said, sentences, state)
            value, token = largest(allowed, min(count, allowed.shape[1]))
            return Choices(_numbers(value), _numbers(token), _numbers(own.gather(1, token))), state
        self.constraints.check_vocabulary(model.vocabulary)
        choices, state = model.best(self._tensor(said[:, -1]), state, count, bans)
        if np.isnan(choices.own[:, 0]).any():
            raise HeedfulError(NOT_FINITE)
        return choices, state

    def greedy(self, source: Tensor, limits: Ids) -> Sequence[tuple[Ids, Floats]] | None:
        """Give tokens and log-probabilities of the answer to each row of `source`, or None where steps are needed."""
        model, bans = self._chooses, self.constraints.bans(0)
        if model is None or bans is None:
            return None
        self.constraints.check_vocabulary(model.vocabulary)
        minimum = self.constraints.settings.minimum_length
        found = model.greedy(model.encode(source), limits, minimum, [ban for ban in bans if ban != END])
        if any(np.isnan(terms).any() for _, terms in found):
            raise HeedfulError(NOT_FINITE)
        return found

    def all(self, said: Ids, sentences: Ids, state: State) -> tuple[Tensor, Tensor, Any]:
        """Give the log-probabilities of all tokens, the model's own and those to search with, and the new state."""
        logits, state = self.model.step(self._tensor(said[:, -1]), state)
        if self.among is not None:
            if self._outside is None:
                shape = len(self.among), logits.shape[1]
                self._outside = torch.ones(shape, dtype=torch.bool, device=logits.device)
                for outside, tokens in zip(self._outside, self.among, strict=True):
                    outside[tokens] = False
            logits = logits.masked_fill(self._outside[self._tensor(sentences)], -torch.inf)
        own, allowed = self.constraints(logits, self._tensor(said[:, 1:]), self._tensor(sentences))
        return own, allowed, state

    def _tensor(self, ids: Ids) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(ids)).to(self.constraints.device)


def _numbers(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()
