"""Models of transformers: the weights are those of eager `output_attentions`, and nothing else changes."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import heedful
from heedful.attention import MultiHeadAttention, Record
from heedful.interop.attention_functions import called

transformers = pytest.importorskip("transformers", reason="transformers is missing: heedful[hf]")
from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402
from transformers.modeling_utils import AttentionInterface  # noqa: E402

SMALL = {"vocab_size": 50, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
LLAMA = {**SMALL, **BERT, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.4}
BART = {
    **SMALL,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "init_std": 0.4,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": None,
}
ROOM = {"max_position_embeddings": 40, "initializer_range": 0.4}
WHISPER = {"num_mel_bins": 6, "max_source_positions": 9, "max_target_positions": 40}
T5 = {"d_model": 32, "d_kv": 8, "num_heads": 4, "num_layers": 2, "d_ff": 48, "decoder_start_token_id": 0}

# Weights large enough for attention to have its favourites.
MODELS = {
    "BertModel": {**SMALL, **BERT, **ROOM},
    "RobertaModel": {**SMALL, **BERT, **ROOM},
    "GPT2LMHeadModel": {**SMALL, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, **ROOM},
    "LlamaForCausalLM": LLAMA,
    "MarianMTModel": {**BART, **ROOM},
    "BartForConditionalGeneration": {**BART, **ROOM},
    "WhisperForConditionalGeneration": {**BART, **WHISPER},
    "ViTModel": {**BERT, "image_size": 12, "patch_size": 4, "initializer_range": 0.4},
    "T5ForConditionalGeneration": {**SMALL, **T5, "initializer_factor": 2.0},
    "MistralForCausalLM": {**LLAMA, "sliding_window": 4},
    # One layer with a window, one without.
    "Gemma3ForCausalLM": {
        **LLAMA,
        "sliding_window": 4,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}
# These have no sdpa: a soft cap, and sinks.
EAGER = {
    "Gemma2ForCausalLM": {
        **LLAMA,
        "attn_logit_softcapping": 2.0,
        "query_pre_attn_scalar": 8,
        "sliding_window": 4,
    },
    "GptOssForCausalLM": {**LLAMA, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4},
}
TRANSLATORS = ["MarianMTModel", "BartForConditionalGeneration", "T5ForConditionalGeneration"]

TOKENS = torch.tensor([[0, 5, 6, 7, 8, 9, 2], [0, 7, 9, 4, 2, 1, 1]])
TARGET = torch.tensor([[0, 11, 12, 13, 14], [0, 15, 16, 17, 18]])


def _model(name):
    kind = getattr(transformers, name)
    torch.manual_seed(1)
    config = kind.config_class(**{**MODELS, **EAGER}[name])
    model = kind(config).eval()
    for module in model.modules():
        if hasattr(module, "sinks"):
            torch.nn.init.normal_(module.sinks)
    return model


def _inputs(name, padded):
    """Give inputs with padding, which is told or not."""
    if name.startswith("ViT"):
        return {"pixel_values": torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(2))}
    if name.startswith("Whisper"):
        sound = torch.randn(2, 6, 18, generator=torch.Generator().manual_seed(2))
        return {"input_features": sound, "decoder_input_ids": TARGET}
    inputs = {"input_ids": TOKENS}
    if padded:
        inputs["attention_mask"] = (TOKENS != 1).long()
    if name in TRANSLATORS:
        inputs["decoder_input_ids"] = TARGET
    return inputs


def _attentions(outputs):
    """Give the weights of all layers in the order in which they are made."""
    if outputs.get("decoder_attentions") is None:
        return list(outputs.attentions)
    decoder = zip(outputs.decoder_attentions, outputs.cross_attentions, strict=True)
    return [*outputs.encoder_attentions, *(weights for layer in decoder for weights in layer)]


def _output(outputs):
    return outputs.logits if "logits" in outputs else outputs.last_hidden_state


@torch.no_grad()
def _eager(model, inputs):
    model.set_attn_implementation("eager")
    return _attentions(model(**inputs, output_attentions=True))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", [*MODELS, *EAGER])
def test_weights_are_those_of_eager_attention_and_outputs_the_same_bits(name, padded):
    model, inputs = _model(name), _inputs(name, padded)
    assert model.config._attn_implementation == ("eager" if name in EAGER else "sdpa")
    unobserved = _output(model(**inputs))
    with heedful.observe(model) as seen:
        observed = _output(model(**inputs))
    assert torch.equal(observed, unobserved)
    attentions = _eager(model, inputs)
    assert len(seen) == len(attentions) == (6 if "decoder_input_ids" in inputs else 2)
    for name, attention in zip(seen, attentions, strict=True):
        assert attention.max() > 0.15
        assert_close(seen[name].weights(), attention, atol=1e-5, rtol=0)
        assert_close(seen[name].weights(slice(1, 3)), attention[:, :, 1:3], atol=1e-5, rtol=0)


def test_records_stand_under_the_names_of_the_modules():
    model, inputs = _model("MarianMTModel"), _inputs("MarianMTModel", True)
    layers = [f"model.encoder.layers.{layer}.self_attn" for layer in (0, 1)]
    for layer in (0, 1):
        layers += [f"model.decoder.layers.{layer}.{kind}" for kind in ("self_attn", "encoder_attn")]
    with heedful.observe(model) as seen:
        model(**inputs)
    assert list(seen) == layers
    with heedful.observe(model, "encoder_attn") as seen:
        model(**inputs)
    assert list(seen) == [layers[3], layers[5]]
    whole = nn.ModuleDict({"first": nn.Linear(2, 2), "translator": model})  # a part of someone's own model
    with heedful.observe(whole) as seen:
        model(**inputs)
    assert list(seen) == [f"translator.{name}" for name in layers]


def test_a_part_of_a_model_is_heard_too():
    model = _model("BertModel")
    part = model.encoder.layer[0].attention.self
    with torch.no_grad(), heedful.observe(model) as whole, heedful.observe(part) as seen:
        model(**_inputs("BertModel", padded=False))
    assert list(seen) == [""]
    assert torch.equal(seen[""].weights(), whole["encoder.layer.0.attention.self"].weights())


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_padding_on_the_left(name):
    tokens = TOKENS.flip(1)
    model, inputs = _model(name), {"input_ids": tokens, "attention_mask": (tokens != 1).long()}
    with heedful.observe(model) as seen:
        model(**inputs)
    real = (tokens != 1)[:, None, :, None].expand(-1, 4, -1, 7)
    for name, attention in zip(seen, _eager(model, inputs), strict=True):
        weights = seen[name].weights()
        assert_close(weights[real], attention[real], atol=1e-5, rtol=0)
        assert not weights[~real].any()  # padding sees nothing; eager attention gives it the mean of all


@pytest.mark.parametrize(
    ("name", "cache"),
    [
        ("GPT2LMHeadModel", None),
        ("LlamaForCausalLM", None),
        ("MistralForCausalLM", None),
        ("MarianMTModel", None),
        # Written in place, step after step; the second moves its window in place too.
        ("LlamaForCausalLM", "static"),
        ("MistralForCausalLM", "static"),
        ("MarianMTModel", "static"),
    ],
)
def test_generation_with_a_cache(name, cache):
    model = _model(name)
    tokens = TOKENS[:1] if name in TRANSLATORS else TOKENS[:, :4]
    how = {
        "attention_mask": torch.ones_like(tokens),
        "min_new_tokens": 5,
        "max_new_tokens": 5,
        "do_sample": False,
        "num_beams": 1,
        "cache_implementation": cache,
        "disable_compile": True,
    }
    unobserved = model.generate(tokens, **how)
    with heedful.observe(model) as seen:
        observed = model.generate(tokens, **how)
    assert torch.equal(observed, unobserved)
    model.set_attn_implementation("eager")
    eager = model.generate(tokens, output_attentions=True, return_dict_in_generate=True, **how)
    assert torch.equal(eager.sequences, observed)
    steps = eager.decoder_attentions if name in TRANSLATORS else eager.attentions
    for layer, module in enumerate(module for module in seen if "encoder" not in module):
        records = seen.calls(module)
        assert len(records) == len(steps) == 5
        for record, step in zip(records, steps, strict=True):
            assert_close(record.weights(), step[layer], atol=1e-5, rtol=0)
        if name != "MistralForCausalLM":  # whose window leaves keys behind
            keys = records[-1].shape[-1]
            rows = [nn.functional.pad(step[layer], (0, keys - step[layer].shape[-1])) for step in steps]
            assert_close(seen.joined(module).weights(), torch.cat(rows, 2), atol=1e-5, rtol=0)


def test_training_is_the_same_bits_and_weights_are_those_before_dropout():
    model = _model("BertModel").train()
    inputs, gradients = _inputs("BertModel", True), []
    for watched in (False, True):
        torch.manual_seed(3)
        model.zero_grad()
        if watched:
            with heedful.observe(model) as seen:
                output = model(**inputs).last_hidden_state
        else:
            output = model(**inputs).last_hidden_state
        output.square().sum().backward()
        gradients.append(
            [output.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
        )
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    record = seen["encoder.layer.0.attention.self"]
    assert record.call.dropout == 0.1
    assert_close(record.weights().sum(-1), torch.ones(2, 4, 7))
    assert not record.weights().requires_grad


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 5), (3, 5)])
@pytest.mark.parametrize(
    "mask", ["none", "causal", "bool", "float", "bias", "bias and causal", "bias and bool"]
)
def test_what_sdpa_is_called_with_gives_the_weights_that_it_uses(heads, queries, keys, mask):
    torch.manual_seed(4)
    module = SimpleNamespace(num_key_value_groups=heads[0] // heads[1], is_causal="causal" in mask)
    query, key = torch.randn(2, heads[0], queries, 8), torch.randn(2, heads[1], keys, 8)
    # With values that are one-hot, what is attended to is the weights.
    value = torch.eye(keys).expand(2, heads[1], keys, keys)
    given = None
    if "bool" in mask:
        given = torch.rand(2, 1, queries, keys) > 0.4
        given[..., 0] = True
    if mask == "float":
        given = torch.randn(2, heads[0], queries, keys)
    bias = torch.randn(1, heads[0], queries, keys) if "bias" in mask else None
    choices = {"scaling": 0.7, "position_bias": bias}
    weights, _ = sdpa_attention_forward(module, query, key, value, given, **choices)
    call = called("sdpa", module, query, key, value, given, **choices)
    recorded = Record(call).weights()
    # (batch, queries, heads, keys); a triangle leaves out what stands after the last query
    weights = weights.transpose(1, 2)
    assert_close(recorded[..., : weights.shape[-1]], weights, atol=1e-6, rtol=0)
    assert not recorded[..., weights.shape[-1] :].any()


def test_learned_queries_that_the_batch_shares():
    query, key = torch.randn(1, 2, 3, 4), torch.randn(5, 2, 6, 4)
    call = called("sdpa", SimpleNamespace(is_causal=False), query, key, key, None)
    assert_close(Record(call).weights(), (query @ key.mT / 2).softmax(-1))


@pytest.mark.parametrize("window", [None, 3, 9])
@pytest.mark.parametrize("queries", [5, 2])
def test_what_flash_attention_is_called_with(queries, window):
    torch.manual_seed(5)
    module = SimpleNamespace(is_causal=True)
    query, key = torch.randn(2, 2, queries, 4), torch.randn(2, 2, 5, 4)
    padding = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    read = called("flash_attention_2", module, query, key, key, padding, softcap=1.5, sliding_window=window)
    distance = torch.arange(5 - queries, 5).unsqueeze(1) - torch.arange(5)
    allowed = (distance >= 0) & (distance < (window or 9)) & padding[:, None, None].bool()
    scores = 1.5 * torch.tanh(query @ key.mT / 2 / 1.5)
    expected = scores.masked_fill(~allowed, torch.finfo(torch.float32).min).softmax(-1) * allowed
    assert_close(Record(read).weights(), expected)


def test_packed_sentences_and_functions_of_other_kinds_are_refused():
    module, x = nn.Linear(1, 1), torch.randn(1, 2, 4, 4)
    packed = [{"position_ids": torch.tensor([[0, 1, 0, 1]])}, {"cu_seq_lens_q": torch.tensor([0, 2, 4])}]
    for choices in packed:
        with pytest.raises(ValueError, match="by 'flash_attention_2', in a way that heedful does not read"):
            called("flash_attention_2", module, x, x, x, None, is_causal=True, **choices)
    called("flash_attention_2", module, x, x, x, None, is_causal=True, position_ids=torch.arange(4)[None])
    for kind in ("flex_attention", "paged|eager", "something of one's own"):
        with pytest.raises(
            ValueError, match=r"^Linear computes its attention by .*set_attn_implementation\('sdpa'\)"
        ):
            called(kind, module, x, x, x, None)
    with pytest.raises(ValueError, match="by 'paged sdpa'"):
        called("sdpa", module, x, x, x, None, cache=object())


def test_a_convolutional_network_beside_heedfuls_own_attention():
    kinds = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1]}
    images = transformers.ResNetModel(transformers.ResNetConfig(**kinds)).eval()
    model = nn.ModuleDict({"images": images, "attention": MultiHeadAttention(8, 2)})
    with heedful.observe(model) as seen:
        features = images(torch.zeros(1, 3, 32, 32)).last_hidden_state
        model["attention"](features.flatten(2).mT)
    assert list(seen) == ["attention"]
    with pytest.raises(ValueError, match=r"^ResNetModel cannot be observed: it has no mod"):
        heedful.observe(images).__enter__()


def test_models_that_cannot_be_heard_are_refused(monkeypatch):
    config = transformers.BloomConfig(vocab_size=9, hidden_size=8, n_layer=1, n_head=2)
    bloom = transformers.BloomModel(config)
    own = r"^BloomModel cannot be observed: 'h\.0\.self_attention' \(BloomAttention\) computes its attention with"
    with pytest.raises(ValueError, match=own):
        heedful.observe(bloom).__enter__()
    vision = {**BERT, "mlp_dim": 48, "image_size": 16, "patch_size": 4, "output_channels": 8}
    sam = transformers.SamVisionModel(transformers.SamVisionConfig(**vision))  # half of whose file asks
    own = (
        r"^SamVisionModel ran, and nothing was heard: .* 'vision_encoder\.layers\.0\.attn' \(SamVisionSdpaAtt"
    )
    nothing = pytest.raises(ValueError, match=own)
    with nothing, heedful.observe(sam):
        sam(torch.zeros(1, 3, 16, 16))
    model = _model("BertModel")
    model.compile(backend="eager")
    with pytest.raises(ValueError, match=r"^BertModel cannot be observed while it is compiled"):
        heedful.observe(model).__enter__()
    monkeypatch.delattr(AttentionInterface, "get_interface")
    with pytest.raises(ValueError, match=r"heedful needs transformers 5\.1 or later, got 5.*'heedful\[hf\]'"):
        heedful.observe(_model("BertModel")).__enter__()


def test_the_registry_is_as_it_was_also_after_an_error():
    before = AttentionInterface.__dict__["get_interface"]
    model, inputs = _model("BertModel"), _inputs("BertModel", True)
    with heedful.observe(model) as outer:
        assert AttentionInterface.__dict__["get_interface"] is not before
        with pytest.raises(IndexError), heedful.observe(model) as inner:
            _ = model(**inputs), model(input_ids=TOKENS + 50)
        model(**inputs)
    assert AttentionInterface.__dict__["get_interface"] is before
    assert len(inner) == 2
    for name in inner:
        assert (len(inner.calls(name)), len(outer.calls(name))) == (1, 2)
    model(**inputs)
    assert len(outer.calls(name)) == 2


def test_observers_of_two_threads_may_end_in_any_order():
    before = AttentionInterface.__dict__["get_interface"]
    model, inputs = _model("BertModel"), _inputs("BertModel", True)
    begun, first_is_gone, heard = threading.Event(), threading.Event(), []

    def other():
        with heedful.observe(model) as seen:
            begun.set()
            first_is_gone.wait(10)
            model(**inputs)
        heard.append(len(seen))

    thread = threading.Thread(target=other)
    with heedful.observe(model) as seen:
        thread.start()
        begun.wait(10)
    first_is_gone.set()
    thread.join(10)
    assert heard == [2]
    assert len(seen) == 0
    assert AttentionInterface.__dict__["get_interface"] is before


def test_other_models_and_other_threads_are_not_heard():
    model, other, inputs = _model("BertModel"), _model("BertModel"), _inputs("BertModel", True)
    thread = threading.Thread(target=lambda: model(**inputs))
    with heedful.observe(model) as seen:
        other(**inputs)
        thread.start()
        thread.join(10)
    assert len(seen) == 0


def test_a_layer_that_is_used_several_times_has_a_record_of_each():
    model = transformers.AlbertModel(transformers.AlbertConfig(**SMALL, **BERT, embedding_size=8)).eval()
    inputs = _inputs("AlbertModel", True)
    with heedful.observe(model) as seen:
        model(**inputs)
    (name,) = seen
    for record, attention in zip(seen.calls(name), _eager(model, inputs), strict=True):
        assert_close(record.weights(), attention, atol=1e-5, rtol=0)


def test_without_transformers_heedfuls_own_models_are_observed():
    code = """if True:
        import sys
        sys.modules["transformers"] = None  # whoever imports it now fails
        import heedful, torch
        from heedful.attention import MultiHeadAttention
        model = MultiHeadAttention(8, 2)
        with heedful.observe(model) as seen:
            model(torch.ones(1, 3, 8))
        assert seen[""].shape == (1, 2, 3, 3)
        assert not [name for name in sys.modules if name.startswith("transformers.")]
    """
    subprocess.run([sys.executable, "-c", code], check=True)
