"""`heedful shortlist`: learnt from a run's text or from files, and told how much it lets through."""

import re
import shutil
from pathlib import Path

import pytest

from heedful.tasks import load_parts


@pytest.fixture
def run(trained: Path, folder: Path) -> Path:
    """A run that may be changed."""
    shutil.copytree(trained, folder / "run")
    return Path("run")


def test_a_run_gives_its_model_a_shortlist(heedful, run: Path):
    ran = heedful("shortlist", run, "--translations", "5", "--frequent", "2")
    assert (ran.status, ran.err) == (0, "")
    assert "By 20 held-out pairs" in ran.out
    assert "The shortlist is in run/model/shortlist.safetensors; translate with --shortlist." in ran.out
    shortlist = load_parts(run).shortlist()
    # A column more, for the piece itself.
    assert (shortlist.translations, len(shortlist.frequent)) == (6, 4)
    # Numbers are translated by themselves, so that all tokens are in the list of each sentence.
    assert re.search(
        rf"list has \d+ of {shortlist.target_vocabulary} tokens; 100.0% of the reference's", ran.out
    )
    assert [entry.name for entry in run.iterdir() if entry.name.startswith(".short")] == []


def test_the_model_folder_of_a_run_does_as_well(heedful, run: Path):
    assert heedful("shortlist", run).status == 0
    before = (run / "model" / "shortlist.safetensors").read_bytes()
    assert heedful("shortlist", run / "model").status == 0
    assert (run / "model" / "shortlist.safetensors").read_bytes() == before


def test_a_folder_elsewhere_learns_from_files(heedful, run: Path, folder: Path):
    (run / "model").rename("elsewhere")
    ran = heedful("shortlist", "elsewhere")
    assert (ran.status, "elsewhere is not in the folder of a run" in ran.err) == (2, True)
    rows = [line.split("\t") for line in (folder / "train.tsv").read_text("utf-8").splitlines()]
    for number, name in enumerate(("s", "t")):
        Path(name).write_text("".join(f"{row[number]}\n" for row in rows), encoding="utf-8")
    ran = heedful("shortlist", "elsewhere", "--source", "s", "--target", "t")
    assert (ran.status, ran.err) == (0, "")
    assert "By 6 held-out pairs" in ran.out
    assert load_parts("elsewhere").shortlist().translations == 51
    assert heedful("translate", "elsewhere", "--source", "s", "--output", "out").status == 0


def test_few_lines_are_all_learnt_from(heedful, run: Path):
    Path("s").write_text("1 2\n", encoding="utf-8")
    Path("t").write_text("2 1\n", encoding="utf-8")
    ran = heedful("shortlist", run, "--source", "s", "--target", "t")
    assert (ran.status, "held-out" in ran.out) == (0, False)


def test_one_side_alone_is_refused(heedful, run: Path):
    ran = heedful("shortlist", run, "--source", "s")
    assert (ran.status, ran.err) == (
        2,
        "error: Give both --source and --target, or neither to learn from the text of a run.\n",
    )


def test_text_of_other_tokenizers_is_refused(heedful, run: Path):
    from heedful.text import Tokenizer, TokenizerSettings

    settings = TokenizerSettings(kind="words", vocabulary_size=30, min_frequency=1)
    Tokenizer.train(["1 2"], settings).save(run / "data" / "tokenizer.source.json")
    ran = heedful("shortlist", run)
    assert (ran.status, "was prepared with another source tokenizer" in ran.err) == (2, True)
