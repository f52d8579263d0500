"""The objective of models that write sequences: cross-entropy of every target token."""

from torch import Tensor

from heedful.models.face import SequenceToSequence
from heedful.objectives.cross_entropy import smoothed_cross_entropy
from heedful.objectives.loss import Loss
from heedful.text.special import PAD


def sequence_loss(
    model: SequenceToSequence,
    source: Tensor,
    target: Tensor,
    reference: Tensor,
    smoothing: float = 0.0,
    r_drop: float = 0.0,
) -> Loss:
    """Give the loss of a batch.

    source (batch, source_length), target (batch, target_length) beginning with START, reference (batch,
    target_length): the tokens to predict, ending in END, padded with PAD. `r_drop` is R-Drop's alpha; above 0 the model
    is run twice, and loss and likelihood are the means of the two passes.
    """
    passes = 2 if r_drop else 1
    if r_drop:
        source, target = source.repeat(2, 1), target.repeat(2, 1)
    features = model.features(source, target).flatten(0, 1)
    reference = reference.flatten()
    smoothed, likelihood = smoothed_cross_entropy(
        features, model.output.weight, model.output.bias, reference.repeat(passes), smoothing, r_drop
    )
    return Loss(smoothed / passes, likelihood / passes, int((reference != PAD).sum()))
