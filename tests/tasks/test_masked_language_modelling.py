"""Masked language modelling: from text to a model folder that fills in words."""

import json
import random

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from heedful import observe
from heedful.errors import DataError, ModelFolderError, RecipeError
from heedful.objectives import smoothed_cross_entropy
from heedful.tasks.face import Plain
from heedful.tasks.masked_language_modelling import (
    MaskedLanguageModelling,
    MaskedSettings,
    guesses,
    masked_scores,
    metric_value,
)
from heedful.tasks.masked_language_modelling_folder import load
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.special import MASK, PAD
from tests.tasks.small_runs import Said, assert_the_objective_is_heard, taught

ANIMALS = {"dog": "barks", "cat": "meows", "horse": "neighs", "cow": "moos"}
MODEL = {"d_model": 16, "d_ff": 32, "heads": 2, "layers": 2, "maximum_length": 32, "norm": "pre"}
PAIRS = {"masking": {"next_sentence": True}}


def sentences(count: int, seed: int) -> str:
    """Who says what: either word tells the other."""
    draw = random.Random(seed)
    names = (draw.choice(list(ANIMALS)) for _ in range(count))
    return " ".join(f"The {name} {ANIMALS[name]} at {draw.choice(('night', 'noon'))}." for name in names)


def made(folder, data=(), **choices) -> MaskedLanguageModelling:
    for name, count in (("train", 150), ("test", 40)):
        text = "\n".join(sentences(10, seed=number + count) for number in range(count // 10))
        (folder / f"{name}.txt").write_text(text)
    settings = MaskedSettings.model_validate(
        {
            "data": {
                "train": {"text": (folder / "train.txt",), "documents": "line"},
                "tests": {"own": {"text": (folder / "test.txt",), "documents": "line"}},
                "window": 24,
                "batch": 8,
                **dict(data),
            },
            "tokenizer": {"kind": "wordpiece", "vocabulary_size": 100, "min_frequency": 1, "mask": True},
            "model": MODEL,
            **choices,
        }
    )
    task = MaskedLanguageModelling(settings, folder / "run", Said())
    task.prepare()
    torch.manual_seed(0)
    return task


@pytest.fixture
def task(tmp_path) -> MaskedLanguageModelling:
    return made(tmp_path)


def test_it_is_prepared_once_and_holds_text_out(task):
    assert len(task.listener) == 1
    before = task.tokenizer
    task.prepare()
    assert len(task.listener) == 1
    assert task.tokenizer.fingerprint() == before.fingerprint()
    assert set(task.streams) == {"train", "validation", "own"}
    assert task.tokenizer.settings.mask


def test_the_loss_is_that_of_all_logits_at_the_places_asked_for(task):
    model = task.build().eval()
    batch = next(task.batches(seed=0))
    loss = task.loss(model, batch, Plain())
    logits = model.logits(model(batch.inputs, batch.segments, batch.documents))
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.reference.flatten(), ignore_index=PAD, reduction="sum"
    )
    torch.testing.assert_close(loss.smoothed, expected)
    torch.testing.assert_close(loss.likelihood, expected.detach())
    assert loss.tokens == batch.tokens == (batch.reference != PAD).sum()
    parts = [task.loss(model, part, Plain()) for part in batch.split(3)]
    torch.testing.assert_close(sum(part.smoothed for part in parts), loss.smoothed)


def test_smoothing_reaches_the_loss(task):
    assert_the_objective_is_heard(task, r_drop=False)


def test_a_word_that_is_not_asked_for_gives_no_gradient_to_its_own_logits(task):
    model = task.build().eval()
    batch = next(task.batches(seed=0))
    vectors = model(batch.inputs, batch.segments, batch.documents)
    vectors.retain_grad()
    chosen = batch.reference != PAD
    smoothed_cross_entropy(
        model.transformed(vectors[chosen]), model.output.weight, model.output.bias, batch.reference[chosen]
    )[0].backward()
    assert vectors.grad is not None
    assert vectors.grad[~chosen].eq(0).all()
    assert vectors.grad[chosen].ne(0).any(-1).all()


def test_documents_are_kept_apart(task):
    model = task.build().eval()
    batch = next(task.batches(seed=0))
    assert batch.documents is not None
    row = int((batch.documents[:, -1] > 0).nonzero()[0])
    inputs, documents = batch.inputs[row : row + 1], batch.documents[row : row + 1]
    with torch.no_grad():
        together = model(inputs, None, documents)
        for number in documents.unique():
            own = documents[0] == number
            torch.testing.assert_close(model(inputs[:, own])[0], together[0, own], rtol=1e-4, atol=1e-5)


def test_next_sentences_are_learned_beside_words(tmp_path):
    task = made(tmp_path, PAIRS, model={**MODEL, "segments": 2, "next_sentence": True})
    model = task.build().eval()
    batch = next(task.batches(seed=0))
    whole = task.loss(model, batch, Plain())
    pairs = torch.nn.functional.cross_entropy(
        model.follows(model(batch.inputs, batch.segments)), batch.follows
    )
    mean = whole.smoothed / batch.tokens
    torch.testing.assert_close(mean, whole.likelihood / batch.tokens + pairs)
    parts = [task.loss(model, part, Plain()) for part in batch.split(3)]
    torch.testing.assert_close(sum(part.smoothed for part in parts), whole.smoothed)
    task.save(model, tmp_path / "model", {})
    filler = load(tmp_path / "model", "cpu")
    assert 0 < filler.follows("The dog barks.", "The cat meows.") < 1
    assert 0 <= task.validate(model, "next-sentence") <= 100


def test_it_learns_is_saved_scored_and_fills_in_words(tmp_path):
    # Much is hidden, so that little is enough to learn from.
    hidden = {"masking": {"share": 0.3, "hidden": 1.0, "random": 0.0}}
    easy = {**MODEL, "d_model": 32, "positions": "relative", "dropout": 0.0}
    task = made(tmp_path, hidden, model=easy)
    model = task.build()
    before = task.validate(model.eval(), "perplexity")
    taught(task, 220, model=model)
    assert task.validate(model, "perplexity") < before / 5
    # The same words are hidden each time.
    assert task.validate(model, "cross-entropy") == task.validate(model, "cross-entropy")
    assert np.exp(task.validate(model, "cross-entropy")) == pytest.approx(task.validate(model, "perplexity"))
    task.save(model, tmp_path / "model", {"step": 220})
    scores = task.evaluate(tmp_path / "model", "cpu")
    assert list(scores) == ["own"]
    perplexity, accuracy = scores["own"]
    assert perplexity.low <= perplexity.value <= perplexity.high
    assert accuracy.value > 50

    filler = load(tmp_path / "model", "cpu")
    filled = filler.fill("The cat [MASK] at noon.", best=3)
    assert filled.text == filled.line == "The cat meows at noon."
    ((best, second, _),) = filled.masks
    assert best.piece == "▁meows"
    assert best.probability > 0.5 > second.probability
    assert best.text == filled.text
    two = filler.fill("The [MASK] barks. The [MASK] moos.")
    first, second = two.masks
    assert two.text == f"The {first[0].piece[1:]} barks. The {second[0].piece[1:]} moos."
    assert second[1].text == two.text.replace(f"{second[0].piece[1:]} moos", f"{second[1].piece[1:]} moos")
    found = list(filler.stream(["The cat [MASK] at noon.", "The [MASK] barks. The [MASK] moos."]))
    assert found == [filler.fill(found[0].asked), two]
    assert json.loads(json.dumps(found[0].to_json()))["masks"][0][0]["piece"] == "▁meows"
    with pytest.raises(DataError, match=r"Line 1 has no \[MASK\] to fill in"):
        next(filler.stream(["nothing"]))
    with pytest.raises(DataError, match="reads at most 32"):
        filler.fill("[MASK] " * 40)
    with pytest.raises(DataError, match=r"data\.masking\.next_sentence"):
        filler.follows("a", "b")
    with observe(filler.model) as seen:
        filler.fill("The cat [MASK] at noon.")
    assert len(list(seen)) == MODEL["layers"]


def test_a_hole_takes_its_space_with_it(task, tmp_path):
    task.save(task.build(), tmp_path / "model", {})
    filler = load(tmp_path / "model", "cpu")
    own = task.tokenizer
    for text, words in (
        ("The [MASK] barks.", ["▁The", None, "▁barks", "."]),
        ("[MASK] dog", [None, "▁dog"]),
        ("[MASK][MASK] dog", [None, None, "▁dog"]),
        ("The dog[MASK]", ["▁The", "▁dog", None]),
    ):
        expected = [each for word in words for each in ([MASK] if word is None else own.segment(word))]
        assert filler.encode(text) == expected
    assert filler.encode("The dog barks.") == own.encode("The dog barks.")


def test_scores_are_sums_over_windows():
    found = np.array([[2.0, 1.0, 4.0, 1.0, 1.0], [6.0, 0.0, 0.0, 0.0, 1.0]])
    values = {
        name: metric_value(name, found.sum(0)) for name in ("cross-entropy", "accuracy", "next-sentence")
    }
    assert values == {"cross-entropy": 2.0, "accuracy": 25.0, "next-sentence": 50.0}
    (score,) = masked_scores(found, ("perplexity",), "here")
    assert score.value == pytest.approx(np.exp(2))
    assert score.signature.startswith("guesses:4|here|bs:1000")


def test_guesses_are_counted_by_window(task):
    model, batches = task.build().eval(), list(task.validation_batches())
    found = guesses(model, iter(batches))
    assert found.shape == (sum(map(len, batches)), 5)
    assert found[:, 2].tolist() == [int((row != PAD).sum()) for batch in batches for row in batch.reference]
    loss = sum(float(task.loss(model, batch, Plain()).likelihood) for batch in batches)
    assert found[:, 0].sum() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(
    ("data", "choices", "message"),
    [
        ({"window": 40}, {}, r"data.window \(40\) is more than model.maximum_length \(32\)"),
        (PAIRS, {}, "are of one objective"),
        ({}, {"tokenizer": {"mask": False}}, "set tokenizer.mask to true"),
        ({}, {"metrics": ("next-sentence",)}, "which data.masking.next_sentence does not train"),
        (PAIRS, {"model": {**MODEL, "next_sentence": True, "segments": 1}}, "set model.segments to 2"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(tmp_path, data, choices, message):
    settings = {"data": {"train": {"text": (tmp_path,)}, "window": 24, **data}, "model": MODEL, **choices}
    with pytest.raises(ValueError, match=message):
        MaskedSettings.model_validate(settings).check(Plain())


def test_data_and_metrics_that_there_are_not():
    with pytest.raises(ValidationError, match=r"or data\.train\.text"):
        MaskedSettings.model_validate({"data": {}})
    with pytest.raises(RecipeError, match="There is no metric 'bleu' of guessed words"):
        MaskedSettings.lower_is_better("bleu")
    assert MaskedSettings.lower_is_better("perplexity")
    assert not MaskedSettings.lower_is_better("accuracy")


def test_a_tokenizer_without_a_mask_is_refused(task, tmp_path):
    task.save(task.build(), tmp_path / "model", {})
    size = len(task.tokenizer)
    other = Tokenizer.train([sentences(20, 1)], TokenizerSettings(kind="characters", byte_fallback=False))
    assert len(other) != size
    other.save(tmp_path / "model" / "tokenizer.json")
    with pytest.raises(ModelFolderError, match="it does not belong to this model"):
        load(tmp_path / "model", "cpu")
