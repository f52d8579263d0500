"""The contrastive loss against its formula in float64, and what alignment and uniformity are at their ends."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from heedful.objectives.contrastive import alignment, contrastive_loss, uniformity


def test_the_loss_is_the_formula():
    torch.manual_seed(0)
    u, v = torch.randn(2, 5, 7, dtype=torch.float64)
    expected = 0.0
    for i in range(5):
        terms = [math.exp(cosine_similarity(u[i], v[j], dim=0).item() / 0.1) for j in range(5)]
        expected -= math.log(terms[i] / sum(terms))
    loss = contrastive_loss(u, v, 0.1)
    assert loss.smoothed.item() == pytest.approx(expected)
    assert loss.tokens == 5
    assert contrastive_loss(3 * u, 0.5 * v, 0.1).smoothed.item() == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"got \(5, 7\) and \(4, 7\)"):
        contrastive_loss(u, v[:4])


def test_alignment_and_uniformity():
    x = torch.eye(4, dtype=torch.float64)
    assert alignment(x, 3 * x) == pytest.approx(0)
    assert alignment(x, -x) == pytest.approx(4)
    assert uniformity(torch.ones(3, 2)) == pytest.approx(0)
    assert uniformity(x) == pytest.approx(-4)  # all at squared distance 2
