"""Averages of weights against their definitions."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from heedful.training.averaging import MovingAverage, mean_of_checkpoints, weights_of


def test_the_moving_average_is_its_formula():
    parameter = nn.Parameter(torch.tensor([1.0]))
    # Two steps with a smaller decay, (1 + step) / (10 + step), and two with its own.
    average = MovingAverage({"w": parameter}, decay=0.3)
    expected = 1.0
    for step, value in enumerate([3.0, -2.0, 8.0, 0.25], start=1):
        with torch.no_grad():
            parameter.fill_(value)
        average.update(step)
        decay = (2 / 11, 3 / 12, 0.3, 0.3)[step - 1]
        expected = decay * expected + (1 - decay) * value
    assert torch.allclose(average.average["w"], torch.tensor([expected]))


def test_the_mean_of_checkpoints_is_the_mean_of_what_has_the_prefix(tmp_path):
    tensors = [torch.randn(4) for _ in range(3)]
    files = []
    for number, tensor in enumerate(tensors):
        files.append(tmp_path / f"{number}.safetensors")
        save_file({"model/w": tensor, "optimizer/w": torch.ones(1)}, files[-1])
    mean = mean_of_checkpoints(files, "model/")
    assert list(mean) == ["w"]
    assert torch.allclose(mean["w"], torch.stack(tensors).mean(0))


def test_borrowed_weights_are_given_back_even_after_an_error():
    parameter = nn.Parameter(torch.tensor([1.0]))

    def borrow() -> None:
        with weights_of({"w": parameter}, {"w": torch.tensor([5.0])}):
            assert parameter.item() == 5.0
            raise KeyError

    with pytest.raises(KeyError):
        borrow()
    assert parameter.item() == 1.0
