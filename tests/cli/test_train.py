"""`heedful train`: a run from beginning to end, resumed, refused, interrupted."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from heedful.cli.run_folder import claimed
from heedful.errors import RecipeError
from heedful.training.recipe import read
from heedful.training.run import Run

COMMAND = [sys.executable, "-c", "from heedful.cli import main; main()"]


@pytest.fixture
def finished(trained: Path, folder: Path) -> Path:
    """A copy of the finished run, that may be changed, beside the data."""
    return Path(shutil.copytree(trained, folder / "runs" / "numbers"))


def test_a_run_holds_recipe_log_model_and_scores(trained: Path):
    recipe = tomllib.loads((trained / "recipe.toml").read_text("utf-8"))
    assert recipe["training"]["steps"] == 6
    assert recipe["training"]["beta2"] == 0.98  # complete: what the recipe left out is there
    assert (trained / "log.jsonl").read_text("utf-8").count("\n") == 8  # six steps, two validations
    scores = json.loads((trained / "evaluation.json").read_text("utf-8"))
    assert [score["name"] for score in scores["unseen"]] == ["exact-match"]
    card = (trained / "model" / "README.md").read_text("utf-8")
    assert "| unseen |" in card
    assert scores["unseen"][0]["signature"].replace("|", "\\|") in card


def test_a_finished_run_says_so_and_shows_its_scores_again(heedful, finished: Path):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    ran = heedful("train", "numbers.toml")
    assert ran.status == 0
    assert "is finished" in ran.err
    assert "exact-match" in ran.out
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()} == before


def test_only_the_evaluation_is_done_again_where_it_alone_is_missing(heedful, finished: Path):
    log, scores = ((finished / name).read_bytes() for name in ("log.jsonl", "evaluation.json"))
    (finished / "evaluation.json").unlink()
    assert heedful("train", "numbers.toml", "--quiet").status == 0
    assert (finished / "log.jsonl").read_bytes() == log
    assert (finished / "evaluation.json").read_bytes() == scores


def test_a_run_of_another_recipe_is_refused_naming_the_settings(heedful, finished: Path):
    ran = heedful("train", "numbers.toml", "--training.steps", "7", "--training.clip=1")
    assert ran.status == 2
    assert ran.err == (
        "error: runs/numbers is a run of another recipe: training.steps was 6, and is now 7; training.clip was none, "
        "and is now 1.0. Name another folder with --run, or go back to the old values.\n"
    )


def test_a_longer_training_goes_on_as_if_it_had_been_meant_to_be_so_long(heedful, finished: Path):
    assert heedful("train", "numbers.toml", "--training.steps", "9", "--quiet").status == 0
    assert heedful("train", "numbers.toml", "--training.steps", "9", "--run", "fresh", "--quiet").status == 0
    for name in ("log.jsonl", "evaluation.json", "recipe.toml", "model/model.safetensors"):
        assert (finished / name).read_bytes() == Path("fresh", name).read_bytes(), name
    kept = "checkpoints/step-00000009/tensors.safetensors"
    assert (finished / kept).read_bytes() == Path("fresh", kept).read_bytes()


@pytest.mark.parametrize(
    ("short", "long", "said"),
    [
        ([], ["--training.steps", "5"], "training.steps was 6, and is now 5"),
        (["--training.steps", "7"], ["--training.steps", "9"], "validated at step 7 because it was the last"),
        (
            ["--training.log_every", "4"],
            ["--training.steps", "9"],
            "logged and validated at step 6 because it was the last",
        ),
        (
            ["--training.schedule.kind", "linear", "--training.schedule.cooldown", "0.5"],
            ["--training.steps", "9"],
            "at step 6 already, and since step 5 its learning rate has been falling towards step 6",
        ),
    ],
)
def test_a_training_that_would_have_been_another_is_refused(heedful, folder: Path, short, long, said: str):
    assert heedful("train", "numbers.toml", *short, "--quiet").status == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    schedule = short if "--training.steps" not in short else []
    ran = heedful("train", "numbers.toml", *schedule, *long)
    assert ran.status == 2
    assert said in ran.err
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


def test_a_recipe_that_did_not_get_past_its_data_may_be_put_right(heedful, folder: Path):
    ran = heedful("train", "numbers.toml", "--data.train.pairs", "trian.tsv")
    assert (ran.status, ran.err) == (
        2,
        "error: trian.tsv does not exist; the nearest name in its folder is train.tsv.\n",
    )
    assert heedful("train", "numbers.toml", "--quiet").status == 0


def test_a_folder_that_is_no_run_is_left_alone(heedful, folder: Path):
    (folder / "papers").mkdir()
    (folder / "papers" / "thesis.tex").write_text("hard work")
    ran = heedful("train", "numbers.toml", "--run", "papers")
    assert ran.status == 2
    assert "papers is no run (it has no recipe.toml) and not empty (it holds thesis.tex)" in ran.err
    assert [path.name for path in (folder / "papers").iterdir()] == ["thesis.tex"]
    ran = heedful("train", "numbers.toml", "--run", "papers/thesis.tex")
    assert (ran.status, "is a file; a run is a folder" in ran.err) == (2, True)


def test_two_trainings_cannot_share_a_run(heedful, finished: Path):
    with (finished / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = heedful("train", "numbers.toml")
    assert ran.status == 2
    assert ran.err == (
        "error: Another training is using runs/numbers; wait for it, or name another folder with --run.\n"
    )


def test_a_metric_that_lacks_the_language_is_told_before_the_training(heedful, folder: Path):
    ran = heedful("train", "numbers.toml", "--metrics", "bleu-moses-lc")
    assert ran.status == 2
    assert "needs the target language" in ran.err
    assert not (folder / "runs" / "numbers" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["numbers.toml", "other.toml"], "'other.toml' was not expected here"),
        (["numbers.toml", "--training.steps"], "--training.steps needs a value"),
        (["numbers.toml", "--training.steps", "--training.clip", "1"], "--training.steps needs a value"),
        (["numbers.toml", "--quite"], "There is no option --quite; did you mean --quiet?"),
        (["nubmers.toml"], "There is no file nubmers.toml"),
    ],
)
def test_arguments_that_make_no_sense_are_told(heedful, folder: Path, arguments: list[str], said: str):
    ran = heedful("train", *arguments)
    assert (ran.status, ran.err.startswith("error: ")) == (2, True)
    assert said in ran.err


def test_a_start_that_fails_at_its_data_leaves_no_run(heedful, folder: Path):
    missing = ("--data.validation.pairs", "nowhere.tsv", "--run", "runs/missing")
    ran = heedful("train", "numbers.toml", *missing)
    assert "nowhere.tsv does not exist" in ran.err
    assert not (folder / "runs" / "missing").exists()
    (folder / "runs" / "missing").mkdir(parents=True)
    (folder / "runs" / "missing" / ".hidden").touch()  # not ours
    assert heedful("train", "numbers.toml", *missing).status == 2
    assert (folder / "runs" / "missing" / ".hidden").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_and_the_run_goes_on_from_it(
    folder: Path, repository: Path, number: int, status: int
):
    command = [*COMMAND, "train", "numbers.toml", "--training.steps", "100000", "--run", "long"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as training:
        assert training.stderr is not None
        for line in training.stderr:
            if line.startswith("step"):
                training.send_signal(number)
                break
        told = training.stderr.read()
        assert training.wait() == status
    assert "The same command goes on from it" in told
    last = max((folder / "long" / "checkpoints").glob("step-*"))
    step = json.loads((last / "state.json").read_text("utf-8"))["step"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as training:
        assert training.stderr is not None
        assert training.stderr.readline() == f"Going on from step {step:,}.\n"
        training.kill()


def test_before_anything_is_learnt_the_training_may_be_another_but_not_the_data(folder: Path):
    run = Run(Path("run"))
    with claimed(run, read("numbers.toml")):
        run.data.mkdir()
        (run.data / "check.json").write_text("{}")
    with claimed(run, read("numbers.toml", [("training.clip", "1")])):
        pass
    other = read("numbers.toml", [("training.clip", "1"), ("tokenizer.vocabulary_size", "70")])
    with (
        pytest.raises(RecipeError, match=r"tokenizer\.vocabulary_size was 80, and is now 70"),
        claimed(run, other),
    ):
        pass
