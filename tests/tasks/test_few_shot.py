"""Few-shot classification: episodes, the stream that can be gone on from, training, and one's own folder of images."""

import numpy as np
import pytest
import torch
from PIL import Image

import heedful
from heedful.data.images import ImageClasses
from heedful.errors import DataError, RecipeError
from heedful.tasks import few_shot_folder
from heedful.tasks.few_shot import EpisodeStream, FewShot, FewShotDataSettings, FewShotSettings, draw
from heedful.tasks.few_shot_folder import FewShotConfig
from heedful.training.recipe import read, recipe_of
from tests.tasks.small_runs import Quiet, assert_the_objective_is_heard, train

MODEL = {
    "filters": 4,
    "d_embedding": 8,
    "dilations": "from-one",
    "blocks": [
        {"kind": "attention", "d_key": 8, "d_value": 8},
        {"kind": "convolution", "filters": 4},
        {"kind": "attention", "d_key": 8, "d_value": 8},
    ],
}


def numbered(classes=6, each=4):
    """Every image is a number: its class and which of them it is, in the corner that no turn leaves empty."""
    images = np.zeros((classes * each, 28, 28), np.uint8)
    images[:, 0, 0] = np.repeat(np.arange(1, classes + 1), each)
    images[:, 0, 1] = np.tile(np.arange(1, each + 1), classes)
    return ImageClasses(images, tuple("abcdef"[:classes]), np.full(classes, each))


def test_an_episode_is_what_it_says():
    drawn = draw(numbered(), 40, 3, 2, 5, False, np.random.default_rng(1))
    examples, labels, queries, answers = (
        drawn[name] for name in ("examples", "labels", "queries", "answers")
    )
    assert examples.shape == (40, 6, 28, 28)
    assert queries.shape == (40, 5, 28, 28)
    for episode in range(40):
        assert sorted(labels[episode].tolist()) == [0, 0, 1, 1, 2, 2]
        of_label = {
            int(label): int(image[0, 0])
            for label, image in zip(labels[episode], examples[episode], strict=True)
        }
        assert len(set(of_label.values())) == 3
        for image, label in zip(examples[episode], labels[episode], strict=True):
            assert int(image[0, 0]) == of_label[int(label)]
        for image, answer in zip(queries[episode], answers[episode], strict=True):
            assert int(image[0, 0]) == of_label[int(answer)]
        # No image is asked for that was shown, and none twice.
        shown = [tuple(image[0, :2].tolist()) for image in (*examples[episode], *queries[episode])]
        assert len(set(shown)) == len(shown)
    # Labels mean nothing: each class has had each of them.
    assert len(set(labels[:, 0].tolist())) == 3


def test_turned_classes_are_classes_of_their_own():
    drawn = draw(numbered(1), 1, 4, 1, 4, True, np.random.default_rng(1))
    corners = {(0, 0): 0, (27, 0): 1, (27, 27): 2, (0, 27): 3}
    for images, labels in ((drawn["examples"], drawn["labels"]), (drawn["queries"], drawn["answers"])):
        turn_of = {}
        for image, label in zip(images[0], labels[0], strict=True):
            (turn,) = (turn for (row, column), turn in corners.items() if image[row, column] == 1)
            turn_of[int(label)] = turn
        assert sorted(turn_of.values()) == [0, 1, 2, 3]


def test_a_stream_goes_on_where_it_stood():
    settings = FewShotDataSettings(name="omniglot", ways=3, shots=2, episodes=2, queries=3)
    stream, other = EpisodeStream(numbered(), settings, 7), EpisodeStream(numbered(), settings, 7)
    for _ in range(3):
        next(stream)
    other.restore(stream.state())
    for _ in range(3):
        one, two = next(stream), next(other)
        assert (one.epoch, one.number) == (two.epoch, two.number)
        for name in ("examples", "labels", "queries", "answers"):
            assert torch.equal(getattr(one, name), getattr(two, name))
    assert {next(stream).labels.shape[1] for _ in range(12)} == {3, 6}


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Classes of noisy patches: splits with 8, 5 and 5 classes of 8 images."""
    folder, random = tmp_path_factory.mktemp("drawings"), np.random.default_rng(1)
    for part, classes in (("train", 8), ("validation", 5), ("test", 5)):
        for number in range(classes):
            pattern = np.kron(random.integers(0, 2, (4, 4)), np.ones((7, 7)))
            (folder / part / f"{part}{number}").mkdir(parents=True)
            for copy in range(8):
                noisy = 255 * (1 - pattern) * random.random((28, 28))
                Image.fromarray(noisy.astype(np.uint8)).save(
                    folder / part / f"{part}{number}" / f"{copy}.png"
                )
    return folder


def recipe(drawings, **training):
    return recipe_of("few-shot").model_validate(
        {
            "task": "few-shot",
            "data": {
                **{part: {"folders": str(drawings / part)} for part in ("train", "validation", "test")},
                "ways": 3,
                "shots": 2,
                "episodes": 8,
                "queries": 3,
                "test_shots": [1, 2],
                "validation_episodes": 10,
                "test_episodes": 50,
            },
            "model": MODEL,
            "training": {
                "steps": 6,
                "validate_every": 3,
                "checkpoint_every": 2,
                "metric": "accuracy",
                "label_smoothing": 0.0,
                "device": "cpu",
                "schedule": {"kind": "constant", "rate": 3e-3, "warmup": 0},
                **training,
            },
        }
    )


def test_a_killed_training_goes_on_bit_for_bit_and_its_folder_names_images(drawings, tmp_path):
    chosen = recipe(drawings)
    _, whole = train(FewShot, tmp_path / "whole", chosen)
    with pytest.raises(InterruptedError):
        train(FewShot, tmp_path / "killed", chosen, stop_at=5)
    task, resumed = train(FewShot, tmp_path / "killed", chosen)
    state = resumed.model.state_dict()
    for name, tensor in whole.model.state_dict().items():  # with the statistics of batch normalisation
        assert torch.equal(state[name], tensor), name
    scores = task.evaluate(tmp_path / "killed" / "model", "cpu")
    assert list(scores) == ["3-way 1-shot", "3-way 2-shot"]
    (score,) = scores["3-way 1-shot"]
    assert score.low <= score.value <= score.high
    namer = heedful.load(tmp_path / "killed")
    queries = sorted((drawings / "test" / "test0").iterdir())[:2]
    examples = {name: [drawings / "test" / name / "7.png"] for name in ("test0", "test1")}
    named = namer.predict(examples, queries)
    assert all(str(one) in examples for one in named)
    assert sum(named[0].probabilities.values()) == pytest.approx(1)
    with pytest.raises(DataError, match="have 5 classes; this model tells 2 to 3 apart"):
        next(namer.stream([f"{drawings / 'test'}\t{queries[0]}"]))
    with pytest.raises(DataError, match="Line 1 has 1 fields"):
        next(namer.stream(["nothing"]))
    with pytest.raises(DataError, match="cannot be read as an image"):
        namer.predict(examples, [drawings / "nothing.png"])


def test_parts_of_a_batch_have_the_loss_of_the_whole(drawings, tmp_path):
    chosen = recipe(drawings)
    task = FewShot(chosen, tmp_path, Quiet())
    task.prepare()
    model = task.build().eval()  # the batch's own statistics are of the whole
    batch = next(task.batches(1))
    whole = task.loss(model, batch, chosen.training)
    parts = [task.loss(model, part, chosen.training) for part in batch.split(3)]
    torch.testing.assert_close(sum(part.smoothed for part in parts), whole.smoothed)
    torch.testing.assert_close(whole.smoothed.detach(), whole.likelihood)
    logits = model(batch.examples.float() / 255, batch.labels, batch.queries.float() / 255)
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.answers.flatten(), reduction="sum"
    )
    torch.testing.assert_close(whole.smoothed, expected)


def test_smoothing_reaches_the_loss(drawings, tmp_path):
    task = FewShot(recipe(drawings), tmp_path, Quiet())
    task.prepare()
    assert_the_objective_is_heard(task, r_drop=False)


def test_what_a_recipe_cannot_ask_for():
    with pytest.raises(ValueError, match=r"give data.name, or data.train.folders"):
        FewShotDataSettings()
    with pytest.raises(ValueError, match=r"leave out data\.name, or data\.test"):
        FewShotDataSettings.model_validate({"name": "omniglot", "test": {"folders": "x"}})
    with pytest.raises(ValueError, match=r"data.least_shots \(6\) is above data.shots \(5\)"):
        FewShotDataSettings(name="omniglot", least_shots=6)
    with pytest.raises(RecipeError, match="no metric 'bleu'"):
        FewShotSettings.lower_is_better("bleu")


def test_too_few_classes_are_said(drawings, tmp_path):
    chosen = recipe(drawings).model_dump()
    chosen["data"] |= {"rotations": False, "ways": 7}
    task = FewShot(recipe_of("few-shot").model_validate(chosen), tmp_path, Quiet())
    with pytest.raises(DataError, match=r"takes 7 classes \(data.ways\), and the validation images have 5"):
        task.prepare()


def test_the_shipped_recipe_has_the_parameters_that_it_tells_of():
    chosen = read("omniglot")
    task = FewShot(chosen, None, Quiet())
    assert sum(parameter.numel() for parameter in task.build().parameters()) == 1_776_094
    assert FewShotConfig(model=chosen.model, ways=5, shots=5).task == chosen.task


@pytest.fixture
def task(drawings, tmp_path):
    made = FewShot(recipe(drawings), tmp_path, Quiet())
    made.prepare()
    return made


def test_the_accuracy_is_the_mean_over_shots_and_its_interval_that_of_a_mean(task, monkeypatch):
    right = {1: np.array([0.2, 0.4, 0.6, 0.4]), 2: np.array([0.8, 1.0, 0.6, 0.8])}
    monkeypatch.setattr(FewShot, "_right", lambda self, model, part, shots, count: right[shots])
    assert task.validate(task.build(), "accuracy") == pytest.approx(60)
    monkeypatch.setattr(few_shot_folder, "read", lambda folder: torch.nn.Identity())
    (one,), (two,) = task.evaluate(None, "cpu").values()
    half = 1.96 * 100 * (0.08 / 3 / 4) ** 0.5
    assert (one.low, one.value, one.high) == pytest.approx((40 - half, 40, 40 + half))
    assert (two.low, two.value, two.high) == pytest.approx((80 - half, 80, 80 + half))


def test_no_batch_of_test_episodes_is_another_and_all_have_turned_classes(task):
    task.classes["test"] = numbered()
    found = list(task._episodes("test", 1, 50))
    assert [len(batch) for batch in found] == [20, 20, 10]
    assert not torch.equal(found[0].examples, found[1].examples)
    assert {place for batch in found for place in corners(batch)} == {0, 1, 2, 3}


def corners(batch) -> set[int]:
    """Where the first numbers of images are: what `numbered` writes into one corner, turned."""
    images = batch.examples.flatten(0, 1)
    return {
        turn for turn, (row, column) in enumerate(((0, 0), (27, 0), (27, 27), (0, 27)))
        if bool((images[:, row, column] > 0).any())
    }  # fmt: skip


@pytest.mark.parametrize("rotations", [True, False])
def test_a_stream_has_turned_classes_if_asked_and_an_epoch_is_all_images_in_every_turn(rotations):
    settings = FewShotDataSettings(
        name="omniglot", ways=3, shots=1, episodes=2, queries=3, rotations=rotations
    )
    stream, turns = EpisodeStream(numbered(), settings, 7), set()
    images = 6 * 4 * (4 if rotations else 1)
    for number in range(40):
        batch = next(stream)
        assert batch.epoch == number * 2 * (3 + 3) // images
        turns |= corners(batch)
    assert turns == ({0, 1, 2, 3} if rotations else {0})
