"""Whole folders of transformers as model folders and back: the same pieces and the same numbers for the same text."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from torch.testing import assert_close
from typer.testing import CliRunner

import heedful
from heedful.cli.app import app
from heedful.errors import DataError, ModelFolderError
from heedful.interop import hf_tokenizer
from heedful.interop.folders import export_folder, import_folder
from heedful.interop.hf_tokenizer_json import tokenizer_json
from heedful.models import DecoderOnlyTransformer, EncoderOnlyTransformer
from heedful.models.decoder_only import gpt2_settings
from heedful.models.encoder_only import bert_settings
from heedful.tasks import language_modelling_folder, masked_language_modelling_folder
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.special import END, MASK, START, UNKNOWN

transformers = pytest.importorskip("transformers", reason="transformers is missing: heedful[hf]")

TEXTS = [
    "The quick brown fox, naïve café! I don't stop; we'll see Müller's 3.5 apples.",
    "ΟΔΥΣΣΕΥΣ and Ünicode: 北京 is big\u00a0there. tabs\tand\nlines  two",
    "snake_case <b>bold</b> e-mail@example.org 😀 ▁ and ␛ and ␛_",
    "",
    " leading and trailing ",
    "a" * 101 + " " + "b" * 100,
    "\ufffd\u200b\x00 odd \ufdd0",
]
ANY = st.text() | st.lists(st.sampled_from([*"aeStx. '\n▁␛_#", "the", "##", "北", "é", "'s"])).map("".join)
CORPUS = [*TEXTS, "the theory of these others", "stop stopping stops"] * 3


def word_pieces(lowercase: bool, order=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")) -> Library:
    library = Library(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=190, special_tokens=list(order)))
    ends = [(name, library.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return library


def byte_pairs() -> Library:
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    library.train_from_iterator(CORPUS, trainer)
    # As in the published vocabulary: the one special token is the last entry.
    content = json.loads(library.to_str())
    vocabulary = {name: place - 1 for name, place in content["model"]["vocab"].items()}
    vocabulary["<|endoftext|>"] = len(vocabulary) - 1
    content["model"]["vocab"] = vocabulary
    content["added_tokens"][0]["id"] = len(vocabulary) - 1
    return Library.from_str(json.dumps(content))


def randomised(model):
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            norm = ("ln_" in name or "LayerNorm" in name) and "weight" in name
            nn.init.normal_(parameter, 1.0 if norm else 0.0, 0.3)
    return model.eval()


@pytest.fixture(scope="module", params=["uncased", "cased"])
def bert(request, tmp_path_factory):
    """A folder with a BERT, what reads its text, and the model."""
    folder = tmp_path_factory.mktemp("theirs") / "bert"
    library = word_pieces(request.param == "uncased")
    tokenizer = transformers.BertTokenizer(tokenizer_object=library, do_lower_case=request.param == "uncased")
    config = transformers.BertConfig(
        vocab_size=len(tokenizer) + 3,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=128,
        initializer_range=0.4,
    )
    model = randomised(transformers.BertForPreTraining(config))
    model.save_pretrained(folder)
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return folder, library, model


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs") / "gpt2"
    library = byte_pairs()
    config = transformers.GPT2Config(
        vocab_size=library.get_vocab_size(),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=64,
        initializer_range=0.4,
        bos_token_id=library.get_vocab_size() - 1,
        eos_token_id=library.get_vocab_size() - 1,
    )
    model = randomised(transformers.GPT2LMHeadModel(config))
    model.save_pretrained(folder)
    library.save(str(folder / "tokenizer.json"))
    return folder, library, model


def theirs_of(read: hf_tokenizer.Read, text: str) -> list[int | None]:
    return [read.rows[index] for index in read.tokenizer.encode(text)]


def test_a_bert_reads_the_same_pieces_of_any_text(bert):
    folder, library, model = bert
    read = hf_tokenizer.read(folder, "bert", model.config.vocab_size)
    assert sorted(read.rows) == list(range(model.config.vocab_size))
    names = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
    assert [read.rows[place] for place in range(5)] == [library.token_to_id(name) for name in names]

    @settings(max_examples=60)
    @given(ANY)
    def same(text):
        if not any(name in text for name in names):
            assert theirs_of(read, text) == library.encode(text, add_special_tokens=False).ids

    same()
    for text in TEXTS:
        assert theirs_of(read, text) == library.encode(text, add_special_tokens=False).ids
    assert read.tokenizer.encode("zzzQ") == [UNKNOWN]


def test_a_gpt_2_reads_the_same_pieces_of_any_text(gpt2):
    folder, library, model = gpt2
    entries = model.config.vocab_size
    read = hf_tokenizer.read(folder, "gpt2", entries)
    assert read.rows[:6] == (None, entries - 1, entries - 1, None, 4, 5)
    assert read.silent == (0, START, UNKNOWN)

    @settings(max_examples=60)
    @given(ANY)
    def same(text):
        assert theirs_of(read, text) == library.encode(text, add_special_tokens=False).ids
        assert read.tokenizer.decode(read.tokenizer.encode(text)) == text

    same()
    for text in TEXTS:
        assert theirs_of(read, text) == library.encode(text, add_special_tokens=False).ids
    # All entries but those in whose places the special tokens stand keep their ids.
    assert [index for index in range(entries) if read.rows[index] != index] == [0, 1, 2, 3, entries - 1]


@torch.no_grad()
def test_a_bert_there_and_back(bert, tmp_path):
    folder, library, model = bert
    import_folder(folder, tmp_path / "ours")
    ours = heedful.load(tmp_path / "ours")
    read = hf_tokenizer.read(folder, "bert", model.config.vocab_size)
    text = TEXTS[0]
    ids = [START, *ours.encode(text), END]
    expected = model(torch.tensor([library.encode(text).ids]))
    logits = ours.model.logits(ours.model(torch.tensor([ids])))
    assert_close(logits, expected.prediction_logits[..., list(read.rows)], rtol=0, atol=1e-4)
    assert ours.encode("The [MASK] fox") == [*ours.encode("The"), MASK, *ours.encode("fox")]
    assert ours.fill("The [MASK] fox stops.").text.lower().endswith(" fox stops.")

    export_folder(tmp_path / "ours", tmp_path / "back")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    back = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "back").eval()
    for text in TEXTS:
        assert tokenizer(text).input_ids == [START, *ours.tokenizer.encode(text), END]
    again = back(**tokenizer("The fox", TEXTS[0], return_tensors="pt")).prediction_logits
    pair = library.encode("The fox", TEXTS[0])
    expected = model(torch.tensor([pair.ids]), token_type_ids=torch.tensor([pair.type_ids]))
    assert_close(again, expected.prediction_logits[..., list(read.rows)], rtol=0, atol=1e-4)
    assert tokenizer("The <mask> fox").input_ids == [START, *ours.encode("The [MASK] fox"), END]


@torch.no_grad()
def test_a_gpt_2_there_and_back(gpt2, tmp_path):
    folder, library, model = gpt2
    import_folder(folder, tmp_path / "ours")
    ours = heedful.load(tmp_path / "ours", engine="plain")  # which need not be compiled
    text = "The quick fox don't stop"
    ids = ours.encode(text)
    end = model.config.eos_token_id
    theirs = torch.tensor([[end, *library.encode(text).ids]])
    expected = model(theirs).logits.log_softmax(-1)
    given_ = ours.model.language(torch.tensor([ids])).log_softmax(-1)
    read = hf_tokenizer.read(folder, "gpt2", model.config.vocab_size)
    kept = [place for place in range(len(read.rows)) if place not in read.silent]
    assert_close(given_[..., kept], expected[..., [read.rows[place] for place in kept]], rtol=0, atol=1e-4)
    assert (given_[..., list(read.silent)] < -1000).all()
    # What is written is the same, too.
    how = {
        "attention_mask": torch.ones_like(theirs),
        "max_new_tokens": 20,
        "min_new_tokens": 20,
        "do_sample": False,
    }
    written = model.generate(theirs, **how, pad_token_id=end)[0, 1:].tolist()
    greedy = ours.generate(text, tokens=20, top_k=1, minimum_length=21)[0]
    assert str(greedy) == library.decode(written)

    export_folder(tmp_path / "ours", tmp_path / "back")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    assert len(tokenizer) == back.config.vocab_size == model.config.vocab_size
    inputs = tokenizer(text, return_tensors="pt")
    assert inputs.input_ids[0, 0] == tokenizer.bos_token_id == tokenizer.eos_token_id
    rows = [read.rows[place] for place in kept]
    assert [rows[index] for index in inputs.input_ids[0].tolist()] == theirs[0].tolist()
    assert_close(back(inputs.input_ids).logits, model(theirs).logits[..., rows], rtol=0, atol=1e-4)
    for each in TEXTS:
        assert tokenizer.decode(tokenizer(each).input_ids, skip_special_tokens=True) == each


@pytest.mark.parametrize(
    "kind", ["bpe", "byte-bpe", "unigram", "characters", "wordpiece", "words", "symbols"]
)
@pytest.mark.parametrize("normalization", [(), ("nfkc", "lowercase")])
def test_every_tokenizer_of_ours_is_one_of_theirs(kind, normalization):
    wanted = TokenizerSettings(kind=kind, vocabulary_size=420, normalization=normalization, mask=True)
    ours = Tokenizer.train(CORPUS, wanted)
    theirs = Library.from_str(tokenizer_json(ours, (), "<s>", True, True))
    for text in TEXTS:
        assert theirs.encode(text).ids == [START, *ours.encode(text), END]
        if not normalization and UNKNOWN not in ours.encode(text):
            assert theirs.decode(ours.encode(text)) == text


@torch.no_grad()
def test_our_own_models_go_there(tmp_path):
    tokenizer = Tokenizer.train(CORPUS, TokenizerSettings(vocabulary_size=400, mask=True))
    sizes = {"d_model": 16, "d_ff": 24, "heads": 2, "layers": 1, "maximum_length": 128, "deviation": 0.4}
    torch.manual_seed(1)
    bert = EncoderOnlyTransformer(bert_settings(**sizes), len(tokenizer)).eval()
    gpt = DecoderOnlyTransformer(gpt2_settings(**sizes), len(tokenizer), len(tokenizer)).eval()
    masked_language_modelling_folder.save(tmp_path / "bert", bert, tokenizer)
    language_modelling_folder.save(tmp_path / "gpt", gpt, tokenizer, 128, begins=True)
    ids = torch.tensor([[START, *tokenizer.encode(TEXTS[0])]])
    for name, kind, expected in (
        (
            "bert",
            transformers.AutoModelForMaskedLM,
            bert.logits(bert(torch.cat((ids, ids.new_full((1, 1), END)), 1))),
        ),
        ("gpt", transformers.AutoModelForCausalLM, gpt.language(ids)),
    ):
        export_folder(tmp_path / name, tmp_path / f"{name} there")
        reader = transformers.AutoTokenizer.from_pretrained(tmp_path / f"{name} there")
        model = kind.from_pretrained(tmp_path / f"{name} there").eval()
        assert_close(
            model(reader(TEXTS[0], return_tensors="pt").input_ids).logits, expected, rtol=0, atol=1e-5
        )


def test_the_files_of_the_first_tokenizers_are_read_as_well(bert, gpt2, tmp_path):
    for (folder, library, model), family in ((bert, "bert"), (gpt2, "gpt2")):
        vocabulary = library.get_vocab()
        names = sorted(vocabulary, key=vocabulary.__getitem__)
        content, old = json.loads(library.to_str()), tmp_path / family
        old.mkdir()
        if family == "bert":
            (old / "vocab.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
            lower = content["normalizer"]["lowercase"]
            (old / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
        else:
            (old / "vocab.json").write_text(json.dumps(vocabulary))
            merges = "\n".join(" ".join(pair) for pair in content["model"]["merges"])
            (old / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
        entries = model.config.vocab_size
        assert hf_tokenizer.read(old, family, entries).tokenizer.fingerprint() == (
            hf_tokenizer.read(folder, family, entries).tokenizer.fingerprint()
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["normalizer"].update(clean_text=False), r"normalizer\.clean_text is False"),
        (
            lambda content: content["normalizer"].update(
                strip_accents=not content["normalizer"]["lowercase"]
            ),
            "strip_a",
        ),
        (lambda content: content["model"].update(continuing_subword_prefix="@@"), "prefix is '@@'"),
        (
            lambda content: content.update(pre_tokenizer={"type": "Whitespace"}),
            r"type is 'Whitespace'; .*BertPre",
        ),
        (lambda content: content["model"]["vocab"].pop("[MASK]"), "ids that are missing"),
        (
            lambda content: content["added_tokens"].append(
                {"content": "[X]", "id": len(content["model"]["vocab"])}
            ),
            r"adds the token '\[X\]'",
        ),
    ],
)
def test_what_our_tokenizer_cannot_do_is_told_by_name(bert, tmp_path, change, message):
    content = json.loads(bert[1].to_str())
    change(content)
    if "[MASK]" not in content["model"]["vocab"]:
        content["added_tokens"] = [each for each in content["added_tokens"] if each["content"] != "[MASK]"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match=message):
        hf_tokenizer.read(tmp_path, "bert", 300)


def test_models_that_have_no_counterpart_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelFolderError, match=r"lacks model\.safetensors"):
        import_folder(tmp_path, tmp_path / "ours")
    tokenizer = Tokenizer.train(CORPUS, TokenizerSettings(vocabulary_size=400))
    sizes = {"d_model": 16, "d_ff": 24, "heads": 2, "layers": 1, "maximum_length": 64}
    biased = DecoderOnlyTransformer(gpt2_settings(**sizes, output_bias=True), len(tokenizer), len(tokenizer))
    nn.init.ones_(biased.output.bias)
    language_modelling_folder.save(tmp_path / "biased", biased, tokenizer, 64, begins=True)
    with pytest.raises(ModelFolderError, match=r"no GPT-2 of transformers: output_bias = True"):
        export_folder(tmp_path / "biased", tmp_path / "there")
    moses = Tokenizer.train(CORPUS, TokenizerSettings(normalization=("moses",)), "en")
    with pytest.raises(ModelFolderError, match="moses normalisation of this tokenizer has no counterpart"):
        tokenizer_json(moses, (), "<s>", True, True)


def test_the_commands(gpt2, tmp_path):
    runner = CliRunner()
    done = runner.invoke(app, ["import", str(gpt2[0]), "--save", str(tmp_path / "ours")])
    assert (done.exit_code, done.output.strip()) == (0, str(tmp_path / "ours"))
    done = runner.invoke(
        app, ["generate", str(tmp_path / "ours"), "--prompt", "The", "--tokens", "3", "--engine", "plain"]
    )
    assert done.output.startswith("The")
    there = ["export", str(tmp_path / "ours"), "--to", "hugging-face", "--save", str(tmp_path / "back")]
    assert runner.invoke(app, there).exit_code == 0
    for again in (["import", str(gpt2[0]), "--save", str(tmp_path / "ours")], there):
        refused = runner.invoke(app, again)
        assert isinstance(refused.exception, DataError)
        assert "holds a model already; choose another name, or replace it with --overwrite" in str(
            refused.exception
        )
        assert runner.invoke(app, [*again, "--overwrite"]).exit_code == 0
    assert {path.name for path in (tmp_path / "back").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
