"""Documents as vectors: poolings, layers and windows against their definitions, for every kind of model folder."""

import numpy as np
import pytest
import torch

from heedful.errors import HeedfulError, ModelFolderError
from heedful.layers.every_layer import every_layer
from heedful.models import DecoderOnlySettings, EncoderOnlySettings, build
from heedful.models.encoder import Encoder
from heedful.tasks import readers, save
from heedful.tasks.contexts import by_layer, find, read_words
from heedful.tasks.embedding import Embedder, inverse_document_frequencies, load, parse_layer
from heedful.text.special import END, START
from tests.tasks.small_model import ENGLISH, GERMAN

SIZES = {"d_model": 16, "d_ff": 32, "heads": 2, "layers": 3, "maximum_length": 48}


@pytest.fixture(scope="module", params=["encoder-only", "decoder-only", "translation"])
def reader(request, tokenizer, model):
    if request.param == "translation":
        return readers.Reader(
            model, model.encoder, model.encode, tokenizer, (), (END,), model.maximum_length - 1, False
        )
    torch.manual_seed(0)
    kind = EncoderOnlySettings if request.param == "encoder-only" else DecoderOnlySettings
    return readers.of_encoder(Encoder(kind(**SIZES), len(tokenizer)).eval(), tokenizer)


def layers_of(reader, tokens):
    """Each layer of one text, read alone."""
    with torch.no_grad(), every_layer(reader.stack) as vectors:
        reader.run(torch.tensor([[*reader.before, *tokens, *reader.after]]))
    return [layer[0].double().numpy() for layer in vectors]


def test_pooling_is_what_it_says(reader, tokenizer):
    idf = inverse_document_frequencies(tokenizer, ENGLISH)
    start = len(reader.before)
    poolings = ["mean", "idf", "last"] if reader.causal else ["mean", "idf", "last", "cls"]
    for pooling in poolings:
        found = Embedder(reader, "1", pooling, idf).embed(ENGLISH)
        for text, vector in zip(ENGLISH, found, strict=True):
            tokens = tokenizer.encode(text)
            x = layers_of(reader, tokens)[1]
            own = x[start : start + len(tokens)]
            weights = np.array([idf[token] for token in tokens])
            expected = {
                "mean": own.mean(0),
                "idf": weights @ own / weights.sum(),
                "last": x[-1],
                "cls": x[0],
            }
            assert vector == pytest.approx(expected[pooling], abs=1e-5)
    with pytest.raises(TypeError, match="embed takes a list of texts, and got one"):
        Embedder(reader).embed("a text")
    if reader.causal:
        with pytest.raises(HeedfulError, match="The first token of this model has seen no other"):
            Embedder(reader, pooling="cls")


def test_layers_are_mixed_and_put_beside_each_other(reader):
    one, last = (Embedder(reader, layer).embed(ENGLISH) for layer in ("1", "-1"))
    assert one.dtype == np.float32
    assert Embedder(reader, str(reader.layers)).embed(ENGLISH) == pytest.approx(last)
    assert Embedder(reader, "1,-1").embed(ENGLISH) == pytest.approx(np.concatenate((one, last), 1), abs=1e-5)
    mixture = Embedder(reader, "3*1+1*-1").embed(ENGLISH)
    assert mixture == pytest.approx(0.75 * one + 0.25 * last, abs=1e-5)


def test_a_long_document_is_the_mean_of_all_its_tokens_in_windows(reader, tokenizer):
    text = " ".join(ENGLISH)
    tokens = tokenizer.encode(text)
    count = -(-len(tokens) // 10)
    assert count > 3
    parts = np.array_split(tokens, count)
    start = len(reader.before)
    rows = np.concatenate([layers_of(reader, part)[-1][start : start + len(part)] for part in parts])
    found = Embedder(reader, window=10).embed(["", text, ENGLISH[0]])
    assert found[1] == pytest.approx(rows.mean(0), abs=1e-5)
    assert not found[0].any()  # nothing there: like nothing
    alone = Embedder(reader, window=10).embed([ENGLISH[0]])
    assert found[2] == pytest.approx(alone[0], abs=1e-5)  # padding changes nothing
    assert Embedder(reader).embed([]).shape == (0, reader.width)
    with pytest.raises(HeedfulError, match="A window is 1 to"):
        Embedder(reader, window=1000)


def test_streaming_is_embedding_line_by_line(reader):
    embedder = Embedder(reader)
    answers = list(embedder.stream(iter(ENGLISH)))
    assert [answer.document for answer in answers] == ENGLISH
    assert np.stack([answer.vector for answer in answers]) == pytest.approx(embedder.embed(ENGLISH))
    assert len(answers[0].line.split()) == len(answers[0].to_json()["vector"]) == embedder.width


def test_idf_counts_documents(tokenizer):
    idf = inverse_document_frequencies(tokenizer, ["a a a", "a b", "c"])
    token = tokenizer.encode("a")[0]
    assert idf[token] == pytest.approx(np.log(4 / 3) + 1)
    assert idf[START] == pytest.approx(np.log(4) + 1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("4", "There is no layer 4: this model has layers 0 to 3"),
        ("-5", "There is no layer -5"),
        ("last", "'last' is no layer: give a number"),
        ("1+", "is no layer"),
        ("0*1", "are all 0"),
    ],
)
def test_a_layer_that_is_none_is_told(layer, message):
    with pytest.raises(HeedfulError, match=message):
        parse_layer(layer, 3)


def test_a_translation_model_is_read_from_its_folder(folder, model, tokenizer):
    embedder = load(folder, layer="1", device="cpu")
    reader = readers.Reader(model, model.encoder, model.encode, tokenizer, (), (END,), 47, False)
    assert embedder.embed(ENGLISH) == pytest.approx(Embedder(reader, "1").embed(ENGLISH))
    with pytest.raises(HeedfulError, match="Pooling by idf needs documents"):
        load(folder, pooling="idf")


def test_words_are_the_means_of_their_tokens(reader, tokenizer):
    (sentence,) = read_words(reader, ["Two dogs play in the snow."])
    assert sentence.words == ("two", "dogs", "play", "in", "the", "snow", ".")
    assert sentence.vectors.shape == (reader.layers + 1, 7, reader.width)
    pieces = [tokenizer.segment(word) for word in tokenizer.words("Two dogs play in the snow.")]
    x = layers_of(reader, [token for piece in pieces for token in piece])
    start = len(reader.before) + len(pieces[0])
    expected = x[2][start : start + len(pieces[1])].mean(0)
    assert sentence.vectors[2, 1] == pytest.approx(expected, abs=1e-5)


def test_phrases_are_found_wherever_they_stand(reader):
    sentences = ["The snow", "In THE SNOW, the snow.", "No.", ""]
    found = find(reader, sentences, "the snow")
    assert [(one.number, one.first) for one in found] == [(1, 0), (2, 1), (2, 4)]
    both = [one.vectors for one in found[1:]]
    assert not np.allclose(both[0][-1], both[1][-1])  # another context, another vector
    with pytest.raises(HeedfulError, match="' ' is no word"):
        find(reader, sentences, " ")


def test_each_layer_is_measured(reader):
    measured = by_layer(reader, read_words(reader, ENGLISH * 2), least=4)
    assert len(measured) == reader.layers + 1
    assert all(-1 <= one.anisotropy <= 1 and 0 < one.explainable_variance <= 1 + 1e-9 for one in measured)
    with pytest.raises(HeedfulError, match="No word stands in 5 of the 5 sentences"):
        by_layer(reader, read_words(reader, GERMAN))


def test_a_model_without_layers_is_refused(tmp_path, tokenizer):
    from heedful.models import LuongSettings

    settings = LuongSettings(d_embedding=8, d_hidden=8, layers=1)
    lstm = build(settings, len(tokenizer), len(tokenizer))
    path = save(tmp_path / "luong", lstm, settings, tokenizer, tokenizer)
    with pytest.raises(ModelFolderError, match="holds a luong model: only those with Transformer layers"):
        load(path)
