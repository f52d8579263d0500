"""A conditional random field equals its definition: the sum and the maximum over all sequences written out."""

from itertools import pairwise, product

import pytest
import torch

from heedful.layers.crf import ConditionalRandomField

LENGTHS = (4, 1, 3)


@pytest.fixture
def field():
    # Label 2 stands only after 1 or 2, and never first: O, B, I.
    allowed = torch.tensor([[True, True, False], [True, True, True], [True, True, True]])
    field = ConditionalRandomField(allowed, torch.tensor([True, True, False])).double()
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter)
    return field


@pytest.fixture
def scored():
    emissions = torch.randn(3, 4, 3, dtype=torch.float64)
    return emissions, torch.arange(4) < torch.tensor(LENGTHS)[:, None]


def score(field, emissions, tags):
    total = (
        field.begin[tags[0]] + field.finish[tags[-1]] + sum(emissions[at, tag] for at, tag in enumerate(tags))
    )
    return total + sum(field.transition[one, other] for one, other in pairwise(tags))


def sequences(length):
    for tags in product(range(3), repeat=length):
        if all(tag != 2 or before not in (None, 0) for tag, before in zip(tags, (None, *tags), strict=False)):
            yield tags


def test_likelihood_is_the_share_of_one_sequence_in_all(field, scored):
    emissions, mask = scored
    tags = torch.tensor([[1, 2, 0, 1], [1, 0, 0, 0], [0, 1, 2, 0]])
    found = field.likelihood(emissions, tags, mask)
    for row, length in enumerate(LENGTHS):
        every = torch.stack([score(field, emissions[row], each) for each in sequences(length)])
        expected = score(field, emissions[row], tags[row, :length].tolist()) - every.logsumexp(0)
        torch.testing.assert_close(found[row], expected)


def test_viterbi_is_the_best_of_all(field, scored):
    emissions, mask = scored
    for row, (found, length) in enumerate(zip(field.viterbi(emissions, mask), LENGTHS, strict=True)):
        assert tuple(found) == max(sequences(length), key=lambda tags: score(field, emissions[row], tags))


def test_with_nothing_learnt_the_best_allowed_tags_are_found(scored):
    emissions, mask = scored
    allowed = torch.tensor([[True, True, False], [True, True, True], [True, True, True]])
    field = ConditionalRandomField(allowed, torch.tensor([True, True, False]), learned=False)
    assert not list(field.parameters())
    for row, (found, length) in enumerate(zip(field.viterbi(emissions, mask), LENGTHS, strict=True)):
        best = max(
            sequences(length), key=lambda tags: sum(emissions[row, at, tag] for at, tag in enumerate(tags))
        )
        assert tuple(found) == best


def test_padding_changes_nothing(field, scored):
    emissions, mask = scored
    tags = torch.zeros(3, 4, dtype=torch.long)
    other = torch.where(mask.unsqueeze(2), emissions, torch.randn_like(emissions))
    torch.testing.assert_close(field.likelihood(emissions, tags, mask), field.likelihood(other, tags, mask))
    assert field.viterbi(emissions, mask) == field.viterbi(other, mask)


def test_rows_without_words_are_possible(field):
    assert field.viterbi(torch.zeros(1, 0, 3), torch.zeros(1, 0, dtype=torch.bool)) == [[]]
    assert field.viterbi(torch.zeros(2, 1, 3), torch.tensor([[True], [False]]))[1] == []
