"""Embedding: sqrt(d_model) E[token] + PE[position]."""

import math

import pytest
import torch

from heedful.attention.positions import sinusoidal
from heedful.layers import Embedding, embedding_table

TOKENS = torch.tensor([[3, 1, 4], [1, 5, 9]])


@pytest.mark.parametrize(
    ("positions", "layout"), [("sinusoidal", "interleaved"), ("sinusoidal-concatenated", "concatenated")]
)
def test_it_is_the_formula_of_the_paper(positions, layout):
    table = embedding_table(10, 6)
    embedding = Embedding(table, positions, maximum_length=20, dropout=0.0)
    where = torch.tensor([4, 5, 19])
    expected = math.sqrt(6) * table.weight[TOKENS] + sinusoidal(where, 6, layout)
    torch.testing.assert_close(embedding(TOKENS, where), expected)


def test_learned_positions_are_a_vector_for_each():
    table = embedding_table(10, 6)
    embedding = Embedding(table, "learned", maximum_length=20, dropout=0.0)
    where = torch.tensor([[0, 1, 2], [7, 8, 9]])
    expected = math.sqrt(6) * table.weight[TOKENS] + embedding.learned.weight[where]
    torch.testing.assert_close(embedding(TOKENS, where), expected)
    assert embedding.learned.weight.shape == (20, 6)


@pytest.mark.parametrize("positions", ["rotary", "relative", "none"])
def test_other_positions_are_not_of_the_embedding(positions):
    table = embedding_table(10, 5)
    for scale, factor in ((True, math.sqrt(5)), (False, 1.0)):
        embedding = Embedding(table, positions, maximum_length=20, dropout=0.0, scale=scale)
        torch.testing.assert_close(embedding(TOKENS, torch.arange(3)), factor * table.weight[TOKENS])


def test_computed_positions_are_not_stored():
    assert list(Embedding(embedding_table(10, 6), "sinusoidal", 20, 0.1).state_dict()) == ["table.weight"]


def test_scaled_vectors_have_variance_one():
    table = embedding_table(2000, 64)
    assert float((table.weight.detach() * 8).var()) == pytest.approx(1, abs=0.02)


def test_dropout_is_on_the_sum():
    embedding = Embedding(embedding_table(10, 64), "sinusoidal", maximum_length=20, dropout=0.5)
    assert 0.3 < float((embedding(TOKENS, torch.arange(3)) == 0).float().mean()) < 0.7
    embedding.eval()
    assert torch.equal(embedding(TOKENS, torch.arange(3)), embedding(TOKENS, torch.arange(3)))
