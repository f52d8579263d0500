"""The encoder-only Transformer: a vector for each token, made of all tokens around it."""

import pytest
import torch
from torch import nn

from heedful.models import EncoderOnlySettings, EncoderOnlyTransformer
from tests.models.variants import CHOICES, SMALL, SOURCE, VOCABULARY


def _small(choice: str = "the paper's") -> EncoderOnlyTransformer:
    settings = EncoderOnlySettings(**{**SMALL, "layers": 2, **CHOICES[choice]})
    model = EncoderOnlyTransformer(settings, VOCABULARY).double().eval()
    for name, parameter in model.named_parameters():
        if "bias" in name or "relative" in name:
            nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("choice", CHOICES)
@torch.no_grad()
def test_padding_changes_nothing_and_every_token_sees_every_other(choice):
    model = _small(choice)
    vectors = model(SOURCE)
    assert vectors.shape == (3, 5, 16)
    for row, length in enumerate((SOURCE != 0).sum(1).tolist()):
        alone = model(SOURCE[row : row + 1, :length])
        torch.testing.assert_close(alone[0], vectors[row, :length], rtol=0, atol=1e-12)
    for place in range(5):
        changed = SOURCE[:1].clone()
        changed[0, place] = 10
        assert bool(((model(changed)[0] - vectors[0]).abs().max(-1).values > 1e-6).all())


@torch.no_grad()
def test_the_output_guesses_tokens_with_the_embeddings_matrix():
    model = _small()
    assert model.output.weight is model.embedding.table.weight
    vectors = model(SOURCE)
    expected = vectors @ model.embedding.table.weight.t() + model.output.bias
    torch.testing.assert_close(model.output(vectors), expected)
    untied = _small("untied")
    assert untied.output.weight is not untied.embedding.table.weight


def test_bert_base_has_its_parameters():
    settings = EncoderOnlySettings(
        d_model=768,
        d_ff=3072,
        heads=12,
        layers=12,
        positions="learned",
        activation="gelu",
        attention_bias=True,
        maximum_length=512,
    )
    with torch.device("meta"):
        model = EncoderOnlyTransformer(settings, 30_522)
    count = sum(parameter.numel() for name, parameter in model.named_parameters() if name != "output.bias")
    pooler, segments, embedding_norm = 768 * 768 + 768, 2 * 768, 2 * 768
    # The published bert-base-uncased, to the last one.
    assert count + pooler + segments + embedding_norm == 109_482_240
