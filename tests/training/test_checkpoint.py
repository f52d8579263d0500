"""Checkpoints: complete or not there, whatever happens while they are written."""

import random

import numpy as np
import pytest
import torch

from heedful.errors import CheckpointError, TrainingError
from heedful.training import checkpoint
from heedful.training.checkpoint import TENSORS, Checkpoints, random_state, restore_random_state


def test_what_was_written_is_read(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    weights = torch.randn(3, 4)
    checkpoints.write(7, {"model/w": weights}, {"step": 7})
    tensors, state = checkpoints.read(7)
    assert torch.equal(tensors["model/w"], weights)
    assert state == {"step": 7}
    assert checkpoints.steps() == [7]


def test_a_folder_of_another_name_is_no_checkpoint(tmp_path):
    (tmp_path / "step-original").mkdir()
    assert Checkpoints(tmp_path).steps() == []


def test_what_a_kill_left_unfinished_is_no_checkpoint_and_goes(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"w": torch.ones(1)}, {})
    unfinished = tmp_path / ".unfinished-00000002"
    unfinished.mkdir()
    (unfinished / TENSORS).write_bytes(b"half")
    assert checkpoints.steps() == [1]
    checkpoints.prune(lambda steps: set(steps))
    assert not unfinished.exists()
    assert checkpoints.steps() == [1]


def test_pruning_keeps_what_it_is_told_to(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in range(1, 6):
        checkpoints.write(step, {"w": torch.ones(1)}, {})
    checkpoints.prune(lambda steps: {2, *steps[-2:]})
    assert checkpoints.steps() == [2, 4, 5]


def test_a_full_disk_leaves_the_earlier_checkpoint_and_says_so(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"w": torch.ones(1)}, {})

    def full(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainingError, match=r"step 2 .*No space left.*[Ee]arlier checkpoints are intact"):
        checkpoints.write(2, {"w": torch.ones(1)}, {})
    assert checkpoints.steps() == [1]
    assert not list(tmp_path.glob(".unfinished-*"))


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_bytes(file.read_bytes()[:20]), lambda file: file.unlink()]
)
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"w": torch.ones(100)}, {})
    damage(checkpoints.path(1) / TENSORS)
    with pytest.raises(CheckpointError, match=r"step-00000001 is damaged.*Delete this folder"):
        checkpoints.read(1)


def test_every_random_generator_goes_on_where_it_was():
    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss()  # noqa: NPY002

    draw()
    tensors, numbers = random_state()
    expected = draw()
    draw()
    restore_random_state(tensors, numbers)
    assert draw() == expected


def test_every_device_goes_on_with_its_own_random_generator(monkeypatch):
    """Of more than ten, too: "cuda10" comes before "cuda2" in the order of names."""
    states = [torch.tensor([device], dtype=torch.uint8) for device in range(12)]
    restored = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 12)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: restored.update({device: int(state)})
    )
    restore_random_state(*random_state())
    assert restored == {device: device for device in range(12)}
