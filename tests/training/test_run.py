"""What a run logs, and when it was."""

import json
import time

import pytest

from heedful.errors import TrainingError
from heedful.training.run import Run


def test_the_time_of_each_event_is_beside_the_log_and_not_in_it(tmp_path):
    run, before = Run(tmp_path), time.time()
    run.log.add(event="training", step=100, loss=2.5)
    run.timing.add(step=100, resident_mb=900)
    run.log.add(event="validation", step=100, bleu=30.0)
    assert run.log.events() == [
        {"event": "training", "step": 100, "loss": 2.5},
        {"event": "validation", "step": 100, "bleu": 30.0},
    ]
    first, speed, last = run.timing.events()
    assert speed == {"step": 100, "resident_mb": 900}
    assert (first["event"], last["event"]) == ("training", "validation")
    assert first["step"] == last["step"] == 100
    # Rounded to hundredths of a second.
    assert before - 0.01 <= first["time"] <= last["time"] <= time.time() + 0.01


def test_the_log_is_the_same_whenever_it_was_written(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        Run(tmp_path / name).log.add(event="validation", step=7, bleu=30.0)
    one, other = ((tmp_path / name / "log.jsonl").read_bytes() for name in ("one", "other"))
    assert one == other
    assert json.loads(one) == {"event": "validation", "step": 7, "bleu": 30.0}


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(TrainingError, match=r"log\.jsonl cannot be written: .*Make room and start again"):
        Run(tmp_path).log.add(event="validation", step=7)
