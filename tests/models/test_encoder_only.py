"""The encoder-only Transformer: a vector for each token, made of all tokens around it."""

import pytest
import torch
from torch import nn

from heedful.models import EncoderOnlySettings, EncoderOnlyTransformer
from heedful.models.encoder_only import bert_settings
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


BERT = {"d_model": 16, "d_ff": 24, "heads": 4, "layers": 2, "maximum_length": 12}


def test_bert_base_has_its_parameters():
    with torch.device("meta"):
        model = EncoderOnlyTransformer(bert_settings(), 30_522)
    heads = ("transform.", "output.", "next_sentence.")
    count = sum(each.numel() for name, each in model.named_parameters() if not name.startswith(heads))
    # The published bert-base-uncased, to the last one: embeddings, layers and pooler.
    assert count == 109_482_240
    assert count == (30_522 + 512 + 2 + 2) * 768 + 12 * (12 * 768**2 + 13 * 768) + 768**2 + 768


@torch.no_grad()
def test_bert_is_what_its_equations_say():
    model = EncoderOnlyTransformer(bert_settings(**BERT), VOCABULARY).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    segments = torch.tensor([[0, 0, 1, 1, 1]]).expand(3, -1)
    table, learned, kinds = (
        getattr(model.embedding, name).weight for name in ("table", "learned", "segments")
    )
    total = table[SOURCE] + learned[:5] + kinds[segments]
    centred = total - total.mean(-1, keepdim=True)
    norm = model.embedding.norm
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(model.embedding(SOURCE, torch.arange(5), segments), expected)

    vectors = model(SOURCE, segments)
    assert not torch.allclose(vectors, model(SOURCE))  # which is all of segment 0
    torch.testing.assert_close(model(SOURCE), model(SOURCE, torch.zeros_like(SOURCE)))
    dense, _, last = model.transform
    inner = torch.nn.functional.gelu(vectors @ dense.weight.t() + dense.bias)
    logits = last(inner) @ table.t() + model.output.bias
    torch.testing.assert_close(model.logits(vectors), logits)
    pooled = (vectors[:, 0] @ model.pooler.weight.t() + model.pooler.bias).tanh()
    torch.testing.assert_close(model.pooled(vectors), pooled)
    torch.testing.assert_close(model.follows(vectors), model.next_sentence(pooled))


@pytest.mark.parametrize("positions", ["learned", "rotary", "relative", "sinusoidal"])
@torch.no_grad()
def test_packed_documents_are_read_as_if_they_were_alone(positions):
    settings = EncoderOnlySettings(**{**SMALL, "layers": 2, "positions": positions})
    model = EncoderOnlyTransformer(settings, VOCABULARY).double().eval()
    tokens = torch.tensor([[4, 9, 5, 6, 7, 3, 8]])
    documents = torch.tensor([[0, 0, 1, 1, 1, 2, 2]])
    together = model(tokens, documents=documents)[0]
    for number in range(3):
        own = documents[0] == number
        torch.testing.assert_close(model(tokens[:, own])[0], together[own], rtol=0, atol=1e-12)


def test_weights_are_drawn_as_bert_draws_them():
    sizes = {**BERT, "d_model": 64, "d_ff": 128, "maximum_length": 64}
    model = EncoderOnlyTransformer(bert_settings(**sizes), 500)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and parameter.numel() > 1000:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.1), name
        elif parameter.ndim == 1:
            assert parameter.eq(1 if "norm.weight" in name or name == "transform.2.weight" else 0).all(), name


def test_what_a_model_was_not_made_for_is_refused():
    model = _small()
    with pytest.raises(ValueError, match="no pooled vector"):
        model.follows(torch.zeros(1, 2, 16))
