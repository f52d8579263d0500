"""Looking into folders of `transformers`: the weights are those of its own eager attention."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.testing import assert_close

from heedful.errors import DataError, ModelFolderError
from heedful.viewing.looking import look, open_model
from heedful.viewing.looks.hugging_face import FromHub

transformers = pytest.importorskip("transformers", reason="transformers is missing: heedful[hf]")

TEXTS = ["A man rides a horse along the beach.", "The couch is a sofa.", "Two dogs play in the snow."] * 2
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
BOTH = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "init_std": 0.4,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
T5 = {"d_model": 16, "d_kv": 8, "num_heads": 2, "num_layers": 2, "d_ff": 24, "decoder_start_token_id": 1}


def _word_piece():
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.pre_tokenizer, library.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    library.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    )
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=library,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in zip(names, special, strict=True)},
    )


def _bytes():
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(TEXTS, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=library, eos_token="<|end|>", bos_token="<|end|>"
    )


def _unigram():
    library = Tokenizer(models.Unigram())
    library.pre_tokenizer, library.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    library.train_from_iterator(TEXTS, trainer)
    library.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=library, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


ENDS = {"bos_token_id": 0, "eos_token_id": 0}
MODELS = {
    "BertForMaskedLM": (_word_piece, {**SIZES, "max_position_embeddings": 40, "initializer_range": 0.4}),
    "BertForSequenceClassification": (_word_piece, {**SIZES, "initializer_range": 0.4, "num_labels": 3}),
    "BertModel": (_word_piece, {**SIZES, "initializer_range": 0.4}),
    "GPT2LMHeadModel": (_bytes, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, **ENDS}),
    "LlamaForCausalLM": (_bytes, {**SIZES, "num_key_value_heads": 1, "initializer_range": 0.4, **ENDS}),
    "MarianMTModel": (_unigram, {**BOTH, "max_position_embeddings": 40}),
    "T5ForConditionalGeneration": (_unigram, {**T5, "pad_token_id": 1, "eos_token_id": 2}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folders as `save_pretrained` writes them, by the name of the model; each made once."""
    made = {}

    def give(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            tokenizer, settings = MODELS[name]
            torch.manual_seed(0)
            own = tokenizer()
            kind = getattr(transformers, name)
            model = kind(kind.config_class(vocab_size=len(own), **settings))
            model.save_pretrained(made[name])
            own.save_pretrained(made[name])
        return made[name]

    return give


def _eager(found, **inputs):
    """What the model's own, slow attention says: lists of (1, heads, queries, keys) by kind."""
    model = found.network
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(**inputs, output_attentions=True)


@pytest.mark.parametrize(
    "name", [name for name in MODELS if name not in ("MarianMTModel", "T5ForConditionalGeneration")]
)
def test_a_model_of_one_text_is_looked_into(name, folder):
    found = open_model(folder(name), device="cpu")
    text = "A man [MASK] a horse." if name == "BertForMaskedLM" else "A man rides a horse."
    scene = look(found, text)
    causal = name in ("GPT2LMHeadModel", "LlamaForCausalLM")
    assert [(one.group, one.layer) for one in scene.maps] == [
        ("decoder" if causal else "encoder", n) for n in (0, 1)
    ]
    ids = torch.tensor([found.tokenizer(text)["input_ids"]])
    assert len(scene.axes["text"].tokens) == ids.shape[1]
    for one, expected in zip(scene.maps, _eager(found, input_ids=ids).attentions, strict=True):
        assert_close(one.record.weights(), expected, rtol=1e-4, atol=1e-5)
    if name != "BertModel":
        axis, taken = scene.outputs
        scores = scene.run()
        assert len(scores) == len(taken) == len(scene.axes[axis].tokens) == len(scene.taken)
        assert scores.requires_grad
        assert scene.answer
    assert len(scene.steps) == 2
    assert set(scene.inputs) == {"text"}


def test_tokens_are_as_people_read_them_with_their_words(folder):
    scene = look(str(folder("BertForMaskedLM")), "The couch is a sofa.", "A man rides.")
    tokens = scene.axes["text"].tokens
    assert [token.text for token in tokens if token.special] == ["[CLS]", "[SEP]", "[SEP]"]
    assert not any(token.text.startswith("##") for token in tokens)
    words = [token.word for token in tokens if token.word is not None]
    assert words == sorted(words)
    assert set(words) == set(range(6 + 4))
    text = look(str(folder("GPT2LMHeadModel")), "A man rides a é🐎.").axes["text"]
    texts = [token.text for token in text.tokens]
    assert texts[:2] == ["A", "man"]
    # Tokens of a part of a character are not all alike.
    assert texts[-7:] == ["<0xC3>", "<0xA9>", "<0xF0>", "<0x9F>", "<0x90>", "<0x8E>", "."]


@pytest.mark.parametrize("name", ["MarianMTModel", "T5ForConditionalGeneration"])
def test_encoder_and_decoder_with_a_translation_that_is_given(name, folder):
    found = open_model(folder(name), device="cpu")
    scene = look(found, "The couch is a sofa.", "A man rides.")
    source = torch.tensor([found.tokenizer("The couch is a sofa.")["input_ids"]])
    said = found.tokenizer(text_target="A man rides.")["input_ids"]
    given = _eager(
        found, input_ids=source, decoder_input_ids=torch.tensor([[1, *said[:-1]]]), use_cache=False
    )
    parts = {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}
    assert {one.group for one in scene.maps} == set(parts)
    for one in scene.maps:
        expected = getattr(given, parts[one.group])[one.layer]
        assert_close(one.record.weights(), expected, rtol=1e-4, atol=1e-5)
    assert scene.outputs == ("target", said)
    assert_close(scene.run().detach(), given.logits[0], rtol=1e-4, atol=1e-5)
    assert scene.answer == "A man rides."
    read, target = ([token.text for token in scene.axes[axis].tokens] for axis in ("read", "target"))
    assert read == ["<pad>", *target[:-1]]


def test_without_a_translation_it_writes_its_own(folder):
    found = open_model(folder("MarianMTModel"), device="cpu")
    scene = look(found, "A sofa.")
    source = torch.tensor([found.tokenizer("A sofa.")["input_ids"]])
    with torch.no_grad():
        said = found.network.generate(source, max_length=40)[0].tolist()[1:]
    assert scene.outputs[1][: len(said)] == said


def test_a_model_and_a_tokenizer_at_hand_are_looked_into(folder):
    path = folder("BertModel")
    found = FromHub(
        transformers.AutoModel.from_pretrained(path), transformers.AutoTokenizer.from_pretrained(path)
    )
    assert len(look(found, "The couch is a sofa.").maps) == 2


def test_what_cannot_be_read_is_told(folder, tmp_path):
    with pytest.raises(DataError, match="reads 40 at once"):
        look(str(folder("GPT2LMHeadModel")), "horse " * 100)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelFolderError, match="cannot be read by transformers"):
        open_model(tmp_path)
