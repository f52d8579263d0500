"""BERT of transformers and ours: the same numbers in both directions."""

import json

import pytest
import torch
from torch.testing import assert_close

from heedful.errors import ModelFolderError
from heedful.interop import bert
from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer, bert_settings

transformers = pytest.importorskip("transformers", reason="transformers is missing: heedful[hf]")

TINY = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
    # Large enough for every part to matter.
    "initializer_range": 0.4,
}
TOKENS = torch.tensor([[1, 7, 49, 4, 2, 9, 2], [1, 8, 8, 2, 0, 0, 0]])
SEGMENTS = torch.tensor([[0, 0, 0, 0, 0, 1, 1], [0] * 7])


def theirs(kind: str, **choices):
    torch.manual_seed(3)
    model = getattr(transformers, kind)(transformers.BertConfig(**{**TINY, **choices})).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # biases begin at 0 and norms at 1, which would hide a mistake
            torch.nn.init.normal_(parameter, 1.0 if "LayerNorm.weight" in name else 0.0, 0.3)
    return model


def said(model):
    return model(TOKENS, attention_mask=(TOKENS != 0).long(), token_type_ids=SEGMENTS)


@pytest.mark.parametrize("choices", [{}, {"hidden_act": "gelu_new"}, {"tie_word_embeddings": False}])
@torch.no_grad()
def test_there_and_back(tmp_path, choices):
    model = theirs("BertForPreTraining", **choices)
    model.save_pretrained(tmp_path / "theirs")
    ours = bert.load(tmp_path / "theirs")
    expected, vectors = said(model), ours(TOKENS, SEGMENTS)
    real = TOKENS != 0
    assert_close(ours.logits(vectors)[real], expected.prediction_logits[real], rtol=0, atol=1e-5)
    assert_close(ours.follows(vectors), expected.seq_relationship_logits, rtol=0, atol=1e-5)

    bert.save(ours, tmp_path / "again")
    again = transformers.BertForPreTraining.from_pretrained(tmp_path / "again").eval()
    assert_close(said(again).prediction_logits, expected.prediction_logits)
    assert_close(said(again).seq_relationship_logits, expected.seq_relationship_logits)
    assert again.config.hidden_act == model.config.hidden_act


@torch.no_grad()
def test_a_bare_bert(tmp_path):
    model = theirs("BertModel")
    model.save_pretrained(tmp_path)
    ours = bert.load(tmp_path)
    vectors = ours(TOKENS, SEGMENTS)
    assert_close(vectors[TOKENS != 0], said(model).last_hidden_state[TOKENS != 0], rtol=0, atol=1e-5)
    assert_close(ours.pooled(vectors), said(model).pooler_output, rtol=0, atol=1e-5)
    assert ours.follows(vectors).eq(0).all()


@torch.no_grad()
def test_a_masked_language_model_in_the_names_of_the_first_checkpoints():
    model = theirs("BertForMaskedLM")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in model.state_dict().items()
    }
    ours = bert.from_weights(model.config.to_dict(), old)
    assert ours.next_sentence is None
    logits = ours.logits(ours(TOKENS, SEGMENTS))
    assert_close(logits[TOKENS != 0], said(model).logits[TOKENS != 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("choices", "kind"),
    [
        ({}, "BertForPreTraining"),
        ({"next_sentence": False}, "BertForMaskedLM"),
        ({"transform": False}, "BertForNextSentencePrediction"),
        ({"transform": False, "next_sentence": False, "segments": 0}, "BertModel"),
    ],
)
@torch.no_grad()
def test_ours_is_loaded_by_them(tmp_path, choices, kind):
    sizes = {"d_model": 16, "d_ff": 24, "heads": 4, "layers": 2, "maximum_length": 12, "deviation": 0.4}
    ours = EncoderOnlyTransformer(bert_settings(**sizes, **choices), 50).eval()
    bert.save(ours, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [kind]
    model = getattr(transformers, kind).from_pretrained(
        tmp_path, **({"add_pooling_layer": False} if kind == "BertModel" else {})
    )
    vectors = ours(TOKENS, SEGMENTS)
    body = model.eval() if kind == "BertModel" else model.eval().bert
    assert_close(said(body).last_hidden_state[TOKENS != 0], vectors[TOKENS != 0], rtol=0, atol=1e-5)
    if ours.transform is not None:
        found = said(model)
        logits = found.prediction_logits if ours.next_sentence is not None else found.logits
        assert_close(logits[TOKENS != 0], ours.logits(vectors)[TOKENS != 0], rtol=0, atol=1e-5)


def test_what_is_no_bert_is_refused(tmp_path):
    settings = EncoderOnlySettings(d_model=16, d_ff=24, heads=4, layers=1, positions="rotary")
    with pytest.raises(
        ModelFolderError, match=r"no BERT of transformers: .*positions = 'rotary' \(must be 'learned'\)"
    ):
        bert.save(EncoderOnlyTransformer(settings, 50), tmp_path)
    config = transformers.BertConfig(**TINY).to_dict()
    with pytest.raises(ModelFolderError, match="model_type is 'roberta'"):
        bert.from_weights({**config, "model_type": "roberta"}, {})
    with pytest.raises(ModelFolderError, match="pad_token_id is 5"):
        bert.from_weights({**config, "pad_token_id": 5}, {})
    with pytest.raises(ModelFolderError, match=r"lacks bert\.embeddings\.word_embeddings\.weight"):
        bert.from_weights(config, {})
    with pytest.raises(ModelFolderError, match="There is no folder"):
        bert.load(tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelFolderError, match="pickle, which can run any code"):
        bert.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelFolderError, match="damaged or cut short"):
        bert.load(tmp_path)
    ours = EncoderOnlyTransformer(bert_settings(d_model=16, d_ff=24, heads=4, layers=1), 50)
    with pytest.raises(ModelFolderError, match="holds another model already"):
        bert.save(ours, tmp_path)
