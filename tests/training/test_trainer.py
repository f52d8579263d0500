"""A training that is interrupted anywhere and started again is the training that was not interrupted."""

import json
import os
import shutil
import signal
import sys
from itertools import groupby

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from heedful.errors import CheckpointError, TrainingError
from heedful.tasks.face import Plain
from heedful.tasks.translation import Translation
from heedful.training.progress import Progress
from heedful.training.recipe import recipe_of
from heedful.training.run import Run
from heedful.training.trainer import Trainer


class KilledError(Exception):
    """Stands for a kill."""


class Quiet(Progress):
    """Says nothing; raises at the steps given, as a kill would end the process."""

    def __init__(self, interrupt_at=()):
        super().__init__(Console(quiet=True))
        self.interrupt_at = set(interrupt_at)

    def step(self, step):
        if step in self.interrupt_at:
            raise KilledError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    generator = torch.Generator().manual_seed(0)
    for name, count in (("train", 120), ("validation", 12)):
        rows = [
            " ".join(map(str, torch.randint(0, 9, (int(n),), generator=generator).tolist()))
            for n in torch.randint(2, 7, (count,), generator=generator)
        ]
        lines = "".join(f"{row}\t{' '.join(reversed(row.split()))}\n" for row in rows)
        (folder / f"{name}.tsv").write_text(lines, encoding="utf-8")
    return folder


def recipe(corpus, **training):
    return recipe_of("translation").model_validate(
        {
            "data": {
                "train": {"pairs": str(corpus / "train.tsv")},
                "validation": {"pairs": str(corpus / "validation.tsv")},
                "batches": {"tokens": 160},
            },
            "tokenizer": {"kind": "bpe", "vocabulary_size": 40, "byte_fallback": False, "dropout": 0.2},
            "model": {
                "d_model": 16,
                "d_ff": 32,
                "heads": 2,
                "encoder_layers": 1,
                "decoder_layers": 1,
                "dropout": 0.1,
            },
            "search": {"beam": 2},
            "metrics": ["exact-match"],
            "training": {
                "steps": 30,
                "schedule": {"kind": "cosine", "rate": 5e-3, "warmup": 5},
                "validate_every": 10,
                "checkpoint_every": 4,
                "log_every": 3,
                "metric": "chrf",
                "precision": "float32",
                **training,
            },
        }
    )


def train(recipe, folder, interrupt_at=(), progress=None, kind=Translation):
    run, progress = Run(folder), progress or Quiet(interrupt_at)
    task = kind(recipe, run.data, progress)
    task.prepare()
    trainer = Trainer(recipe.training, task, run, progress)
    return trainer, trainer.train()


def everything(folder):
    names = ["log.jsonl", "model/model.safetensors", "checkpoints/step-00000030/tensors.safetensors"]
    return {name: (folder / name).read_bytes() for name in names}


# Nothing is right so early, so that no validation after the first improves: the rate falls at the second.
PLATEAU = {"kind": "plateau", "rate": 5e-3, "warmup": 5, "plateau_patience": 1}
STEADY = {"kind": "constant", "rate": 1e-4, "warmup": 0}


@pytest.mark.parametrize(
    "choices",
    [
        {"schedule": PLATEAU, "metric": "exact-match"},
        {"averaging": "ema", "optimizer": "muon"},
        {"averaging": "checkpoints", "average_last": 2},
    ],
    ids=["plateau", "ema and muon", "mean of checkpoints"],
)
def test_an_interrupted_run_ends_with_the_same_bits(corpus, tmp_path, choices):
    settings = recipe(corpus, **choices)
    _, whole = train(settings, tmp_path / "whole")
    for interrupt_at in (3, 9, 10, 17, 29):
        with pytest.raises(KilledError):
            train(settings, tmp_path / "pieces", [interrupt_at])
    _, pieces = train(settings, tmp_path / "pieces")
    assert pieces == whole
    assert whole.ending == "finished"
    assert everything(tmp_path / "pieces") == everything(tmp_path / "whole")


def test_a_kill_while_validating_validates_again(corpus, tmp_path, monkeypatch):
    settings = recipe(corpus)
    train(settings, tmp_path / "whole")
    validate, calls = Translation.validate, []

    def killed(self, model, metric):
        calls.append(1)
        if len(calls) == 2:
            raise KilledError
        return validate(self, model, metric)

    monkeypatch.setattr(Translation, "validate", killed)
    with pytest.raises(KilledError):
        train(settings, tmp_path / "pieces")
    train(settings, tmp_path / "pieces")
    assert everything(tmp_path / "pieces") == everything(tmp_path / "whole")


class Counting(Translation):
    """Translation with a model that counts its batches in a buffer, and notes in which mode it saw them."""

    def build(self):
        model = super().build()
        model.register_buffer("batches", torch.zeros(()))
        self.modes = []
        return model

    def loss(self, model, batch, objective):
        model.batches += model.training
        self.modes.append((model.training, torch.is_grad_enabled()))
        return super().loss(model, batch, objective)


def test_buffers_are_resumed_and_only_validation_is_in_evaluation_mode(corpus, tmp_path):
    settings = recipe(corpus, steps=12, validate_every=5)
    with pytest.raises(KilledError):
        train(settings, tmp_path, [7], kind=Counting)
    trainer, _ = train(settings, tmp_path, kind=Counting)
    assert float(trainer.checkpoints.read(12)[0]["buffer/batches"]) == 12
    # Steps 6 to 12, and validations after 10 and 12; what is in training mode has gradients.
    modes = [mode for mode, _ in groupby(trainer.task.modes)]
    assert modes[-4:] == [(True, True), (False, False), (True, True), (False, False)]


@pytest.mark.parametrize("averaging", ["none", "ema", "checkpoints"])
def test_what_is_validated_and_saved_are_the_averaged_weights(corpus, tmp_path, averaging):
    averages = {"averaging": averaging, "average_last": 2, "ema_decay": 0.5}
    settings = recipe(corpus, steps=6, validate_every=2, metric="loss", keep=1, schedule=STEADY, **averages)
    trainer, outcome = train(settings, tmp_path)
    assert outcome.best_step == 6  # the loss falls
    saved, read = load_file(tmp_path / "model" / "model.safetensors"), trainer.checkpoints.read
    assert trainer.checkpoints.steps() == ([4, 6] if averaging == "checkpoints" else [6])
    last = read(6)[0]
    for name, tensor in saved.items():
        expected = last[f"average/{name}" if averaging == "ema" else f"model/{name}"]
        if averaging == "checkpoints":
            expected = (expected + read(4)[0][f"model/{name}"]) / 2
        torch.testing.assert_close(tensor, expected)
        assert torch.equal(
            trainer.parameters[name], last[f"model/{name}"]
        )  # the training's own are as they were
    model = trainer.model.eval()
    with torch.no_grad():
        for name, parameter in trainer.parameters.items():
            parameter.copy_(saved[name])
        losses = [trainer.task.loss(model, batch, Plain()) for batch in trainer.task.validation_batches()]
    nll = float(sum(loss.likelihood for loss in losses)) / sum(loss.tokens for loss in losses)
    assert outcome.best == pytest.approx(nll, rel=1e-5)


def test_a_moving_average_keeps_as_much_as_it_shall(corpus, tmp_path):
    settings = recipe(
        corpus,
        steps=3,
        averaging="ema",
        ema_decay=0.01,
        checkpoint_every=1,
        keep=3,
        schedule=STEADY | {"rate": 0.1},
    )
    trainer, _ = train(settings, tmp_path)
    before, after = (trainer.checkpoints.read(step)[0] for step in (2, 3))
    for name in trainer.parameters:
        expected = 0.01 * before[f"average/{name}"] + 0.99 * after[f"model/{name}"]
        torch.testing.assert_close(after[f"average/{name}"], expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_computes_in_the_precision_that_is_asked_for(corpus, tmp_path, precision):
    narrow = set()

    class Noting(Translation):
        def loss(self, model, batch, objective):
            if model.training:
                narrow.add(torch.is_autocast_enabled("cpu"))
            return super().loss(model, batch, objective)

    train(recipe(corpus, steps=1, precision=precision, schedule=STEADY), tmp_path, kind=Noting)
    assert narrow == {precision == "bfloat16"}


def test_an_update_takes_as_many_batches_as_are_accumulated(corpus, tmp_path):
    settings = recipe(corpus, steps=4, accumulate=3, log_every=2, schedule=STEADY)
    trainer, _ = train(settings, tmp_path)
    stream = trainer.task.batches(settings.training.seed)
    batches = [next(stream) for _ in range(12)]
    tokens = [sum(batch.tokens for batch in batches[first : first + 6]) for first in (0, 6)]
    logged = [event for event in Run(tmp_path).log.events() if event["event"] == "training"]
    assert [event["tokens"] for event in logged] == tokens
    # The epoch in which the last update began.
    assert [event["epoch"] for event in logged] == [batches[3].epoch, batches[9].epoch] == [0, 1]


def test_only_what_is_better_is_saved(corpus, tmp_path, monkeypatch):
    scores = [3.0, 2.0, 2.0, 5.0]
    for metric, best in (("chrf", [True, False, False, True]), ("ter", [True, True, False, False])):
        left = iter(scores)
        monkeypatch.setattr(Translation, "validate", lambda *_, left=left: next(left))
        settings = recipe(corpus, steps=4, validate_every=1, metric=metric, schedule=STEADY)
        _, outcome = train(settings, tmp_path / metric)
        events = Run(tmp_path / metric).log.events()
        assert [event["best"] for event in events if event["event"] == "validation"] == best
        assert (outcome.best, outcome.best_step) == ((5.0, 4) if metric == "chrf" else (2.0, 2))
        told = json.loads((tmp_path / metric / "model" / "config.json").read_text("utf-8"))
        assert told["trained"]["step"] == outcome.best_step


def test_a_score_that_is_no_number_is_an_error(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Translation, "validate", lambda *_: float("nan"))
    with pytest.raises(TrainingError, match=r"chrf of the validation at step 1 is not a number"):
        train(recipe(corpus, steps=2, validate_every=1, metric="chrf", schedule=STEADY), tmp_path)


def test_patience_ends_a_run_and_stays_ended(corpus, tmp_path):
    settings = recipe(
        corpus, steps=1000, patience=1, schedule={"kind": "constant", "rate": 1e-9, "warmup": 0}
    )
    trainer, outcome = train(settings, tmp_path)
    assert outcome.ending == "patience"
    assert outcome.step < 1000
    again, outcome_again = train(settings, tmp_path)
    assert (outcome_again.ending, again.done) == ("patience", trainer.done)


def test_a_signal_ends_the_run_with_a_checkpoint_at_that_step(corpus, tmp_path):
    settings = recipe(corpus)
    train(settings, tmp_path / "whole")

    class Signalled(Quiet):
        def step(self, step):
            if step == 13:
                os.kill(os.getpid(), signal.SIGTERM)

    trainer, outcome = train(settings, tmp_path / "pieces", progress=Signalled())
    assert outcome.ending == "interrupted"
    assert trainer.checkpoints.steps()[-1] in (13, 14)
    train(settings, tmp_path / "pieces")
    assert everything(tmp_path / "pieces") == everything(tmp_path / "whole")


def test_a_second_signal_ends_the_run_at_once(corpus, tmp_path):
    class Signalled(Quiet):
        def step(self, step):
            if step == 3:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    # A shell lets what it starts in the background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe(corpus), tmp_path, progress=Signalled())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "checkpoints").exists()


def test_validation_data_without_predictions_have_no_loss(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Translation, "validation_batches", lambda _: iter(()))
    with pytest.raises(TrainingError, match="nothing to predict, so that there is no loss"):
        train(recipe(corpus, steps=1, metric="loss", schedule=STEADY), tmp_path)


def test_the_log_has_losses_and_validations_and_no_times(corpus, tmp_path):
    train(recipe(corpus), tmp_path)
    events = Run(tmp_path).log.events()
    assert [event["step"] for event in events if event["event"] == "validation"] == [10, 20, 30]
    assert [event["step"] for event in events if event["event"] == "training"] == list(range(3, 31, 3))
    assert all(event["loss"] > 0 for event in events if event["event"] == "training")
    assert not any("second" in key for event in events for key in event)


def test_a_validation_pair_that_the_model_cannot_read_at_once_is_told_and_left_out(corpus, tmp_path):
    content = recipe(corpus).model_dump()
    content["model"] |= {"maximum_length": 32}
    content["data"]["batches"] |= {"maximum_length": 30}
    content["data"]["validation"] = {"pairs": str(tmp_path / "validation.tsv")}
    long = " ".join("123456789" * 9)
    (tmp_path / "validation.tsv").write_text(f"1 2\t2 1\n{long}\t{long}\n3 4\t4 3\n", encoding="utf-8")
    said = []

    class Heard(Quiet):
        def say(self, message):
            said.append(str(message))

    task = Translation(recipe_of("translation").model_validate(content), tmp_path / "data", Heard())
    task.prepare()
    for _ in range(2):
        assert sum(len(batch) for batch in task.validation_batches()) == 2
    (told,) = [line for line in said if "validation loss" in line]
    assert "without 1 of 3 pairs" in told


def test_a_checkpoint_of_another_model_is_refused(corpus, tmp_path):
    train(recipe(corpus), tmp_path)
    shutil.rmtree(tmp_path / "data")
    other = recipe(corpus).model_dump()
    other["model"] |= {"d_model": 32}
    with pytest.raises(CheckpointError, match="does not belong to this recipe"):
        train(recipe_of("translation").model_validate(other), tmp_path)


def test_curves_for_tensorboard(corpus, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(recipe(corpus, tensorboard=True), tmp_path)
    curves = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "learning_rate", "validation/chrf"} <= set(curves.Tags()["scalars"])
    assert [point.step for point in curves.Scalars("validation/chrf")] == [10, 20, 30]


def test_a_missing_extra_is_named_with_its_install_line(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"pip install 'heedful\[tensorboard\]'"):
        train(recipe(corpus, tensorboard=True), tmp_path)


def scored(monkeypatch, scores):
    """Validation n has score n of these, whenever and however often it is made."""
    monkeypatch.setattr(Translation, "validate", lambda *_: None)
    monkeypatch.setattr(
        "heedful.training.trainer.Trainer._score", lambda self, metric, loss: scores[self.done - 1]
    )


def test_an_improvement_gives_all_patience_back(corpus, tmp_path, monkeypatch):
    scored(monkeypatch, [1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 0.0, 9.0])
    settings = recipe(corpus, steps=8, validate_every=1, patience=2, schedule=STEADY)
    _, outcome = train(settings, tmp_path)
    assert (outcome.ending, outcome.step, outcome.best_step) == ("patience", 7, 5)


def test_a_run_that_was_killed_has_as_much_patience_left_as_it_had(corpus, tmp_path, monkeypatch):
    scored(monkeypatch, [1.0] + 7 * [0.0])
    settings = recipe(corpus, steps=8, validate_every=1, patience=3, schedule=STEADY)
    with pytest.raises(KilledError):
        train(settings, tmp_path, [4])
    _, outcome = train(settings, tmp_path)
    assert (outcome.ending, outcome.step, outcome.best_step) == ("patience", 4, 1)


def test_the_rate_falls_when_validation_gets_no_better(corpus, tmp_path, monkeypatch):
    scored(monkeypatch, [1.0, 2.0, 2.0, 2.0, 2.0])
    plateau = {"kind": "plateau", "rate": 1e-3, "warmup": 0, "plateau_patience": 1, "decay": 0.5}
    train(recipe(corpus, steps=5, validate_every=1, log_every=1, schedule=plateau), tmp_path)
    rates = [event["learning_rate"] for event in Run(tmp_path).log.events() if event["event"] == "training"]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 2.5e-4])


def test_the_last_step_is_logged_validated_and_averaged_wherever_it_falls(corpus, tmp_path):
    averages = {"averaging": "checkpoints", "average_last": 2}
    settings = recipe(
        corpus, steps=5, validate_every=2, log_every=3, metric="loss", schedule=STEADY, **averages
    )
    trainer, outcome = train(settings, tmp_path)
    logged = [event["step"] for event in Run(tmp_path).log.events() if event["event"] == "training"]
    assert logged == [3, 5]
    assert outcome.best_step == 5  # the loss falls
    four, five = (trainer.checkpoints.read(step)[0] for step in (4, 5))
    for name, tensor in load_file(tmp_path / "model" / "model.safetensors").items():
        torch.testing.assert_close(tensor, (four[f"model/{name}"] + five[f"model/{name}"]) / 2)
