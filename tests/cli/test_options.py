"""Options of `heedful translate` and `heedful generate` reach what they are named after."""

import json

import pytest
import torch

import heedful as package
from heedful.tasks.engine import Engine
from heedful.tasks.language_modelling_folder import load
from heedful.tasks.translator import Translator
from tests.cli.test_translate import LINES, as_bytes
from tests.tasks.test_language_modelling import task  # noqa: F401

SEARCH = {
    "beam": 3, "n_best": 2, "alpha": 1.5, "length_penalty": "average", "stopping": "count", "coverage_penalty": 0.25,
    "no_repeat_ngram": 2, "repetition_penalty": 1.25,
}  # fmt: skip
SAMPLING = {"temperature": 0.5, "top_k": 7, "top_p": 0.75, "seed": 3}


def options(chosen):
    return [part for name, value in chosen.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.parametrize(("flags", "chosen"), [([], SEARCH), (["--sample"], SAMPLING)])
def test_every_option_of_the_search_is_the_setting_of_its_name(
    heedful, typed, talking, monkeypatch, flags, chosen
):
    asked = []
    monkeypatch.setattr(
        Translator, "stream", lambda self, texts, search, **_: asked.append(search) or iter(())
    )
    typed(as_bytes(LINES))
    assert heedful("translate", talking, "--format", "nbest", *flags, *options(chosen)).status == 0
    method = {"method": "sample"} if flags else {}
    assert [asked[0].model_dump()] == [package.load(talking).search.model_dump() | method | chosen]


WRITING = [{"top_p": 0.3}, {"top_k": 2}, {"temperature": 0.2}, {"repetition_penalty": 9.0}, {"no_repeat_ngram": 1},
           {"seed": 5}, {"samples": 3}]  # fmt: skip


def test_every_option_of_generate_is_the_choice_of_its_name(heedful, tmp_path, task):  # noqa: F811
    torch.manual_seed(1)
    task.save(task.build().eval(), tmp_path / "model", {"step": 3})
    model = load(tmp_path / "model", device="cpu")

    def written(**choices):
        return [each.to_json() for each in model.generate("to be", tokens=40, **choices)]

    plain = written()
    for chosen in WRITING:
        ran = heedful(
            "generate", tmp_path / "model", "--prompt", "to be", "--tokens", 40, "--json", *options(chosen)
        )
        told = [json.loads(line) for line in ran.out.splitlines()]
        assert told == written(**chosen)
        assert told != plain, chosen
    (tmp_path / "prompt").write_text("to be\n")
    ran = heedful(
        "generate", tmp_path / "model", "--prompt-file", tmp_path / "prompt", "--tokens", 1, "--json"
    )
    assert json.loads(ran.out)["prompt"] == "to be"


def test_the_precision_that_is_asked_for_is_the_engines(heedful, typed, talking, tmp_path, task, monkeypatch):  # noqa: F811
    task.save(task.build().eval(), tmp_path / "model", {"step": 3})
    made, before = [], Engine.__init__

    def init(self, kind="auto", precision="float32"):
        made.append(precision)
        before(self, kind, precision)

    monkeypatch.setattr(Engine, "__init__", init)
    lines = tmp_path / "lines"
    lines.write_bytes(as_bytes(LINES))
    for command in (
        ["translate", talking],
        ["evaluate", talking, "--source", lines, "--reference", lines],
        ["generate", tmp_path / "model", "--tokens", 1],
    ):
        made.clear()
        typed(as_bytes(LINES))
        heedful(*command, "--precision", "int8")
        assert made[-1] == "int8", command
