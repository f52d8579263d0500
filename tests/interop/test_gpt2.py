"""GPT-2 of transformers and ours: the same numbers in both directions."""

import pytest
import torch
from torch.testing import assert_close

from heedful.errors import ModelFolderError
from heedful.interop import gpt2
from heedful.models.decoder_only import DecoderOnlyTransformer, gpt2_settings

transformers = pytest.importorskip("transformers", reason="transformers is missing: heedful[hf]")

TINY = {
    "vocab_size": 50,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 12,
    "initializer_range": 0.4,
    "bos_token_id": None,
    "eos_token_id": None,
}
TOKENS = torch.tensor([[0, 7, 49, 4, 2, 9, 2], [1, 8, 8, 2, 3, 0, 5]])


@pytest.mark.parametrize(
    "choices", [{}, {"activation_function": "gelu", "n_inner": 20}, {"tie_word_embeddings": False}]
)
@torch.no_grad()
def test_there_and_back(tmp_path, choices):
    torch.manual_seed(3)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**TINY, **choices})).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 1.0 if ".ln_" in name and "weight" in name else 0.0, 0.3)
    model.save_pretrained(tmp_path / "theirs")
    ours = gpt2.load(tmp_path / "theirs")
    expected = model(TOKENS).logits
    assert_close(ours.language(TOKENS), expected, rtol=0, atol=1e-5)

    gpt2.save(ours, tmp_path / "again")
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "again").eval()
    assert_close(again(TOKENS).logits, expected)


@torch.no_grad()
def test_a_bare_gpt_2():
    model = transformers.GPT2Model(transformers.GPT2Config(**TINY)).eval()
    ours = gpt2.from_weights(model.config.to_dict(), model.state_dict())
    expected = model(TOKENS).last_hidden_state @ model.wte.weight.t()
    assert_close(ours.language(TOKENS), expected, rtol=0, atol=1e-5)


def test_what_is_no_gpt_2_is_refused():
    sizes = {"d_model": 16, "d_ff": 24, "heads": 4, "layers": 1, "maximum_length": 8}
    model = DecoderOnlyTransformer(gpt2_settings(**sizes, norm_kind="rms"), 50, 50)
    with pytest.raises(
        ModelFolderError, match=r"no GPT-2 of transformers: norm_kind = 'rms' \(must be 'layer'\)"
    ):
        gpt2.to_weights(model)
    config = transformers.GPT2Config(**TINY).to_dict()
    with pytest.raises(ModelFolderError, match="n_positions is 11"):
        gpt2.from_weights({**config, "n_positions": 11}, {})
    with pytest.raises(ModelFolderError, match="scale_attn_by_inverse_layer_idx is True"):
        gpt2.from_weights({**config, "scale_attn_by_inverse_layer_idx": True}, {})
    with pytest.raises(ModelFolderError, match="lacks 'n_embd'"):
        gpt2.from_weights({"model_type": "gpt2"}, {})
