"""`heedful fill-mask`: a line for each filling, or JSON."""

import io
import json
from types import SimpleNamespace

import pytest
import torch

from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer
from heedful.tasks.masked_language_modelling_folder import save
from heedful.text import Tokenizer, TokenizerSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tokenizer = Tokenizer.train(
        ["The cat sat. The dog sat."], TokenizerSettings(kind="words", mask=True, min_frequency=1)
    )
    torch.manual_seed(0)
    settings = EncoderOnlySettings(d_model=16, d_ff=16, heads=2, layers=1, maximum_length=16)
    folder = tmp_path_factory.mktemp("bert") / "model"
    return save(folder, EncoderOnlyTransformer(settings, len(tokenizer)), tokenizer)


def test_fillings_are_shown_with_their_probabilities(heedful, model):
    ran = heedful("fill-mask", model, "The [MASK] sat.", "--best", 3, "--device", "cpu")
    assert ran.status == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert len(lines) == 3
    assert [float(line[0].removesuffix("%")) for line in lines] == sorted(
        (float(line[0].removesuffix("%")) for line in lines), reverse=True
    )
    assert all(line[2].startswith("The") for line in lines)


def test_lines_of_standard_input_as_json(heedful, model, monkeypatch):
    given = SimpleNamespace(buffer=io.BytesIO(b"The [MASK] sat.\n[MASK] [MASK] sat.\n"))
    monkeypatch.setattr("sys.stdin", given)
    ran = heedful("fill-mask", model, "--json", "--device", "cpu")
    assert [len(json.loads(line)["masks"]) for line in ran.out.splitlines()] == [1, 2]


def test_a_text_without_a_mask_is_told(heedful, model):
    ran = heedful("fill-mask", model, "The cat sat.", "--device", "cpu")
    assert ran.status == 2
    assert "has no [MASK] to fill in: 'The cat sat.'" in ran.err


def test_a_line_without_a_mask_is_told_with_its_number(heedful, model, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"The [MASK] sat.\nno mask\n")))
    ran = heedful("fill-mask", model, "--best", 2, "--json", "--device", "cpu")
    assert ran.status == 2
    assert len(ran.out.splitlines()) == 1
    assert "Line 2 has no [MASK] to fill in: 'no mask'" in ran.err


def test_what_is_not_in_the_vocabulary_is_told(heedful, model):
    ran = heedful("fill-mask", model, "The [MASK] flew and sang.", "--json", "--device", "cpu")
    assert json.loads(ran.out)["unknown"] == 3
    assert "note: 3 tokens of 'The [MASK] flew and sang.' are not in the vocabulary" in ran.err
    assert heedful("fill-mask", model, "The [MASK] sat.", "--device", "cpu").err == ""
