"""Workers that share a batch give what one process gives, and the same bits however often a run is killed."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from heedful.errors import TrainingError
from heedful.machine import cores
from heedful.tasks.translation import Translation
from heedful.training.progress import Progress
from heedful.training.run import Run
from heedful.training.shared_memory import Memory, anonymous_file
from heedful.training.step import Stepper, Totals
from heedful.training.trainer import Trainer
from heedful.training.worker import Order, Reply, Worker, seed
from heedful.training.workers import Workers, deal, resolve_workers
from tests.training.failing import ROWS_THAT_FIT, Failing
from tests.training.test_trainer import KilledError, Quiet, recipe

STEPS = 6


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    generator = torch.Generator().manual_seed(0)
    for name, count in (("train", 120), ("validation", 4)):
        rows = torch.randint(0, 9, (count, 5), generator=generator).tolist()
        lines = "".join(f"{' '.join(map(str, row))}\t{' '.join(map(str, row[::-1]))}\n" for row in rows)
        (folder / f"{name}.tsv").write_text(lines, encoding="utf-8")
    return folder


def settings_of(corpus, dropout=0.1, **training):
    short = {"steps": STEPS, "validate_every": 3, "checkpoint_every": 2, "log_every": 2, "workers": 2}
    made = recipe(corpus, **{**short, **training})
    return made.model_copy(update={"model": made.model.model_copy(update={"dropout": dropout})})


def prepared(settings, folder, kind=Translation):
    task = kind(settings, folder / "data", Progress(Console(quiet=True)))
    task.prepare()
    torch.manual_seed(settings.training.seed)
    return task, task.build().train()


def stepper_of(task, model, workers=None):
    settings = task.settings.training

    def loss(batch):
        return task.loss(model, batch, settings)

    return Stepper(model, loss, settings, "cpu", "float32", "pair", workers)


def gradients_of(stepper, step, batches, parts=1):
    stepper.optimizer.zero_grad()
    sums = stepper._gradients(step, batches, parts)
    found = {name: parameter.grad for name, parameter in stepper.model.named_parameters()}
    return sums, {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def ended(pid):
    """Whether a process is gone, or only waits for whoever adopted it to take notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(fact, seconds=30):
    begun = time.monotonic()
    while not fact():
        assert time.monotonic() - begun < seconds
        time.sleep(0.02)


@pytest.fixture(scope="module")
def together(corpus, tmp_path_factory):
    """Two workers without dropout: their task, and what makes the steps."""
    task, model = prepared(settings_of(corpus, dropout=0.0), tmp_path_factory.mktemp("together"), Failing)
    with Workers(2, model, task, task.settings.training, "float32") as workers:
        yield task, stepper_of(task, model, workers)


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_one_process(together):
    task, stepper = together
    alone, stream = stepper_of(task, stepper.model), task.batches(1)
    for group in ([next(stream)], [next(stream), next(stream)]):
        expected_sums, expected = gradients_of(alone, 1, group)
        for parts in (1, 3):
            sums, found = gradients_of(stepper, 1, group, parts)
            assert sums == pytest.approx(expected_sums, rel=1e-5)
            assert_close(found, expected)
        # An update is seen by all.
        stepper.step(2, 1e-2, group, Totals())
        assert_close(gradients_of(stepper, 3, group)[1], gradients_of(alone, 3, group)[1])


def test_memory_that_does_not_suffice_for_a_part_is_shared_out_further(together, monkeypatch):
    task, stepper = together
    batch, totals, found = next(task.batches(1)), Totals(), {}
    assert len(batch) > 2 * ROWS_THAT_FIT
    _, expected = gradients_of(stepper, 1, [batch])
    (task.folder / "memory").touch()
    named = stepper.model.named_parameters
    monkeypatch.setattr(
        stepper.optimizer, "step", lambda _rate: found.update({k: v.grad.clone() for k, v in named()})
    )
    stepper.step(1, 1e-3, [batch], totals)
    (task.folder / "memory").unlink()
    assert totals.splits >= 1
    assert_close(found, expected)


def test_an_error_in_a_worker_comes_up_with_where_it_was_and_leaves_it_alive(together):
    task, stepper = together
    batch = next(task.batches(1))
    _, expected = gradients_of(stepper, 1, [batch])
    (task.folder / "first").write_text(str(os.getpid()))
    with pytest.raises(LookupError, match="no such row") as raised:
        stepper.step(1, 1e-3, [batch], Totals())
    (task.folder / "first").unlink()
    assert "failing.py" in raised.value.__notes__[0]
    assert_close(gradients_of(stepper, 1, [batch])[1], expected)


def test_what_is_drawn_at_random_follows_from_the_numbers():
    def draw(*numbers):
        seed(*numbers)
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    assert draw(1, 2, 3) == draw(1, 2, 3)
    drawn = [draw(*numbers) for numbers in [(1, 2, 3), (1, 2, 4), (1, 3, 2), (2, 2, 3)]]
    assert all(len(set(values)) == len(drawn) for values in zip(*drawn, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_worker_computes_in_the_precision_of_the_training(corpus, tmp_path, precision):
    task, model = prepared(settings_of(corpus, dropout=0.0), tmp_path)
    settings, batch = task.settings.training, next(task.batches(1))
    with anonymous_file() as file:
        weights = Memory(file, model, 2).weights
        for name, parameter in model.named_parameters():
            weights[name].copy_(parameter.detach())
        worker = Worker(file, 1, 2, 1, precision, settings, Translation, task.settings, task.folder)
    alone = stepper_of(task, model)
    alone.autocast = precision == "bfloat16"
    reply = worker.answer(Order(1, [batch], batch.tokens, 1))
    assert isinstance(reply, Reply)
    assert reply.sums == alone._gradients(1, [batch], 1)


def test_an_interrupted_run_ends_with_the_same_bits(corpus, tmp_path):
    settings = settings_of(corpus, optimizer="muon", averaging="ema", r_drop=1.0, clip=1.0)

    def run_in(folder, interrupt_at=()):
        run, progress = Run(tmp_path / folder), Quiet(interrupt_at)
        task = Translation(settings, run.data, progress)
        task.prepare()
        trainer = Trainer(settings.training, task, run, progress)
        try:
            trainer.train()
        finally:
            assert trainer.workers.processes == []

    run_in("whole")
    with pytest.raises(KilledError):
        run_in("pieces", [3])
    run_in("pieces")
    files = "log.jsonl", "model/model.safetensors", f"checkpoints/step-{STEPS:08d}/tensors.safetensors"
    for file in files:
        assert (tmp_path / "pieces" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_worker_that_is_killed_ends_the_training_with_what_happened(corpus, tmp_path):
    settings = settings_of(corpus)

    class Killing(Quiet):
        def step(self, step):
            if step == 2:
                trainer.workers.processes[0].kill()

    run, progress = Run(tmp_path), Killing()
    task = Translation(settings, run.data, progress)
    task.prepare()
    trainer = Trainer(settings.training, task, run, progress)
    with pytest.raises(TrainingError, match=r"Worker 2 of 2 was ended by SIGKILL in step 3\. .*checkpoint"):
        trainer.train()
    assert trainer.workers.processes == []
    assert trainer.checkpoints.steps() == [2]


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_a_training(corpus, tmp_path, signalled):
    settings = settings_of(corpus, steps=10**6, validate_every=10**6)
    (tmp_path / "settings").write_bytes(pickle.dumps(settings))
    program = (
        "import sys, pickle, pathlib; from tests.training.test_workers import *; "
        "folder = pathlib.Path(sys.argv[1]); settings = pickle.loads((folder / 'settings').read_bytes())\n"
        "class Telling(Quiet):\n"
        "    def step(self, step):\n"
        "        step == 1 and print(trainer.workers.processes[0].pid, flush=True)\n"
        "run, progress = Run(folder), Telling()\n"
        "task = Translation(settings, run.data, progress); task.prepare()\n"
        "trainer = Trainer(settings.training, task, run, progress); print(trainer.train().ending)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # A group of its own, which Ctrl-C in a terminal would reach as a whole.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        worker = int(process.stdout.readline())
        if signalled == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, signalled)
            assert process.stdout.readline() == "interrupted\n"
            assert process.wait() == 0
    until(lambda: ended(worker))


def test_memory_that_cannot_be_shared_is_told_before_any_step(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        anonymous_file() as file,
        pytest.raises(
            TrainingError, match=r"no memory for 2 MiB that training\.workers would share: No space"
        ),
    ):
        Memory(file, torch.nn.Linear(512, 512, bias=False), 2)


def test_every_row_is_dealt_once_and_parts_are_equal(corpus, tmp_path):
    task, _ = prepared(settings_of(corpus), tmp_path)
    stream = task.batches(1)
    batches = [next(stream) for _ in range(3)]
    for workers in (1, 2, 3, 100):
        dealt = deal(batches, workers)
        pairs = sorted(int(pair) for parts in dealt for part in parts for pair in part.pairs)
        assert pairs == sorted(int(pair) for batch in batches for pair in batch.pairs)
        rows = sorted(sum(map(len, parts)) for parts in dealt)
        assert len(dealt) == workers
        assert rows[-1] - rows[0] <= len(batches)
    # Of batches that cannot be cut, each worker has its turn.
    singles = [batch.split(len(batch))[0] for batch in batches]
    assert [len(parts) for parts in deal(singles, 2)] == [2, 1]


def test_auto_is_a_worker_for_each_thread_that_has_a_core():
    assert resolve_workers("auto", "cpu", 1) == 1
    assert resolve_workers("auto", "cpu", 10**6) == min(4, cores())
    assert 1 <= cores() <= len(os.sched_getaffinity(0))
    assert resolve_workers(3, "cpu", 1) == 3
    assert resolve_workers("auto", "cuda", 8) == 1
    with pytest.raises(TrainingError, match=r"this training is on cuda:1: set training\.workers = 1"):
        resolve_workers(2, "cuda:1", 8)


def test_a_recipe_survives_pickle(corpus):
    settings = settings_of(corpus)
    again = pickle.loads(pickle.dumps(settings))
    assert type(again) is type(settings)
    assert again == settings
