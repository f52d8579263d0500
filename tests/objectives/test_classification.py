"""The objectives of classification beside their definitions, in float64."""

import torch

from heedful.objectives import smoothed_cross_entropy
from heedful.objectives.classification import balanced, class_loss, number_loss


def test_it_is_the_cross_entropy_of_the_other_tasks():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 1])
    for smoothing in (0.0, 0.2):
        found = class_loss(logits, labels, smoothing=smoothing)
        expected = smoothed_cross_entropy(logits, torch.eye(4), None, labels, smoothing, ignore=None)
        torch.testing.assert_close((found.smoothed, found.likelihood), expected)
        assert found.tokens == 6


def test_r_drop_is_that_of_the_other_tasks():
    logits, labels = torch.randn(8, 3), torch.tensor([0, 1, 2, 1])
    found = class_loss(logits, labels, smoothing=0.1, r_drop=2.0)
    smoothed, likelihood = smoothed_cross_entropy(
        logits, torch.eye(3), None, labels.repeat(2), 0.1, 2.0, ignore=None
    )
    torch.testing.assert_close((found.smoothed, found.likelihood), (smoothed / 2, likelihood / 2))
    assert found.tokens == 4


def test_weights_multiply_the_loss_of_a_class_and_not_the_likelihood():
    logits, labels = torch.randn(5, 2), torch.tensor([0, 0, 0, 0, 1])
    weights = balanced(torch.tensor([4, 1]))
    torch.testing.assert_close(weights, torch.tensor([5 / 8, 5 / 2]))
    torch.testing.assert_close(weights[labels].mean(), torch.tensor(1.0))
    losses = -logits.log_softmax(-1).gather(1, labels[:, None])[:, 0]
    found = class_loss(logits, labels, weights)
    torch.testing.assert_close(found.smoothed, (weights[labels] * losses).sum())
    torch.testing.assert_close(found.likelihood, losses.sum())
    assert balanced(torch.tensor([3, 0])).tolist() == [0.5, 0.0]


def test_numbers_cost_half_their_squared_error():
    found = number_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0]))
    assert (float(found.smoothed), found.tokens) == (2.5, 2)
