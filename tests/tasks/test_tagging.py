"""Tagging: alignment of words and pieces, windows, and from files to a trained model folder and its answers."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

import heedful
from heedful.data.conll import Tagged
from heedful.errors import DataError, ModelFolderError
from heedful.tasks.face import Plain
from heedful.tasks.tagged_words import NO_WORD, batch, encode, windows
from heedful.tasks.tagging import Tagging, TaggingSettings, written
from heedful.tasks.tagging_folder import emissions, load, tag_all
from heedful.text.special import END, START
from tests.tasks.small_runs import Said, assert_the_objective_is_heard, taught

PEOPLE, PLACES = ("Ann", "Bob Stone", "Carla"), ("Paris", "New York", "Rome")


def conll(count, seed=0):
    """Who is in which place."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        for words, kind in (
            (draw.choice(PEOPLE), "PER"),
            ("is in", None),
            (draw.choice(PLACES), "LOC"),
            (".", None),
        ):
            for at, word in enumerate(words.split()):
                lines.append(f"{word}\t{'O' if kind is None else ('I-' if at else 'B-') + kind}")
        lines.append("")
    return "\n".join(lines) + "\n"


def settings(tmp_path, word_features=False, **more):
    for name, count in (("train", 60), ("test", 20)):
        (tmp_path / f"{name}.conll").write_text(conll(count, seed=len(name)))
    return TaggingSettings.model_validate(
        {
            "metrics": ("f1",),
            "data": {
                "train": {"conll": (tmp_path / "train.conll",)},
                "tests": {"own": tmp_path / "test.conll"},
                "batch": 8,
            },
            "tokenizer": {"vocabulary_size": 300, "min_frequency": 1},
            "model": {
                "d_model": 16,
                "d_ff": 32,
                "heads": 2,
                "layers": 1,
                "maximum_length": 64,
                "dropout": 0.0,
            },
            "head": {"dropout": 0.0, "word_features": word_features},
            **more,
        }
    )


@pytest.fixture(params=[False, True], ids=["of the encoder", "and of word features"])
def task(tmp_path, request):
    task = Tagging(settings(tmp_path, request.param), tmp_path / "run", Said())
    task.prepare()
    return task


def test_it_is_prepared_once_and_holds_a_fold_out(task):
    task.prepare()
    assert len(task.listener) == 1
    assert [len(task.sentences[name]) for name in ("train", "validation")] == [48, 12]
    assert task.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    parts = [section["part"] for section in json.loads((task.folder / "check.json").read_text())]
    assert parts == ["train", "validation", "own"]


def test_the_first_piece_of_each_word_carries_its_tag(task):
    sentence = Tagged(("Carlason", "is", "in", "Newtown", "."), ("B-PER", "O", "O", "B-LOC", "O"))
    (row,) = encode([sentence], task.pieces, 64, task.labels)
    text = written(sentence)
    assert text == "Carlason is in Newtown."
    assert row.tokens == [START, *task.tokenizer.encode(text), END]
    spelt = task.tokenizer.pieces(row.tokens)
    assert [spelt[place].lstrip("▁")[0] for place in row.firsts] == ["C", "i", "i", "N", "."]
    assert [task.labels[label] for label in row.labels] == list(sentence.tags)


@given(some.lists(some.integers(1, 5), min_size=1, max_size=60), some.integers(10, 40))
def test_windows_tag_every_word_once(sizes, room):
    found = list(windows(sizes, room))
    assert [word for window in found for word in range(window.own, window.stop)] == list(range(len(sizes)))
    for window in found:
        assert window.first <= window.own < window.stop <= window.end
        assert sum(sizes[window.first : window.end]) <= room
    if sum(sizes) <= room:
        assert len(found) == 1


def test_a_long_sentence_is_cut_outside_of_spans_and_tagged_whole(task):
    one = (
        ("Bob", "Stone", "is", "in", "New", "York", "."),
        ("B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O"),
    )
    long = Tagged(one[0] * 12, one[1] * 12)
    rows = encode([long], task.pieces, 24, task.labels)
    assert len(rows) > 3
    assert max(len(row.tokens) for row in rows) <= 24
    assert all(task.labels[row.labels[0]][0] != "I" for row in rows)
    assert [label for row in rows for label in row.labels] == [task.labels.index(tag) for tag in long.tags]
    (tags,) = tag_all(task.build().eval(), task.pieces, [long])
    assert len(tags) == len(long.tokens)


def test_padding_changes_nothing_and_the_parts_of_a_batch_cost_what_it_costs(task):
    model = task.build().eval()
    if model.wide is not None:  # which begins with zeros
        torch.nn.init.normal_(model.wide.weights.weight)
    rows, sentences = task.rows["train"], task.sentences["train"]
    some_rows = [min(rows, key=lambda row: len(row.firsts)), max(rows, key=lambda row: len(row.firsts))]
    together = batch(some_rows, sentences)
    assert int(together.firsts[0, -1]) == NO_WORD
    alone = model(*batch(some_rows[:1], sentences).inputs)
    words = len(some_rows[0].firsts)
    torch.testing.assert_close(model(*together.inputs)[0, :words], alone[0])
    whole = task.loss(model, together, Plain())
    parts = [task.loss(model, part, Plain()) for part in together.split(2)]
    assert sum(part.tokens for part in parts) == whole.tokens == together.tokens
    torch.testing.assert_close(sum(part.smoothed for part in parts), whole.smoothed)


def test_word_features_are_those_of_the_sentence_in_every_window_and_need_no_encoder(tmp_path):
    task = Tagging(settings(tmp_path, word_features=True), tmp_path / "run", Said())
    task.prepare()
    model = task.build()
    model.requires_grad_(False)
    model.output.weight.zero_()  # nothing comes of the encoder
    model.wide.weights.weight.requires_grad_(True)
    assert task.validate(taught(task, steps=60, model=model), "f1") == 100.0

    words = ("Bob", "Stone", "is", "in", "New", "York", ".") * 12
    (whole,) = encode([Tagged(words, ())], task.pieces, 512, word_features=True)
    rows = encode([Tagged(words, ())], task.pieces, 24, word_features=True)
    assert len(rows) > 3
    assert (np.concatenate([row.features for row in rows]) == whole.features).all()
    without = batch(encode(task.sentences["train"][:2], task.pieces, 64), task.sentences["train"])
    assert without.features is None
    with pytest.raises(ValueError, match="needs the features"):
        model(*without.inputs)


def test_smoothing_and_r_drop_reach_the_loss(tmp_path):
    task = Tagging(settings(tmp_path, head={"dropout": 0.3}), tmp_path / "run", Said())
    task.prepare()
    assert_the_objective_is_heard(task)


def test_it_learns_is_saved_scored_and_answers(task, tmp_path):
    model = taught(task, steps=100)
    assert task.validate(model, "f1") == 100.0
    task.save(model, tmp_path / "model", {"step": 80})
    (scores,) = task.evaluate(tmp_path / "model", "cpu").values()
    assert {score.name: score.value for score in scores} == {"f1": 100.0, "f1 LOC": 100.0, "f1 PER": 100.0}
    tagger = heedful.load(tmp_path / "model", device="cpu")
    text = "Bob Stone is in New York."
    (tagged,) = tagger.stream([text])
    assert tagged.line == "Bob/B-PER Stone/I-PER is/O in/O New/B-LOC York/I-LOC ./O"
    assert [(found.type, text[found.start : found.end]) for found in tagged.spans] == [
        ("PER", "Bob Stone"),
        ("LOC", "New York"),
    ]
    assert all(0.5 < found.score <= 1 for found in tagged.spans)
    json.dumps(tagged.to_json())
    assert [each.line for each in tagger.stream(["", "Ann is in Rome ."])] == [
        "",
        "Ann/B-PER is/O in/O Rome/B-LOC ./O",
    ]


def test_it_can_be_begun_with_and_frozen(task, tmp_path):
    model = taught(task, steps=1)
    task.save(model, tmp_path / "model", {})
    again = Tagging(
        settings(tmp_path, init=tmp_path / "model", freeze=1, model={}), tmp_path / "again", Said()
    )
    again.prepare()
    assert again.tokenizer.fingerprint() == task.tokenizer.fingerprint()
    begun = again.build()
    for (name, one), other in zip(begun.encoder.named_parameters(), model.encoder.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert not any(parameter.requires_grad for parameter in begun.encoder.parameters())
    assert begun.output.weight.requires_grad


def test_a_crf_learns_which_tag_stands_beside_which(tmp_path):
    task = Tagging(settings(tmp_path, head={"crf": True, "dropout": 0.0}), tmp_path / "run", Said())
    task.prepare()
    model = taught(task, steps=60)
    assert task.validate(model, "f1") == 100.0
    task.save(model, tmp_path / "model", {})
    again = load(tmp_path / "model", device="cpu")
    sentences = task.sentences["validation"]
    for one, other in zip(
        emissions(model, task.pieces, sentences), emissions(again.model, again.pieces, sentences), strict=True
    ):
        assert torch.equal(one, other)
    assert torch.equal(model.crf.transition, again.model.crf.transition)


def test_a_model_folder_of_another_kind_is_refused(task, tmp_path):
    task.save(task.build(), tmp_path / "model", {})
    (tmp_path / "model" / "config.json").write_text(
        (tmp_path / "model" / "config.json").read_text().replace('"vocabulary": ', '"vocabulary": 1')
    )
    with pytest.raises(ModelFolderError, match="does not belong to this model"):
        load(tmp_path / "model")


def test_data_that_teaches_nothing_is_refused(tmp_path):
    recipe = settings(tmp_path)
    (tmp_path / "train.conll").write_text("a O\n\n" * 10)
    with pytest.raises(DataError, match="nothing to learn"):
        Tagging(recipe, tmp_path / "run", Said()).prepare()
    (tmp_path / "train.conll").write_text("a B-X\n\n")
    with pytest.raises(DataError, match="too few sentences"):
        Tagging(recipe, tmp_path / "run", Said()).prepare()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "no training data"),
        ({"name": "wnut17", "train": {"conll": ("a",)}}, "both given"),
        ({"name": "wikigold", "fold": 5}, "the last is 4"),
        ({"name": "wnut17", "tests": {"validation": "a"}}, "a test set cannot be called validation"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(data, message):
    with pytest.raises(ValidationError, match=message):
        TaggingSettings.model_validate({"data": data})
