"""The contrastive objective: what belongs together shall be near, and far from the rest of the batch.

    loss_i = -log exp(cos(u_i, v_i) / tau) / sum_j exp(cos(u_i, v_j) / tau)

(van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding", equation 4, with the cosine as
Chen et al. 2020 took it; Gao, Yao and Chen 2021, "SimCSE", equation 1 with the same sentence under another draw of
dropout for v_i, and section 4 with another sentence that means the same.)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from heedful.objectives.loss import Loss


def contrastive_loss(anchors: Tensor, partners: Tensor, temperature: float = 0.05) -> Loss:
    """Give the summed loss of the anchors.

    anchors (batch, width), partners (batch, width): row i of one belongs to row i of the other
    temperature: tau, 0.05 in Gao et al. 2021

    Raises ValueError for other shapes.
    """
    if anchors.ndim != 2 or anchors.shape != partners.shape:
        raise ValueError(
            f"Anchors and partners are (batch, width) both, got {tuple(anchors.shape)} and {tuple(partners.shape)}."
        )
    # A cosine over 0.05 goes to 20, of which bfloat16 would keep one decimal.
    with torch.autocast(anchors.device.type, enabled=False):
        precise = torch.promote_types(anchors.dtype, torch.float32)
        likeness = F.normalize(anchors.to(precise), dim=-1) @ F.normalize(partners.to(precise), dim=-1).mT
        own = torch.arange(len(anchors), device=anchors.device)
        loss = F.cross_entropy(likeness / temperature, own, reduction="sum")
    return Loss(loss, loss.detach(), len(anchors))


def alignment(anchors: Tensor, partners: Tensor) -> float:
    """The mean squared distance of what belongs together, as unit vectors; lower is better (Wang and Isola 2020)."""
    return float((F.normalize(anchors, dim=-1) - F.normalize(partners, dim=-1)).square().sum(-1).mean())


def uniformity(vectors: Tensor) -> float:
    """log of the mean of exp(-2 |x - y|^2) over pairs of unit vectors; lower is more even (Wang and Isola 2020).

    From 0, where all point one way, to nearly -4, where they are spread evenly over the sphere.
    """
    return float(torch.pdist(F.normalize(vectors, dim=-1)).square().mul(-2).exp().mean().log())
