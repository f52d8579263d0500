"""The head of a classifier, beside its definitions."""

import pytest
import torch

from heedful import observe
from heedful.models import EncoderOnlySettings
from heedful.models.classifier import Classifier, HeadSettings, Pooling, mean_by
from heedful.models.encoder import Encoder
from heedful.text.special import PAD

SETTINGS = EncoderOnlySettings(d_model=8, d_ff=16, heads=2, layers=1, maximum_length=12)
KINDS = ("mean", "max", "mean-max", "first", "last", "attention")
EVERY = pytest.mark.parametrize("kind", KINDS)


def classifier(**choices) -> Classifier:
    return Classifier(Encoder(SETTINGS, 30), 3, HeadSettings(**choices)).eval()


def test_pooling_is_what_it_is_called():
    vectors, seen = torch.randn(2, 5, 8), torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 0, 0]]).bool()
    found = {kind: Pooling(kind, 8)(vectors, seen) for kind in KINDS[:-1]}
    for row in range(2):
        kept = vectors[row][seen[row]]
        torch.testing.assert_close(found["mean"][row], kept.mean(0))
        torch.testing.assert_close(found["max"][row], kept.amax(0))
        torch.testing.assert_close(found["mean-max"][row], torch.cat((kept.mean(0), kept.amax(0))))
        torch.testing.assert_close(found["first"][row], kept[0])
        torch.testing.assert_close(found["last"][row], kept[-1])


def test_attention_pools_by_the_equations_of_yang_2016():
    pooling = Pooling("attention", 8).double()
    vectors, seen = torch.randn(2, 5, 8).double(), torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 0, 0]]).bool()
    score = pooling.attention.score
    u = torch.tanh(vectors @ score.key_weight.T + score.bias)
    weights = (u @ score.v).masked_fill(~seen, -torch.inf).softmax(-1)
    torch.testing.assert_close(pooling(vectors, seen), (weights.unsqueeze(-1) * vectors).sum(1))


def test_observe_sees_how_much_each_word_counts():
    model = classifier(pooling="attention")
    with observe(model) as seen:
        model(torch.randint(4, 30, (2, 6)), None, torch.tensor([0, 1]))
    weights = seen["pooling.attention"].weights()
    assert weights.shape == (2, 1, 1, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1, 1))


@EVERY
def test_padding_changes_nothing(kind):
    model = classifier(pooling=kind, hidden=5)
    tokens = torch.randint(4, 30, (2, 6))
    padded = torch.cat((tokens, torch.full((2, 3), PAD)), 1)
    texts = torch.tensor([0, 1])
    torch.testing.assert_close(model(padded, None, texts), model(tokens, None, texts))


def test_the_logits_of_a_long_text_are_the_mean_of_its_windows():
    model = classifier()
    tokens = torch.randint(4, 30, (4, 6))
    each = model(tokens, None, torch.arange(4))
    found = model(tokens, None, torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(found, torch.stack((each[:3].mean(0), each[3])))
    assert mean_by(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0, 3)
