"""Scoring a pair gives what the search reports for it."""

import pytest
import torch
from torch import Tensor

from heedful.decoding import SearchSettings, score, search
from heedful.text.special import END, PAD
from tests.decoding.small_models import Recurrent, Table, sources


def padded(rows: list[list[int]]) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


@pytest.mark.parametrize("settings", [SearchSettings(n_best=4), SearchSettings(method="sample", n_best=4)])
@pytest.mark.parametrize("kind", [Table, Recurrent])
def test_the_search_reports_the_score_of_its_answers(kind, settings):
    model, batch = kind(12, maximum_length=30), sources(5, 12)
    found = [
        (row, answer) for row, answers in enumerate(search(model, batch, settings)) for answer in answers
    ]
    target = padded([[*answer.tokens, *[END] * answer.finished] for _, answer in found])
    scored = score(model, batch[[row for row, _ in found]], target)
    assert scored.total.tolist() == pytest.approx([answer.log_probability for _, answer in found])
    for terms, (_, answer) in zip(scored.tokens.tolist(), found, strict=True):
        length = len(answer.token_log_probabilities)
        assert terms[:length] == pytest.approx(answer.token_log_probabilities)
        assert terms[length:] == [0] * (len(terms) - length)


def test_probabilities_of_all_one_token_continuations_sum_to_one():
    model = Table(7)
    source = sources(1, 7).expand(6, -1)
    target = torch.tensor([[4, token] for token in range(1, 7)])  # END among them
    total = score(model, source, target).tokens[:, 1].exp().sum()
    pad = model(source[:1], torch.tensor([[1, 4]])).softmax(-1)[0, 1, PAD]
    assert (total + pad).item() == pytest.approx(1)


def test_a_call_that_makes_no_sense_is_refused():
    model = Table(6)
    with pytest.raises(ValueError, match="must be"):
        score(model, sources(2, 6), sources(3, 6))
    with pytest.raises(ValueError, match="training mode"):
        score(model.train(), sources(2, 6), sources(2, 6))
