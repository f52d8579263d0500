"""A model folder gives back what was saved, and says what is wrong with one that does not."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import heedful
from heedful.decoding import SearchSettings
from heedful.errors import ModelFolderError
from heedful.evaluation import Score
from heedful.models import DecoderOnlySettings
from heedful.tasks import load, load_parts, save
from heedful.tasks.replacing import replacing
from heedful.text import Tokenizer, TokenizerSettings
from tests.tasks.small_model import ENGLISH, GERMAN, SETTINGS, random_model

EVERY_MODEL = [
    SETTINGS,
    SETTINGS.model_copy(update={"tied": "target"}),
    SETTINGS.model_copy(update={"tied": "none", "norm": "pre", "norm_kind": "rms", "activation": "swiglu"}),
    SETTINGS.model_copy(update={"positions": "learned", "attention_bias": True}),
    SETTINGS.model_copy(update={"positions": "rotary", "kv_heads": 1}),
    SETTINGS.model_copy(update={"positions": "relative"}),
    DecoderOnlySettings(d_model=16, d_ff=32, heads=2, layers=2, maximum_length=48),
]


def test_loading_does_without_the_compiler_of_pytorch(tmp_path, tokenizer):
    for number, settings in enumerate(EVERY_MODEL):
        model = random_model(settings, len(tokenizer), len(tokenizer))
        save(tmp_path / str(number), model, settings, tokenizer, tokenizer)
    folders = [str(folder) for folder in tmp_path.iterdir()]
    program = (
        f"import sys, heedful; [heedful.load(folder) for folder in {folders}]; "
        "print('torch._dynamo' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.parametrize("settings", EVERY_MODEL)
def test_what_is_loaded_computes_the_same_bits_as_what_was_saved(settings, tmp_path, tokenizer):
    model = random_model(settings, len(tokenizer), len(tokenizer))
    save(tmp_path / "m", model, settings, tokenizer, tokenizer)
    parts = load_parts(tmp_path / "m")
    source, target = torch.randint(4, len(tokenizer), (2, 3, 7))
    assert torch.equal(parts.model(source, target), model(source, target))
    assert not parts.model.training
    assert parts.config.model == settings
    for saved, loaded in zip(model.state_dict().values(), parts.model.state_dict().values(), strict=True):
        assert torch.equal(saved, loaded)


def test_a_table_that_serves_thrice_is_stored_once_and_tied_again(folder, model):
    stored = load_file(folder / "model.safetensors")
    assert [name for name in stored if "table" in name or "output" in name] == [
        "source_embedding.table.weight"
    ]
    assert sum(tensor.numel() for tensor in stored.values()) == sum(p.numel() for p in model.parameters())
    loaded: Any = load_parts(folder).model
    assert loaded.output.weight is loaded.source_embedding.table.weight
    assert loaded.output.weight is loaded.target_embedding.table.weight


def test_tokenizers_languages_search_and_facts_come_back(tmp_path, model, tokenizer):
    search = SearchSettings(beam=7, alpha=1.1, banned_sequences=((5, 6),))
    trained = {"data": "a page", "steps": 100, "scores": {}}
    german = tokenizer.for_language("de")
    save(tmp_path / "m", model, SETTINGS, tokenizer, german, search=search, trained=trained)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    parts = load_parts(tmp_path / "m")
    assert parts.source_tokenizer.to_json() == tokenizer.to_json()
    assert parts.target_tokenizer.to_json() == german.to_json()
    assert (parts.config.source_language, parts.config.target_language) == ("en", "de")
    assert parts.config.search == search
    assert parts.config.trained == trained
    assert load(tmp_path / "m").trained == trained


def test_two_vocabularies_are_two_files(tmp_path):
    english = Tokenizer.train(ENGLISH, TokenizerSettings(vocabulary_size=300, min_frequency=1), "en")
    german = Tokenizer.train(GERMAN, TokenizerSettings(vocabulary_size=320, min_frequency=1), "de")
    settings = SETTINGS.model_copy(update={"tied": "target"})
    model = random_model(settings, len(english), len(german))
    save(tmp_path / "m", model, settings, english, german)
    assert not (tmp_path / "m" / "tokenizer.json").exists()
    parts = load_parts(tmp_path / "m")
    assert parts.source_tokenizer.fingerprint() == english.fingerprint()
    assert parts.target_tokenizer.fingerprint() == german.fingerprint()
    assert load(tmp_path / "m").translate(["Two dogs"])


def test_loading_leaves_the_random_generator_alone(folder):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_parts(folder)
    assert torch.equal(torch.rand(3), expected)


def test_weights_in_half_precision_are_computed_with_in_float32(folder):
    path = folder / "model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path)
    assert {parameter.dtype for parameter in load_parts(folder).model.parameters()} == {torch.float32}


def test_heedful_load_takes_the_run_that_the_model_is_in(tmp_path, folder):
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    (run / "recipe.toml").touch()
    (run / "tokenizer.json").touch()
    with pytest.raises(
        ModelFolderError, match=r"first has no model yet: it is written after the first validation"
    ):
        load(run)
    folder.rename(run / "model")
    assert load_parts(run).folder == run / "model"
    assert heedful.load(run).languages == ("en", "de")


def test_the_card_tells_scores_with_signatures_and_how_to_use_the_model(tmp_path, model, tokenizer):
    score = Score("bleu", 41.234, 40.1, 42.3, "nrefs:1|case:mixed|version:2.5", "BLEU")
    trained = {"data": ["a.en", "a.de"], "pairs": 29_000, "scores": {"test_2016_flickr": [score.to_dict()]}}
    save(tmp_path / "m", model, SETTINGS, tokenizer, tokenizer.for_language("de"), trained=trained)
    card = (tmp_path / "m" / "README.md").read_text("utf-8")
    assert card.startswith("# Transformer, en to de\n")
    assert "- data: a.en, a.de\n- pairs: 29,000\n" in card
    row = r"| test_2016_flickr | BLEU | 41.23 | 40.1 to 42.3 | `nrefs:1\|case:mixed\|version:2.5` |"
    assert row in card
    assert "heedful translate PATH" in card
    assert "heedful.load(" in card


# What is wrong with a folder


def change_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(content | changes), "utf-8")

    return change


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return changed


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def lack(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def another_tokenizer(folder: Path) -> None:
    settings = TokenizerSettings(vocabulary_size=360, min_frequency=1)
    Tokenizer.train(GERMAN, settings, "en").save(folder / "tokenizer.json")


def another_model(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text("utf-8"))
    content["model"]["d_ff"] = 64
    (folder / "config.json").write_text(json.dumps(content), "utf-8")


TABLE = "source_embedding.table.weight"
WRONG = {
    "no config": (lack("config.json"), r"lacks config\.json; it holds README\.md, model\.safetensors"),
    "no weights": (lack("model.safetensors"), r"lacks model\.safetensors\. Copy it again"),
    "no tokenizer": (lack("tokenizer.json"), r"lacks tokenizer\.json\. Copy it again"),
    "cut config": (cut("config.json"), r"config\.json is not JSON, or cut short"),
    "cut weights": (cut("model.safetensors"), r"model\.safetensors is damaged or cut short"),
    "cut tokenizer": (cut("tokenizer.json"), r"tokenizer\.json: not a tokenizer file, or cut short"),
    "empty weights": (
        lambda folder: os.truncate(folder / "model.safetensors", 0),
        r"model\.safetensors is damaged or cut short",
    ),
    "another tokenizer": (
        another_tokenizer,
        r"tokenizer\.json: this tokenizer does not belong to this model",
    ),
    "another vocabulary": (
        change_config(source_vocabulary=99, target_vocabulary=99),
        r"source_vocabulary is 99, but the source tokenizer has 360 entries: it does not belong",
    ),
    "later format": (
        change_config(format=2, heedful="9.0"),
        r"has format 2 \(written by heedful 9\.0\).* reads format 1\. Install the version that wrote it",
    ),
    "another library's": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "marian"}'),
        r"is not of a heedful model: it has no 'format'",
    ),
    "another key": (change_config(colour="red"), r"config\.json: colour: Extra inputs are not permitted"),
    "another task": (
        change_config(task="singing"),
        r"for the task 'singing'; this heedful knows translation",
    ),
    "another architecture": (
        change_config(model={"architecture": "perceptron"}),
        r"config\.json: model: architecture must be",
    ),
    "another size": (another_model, r"has shape \(32, 16\), but by config\.json it must be \(64, 16\)"),
    "absurd size": (
        change_config(model={**SETTINGS.model_dump(mode="json"), "d_model": 2**20}),
        r"has shape \(360, 16\), but by config\.json it must be \(360, 1048576\)",
    ),
    "impossible size": (
        change_config(model={**SETTINGS.model_dump(mode="json"), "d_model": 2**60}),
        r"config\.json: no model can be made of this",
    ),
    "tokenizers elsewhere": (
        change_config(tokenizers={"../tokenizer.json": "0"}),
        r"config\.json: tokenizers",
    ),
    "half a pair of tokenizers": (
        change_config(tokenizers={"tokenizer.source.json": "0"}),
        r"tokenizers must name tokenizer\.json, or tokenizer\.source\.json and tokenizer\.target\.json",
    ),
    "missing tensor": (
        change_weights(lambda t: t.pop(TABLE)),
        rf"lacks {TABLE}, which config\.json asks for",
    ),
    "missing tensors": (
        change_weights(lambda t: [t.pop(name) for name in list(t) if "encoder" in name]),
        r"lacks encoder\.\S+, encoder\.\S+, encoder\.\S+ and \d+ more tensors",
    ),
    "extra tensor": (
        change_weights(lambda t: t.update(bonus=torch.zeros(2))),
        r"has bonus, which config\.json does not ask for",
    ),
    "mis-shaped tensor": (
        change_weights(lambda t: t.update({TABLE: torch.zeros(360, 15)})),
        rf"{TABLE} has shape \(360, 15\), but by config\.json it must be \(360, 16\)",
    ),
    "tensor of integers": (
        change_weights(lambda t: t.update({TABLE: torch.zeros(360, 16, dtype=torch.int32)})),
        rf"{TABLE} holds torch\.int32, not floating-point numbers",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_that_is_wrong_is_refused_with_a_reason(case, folder):
    spoil, message = WRONG[case]
    spoil(folder)
    with pytest.raises(ModelFolderError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_a_path_without_a_model_is_told_apart(tmp_path, folder):
    with pytest.raises(
        ModelFolderError, match=r"no model folder .*en-dee; the nearest name beside it is en-de\."
    ):
        load(tmp_path / "en-dee")
    with pytest.raises(
        ModelFolderError, match=rf"no model folder .*: there is no folder {re.escape(str(tmp_path))}/no\."
    ):
        load(tmp_path / "no" / "en-de")
    with pytest.raises(ModelFolderError, match=r"model\.safetensors is a file; give the model folder"):
        load(folder / "model.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ModelFolderError, match=r"empty is not a model folder: it has no config\.json, it is empty"
    ):
        load(tmp_path / "empty")
    (tmp_path / "empty" / "holiday.jpg").touch()
    with pytest.raises(ModelFolderError, match=r"it holds holiday\.jpg"):
        load(tmp_path / "empty")


def test_a_device_that_is_not_here_is_refused(folder):
    with pytest.raises(heedful.errors.HeedfulError, match="no device 'toaster'"):
        load(folder, device="toaster")


# Writing


def test_saving_replaces_the_model_and_leaves_other_files(folder, model, tokenizer):
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("good with horses")
    save(folder, model, SETTINGS, tokenizer, tokenizer, trained={"step": 2})
    assert (folder / "notes" / "mine.txt").read_text() == "good with horses"
    assert load_parts(folder).config.trained == {"step": 2}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_saving_never_replaces_something_else(tmp_path, model, tokenizer):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("It was")
    with pytest.raises(ModelFolderError, match="thesis is there and not a model folder; it is left alone"):
        save(tmp_path / "thesis", model, SETTINGS, tokenizer, tokenizer)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "It was"
    with pytest.raises(ModelFolderError, match="is a file"):
        save(tmp_path / "thesis" / "chapter1.txt", model, SETTINGS, tokenizer, tokenizer)


@pytest.mark.parametrize("at", range(1, 40))
def test_wherever_saving_stops_a_complete_model_is_there(at, folder, model, tokenizer, monkeypatch):
    """The `at`-th system call that changes something fails, and so do all after it, as if the power had gone."""
    calls = 0

    def failing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= at:
                raise OSError(28, "No space left on device")
            return original(*arguments, **named)

        return call

    for owner, name in (
        (Path, "mkdir"),
        (Path, "write_text"),
        (Path, "rename"),
        (Path, "replace"),
        (os, "fsync"),
        (os, "unlink"),
        (os, "rmdir"),
    ):
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    try:
        save(folder, model, SETTINGS, tokenizer, tokenizer, trained={"new": True})
        message = ""
    except ModelFolderError as error:
        message = str(error)
    monkeypatch.undo()
    assert message == "" or "cannot be written: No space left on device" in message
    trained = load_parts(folder).config.trained
    assert trained == {} or trained == {"new": True}
    assert message or trained == {"new": True}
    # And the next time it works, whatever lies about.
    save(folder, model, SETTINGS, tokenizer, tokenizer, trained={"next": True})
    assert load_parts(folder).config.trained == {"next": True}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_previous_model_is_used_while_it_is_being_replaced(folder):
    seen: list[Path] = []
    shutil.copytree(folder, folder.with_name(".en-de.previous"))
    shutil.rmtree(folder)
    seen.append(load_parts(folder).folder)
    with replacing(folder, own=()) as writing:
        (writing / "new").touch()
        seen.append(load_parts(folder).folder)
    assert [path.name for path in seen] == [".en-de.previous", ".en-de.previous"]
    assert (folder / "new").exists()
