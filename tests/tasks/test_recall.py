"""Recall: from files to a trained model folder, and the answers of it."""

import json
import random

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from heedful.data.babi import Question, read_questions
from heedful.errors import DataError, ModelFolderError
from heedful.models.key_value_memory import KeyValueMemorySettings
from heedful.models.memn2n import MemN2NSettings
from heedful.objectives import smoothed_cross_entropy
from heedful.tasks.face import Plain
from heedful.tasks.recall import Recall, RecallSettings, answer_losses, answer_scores
from heedful.tasks.recall_folder import load
from heedful.tasks.recalling import Questions, Vocabulary, remembered
from tests.tasks.small_runs import Said, assert_the_objective_is_heard, taught

PEOPLE, PLACES = ("Mary", "John", "Ann"), ("garden", "kitchen", "hall", "living room")


def stories(count: int, seed: int = 0) -> str:
    """Who is where: the last statement of a person counts."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        at = {}
        for number in (1, 2, 3):
            person, place = draw.choice(PEOPLE), draw.choice(PLACES)
            at[person] = (place, number)
            lines.append(f"{number} {person} went to the {place}.")
        person = draw.choice(list(at))
        lines.append(f"4 Where is {person}?\t{at[person][0]}\t{at[person][1]}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def task(tmp_path) -> Recall:
    for name, count in (("train", 60), ("test", 20)):
        (tmp_path / f"{name}.txt").write_text(stories(count, seed=len(name)))
    settings = RecallSettings.model_validate(
        {
            "data": {
                "train": (tmp_path / "train.txt",),
                "tests": {"own": tmp_path / "test.txt", "again": tmp_path / "test.txt"},
                "batch": 8,
            },
            "model": {"architecture": "memn2n", "d_model": 8, "hops": 2, "starts": 2, "memories": 3},
        }
    )
    task = Recall(settings, tmp_path / "run", Said())
    task.prepare()
    return task


def test_it_is_prepared_once_and_holds_stories_out(task):
    assert len(task.listener) == 1
    task.prepare()
    assert len(task.listener) == 1
    parts = [list(read_questions(task.folder / f"{name}.jsonl")) for name in ("train", "validation")]
    assert [len(part) for part in parts] == [54, 6]
    sections = json.loads((task.folder / "check.json").read_text())
    assert [section["part"] for section in sections] == ["train", "validation", "own", "again"]
    assert "living room" in task.vocabulary.entries  # several words, one answer


def test_batches_go_on_from_anywhere_and_see_every_question_once_an_epoch(task):
    batches = task.batches(seed=3)
    sizes = [len(next(batches)) for _ in range(7)]
    assert sizes == [8] * 6 + [6]
    state = batches.state()
    after = [next(batches) for _ in range(3)]
    again = task.batches(seed=3)
    again.restore(json.loads(json.dumps(state)))
    for one in after:
        other = next(again)
        assert (one.epoch, one.places) == (other.epoch, other.places)
        assert torch.equal(one.answers, other.answers)
        assert torch.equal(one.memories.keys, other.memories.keys)
    assert [batch.epoch for batch in after] == [1, 1, 1]


def test_the_parts_of_a_batch_cost_what_it_costs(task):
    model = task.build().eval()
    batch = next(task.batches(seed=0))
    whole = task.loss(model, batch, Plain())
    parts = [task.loss(model, part, Plain()) for part in batch.split(3)]
    assert [part.tokens for part in parts] == [3, 3, 2]
    torch.testing.assert_close(sum(part.smoothed for part in parts), whole.smoothed)
    torch.testing.assert_close(whole.smoothed, 2 * whole.likelihood)  # the sum and the mean of two starts


def test_smoothing_reaches_the_loss(task):
    assert_the_objective_is_heard(task, r_drop=False)


def test_losses_are_those_of_the_other_tasks():
    logits, answers = torch.randn(2, 5, 7), torch.tensor([1, 2, 3, 4, 5])
    found = answer_losses(logits, answers, 0.1)
    for start in range(2):
        expected = smoothed_cross_entropy(logits[start], torch.eye(7), None, answers, 0.1)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one[start], other)


def test_it_learns_is_saved_scored_and_answers(task, tmp_path):
    model = taught(task, 100, 0.02)
    assert not model.validated(1.0)
    for _ in range(4):
        task.validated(model, 1.0)  # no better: the hops get their softmax
    assert not model.linear
    taught(task, 200, 0.02, model)
    assert task.validate(model, "error") + task.validate(model, "accuracy") == pytest.approx(100)
    task.save(model, tmp_path / "model", {"step": 300})
    scores = task.evaluate(tmp_path / "model", "cpu")
    assert list(scores) == ["own", "again", "mean"]
    (score,) = scores["mean"]
    assert score.name == "error"
    assert score.low <= score.value <= score.high
    assert score.value < 50  # most answers, guessed, are wrong three times in four
    assert "-10% errors" not in task.listener[-1]

    answerer = load(tmp_path / "model", device="cpu")
    answer = answerer.predict(
        ["Mary went to the garden.", "John went to the hall.", "Zoe left."], "Where is Mary Poppins?"
    )
    assert answer.unknown == ("poppins",)
    assert len(answer.hops) == 2
    for hop in answer.hops:
        assert sum(hop.weights) == pytest.approx(1, abs=1e-5)
        assert len(hop.weights) == 3
    every = answerer.predict(["Mary went to the garden."], "Where is Mary?", others=3)
    assert every.probability >= every.others[0][1] >= every.others[2][1]
    lines = [
        "1 Mary went to the garden.",
        "",
        "2 Where is Mary?",
        "1 Ann went to the hall.",
        "2 Where is Ann?\thall\t1",
    ]
    assert [found.line for found in answerer.stream(lines)] == [
        every.line,
        answerer.predict(["Ann went to the hall."], "Where is Ann?").line,
    ]
    asked = json.dumps({"story": ["Mary went to the garden."], "question": "Where is Mary?"})
    assert [json.loads(json.dumps(found.to_json()))["answer"] for found in answerer.stream([asked])] == [
        every.answer
    ]
    with pytest.raises(DataError, match="is empty: there is no word in"):
        answerer.predict(["Mary left."], "?")
    with pytest.raises(TypeError, match="predict takes a list of texts, and got one"):
        answerer.predict("Mary left.", "Where is Mary?")


def test_a_longer_story_is_told_where_its_remembered_end_is_looked_at(task, tmp_path):
    model = task.build()
    model.linear.fill_(0.0)
    task.save(model, tmp_path / "model", {})
    weights = load(tmp_path / "model", "cpu").predict(["Mary left."] * 5, "Where is Mary?").hops[0].weights
    assert weights[:2] == (0, 0)
    assert sum(weights) == pytest.approx(1, abs=1e-5)


def test_a_vocabulary_of_another_model_is_refused(task, tmp_path):
    task.save(task.build(), tmp_path / "model", {})
    Vocabulary(["", "a"], [1]).save(tmp_path / "model/vocabulary.json")
    with pytest.raises(ModelFolderError, match="it does not belong to this model"):
        load(tmp_path / "model")
    (tmp_path / "model/vocabulary.json").write_text("{}")
    with pytest.raises(ModelFolderError, match="is damaged"):
        load(tmp_path / "model")


def test_facts_with_keys_are_found_by_them_only_where_the_model_keeps_keys_apart(task):
    from heedful.data.babi import Fact

    question = Question(
        (Fact("Emma", "Austen wrote"), Fact("Dune", "Herbert wrote")), "What wrote Austen?", "Emma"
    )
    vocabulary = Vocabulary.of([question])
    apart = Questions([question], vocabulary, KeyValueMemorySettings(d_model=4, rare=2))
    batch = apart.batch(np.array([0]))
    text = [
        [vocabulary.entries[word] for word in sentence if word]
        for sentence in batch.memories.sentences.tolist()
    ]
    assert remembered(question, KeyValueMemorySettings(d_model=4, rare=2)) == [0]  # "wrote" is in both keys
    assert text[batch.memories.keys[0, 0]] == ["austen", "wrote"]
    assert text[batch.memories.values[0, 0]] == ["emma"]
    both = Questions([question], vocabulary, MemN2NSettings()).batch(np.array([0]))
    assert both.memories.values is None
    assert both.memories.keys.shape == (1, 2)


def test_scores_of_several_sets_weigh_them_alike():
    right = [np.array([True] * 9 + [False]), np.array([False, True])]
    (score,) = answer_scores(right, ["error"])
    assert score.value == pytest.approx((10 + 50) / 2)
    assert "questions:10+2" in score.signature


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": {}}, "no training data: give data.name, or data.train"),
        ({"data": {"name": "babi", "train": ("a",)}}, "both given"),
        ({"data": {"name": "babi", "task": 21}}, "less than or equal to 20"),
        ({"data": {"train": ("a",), "task": 1}}, "which data.name does not ask for"),
        (
            {"data": {"name": "babi"}, "model": {"architecture": "transformer"}},
            "'memn2n', 'key-value-memory'",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        RecallSettings.model_validate(settings)
