"""Transduction from the recipe to the score."""

import json
from pathlib import Path

import pytest

from heedful.cli import main
from heedful.text import Tokenizer

SOUNDS = {"a": "aː˥", "e": "ə", "k": "k", "h": "t͡ʃ", "n": "n"}
SMALL = "--model.d_embedding 16 --model.d_hidden 16 --model.d_attention 16 --model.d_readout 16 --training.steps 4 "
SMALL += "--training.schedule.warmup 2 --training.validate_every 4 --training.threads 1 --search.beam 2 "
SMALL += "--data.name none"


def write_words(path: Path, count: int) -> None:
    words = [f"{a}{b}{c}" for a in SOUNDS for b in SOUNDS for c in SOUNDS][-count:]
    lines = [f"{word}\t{' '.join(SOUNDS[letter] for letter in word)}\n" for word in words]
    path.write_text("".join(lines), encoding="utf-8")


def test_letters_on_one_side_and_symbols_on_the_other(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_words(tmp_path / "train.tsv", 125)
    write_words(tmp_path / "dev.tsv", 20)
    command = ["train", "g2p", "--quiet", "--run", "run", *SMALL.split()]
    for part in ("train", "validation", "tests.unseen"):
        command += [f"--data.{part}.pairs", "train.tsv" if part == "train" else "dev.tsv"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0, capsys.readouterr().err
    scores = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))["unseen"]
    assert [score["name"] for score in scores] == ["wer", "per"]
    source, target = (
        Tokenizer.load(tmp_path / "run" / "model" / f"tokenizer.{side}.json") for side in ("source", "target")
    )
    assert source.pieces(source.encode("ken")) == ["▁", "k", "e", "n"]
    assert target.pieces(target.encode("k ə aː˥")) == ["▁k", "▁ə", "▁aː˥"]
