"""A model that has learnt already goes on learning: all of it is taken over, and of the new recipe the dropouts."""

import json

import pytest
import torch

from heedful.errors import ModelFolderError
from heedful.tasks.language_modelling import LanguageModelling, LanguageSettings
from heedful.tasks.masked_language_modelling import MaskedLanguageModelling, MaskedSettings
from heedful.tasks.model_folder import stored_once
from heedful.tasks.translation import Translation, TranslationSettings
from heedful.text.special import UNKNOWN
from tests.tasks.small_model import ENGLISH, GERMAN
from tests.tasks.small_runs import Said, taught

SIZES = {"d_model": 16, "d_ff": 32, "heads": 2, "maximum_length": 40}
WORDS = {"kind": "words", "min_frequency": 1}


def of_text(kind, settings, folder, lines, **choices):
    (folder / "text.txt").write_text("\n".join(lines))
    chosen = settings.model_validate(
        {
            "data": {
                "train": {"text": [folder / "text.txt"], "documents": "line"},
                "validation": {"text": [folder / "text.txt"], "documents": "line"},
                "window": 8,
                "batch": 2,
            },
            "tokenizer": {**WORDS, "mask": kind is MaskedLanguageModelling},
            "model": {**SIZES, "layers": 2},
            **choices,
        }
    )
    return kind(chosen, folder / "data", Said())


def masked(folder, lines=ENGLISH, **choices):
    return of_text(MaskedLanguageModelling, MaskedSettings, folder, lines, **choices)


def writing(folder, lines=ENGLISH, **choices):
    return of_text(LanguageModelling, LanguageSettings, folder, lines, **choices)


def translating(folder, lines=ENGLISH, **choices):
    pairs = zip(lines, GERMAN, strict=False)
    (folder / "pairs.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in pairs))
    chosen = {
        "data": {
            "train": {"pairs": folder / "pairs.tsv"},
            "validation": {"pairs": folder / "pairs.tsv"},
            "batches": {"tokens": 200, "maximum_length": 30, "shapes": "exact"},
        },
        "tokenizer": {**WORDS, "joint": False},
        "model": {**SIZES, "encoder_layers": 1, "decoder_layers": 2, "tied": "target"},
        **choices,
    }
    return Translation(TranslationSettings.model_validate(chosen), folder / "data", Said())


KINDS = pytest.mark.parametrize("made", [masked, writing, translating])


def begun_and_first(made, tmp_path):
    """A task that begins with a model of another text, and that model."""
    folders = tmp_path / "first", tmp_path / "second"
    for folder in folders:
        folder.mkdir()
    first = made(folders[0])
    first.prepare()
    model = taught(first, 3)
    first.save(model, folders[0] / "model", {})
    second = made(
        folders[1],
        ["What nobody has read, twice.", "What nobody has read, thrice."],
        init=folders[0] / "model",
        model={"d_model": 512, "dropout": 0.4},
        tokenizer={},
    )
    second.prepare()
    return second, model, folders[0] / "model"


def tokenizers(task):
    return task.tokenizers if isinstance(task, Translation) else (task.tokenizer,)


@KINDS
def test_all_of_a_model_is_taken_over(made, tmp_path):
    task, first, folder = begun_and_first(made, tmp_path)
    torch.manual_seed(5)
    model = task.build()
    assert {name: value.tolist() for name, value in stored_once(model).items()} == {
        name: value.tolist() for name, value in stored_once(first).items()
    }
    # Not the dropouts: they are of a training.
    assert task.settings.model == first.settings.model_copy(update={"dropout": 0.4})
    assert model.settings.dropout == 0.4
    files = sorted(path.name for path in folder.glob("tokenizer*.json"))
    assert len(files) == len(tokenizers(task))
    for name, mine in zip(files, tokenizers(task), strict=True):
        written = json.loads((folder / name).read_text())
        mine.save(tmp_path / name)
        assert json.loads((tmp_path / name).read_text()) == written
    # And once more, as the recipe of a run is read again.
    assert type(task.settings).model_validate(task.settings.model_dump()) == task.settings


@pytest.mark.parametrize("made", [masked, writing])
def test_what_the_vocabulary_of_init_lacks_is_told(made, tmp_path):
    task, _, _ = begun_and_first(made, tmp_path)
    _, said = task.listener
    tokens = task.streams["train"].tokens
    count = int((tokens == UNKNOWN).sum())
    assert 0 < count < len(tokens)
    share = 100 * count / len(tokens)
    assert said.startswith(
        f"Of {len(tokens)} tokens to learn from {count} ({share:.2f}%) are not in the vocabulary"
    )
    task.prepare()
    assert len(task.listener) == 2


@KINDS
def test_it_learns_and_its_folder_says_what_it_began_with(made, tmp_path):
    task, _, folder = begun_and_first(made, tmp_path)
    before = task.build()
    after = taught(task, 3)
    assert not torch.equal(before.output.weight, after.output.weight)
    task.save(after, tmp_path / "again", {})
    trained = json.loads((tmp_path / "again" / "config.json").read_text())["trained"]
    assert trained["begun with"] == str(folder)
    first = json.loads((folder / "config.json").read_text())["trained"]
    assert "begun with" not in first


@KINDS
def test_a_model_of_another_task_is_refused(made, tmp_path):
    other = masked if made is not masked else writing
    for name in ("other", "mine"):
        (tmp_path / name).mkdir()
    task = other(tmp_path / "other")
    task.prepare()
    task.save(task.build(), tmp_path / "other" / "model", {})
    mine = {masked: "masked-language-modelling", writing: "language-modelling", translating: "translation"}
    with pytest.raises(
        ModelFolderError, match=rf"is for {mine[other]}, and init needs one for {mine[made]}\."
    ):
        made(tmp_path / "mine", init=tmp_path / "other" / "model")


@pytest.mark.parametrize("joint", [True, False])
def test_languages_and_one_vocabulary_or_two_are_those_of_init(tmp_path, joint):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    tokenizer = {"kind": "bpe", "vocabulary_size": 380, "min_frequency": 1, "joint": joint}
    if not joint:
        tokenizer["target"] = {"kind": "characters", "joint": False}
    first = translating(tmp_path / "first", tokenizer=tokenizer)
    first.languages = ("en", "de")
    first.prepare()
    first.save(first.build(), tmp_path / "first" / "model", {})
    second = translating(tmp_path / "second", init=tmp_path / "first" / "model")
    assert second.languages == ("en", "de")
    sides = second.settings.tokenizer
    assert sides.joint == joint
    assert sides.sides == tuple(one.settings for one in first.tokenizers)
    second.prepare()
    assert [one.fingerprint() for one in second.tokenizers] == [one.fingerprint() for one in first.tokenizers]
    assert [one.language for one in second.tokenizers] == [one.language for one in first.tokenizers]
