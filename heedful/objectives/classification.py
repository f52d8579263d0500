"""The objectives of models that classify texts, or give each a number.

    classes:  sum_i w_(y_i) CE_eps(z_i, y_i)          with label smoothing eps and a weight for each class
    numbers:  sum_i (z_i - y_i)^2 / 2                 the negative log-likelihood of a Gaussian, but for a constant

Unlike the objective of translation these are written out: there are few classes, and their logits are small.
"""

import torch
from torch import Tensor

from heedful.objectives.loss import Loss


def class_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    r_drop: float = 0.0,
) -> Loss:
    """Give the loss of classes; the likelihood is neither smoothed nor weighted.

    logits: (batch, classes); with `r_drop` > 0 (2 * batch, classes), of two passes over the batch under two draws of
        dropout, whose divergences are added as in Liang et al. 2021, equations 1 to 4; the loss is then their mean
    labels: (batch,); weights: of each class, (classes,)
    smoothing: eps; 1 - eps goes to the label, eps / (classes - 1) to each other class
    """
    passes = 2 if r_drop else 1
    logs = logits.float().log_softmax(-1)
    repeated = labels.repeat(passes)
    likelihood = -logs.gather(-1, repeated.unsqueeze(-1)).squeeze(-1)
    smoothed = likelihood
    if smoothing and logits.shape[-1] > 1:
        other = smoothing / (logits.shape[-1] - 1)
        smoothed = (1 - smoothing - other) * likelihood - other * logs.sum(-1)
    if weights is not None:
        smoothed = smoothed * weights[repeated]
    total = smoothed.sum() / passes
    if r_drop:
        one, two = logs.chunk(2)
        total = total + r_drop / 4 * ((one.exp() - two.exp()) * (one - two)).sum()
    return Loss(total, likelihood.detach().sum() / passes, len(labels))


def number_loss(values: Tensor, numbers: Tensor) -> Loss:
    """Give half the squared error: values (batch, 1) against numbers (batch,)."""
    error = (values.float().squeeze(-1) - numbers).square().sum() / 2
    return Loss(error, error.detach(), len(numbers))


def balanced(counts: Tensor) -> Tensor:
    """Weights by which all classes count alike, with a mean of 1 over the examples: N / (classes * n_c).

    counts: the examples of each class, (classes,); a class without any weighs nothing
    """
    return torch.where(counts > 0, counts.sum() / (len(counts) * counts.clamp(min=1)), 0.0).float()
