"""What is minimised: losses as sums over what is predicted, fused with the layer that they are made of."""

from heedful.objectives.cross_entropy import smoothed_cross_entropy
from heedful.objectives.loss import Loss
from heedful.objectives.sequence import sequence_loss

__all__ = ["Loss", "sequence_loss", "smoothed_cross_entropy"]
