"""`heedful train --seeds`: one run a seed, and mean and deviation of their scores; and classifiers by the commands."""

import json
from pathlib import Path

import pytest

RECIPE = """
task = "classification"
metrics = ["accuracy"]
data.train = {tsv = "train.tsv"}
data.tests.own = {tsv = "train.tsv"}
tokenizer.kind = "words"
model = {d_model = 8, d_ff = 8, heads = 2, layers = 1, maximum_length = 16}

[training]
steps = 2
schedule = {kind = "constant", warmup = 0}
validate_every = 2
metric = "accuracy"
threads = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = "".join(f"a {word} film {number}\t{word}\n" for number in range(10) for word in ("good", "bad"))
    (tmp_path / "train.tsv").write_text(rows)
    (tmp_path / "small.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_seed_is_a_run_and_the_scores_have_a_mean(heedful, folder: Path, monkeypatch):
    ran = heedful("train", "small.toml", "--seeds", "2", "--training.seed", "7", "--quiet")
    assert ran.status == 0, ran.err
    runs = folder / "runs" / "small"
    values = [
        json.loads((runs / f"seed-{seed}" / "evaluation.json").read_text())["own"][0]["value"]
        for seed in (7, 8)
    ]
    told = json.loads((runs / "seeds.json").read_text())
    assert told["seeds"] == [7, 8]
    (score,) = told["scores"]
    assert score["values"] == values
    assert score["mean"] == pytest.approx(sum(values) / 2)
    assert "Scores of 2 seeds" in ran.out
    # Again: nothing is left to do, and a third seed is one run more.
    assert heedful("train", "small.toml", "--seeds", "3", "--training.seed", "7").status == 0
    assert len(json.loads((runs / "seeds.json").read_text())["scores"][0]["values"]) == 3

    (folder / "in.txt").write_text("a good film\na bad film\n")
    ran = heedful("predict", runs / "seed-7", "--input", "in.txt", "--json")
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert [answer["text"] for answer in answers] == ["a good film", "a bad film"]
    assert set(answers[0]["probabilities"]) == {"bad", "good"}
    (folder / "bad.txt").write_text('a good film\n{"text": 5}\n')
    assert "error: bad.txt, line 2" in heedful("predict", runs / "seed-7", "--input", "bad.txt").err
    ran = heedful("predict", runs / "seed-7", "--input", "in.txt")
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == [answer["label"] for answer in answers]


def test_without_a_test_set_the_mean_is_of_validation(heedful, folder: Path):
    recipe = folder / "small.toml"
    recipe.write_text(recipe.read_text().replace('data.tests.own = {tsv = "train.tsv"}\n', ""))
    ran = heedful("train", "small.toml", "--seeds", "2", "--quiet")
    assert (ran.status, ran.err) == (0, "")
    assert "validation" in ran.out
    best = []
    for seed in (1, 2):
        log = (folder / "runs" / "small" / f"seed-{seed}" / "log.jsonl").read_text().splitlines()
        best.append(max(one["accuracy"] for one in map(json.loads, log) if one["event"] == "validation"))
    (score,) = json.loads((folder / "runs" / "small" / "seeds.json").read_text())["scores"]
    assert (score["test"], score["name"], score["values"]) == ("validation", "accuracy", best)


def test_a_run_with_one_seed_is_left_alone(heedful, folder: Path):
    (folder / "one").mkdir()
    (folder / "one" / "recipe.toml").write_text("")
    ran = heedful("train", "small.toml", "--seeds", "2", "--run", "one")
    assert (ran.status, "is a run with one seed" in ran.err) == (2, True)


def test_a_model_to_begin_with_that_is_not_there_is_told(heedful, folder: Path):
    ran = heedful("train", "small.toml", "--init", "runs/bert")
    assert ran.status == 2
    assert ran.err.startswith("error: There is no model folder runs/bert")
