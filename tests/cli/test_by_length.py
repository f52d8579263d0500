"""`heedful by-length`: buckets of lengths for models and for files, as a table, as JSON and as a figure."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def test_set(tmp_path: Path, trained: Path) -> tuple[Path, Path]:
    """The validation pairs of the trained run, four times, so that a bucket has lines enough."""
    rows = (trained.parent.parent / "validation.tsv").read_text(encoding="utf-8").splitlines() * 4
    for name, column in (("source", 0), ("reference", 1)):
        (tmp_path / name).write_text(
            "".join(row.split("\t")[column] + "\n" for row in rows), encoding="utf-8"
        )
    return tmp_path / "source", tmp_path / "reference"


def test_models_and_files_beside_each_other(
    heedful, trained: Path, test_set: tuple[Path, Path], tmp_path: Path
):
    pytest.importorskip("matplotlib")
    source, reference = test_set
    figure = tmp_path / "lengths.svg"
    common = ("--source", source, "--reference", reference, "--metric", "chrf", "--step", 3, "--threads", 1)
    ran = heedful(
        "by-length", trained, reference, "--names", "numbers,right", *common, "--json", "--figure", figure
    )
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)
    assert list(found) == ["numbers", "right"]
    assert sum(bucket["lines"] for bucket in found["right"]) == 80
    assert [bucket["score"]["value"] for bucket in found["right"]] == [pytest.approx(100)] * len(
        found["right"]
    )
    assert found["numbers"][0]["score"]["value"] < 100
    assert "numbers" in figure.read_text(encoding="utf-8")
    assert "lengths.svg is there already" in heedful("by-length", reference, *common, "--figure", figure).err

    ran = heedful("by-length", trained, *common)
    assert ran.status == 0, ran.err
    assert "source length (words)" in ran.out
    assert "numbers" in ran.out


def test_words_are_split_as_the_language_that_is_named_has_them(heedful, chinese: tuple[Path, Path]):
    hypotheses, reference = chinese

    def value(*options: str) -> float:
        ran = heedful(
            "by-length", hypotheses, "--source", hypotheses, "--reference", reference, "--json", *options
        )
        assert ran.status == 0, ran.err
        (bucket,) = json.loads(ran.out)["hypotheses"]
        return bucket["score"]["value"]

    assert value() == 0
    assert value("--language", "zh") > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give --source and --reference, or --data"),
        (["--source", "reference"], "Give --source and --reference, or --data"),
        (["--data", "multi30k-en-de", "--source", "source"], "both given"),
        (["--data", "sigmorphon2021-g2p-adi"], "did you mean sigmorphon2021-g2p-ady?"),
        (
            ["--source", "source", "--reference", "reference", "--names", "a,b"],
            "1 systems need as many different names",
        ),
        (["--source", "source", "--reference", "reference", "--metric", "blue"], "did you mean 'bleu'?"),
        (["--source", "source", "--reference", "reference", "--figure", "a.png"], "is written as .svg"),
        (
            ["short", "--source", "source", "--reference", "reference"],
            "short has 1 lines but reference has 80",
        ),
    ],
)
def test_mistakes_are_told(
    heedful, test_set: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.chdir(test_set[0].parent)
    Path("short").write_text("1 2\n", encoding="utf-8")
    ran = heedful("by-length", "reference", *arguments)
    assert ran.status == 2
    assert message in ran.err
