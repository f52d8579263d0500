"""Masks: True = may attend, and causality is by position."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from heedful.attention import masks

positions = st.lists(st.integers(0, 50), min_size=1, max_size=8)


@given(queries=positions, keys=positions)
def test_causal_lets_a_query_see_what_does_not_stand_later(queries, keys):
    mask = masks.causal(torch.tensor(queries), torch.tensor(keys))
    assert mask.tolist() == [[key <= query for key in keys] for query in queries]


def test_causal_takes_positions_of_each_row():
    rows = torch.tensor([[0, 1, 2], [5, 6, 7]])
    mask = masks.causal(rows, rows)
    assert mask.shape == (2, 3, 3)
    assert torch.equal(mask[0], mask[1])


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_padding_from_lengths_and_from_tokens_agree(lengths):
    tokens = torch.tensor([[7] * length + [0] * (6 - length) for length in lengths])
    mask = masks.padding(torch.tensor(lengths), 6)
    assert mask.shape == (len(lengths), 1, 1, 6)
    assert mask.sum(-1).flatten().tolist() == lengths
    assert torch.equal(mask, masks.not_padding(tokens, 0))
