"""Classification: from files to a trained model folder and the answers of it."""

import json
import random

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import heedful
from heedful.errors import DataError, ModelFolderError
from heedful.tasks.classification import Classification, ClassificationSettings
from heedful.tasks.face import Plain
from heedful.tasks.registry import load
from tests.tasks.small_runs import Said, assert_the_objective_is_heard, taught

GOOD, BAD = ("good", "fine", "lovely"), ("bad", "dull", "awful")
FILLER = ["the", "film", "was", "a", "story", "of", "two", "people", "in", "rome"]
MODEL = {"d_model": 16, "d_ff": 16, "heads": 2, "layers": 1, "norm": "pre", "maximum_length": 16}


def sentence(draw: random.Random, positive: bool, length: int) -> str:
    words = draw.choices(FILLER, k=length)
    words.insert(draw.randrange(length), draw.choice(GOOD if positive else BAD))
    return " ".join(words)


def reviews(count: int, seed: int, length: int = 6) -> str:
    draw, lines = random.Random(seed), []
    for _ in range(count):
        positive = draw.random() < 0.7
        lines.append(f"{sentence(draw, positive, length)}\t{'pos' if positive else 'neg'}\n")
    return "".join(lines)


def settings(folder, **changes) -> ClassificationSettings:
    data = {
        "train": ({"tsv": folder / "train.tsv"},),
        "tests": {"own": {"tsv": folder / "test.tsv"}},
        "batch": 16,
    }
    data |= changes.pop("data", {})
    return ClassificationSettings.model_validate(
        {"data": data, "model": MODEL, "tokenizer": {"kind": "words"}, **changes}
    )


def task_in(folder, name="run", **changes) -> Classification:
    task = Classification(settings(folder, **changes), folder / name, Said())
    task.prepare()
    return task


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.tsv").write_text(reviews(200, seed=1))
    (tmp_path / "test.tsv").write_text(reviews(40, seed=2))
    return tmp_path


def test_it_is_prepared_once_and_holds_a_share_of_each_label_out(folder):
    task = task_in(folder)
    assert len(task.listener) == 1
    task.prepare()
    assert len(task.listener) == 1
    counts = [np.bincount(part.answers) for part in task._parts.values()]
    assert sum(counts).sum() == 200
    assert counts[1].tolist() == [round(0.1 * number) for number in sum(counts)]
    sections = json.loads((task.folder / "check.json").read_text())
    assert [section["part"] for section in sections] == ["train", "validation", "own"]
    assert task.labels == ("neg", "pos")


def test_batches_go_on_from_anywhere_and_see_every_text_once_an_epoch(folder):
    task = task_in(folder)
    batches = task.batches(seed=3)
    count = -(-len(task._parts["train"]) // 16)
    first = [next(batches) for _ in range(count)]
    places = [place for batch in first for place in batch.places]
    assert len(set(places)) == len(places) == len(task._parts["train"])
    state = json.loads(json.dumps(batches.state()))
    after = [next(batches) for _ in range(3)]
    again = task.batches(seed=3)
    again.restore(state)
    for one in after:
        other = next(again)
        assert (one.epoch, one.places) == (other.epoch, other.places) == (1, other.places)
        assert torch.equal(one.words, other.words)


def test_the_parts_of_a_batch_cost_what_it_costs(folder):
    (folder / "train.tsv").write_text(reviews(60, seed=1, length=30))
    task = task_in(folder, data={"overlap": 2, "class_weights": "balanced"})
    model = task.build().train()
    model.dropout.probability = 0.0
    for module in model.modules():
        if hasattr(module, "probability"):
            module.probability = 0.0
    batch = next(task.batches(seed=0))
    assert len(batch.words) > len(batch) == 16
    whole = task.loss(model, batch, Plain())
    parts = [task.loss(model, part, Plain()) for part in batch.split(3)]
    assert [part.tokens for part in parts] == [6, 6, 4]
    torch.testing.assert_close(sum(part.smoothed for part in parts), whole.smoothed)
    torch.testing.assert_close(sum(part.likelihood for part in parts), whole.likelihood)


def test_class_weights_are_for_training_alone(folder):
    still = {"head": {"dropout": 0.0}, "model": {**MODEL, "dropout": 0.0}}
    task = task_in(folder, data={"class_weights": "balanced"}, **still)
    model, batch = task.build(), next(task.batches(seed=0))
    taught = task.loss(model.train(), batch, Plain())
    told = task.loss(model.eval(), batch, Plain())
    assert not torch.isclose(taught.smoothed, taught.likelihood)
    torch.testing.assert_close(told.smoothed, told.likelihood)


def test_of_a_rare_label_one_text_is_held_out_and_of_a_single_one_none(folder):
    lines = [f"film {number}\tmany\n" for number in range(40)]
    (folder / "train.tsv").write_text("".join([*lines, "a\tfew\n", "b\tfew\n", "c\tone\n"]))
    task = task_in(folder, data={"tests": {}})
    held = np.bincount(task._parts["validation"].answers, minlength=3).tolist()
    assert dict(zip(task.labels, held, strict=True)) == {"few": 1, "many": 4, "one": 0}


def test_windows_of_a_long_text_are_drawn_anew_in_each_epoch(folder):
    (folder / "train.tsv").write_text(reviews(12, seed=1, length=80))
    batches = task_in(folder, data={"overlap": 2, "training_windows": 2}).batches(seed=0)
    first, second = next(batches), next(batches)  # of an epoch each
    assert first.texts.bincount().tolist() == [2] * len(first)
    assert sorted(first.places) == sorted(second.places)
    assert sorted(first.words.tolist()) != sorted(second.words.tolist())


def test_smoothing_and_r_drop_reach_the_loss(folder):
    assert_the_objective_is_heard(task_in(folder, head={"dropout": 0.3}))


def test_it_learns_is_saved_scored_answers_and_is_begun_with(folder):
    task = task_in(folder)
    model = taught(task, 120)
    assert task.validate(model, "accuracy") > 90
    task.save(model, folder / "model", {"step": 120})
    accuracy, f1 = task.evaluate(folder / "model", "cpu")["own"]
    assert accuracy.value > 90
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert f1.name == "macro-f1"

    loaded = heedful.load(folder / "model", device="cpu")
    one, two = loaded.predict(["a lovely film in rome", "the story was awful"])
    assert (one.label, two.label) == ("pos", "neg")
    assert one.probability == max(one.probabilities.values())
    assert sum(one.probabilities.values()) == pytest.approx(1)
    lines = ["a lovely film in rome\n", "\n", '{"text": "the story was awful"}']
    found = list(loaded.stream(lines))
    assert [answer.line for answer in found] == [one.line, "", two.line]  # line n of n, whatever stands there
    with pytest.raises(
        DataError, match=r"line 1 is an object of JSON without a text under 'text'.*keys are: 'texts'"
    ):
        list(loaded.stream(['{"texts": "x"}']))
    assert found[0].line == f"pos\t{one.probability:.4f}"
    assert json.loads(json.dumps(found[2].to_json()))["label"] == "neg"
    # Long texts are read to their end.
    late = " ".join(["film"] * 40 + ["awful"] * 12)
    early = " ".join(["film"] * 52)
    probabilities = [answer.probabilities["neg"] for answer in loaded.predict([late, early])]
    assert probabilities[0] > probabilities[1] + 0.2
    with pytest.raises(DataError, match=r"Text 1 is empty"):
        loaded.predict([" "])
    with pytest.raises(DataError, match=r"Text 1 is a pair; this model reads single texts"):
        loaded.predict([("a", "b")])
    with pytest.raises(TypeError, match=r"predict takes a list of texts, and got one: put it into \[ \]"):
        loaded.predict("a lovely film")

    second = task_in(folder, "second", init=folder / "model", freeze=1, model={"dropout": 0.2})
    assert second.settings.model == task.settings.model.model_copy(update={"dropout": 0.2})
    assert second.tokenizer.fingerprint() == task.tokenizer.fingerprint()
    again = second.build()
    torch.testing.assert_close(
        again.encoder.stack.state_dict(), model.encoder.stack.state_dict(), rtol=0, atol=0
    )
    trained = taught(second, 20)
    assert second.validate(trained, "accuracy") > 90  # the head alone


def test_numbers_are_learnt(folder):
    draw = random.Random(0)
    for name, count in (("train", 200), ("test", 30)):
        rows = []
        for _ in range(count):
            good = draw.randrange(5)
            rows.append(
                f"{' '.join(draw.choices(GOOD, k=good) + draw.choices(BAD, k=4 - good))}\t{100 + 5 * good}"
            )
        (folder / f"{name}.tsv").write_text("\n".join(rows))
    task = task_in(folder, data={"labels": "numbers"}, metrics=("pearson", "spearman", "rmse"))
    model = taught(task, 100)
    task.save(model, folder / "model", {})
    pearson, spearman, rmse = task.evaluate(folder / "model", "cpu")["own"]
    assert pearson.value > 90
    assert spearman.value > 85
    assert rmse.value < 4
    assert task.validate(model, "rmse") < 4
    loaded = heedful.load(folder / "model", device="cpu")
    (answer,) = loaded.predict(["good good good good"])
    assert 112 < answer.number < 128
    assert answer.line == f"{answer.number:.4g}"
    assert answer.to_json() == {"text": "good good good good", "number": answer.number}


def test_an_error_of_numbers_is_in_their_unit(folder):
    (folder / "train.tsv").write_text("".join(f"film {n}\t{100 + 50 * (n % 2)}\n" for n in range(40)))
    task = task_in(folder, data={"labels": "numbers", "tests": {}}, metrics=("rmse",))
    model = task.build().eval()
    for parameter in model.output.parameters():
        torch.nn.init.zeros_(parameter)
    # It answers the mean, about 125, to what is 100 or 150.
    assert task.validate(model, "rmse") == pytest.approx(25, abs=3)


def test_pairs_are_learnt(folder):
    draw = random.Random(0)
    rows = []
    for _ in range(200):
        first, second = draw.random() < 0.5, draw.random() < 0.5
        texts = [sentence(draw, side, 2) for side in (first, second)]
        rows.append("\t".join([*texts, "better" if second else "worse"]))
    (folder / "train.tsv").write_text("\n".join(rows))
    reading = {"text": 0, "second": 1, "label": 2}
    task = task_in(folder, data={"train": ({"tsv": folder / "train.tsv", **reading},), "tests": {}})
    model = taught(task, 150)
    assert task.validate(model, "accuracy") > 85
    task.save(model, folder / "model", {})
    loaded = heedful.load(folder / "model", device="cpu")
    found = list(loaded.stream(["bad film\tgood film\n", '{"text": "good", "second": "bad"}\n']))
    assert [(answer.label, answer.second) for answer in found] == [("better", "good film"), ("worse", "bad")]
    with pytest.raises(DataError, match=r"line 1 is one text; this model reads pairs"):
        list(loaded.stream(["alone"]))


def test_a_folder_whose_parts_do_not_fit_is_refused(folder):
    task = task_in(folder)
    task.save(task.build(), folder / "model", {})
    config = json.loads((folder / "model/config.json").read_text())
    (folder / "model/config.json").write_text(json.dumps(config | {"labels": []}))
    with pytest.raises(ModelFolderError, match=r"labels, or a scale of numbers"):
        load(folder / "model")
    (folder / "model/config.json").write_text(json.dumps(config | {"labels": ["a", "b", "c"]}))
    with pytest.raises(ModelFolderError, match=r"output.weight has shape"):
        load(folder / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"train": ()}}, "no training data: give data.name, or data.train.tsv"),
        ({"data": {"name": "trec"}}, "both given"),
        (
            {"data": {"labels": "numbers", "class_weights": "balanced"}},
            "no named data sets and no class_weights",
        ),
        ({"data": {"tests": {"train": {"tsv": "a"}}}}, "a test set cannot be called train"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, changes, message):
    with pytest.raises(ValidationError, match=message):
        settings(folder, **changes)


@pytest.mark.parametrize(
    ("changes", "objective", "message"),
    [
        ({"data": {"window": 100}}, {}, "data.window is 100, but the model reads at most 16"),
        ({"data": {"overlap": 9}}, {}, "more than half of a window"),
        ({"metrics": ("pearson",)}, {}, "pearson is no metric of data.labels = 'classes'"),
        ({"data": {"labels": "numbers"}}, {}, "accuracy is no metric .*: set metrics and training.metric"),
        ({"data": {"labels": "numbers"}, "metrics": ("rmse",)}, {"r_drop": 1.0}, "r_drop is for classes"),
    ],
)
def test_parts_of_a_recipe_that_exclude_each_other_are_told(folder, changes, objective, message):
    class Wanted(Plain):
        r_drop = objective.get("r_drop", 0.0)

    with pytest.raises(ValueError, match=message):
        settings(folder, **changes).check(Wanted())
