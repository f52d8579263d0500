"""The other commands, and what holds for all of them."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import heedful as package
from heedful.cli import overrides
from heedful.cli.app import app
from heedful.training.shipped import shipped

COMMANDS = sorted(typer.main.get_command(app).commands)


@pytest.fixture
def pairs(folder: Path) -> tuple[Path, Path]:
    """The validation pairs as two files."""
    rows = [line.split("\t") for line in (folder / "validation.tsv").read_text("utf-8").splitlines()]
    for number, name in enumerate(("v.source", "v.target")):
        (folder / name).write_text("".join(f"{row[number]}\n" for row in rows), encoding="utf-8")
    return Path("v.source"), Path("v.target")


def test_help_names_every_command_and_loads_no_pytorch(repository: Path):
    program = "import sys; sys.argv[0] = 'heedful'\ntry:\n    from heedful.cli import main; main()\n"
    program += "finally: print([m for m in ('torch', 'numpy', 'pyarrow', 'pydantic') if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.endswith("[]\n")
    assert {"train", "translate", "view"} <= set(COMMANDS)
    assert all(f" {command} " in ran.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(heedful, command: str):
    ran = heedful(command, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert command in ran.out


def test_version(heedful):
    assert heedful("--version").out == f"{package.__version__}\n"


@pytest.mark.parametrize("arguments", [["tarnslate"], ["translate"], ["translate", "a", "--bema", "3"]])
def test_what_is_no_command_or_option_ends_with_2(heedful, arguments: list[str]):
    ran = heedful(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert "Traceback" not in ran.err


def test_of_a_reader_that_goes_away_nothing_is_said(repository: Path):
    program = "from heedful.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "recipes", "custom"],
        env=os.environ | {"PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_error_of_the_system_is_one_message(heedful, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "some/file")

    monkeypatch.setattr("heedful.data.named.list_names", full)
    ran = heedful("data")
    assert (ran.status, ran.err) == (2, "error: some/file: No space left on device.\n")


def test_fields_are_split_from_their_values():
    assert overrides.split(["--a.b", "-1", "--c=x=y", "--d="]) == [("a.b", "-1"), ("c", "x=y"), ("d", "")]


def test_evaluate_is_translate_and_score(heedful, talking: Path, pairs: tuple[Path, Path]):
    source, target = pairs
    options = ["--reference", target, "--metrics", "chrf,exact-match", "--json"]
    of_model = json.loads(heedful("evaluate", talking, "--source", source, *options).out)
    assert [score["name"] for score in of_model] == ["chrf", "exact-match"]
    assert of_model[0]["value"] > 1
    assert heedful("translate", talking, "--source", source, "--output", "out").status == 0
    assert json.loads(heedful("evaluate", "--hypotheses", "out", *options).out) == of_model
    shown = heedful("evaluate", talking, "--source", source, "--reference", target, "--metrics", "chrf")
    assert f"{of_model[0]['value']:.2f}" in shown.out
    assert "nc:6" in shown.out


def test_words_are_split_as_the_language_that_is_named_has_them(heedful, talking: Path, pairs, chinese):
    bleu = ("--metrics", "bleu", "--json")

    def scored(*of: object) -> tuple[float, str]:
        (score,) = json.loads(heedful("evaluate", *of, *bleu).out)
        return score["value"], score["signature"]

    files = ("--hypotheses", chinese[0], "--reference", chinese[1])
    assert scored(*files)[0] == 0
    assert scored(*files, "--language", "zh")[0] > 50
    source, target = pairs
    model = (talking, "--source", source, "--reference", target)
    assert "tok:13a" in scored(*model)[1]
    assert "tok:zh" in scored(*model, "--language", "zh")[1]


def test_a_wrong_line_is_told_with_its_number_far_into_a_file(heedful, trained: Path, tmp_path: Path):
    long = " ".join(["7"] * 100)
    (tmp_path / "source").write_text("7\n" * 4100 + f"{long}\n")
    (tmp_path / "target").write_text("7\n" * 4101)
    ran = heedful("score", trained, "--source", tmp_path / "source", "--target", tmp_path / "target")
    assert ran.status == 2
    assert "Line 4,101: the source has" in ran.err


def test_metrics_are_named_once_and_not_none(heedful, pairs: tuple[Path, Path]):
    files = ("evaluate", "--hypotheses", pairs[1], "--reference", pairs[1], "--json", "--metrics")
    assert heedful(*files, ",").err.count("--metrics names none; the metrics are bleu") == 1
    assert len(json.loads(heedful(*files, "chrf,chrf").out)) == 1


def test_the_reference_itself_scores_100(heedful, pairs: tuple[Path, Path]):
    ran = heedful(
        "evaluate", "--hypotheses", pairs[1], "--reference", pairs[1], "--metrics", "exact-match", "--json"
    )
    assert json.loads(ran.out)[0]["value"] == 100


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--reference", "v.target"], "Give a model folder with --source"),
        (
            ["--hypotheses", "v.source", "--source", "v.source", "--reference", "v.target"],
            "Give a model folder",
        ),
        (
            ["--hypotheses", "v.source", "--reference", "train.tsv"],
            "v.source has 20 lines but train.tsv has 300",
        ),
        (
            ["--hypotheses", "v.source", "--reference", "v.target", "--metrics", "belu"],
            "There is no metric 'belu'; did you mean 'bleu'?",
        ),
        (
            ["--hypotheses", "v.source", "--reference", "v.target", "--metrics", "bleu-moses-lc"],
            "needs the target language",
        ),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(heedful, pairs: tuple[Path, Path], options, said: str):
    ran = heedful("evaluate", *options)
    assert (ran.status, ran.out, said in ran.err) == (2, "", True), ran.err


def test_score_prints_a_log_probability_for_each_pair(heedful, trained: Path, pairs: tuple[Path, Path]):
    source, target = pairs
    ran = heedful("score", trained, "--source", source, "--target", target)
    expected = package.load(trained).score(
        source.read_text("utf-8").splitlines(), target.read_text("utf-8").splitlines()
    )
    assert [float(line) for line in ran.out.splitlines()] == pytest.approx(expected, abs=1e-5)
    assert all(value < 0 and math.isfinite(value) for value in expected)
    assert "same file" in heedful("score", trained, "--source", source, "--target", source).err


def test_recipes_are_listed_and_shown(heedful):
    listed = heedful("recipes").out
    assert all(name in listed for name in shipped())
    assert heedful("recipes", "dates").out == shipped()["dates"].read_text("utf-8")
    assert "did you mean dates?" in heedful("recipes", "date").err


def test_data_sets_are_listed_and_located(heedful):
    listed = heedful("data").out
    assert "multi30k-en-de" in listed
    assert "CC" in listed
    located = heedful("data", "copy").out.splitlines()
    assert [line.split(":")[0] for line in located] == ["train", "validation", "test"]
    assert all(Path(line.split(": ")[1]).is_file() for line in located)
    assert "did you mean multi30k-en-de?" in heedful("data", "multi30k-en-dee").err


def test_check_tells_what_any_task_finds_in_its_data(heedful, folder: Path):
    texts = ["a fine film", "a dull film", "a wonderful play", "boring", "a lovely day", "awful"]
    lines = [f"{text}\t{label}" for text, label in zip(texts, ["good", "bad"] * 3, strict=True)]
    (folder / "texts.tsv").write_text("\n".join(["text\tlabel", *lines, ""]), encoding="utf-8")
    ran = heedful("check", "classify", "--data.train.tsv", "texts.tsv")
    assert ran.status == 0
    assert "bad 50.0%, good 50.0%" in ran.out + ran.err


def test_check_shows_what_training_would_leave_out(heedful, folder: Path):
    with (folder / "train.tsv").open("a") as file:
        file.write("\t1 2\n")
    ran = heedful("check", "numbers.toml", "--data.check.maximum_length", "100")
    assert ran.status == 0
    assert "empty" in ran.out
    assert "301" in ran.out
    assert not (folder / "runs").exists()
    assert "there is no setting data.chek" in heedful("check", "numbers.toml", "--data.chek", "1").err


def test_bpe_shows_its_steps(heedful, folder: Path):
    (folder / "words").write_text("low low low low low lower lower slow\n")
    ran = heedful("bpe", "words", "--merges", "2", "--words", "1", "--encode", "slower")
    assert ran.out.splitlines() == [
        "step 1: l + o = lo (8 times)",
        "        5  lo w [EoW]",
        "step 2: lo + w = low (8 times)",
        "        5  low [EoW]",
        "slower = s low e r [EoW]",
    ]
    assert "no pair occurs 2 times any more" in heedful("bpe", "words", "--merges", "99").out
    for rarest, learnt in ((9, 0), (8, 2), (7, 2), (6, 3)):
        ran = heedful("bpe", "words", "--merges", 99, "--min-frequency", rarest)
        assert ran.out.count("step ") == learnt
        assert ran.out.endswith(f"After {learnt} merges no pair occurs {rarest} times any more.\n")
