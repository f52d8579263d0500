"""Contrastive training: texts with themselves and pairs, from the task's face to the folder that embeds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from heedful.errors import DataError, HeedfulError
from heedful.models.encoder import Encoder, EncoderOnlySettings
from heedful.models.sentence_encoder import SentenceEncoder
from heedful.objectives.contrastive import contrastive_loss
from heedful.tasks.contrastive import Contrastive, ContrastiveSettings, _halves, scores, value
from heedful.tasks.face import Plain
from heedful.tasks.registry import load
from heedful.text.special import END, START
from tests.tasks.small_model import ENGLISH, GERMAN
from tests.tasks.small_runs import Said

MODEL = {"d_model": 16, "d_ff": 32, "heads": 2, "layers": 2, "maximum_length": 32, "dropout": 0.2}
TOKENIZER = {"kind": "bpe", "vocabulary_size": 320, "min_frequency": 1}


def task(tmp_path: Path, data, **settings) -> Contrastive:
    chosen = ContrastiveSettings(data=data, model=MODEL, tokenizer=TOKENIZER, **settings)
    made = Contrastive(chosen, tmp_path / "data", Said())
    made.prepare()
    return made


@pytest.fixture
def texts(tmp_path: Path) -> dict:
    path = tmp_path / "texts.txt"
    path.write_text(
        "\n".join(f"{a} {b}" for a in ENGLISH for b in GERMAN) + "\n" + ENGLISH[0] + " " + GERMAN[0]
    )
    return {"train": {"text": [str(path)], "documents": "line"}, "batch": 8, "window": 24}


def test_a_text_is_its_own_partner_through_dropout(tmp_path, texts):
    made = task(tmp_path, texts)
    assert len(made.validation) == 2  # a tenth of 25, cut in halves
    batches = made.batches(seed=3)
    batch = next(batches)
    assert torch.equal(batch.anchors, batch.partners)
    assert batch.anchors.shape[1] <= 24
    assert len(batch) == batch.tokens
    assert len(batch) in (7, 8)  # 23 texts in batches of 8
    assert batch.split(4) == [batch]
    torch.manual_seed(0)
    model = made.build()
    model.train()
    before = made.loss(model, batch, Plain()).smoothed
    assert before.item() > 0
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss = made.loss(model, batch, Plain()).smoothed
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * before.item()
    state = batches.state()
    following = next(batches).anchors
    batches.restore(state)
    assert torch.equal(next(batches).anchors, following)


def test_the_temperature_of_the_recipe_is_that_of_the_loss(tmp_path, texts):
    made = task(tmp_path, texts, temperature=0.5)
    model, batch = made.build().eval(), next(made.batches(seed=0))
    expected = contrastive_loss(model(batch.anchors), model(batch.partners), 0.5)
    torch.testing.assert_close(made.loss(model, batch, Plain()).smoothed, expected.smoothed)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_the_folder_embeds_as_the_model_does(tmp_path, pooling):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{a}\t{b}\n" for a, b in zip(ENGLISH, GERMAN, strict=True)) * 2)
    corpus = {"pairs": str(pairs)}
    data = {"pairs": corpus, "validation": corpus, "tests": {"same": corpus}, "batch": 4}
    made = task(tmp_path, data, pooling=pooling, projection=True)
    batch = next(made.batches(seed=1))
    assert not torch.equal(batch.anchors, batch.partners)
    torch.manual_seed(0)
    model = made.build().eval()
    made.save(model, tmp_path / "model", {"step": 1})
    embedder = load(tmp_path / "model", device="cpu")
    assert embedder.pooling == pooling
    tokens = torch.tensor([[START, *made.tokenizer.encode(ENGLISH[0]), END]])
    with torch.no_grad():
        expected = model(tokens)[0].numpy()
    assert embedder.embed(ENGLISH[:1])[0] == pytest.approx(expected, abs=1e-5)
    assert embedder.embed(ENGLISH)[0] == pytest.approx(expected, abs=1e-5)  # padding changes nothing
    (accuracy, *others) = made.evaluate(tmp_path / "model", "cpu")["same"]
    assert made.validate(model, "accuracy") == pytest.approx(accuracy.value)
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert [score.name for score in others] == ["alignment", "uniformity"]


def test_the_projection_is_of_training_only():
    torch.manual_seed(0)
    model = SentenceEncoder(
        Encoder(EncoderOnlySettings(**{**MODEL, "dropout": 0.0}), 50), "cls", projection=True
    )
    tokens = torch.tensor([[START, 10, 11, END]])
    pooled = model.eval()(tokens)
    assert torch.allclose(model.train()(tokens), torch.tanh(model.output(pooled)))
    assert torch.equal(pooled, model.encoder(tokens)[:, 0])


def test_accuracy_is_how_many_partners_are_the_nearest():
    x = np.eye(4, dtype=np.float32)
    assert value("accuracy", x, x) == 100
    assert value("accuracy", x, x[[1, 0, 2, 3]]) == 50
    assert [score.value for score in scores(["accuracy", "alignment"], x, x)] == [100, 0]


def test_accuracy_asks_the_anchors():
    first, second = (
        np.stack((np.cos(angles), np.sin(angles)), 1).astype(np.float32)
        for angles in np.radians([[0, 80], [45, 90]])
    )
    assert value("accuracy", first, second) == 100  # 45 degrees are nearer to 0 than 90
    assert value("accuracy", second, first) == 50  # and nearer to 80 than to 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {}}, "give data.train.text"),
        ({"data": {"pairs": {"pairs": "a.tsv"}, "train": {"text": ["a.txt"]}}}, "one of the two"),
        ({"data": {"pairs": {"pairs": "a.tsv"}, "batch": 1}}, "greater than or equal to 2"),
    ],
)
def test_settings_that_make_no_sense_are_told(change, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveSettings(**change)


def test_a_text_is_halved_at_a_space_wherever_it_begins():
    assert _halves("   It was the best of times ") == ("It was the", "best of times")
    assert _halves("  alone ") is None


def test_no_text_is_lost_without_a_word(tmp_path, capsys):
    texts, pairs = tmp_path / "texts.txt", tmp_path / "pairs.tsv"
    texts.write_text("".join(f"word{n}\nfirst{n} second{n}\n" for n in range(50)))
    made = task(tmp_path / "alone", {"train": {"text": [str(texts)], "documents": "line"}})
    # A tenth of the fifty that have halves is held out; all others are learnt from.
    assert str(made.listener[-1]).startswith("95 texts to train on, 5 pairs to validate with")
    pairs.write_text("".join(f"one {n}\ttwo {n}\n" for n in range(60)) + "left\t\n\tright\n")
    beside = {"validation": {"pairs": str(pairs)}}
    made = task(tmp_path / "beside", {"train": {"text": [str(texts)], "documents": "line"}, **beside})
    assert str(made.listener[-1]).startswith("100 texts to train on, 62 pairs to validate with")
    made = task(tmp_path / "pairs", {"pairs": {"pairs": str(pairs)}})
    assert "0 that were there already and 2 pairs with an empty side" in str(made.listener[-1])


def test_a_text_that_comes_twice_is_no_negative_of_itself(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"one {n % 20}\n" for n in range(40)))
    made = task(tmp_path, {"train": {"text": [str(path)], "documents": "line"}})
    assert str(made.listener[-1]).startswith("18 texts to train on, 2 pairs to validate with")
    assert "20 that were there already" in str(made.listener[-1])


def test_what_cannot_be_learnt_from_is_told(tmp_path):
    settings = ContrastiveSettings(data={"train": {"text": ["a"]}}, model={**MODEL, "dropout": 0.0})
    with pytest.raises(ValueError, match=r"model\.dropout is 0"):
        settings.check(Plain())
    one = tmp_path / "one.txt"
    one.write_text("a single text")
    with pytest.raises(DataError, match="1 texts to train on and 0 pairs"):
        task(tmp_path, {"train": {"text": [str(one)]}})
    with pytest.raises(HeedfulError, match="no metric 'bleu'"):
        ContrastiveSettings.lower_is_better("bleu")
    assert ContrastiveSettings.lower_is_better("uniformity")
