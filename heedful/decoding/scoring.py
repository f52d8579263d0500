"""Scoring given pairs: log P(target | source), without any search."""

from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.decoding.constraints import log_probabilities
from heedful.models.face import SequenceToSequence
from heedful.text.special import PAD, START


@dataclass(frozen=True, slots=True)
class PairScores:
    """What a model thinks of given pairs."""

    total: Tensor
    """(batch,): log P(target | source), END included."""

    tokens: Tensor
    """(batch, target_length): log-probability of each target token given those before it; 0 at PAD."""


@torch.no_grad()
def score(model: SequenceToSequence, source: Tensor, target: Tensor) -> PairScores:
    """Give the log-probability of each target given its source, in float32 (float64 where the logits have
    it).

    It is what `search` reports as `log_probability` and `token_log_probabilities` of the same tokens.

    Args:
        model: in evaluation mode, because dropout would change the scores.
        source: (batch, source_length), ids ending in END, padded with PAD on the right.
        target: (batch, target_length), ids ending in END (without START), padded with PAD on the right.
    """
    if model.training:
        raise ValueError(
            "the model is in training mode, where dropout changes the scores: call model.eval() first"
        )
    if source.dim() != 2 or target.dim() != 2 or len(source) != len(target):
        raise ValueError(
            "source and target must be (batch, source_length) and (batch, target_length), not "
            f"{tuple(source.shape)} and {tuple(target.shape)}"
        )
    start = torch.full_like(target[:, :1], START)
    logits = model(source, torch.cat([start, target[:, :-1]], 1))
    tokens = log_probabilities(logits).gather(2, target.unsqueeze(2)).squeeze(2).masked_fill(target == PAD, 0)
    return PairScores(total=tokens.sum(1), tokens=tokens)
