"""Sparse features that are given by number."""

import torch

from heedful.layers.hashed_features import HashedFeatures


def test_it_is_a_linear_layer_over_counts_of_features():
    layer = HashedFeatures(50, 3).double()
    features = torch.randint(50, (2, 4, 6))
    assert not layer(features).any()  # it begins with zeros
    torch.nn.init.normal_(layer.weights.weight)
    counts = torch.nn.functional.one_hot(features, 50).sum(-2).double()
    torch.testing.assert_close(layer(features), 10 * counts @ layer.weights.weight, rtol=1e-12, atol=1e-12)


def test_whole_features_are_dropped_and_their_mean_is_kept():
    layer = HashedFeatures(1, 2, dropout=0.75)
    torch.nn.init.ones_(layer.weights.weight)
    features = torch.zeros(20_000, 1, dtype=torch.int32)
    scores = layer(features)
    assert torch.equal(scores[:, 0], scores[:, 1])
    assert set(scores.unique().tolist()) == {0.0, 40.0}
    assert abs(scores.mean() - 10) < 0.5
    assert torch.equal(layer.eval()(features), torch.full((20_000, 2), 10.0))
