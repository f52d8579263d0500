"""Recipes: every shipped one is sound and explained, and a mistake is told with its place."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heedful.errors import RecipeError
from heedful.tasks.translation import DataSettings
from heedful.training.recipe import differences, read, recipe_of
from heedful.training.settings import TrainingSettings
from heedful.training.shipped import description, shipped
from heedful.training.toml import lines, to_toml

OWN = [
    ("data.train.source", "a.en"),
    ("data.train.target", "a.de"),
    ("data.validation.source", "v.en"),
    ("data.validation.target", "v.de"),
]
NEEDED = {
    "dates",
    "reverse",
    "copy",
    "multi30k-en-de",
    "multi30k-de-en",
    "multi30k-en-fr",
    "multi30k-en-de-rnn",
    "multi30k-en-de-rnn-no-attention",
    "multi30k-en-de-luong",
    "reverse-luong",
    "g2p",
    "g2p-transformer",
    "tatoeba-en-de",
    "wmt14-en-de-base",
    "wmt14-en-de-big",
    "wmt14-en-fr-big",
    "babi",
    "babi-task",
    "bandits",
    "mdp",
    "omniglot",
    "multi30k-de-en-convs2s",
    "multi30k-de-en-bytenet",
    "custom",
    "char-gpt",
    "gpt",
    "tinyshakespeare",
    "tinyshakespeare-gpu",
    "contrastive",
    "tag",
    "wnut17",
    "answer",
    "subjqa",
}


OWN_TEXT = [("data.train.text", "a.txt")]


def own(name: str) -> list[tuple[str, str]]:
    return {
        "custom": OWN,
        "char-gpt": OWN_TEXT,
        "gpt": OWN_TEXT,
        "contrastive": OWN_TEXT,
        "classify": [("data.train.tsv", "a.tsv")],
        "tag": [("data.train.conll", "a.conll")],
        "answer": [("data.train.squad", "a.json")],
    }.get(name, [])


@pytest.fixture
def recipe_file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def message(path: Path, *overrides: tuple[str, str]) -> str:
    with pytest.raises(RecipeError) as caught:
        read(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


# --- the shipped ones


@pytest.mark.parametrize("name", ["tag", "answer", "classify"])
def test_files_named_in_a_copy_of_a_recipe_are_read_and_written_again(name, recipe_file):
    """What stands in comments under [data] is there to be filled in."""
    text = shipped()[name].read_text("utf-8")
    before, data, rest = re.split(r"^\[(?:data|tokenizer)\]$", text, maxsplit=2, flags=re.MULTILINE)
    filled = re.sub(r"^# ?", "", data, flags=re.MULTILINE)
    recipe = read(recipe_file(f"{before}[data]{filled}[tokenizer]{rest}"))
    assert recipe.data.train
    assert recipe.data.validation is not None
    assert list(recipe.data.tests) == ["NAME"]
    assert read(recipe_file(to_toml(recipe))) == recipe


def test_the_recipes_promised_are_there():
    assert set(shipped()) >= NEEDED


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_recipe_loads_and_comes_back_from_its_complete_form(name: str, recipe_file):
    recipe = read(name, own(name))
    assert read(recipe_file(to_toml(recipe))) == recipe


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_key_of_a_shipped_recipe_has_a_comment(name: str):
    text = shipped()[name].read_text(encoding="utf-8").splitlines()
    for before, line in zip(["", *text], text, strict=False):
        if re.match(r"\w+ *=", line):
            # What is quoted is no comment.
            assert "# " in re.sub(r'"[^"]*"', "", line) or before.startswith("#"), line


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_description_says_how_long_it_takes_on_two_cores(name: str):
    assert "two cores" in description(shipped()[name])


@pytest.mark.parametrize(
    ("name", "width", "inner", "heads", "dropout", "steps", "averaged", "vocabulary"),
    [
        ("wmt14-en-de-base", 512, 2048, 8, 0.1, 100_000, 5, 37_000),
        ("wmt14-en-de-big", 1024, 4096, 16, 0.3, 300_000, 20, 37_000),
        ("wmt14-en-fr-big", 1024, 4096, 16, 0.1, 300_000, 20, 32_000),
    ],
)
def test_wmt14_is_what_the_paper_says(name, width, inner, heads, dropout, steps, averaged, vocabulary):
    recipe = read(name)
    model, training = recipe.model, recipe.training
    assert (model.d_model, model.d_ff, model.heads, model.dropout) == (width, inner, heads, dropout)
    assert (model.encoder_layers, model.decoder_layers, model.norm, model.tied) == (6, 6, "post", "all")
    assert (training.steps, training.averaging, training.average_last) == (steps, "checkpoints", averaged)
    assert (training.schedule.kind, training.schedule.warmup, training.schedule.factor) == ("noam", 4000, 1.0)
    assert (training.beta1, training.beta2, training.epsilon) == (0.9, 0.98, 1e-9)
    assert (training.label_smoothing, training.clip) == (0.1, None)
    assert recipe.data.batches.tokens * training.accumulate == 25_000
    assert recipe.tokenizer.vocabulary_size == vocabulary
    assert (recipe.search.beam, recipe.search.alpha, recipe.search.length_penalty) == (4, 0.6, "gnmt")


# --- overriding


def test_a_field_is_overridden_and_parsed_as_toml_where_it_parses():
    recipe = read(
        "dates",
        [
            ("training.steps", "5_000"),
            ("training.clip", "none"),
            ("model.norm", "post"),
            ("metrics", "chrf, bleu"),
            ("tokenizer.normalization", '["nfc", "lowercase"]'),
            ("data.check.maximum_length", "none"),
            ("description", "2024"),
        ],
    )
    assert (recipe.training.steps, recipe.training.clip, recipe.model.norm) == (5000, None, "post")
    assert recipe.metrics == ("chrf", "bleu")
    assert recipe.tokenizer.normalization == ("nfc", "lowercase")
    assert recipe.data.check.maximum_length is None
    assert recipe.description == "2024"


@pytest.mark.parametrize("blocks", ["[{layers = 5, width = 16}]", '[{"layers": 5, "width": 16}]'])
def test_a_list_of_tables_is_overridden_in_the_spelling_of_toml_or_of_json(blocks):
    model = read("multi30k-de-en-convs2s", [("model.encoder_blocks", blocks)]).model
    assert [(block.layers, block.width) for block in model.encoder_blocks] == [(5, 16)]


@pytest.mark.parametrize("given", ["64, 16", '["64", "16"]', "[64, 16]"])
def test_numbers_are_a_list_as_texts_are(given: str):
    data = [("data.train.text", "my.txt")]
    assert read("char-gpt", [*data, ("data.strides", given)]).data.strides == (64, 16)
    assert read("char-gpt", [*data, ("data.strides", "32")]).data.strides == (32,)
    with pytest.raises(RecipeError, match=r"data.strides.1 is \"many\", but must be a whole number"):
        read("char-gpt", [*data, ("data.strides", '["64", "many"]')])


def test_corpora_are_overridden_by_their_number_and_the_first_without():
    more = [
        ("data.train.1.pairs", "more.tsv"),
        ("data.train.1.weight", "2"),
        ("data.tests.new.pairs", "n.tsv"),
    ]
    data = read("custom", [*OWN, *more]).data
    assert [str(corpus) for corpus in data.train] == ["a.en + a.de", "more.tsv"]
    assert data.train[1].weight == 2.0
    assert str(data.tests["new"]) == "n.tsv"


def test_what_is_overridden_may_stand_in_the_file_in_any_form(recipe_file):
    validation = 'data.validation = {source = "v.en", target = "v.de"}\n'
    for train in ("[data.train]", "[[data.train]]"):
        path = recipe_file(f'{validation}{train}\nsource = "a"\ntarget = "b"\n')
        assert str(read(path, [("data.train.source", "c")]).data.train[0]) == "c + b"
    path = recipe_file(f'{validation}data.train = [{{source = "a", target = "b"}}]\n')
    assert str(read(path, [("data.train.0.source", "c")]).data.train[0]) == "c + b"


# --- mistakes


DATES = '[data]\nname = "dates"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[training]\nstesp = 3", "my.toml, line 4: there is no setting training.stesp; did you mean training.steps?"),
        (
            "[training]\nwarmup = 3",
            "my.toml, line 4: there is no setting training.warmup; did you mean training.schedule.warmup?",
        ),
        ("[modle]\nheads = 3", "my.toml, line 3: there is no setting modle; did you mean model?"),
        ("[training]\n\nsteps = true", "my.toml, line 5: training.steps is true, but must be a whole number."),
        ('[training]\nclip = "1"', 'my.toml, line 4: training.clip is "1", but must be a number or none.'),
        ("[model]\nnorm = 3", "my.toml, line 4: model.norm is 3, but must be post or pre."),
        ("[model]\nheads = 0", "my.toml, line 4: model.heads is 0, but must be at least 1."),
        ("[model]\ndropout = 1.0", "my.toml, line 4: model.dropout is 1.0, but must be below 1.0."),
        ("[search]\nalpha = inf", "my.toml, line 4: search.alpha is Infinity, but must be finite."),
        ("metrics.x = 1", "my.toml, line 3: there is no setting data.metrics; did you mean metrics?"),
        ("[tokenizer]\njoint = false", "model.tied is all, but with tokenizer.joint = false"),
        ("[training]\nmetric = 'blue'", "There is no metric 'blue'; did you mean 'bleu'?"),
        ("[search]\nbeam = 2\nn_best = 3", "my.toml, line 3: search: n_best=3 answers cannot come from beam=2"),
        ("[model]\nmaximum_length = 100", "must be below model.maximum_length (100)"),
        ("[[data.train]]\npairs = 'a.tsv'", "data.name and data.train are both given"),
        ("tests.validation.pairs = 'a.tsv'", "a test set cannot be called validation"),
        ("training = ?", "my.toml, line 3, column 12: Invalid value; this is not TOML."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_told_with_its_place(text: str, said: str, recipe_file):
    assert said in message(recipe_file(DATES + text))


def test_training_data_of_an_option_take_the_place_of_the_recipes():
    own = [("data.train.text", "mine.txt")]
    assert read("tinyshakespeare", own).data.name is None
    assert read("bert-mlm", [("data.name", "tinyshakespeare")]).data.train is None
    assert read("bert-mlm", own).data.train.text == (Path("mine.txt"),)
    # A test text is beside the training data; two kinds of training data, and no data at all, are mistakes.
    assert read("tinyshakespeare", [("data.tests.mine.text", "mine.txt")]).data.name == "tinyshakespeare"
    for options, said in (
        ([*own, ("data.name", "tinyshakespeare")], "both given"),
        ([("data.validation.text", "mine.txt")], "both given"),
        ([("data.name", "none")], "no training data"),
    ):
        with pytest.raises(RecipeError, match=said):
            read("tinyshakespeare", options)


def test_all_mistakes_are_told_at_once(recipe_file):
    told = message(recipe_file(DATES + "[training]\nsteps = 0\nclip = -1\n[model]\nheads = 'x'"))
    assert len(told.splitlines()) == 3


def test_a_mistake_in_an_inline_table_is_told_with_the_line_of_the_table(recipe_file):
    told = message(recipe_file('model = {heads = 4, d_model = "x"}\n' + DATES))
    assert told == 'my.toml, line 1: model.d_model is "x", but must be a whole number.'


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("training.stesp", "3"), "--training.stesp: there is no setting training.stesp; did you mean training.steps?"),
        (("steps", "3"), "--steps: there is no setting steps; did you mean training.steps?"),
        (("model.cell", "lstm"), "--model.cell: transformer has no setting model.cell; it has d_model, d_ff, heads, "),
        (("model.layers", "2"), "transformer has no setting model.layers; did you mean model.encoder_layers?"),
        (("training.steps", "many"), '--training.steps: training.steps is "many", but must be a whole number.'),
        (("training.steps.x", "3"), "--training.steps.x: there is no setting training.steps.x"),
        (("data.train.3.source", "a"), "--data.train.3.source: there is no data.train.0 yet"),
        (("training", "big"), '--training: training is "big", but must be a table (seed, steps, '),
        (("metrics", "[1]"), "--metrics: metrics.0 is 1, but must be text."),
    ],
)  # fmt: skip
def test_a_mistake_in_an_option_is_told_with_the_option(option, said: str, recipe_file):
    assert said in message(recipe_file(DATES), option)


def test_options_that_contradict_the_recipe_are_named(recipe_file):
    told = message(recipe_file(DATES + "[search]\nbeam = 3"), ("search.n_best", "9"))
    assert told.startswith("--search.n_best: search: n_best=9")


def test_the_loss_is_no_metric_and_not_every_task_has_one():
    assert read("dates", [("training.metric", "loss")]).training.metric == "loss"
    with pytest.raises(RecipeError, match=r"no metric 'loss'"):
        read("dates", [("metrics", "bleu,loss")])
    for task in ("bandits", "contrastive"):
        with pytest.raises(RecipeError, match=rf"training.metric is loss, and {task} has none in validation"):
            read(
                task,
                [
                    ("training.metric", "loss"),
                    *([("data.train.text", "a.txt")] if task == "contrastive" else []),
                ],
            )


def test_what_custom_lacks_is_told():
    with pytest.raises(RecipeError, match=r"no training data: give data.name, or data.train.source"):
        read("custom")
    with pytest.raises(RecipeError, match=r"no validation data: give data.validation.source"):
        read("custom", OWN[:2])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("multi30k-en-dee", "did you mean multi30k-en-de?"),
        ("nothing-like-it", "`heedful recipes` lists them"),
        ("no/such.toml", "There is no file no/such.toml"),
        ("tests", "is a folder"),
    ],
)
def test_a_recipe_that_is_not_there_is_told(name: str, said: str, repository: Path, monkeypatch):
    monkeypatch.chdir(repository)
    with pytest.raises(RecipeError, match=re.escape(said)):
        read(name)


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path):
    path = tmp_path / "my.toml"
    path.write_bytes(b"# ok\ndescription = '\xfc'\n")
    assert message(path) == "my.toml, line 2 is not UTF-8; a recipe is a TOML file in UTF-8."


def test_differences_are_named_and_descriptions_are_none():
    one, other = read("dates"), read("dates", [("training.clip", "none"), ("description", "x")])
    assert differences(one, other) == {"training.clip": (1.0, None)}
    assert differences(read("custom", OWN), read("custom", [*OWN, ("data.train.source", "b.en")])) == {
        "data.train.0.source": ("a.en", "b.en")
    }


# --- TOML


@given(st.text(), st.text(min_size=1), st.floats(min_value=0, max_value=1e300), st.integers(1, 10**9))
def test_anything_comes_back_from_the_complete_form(text: str, name: str, number: float, count: int):
    corpus = {"pairs": Path("a.tsv"), "weight": max(number, 1e-300)}
    data = DataSettings.model_validate(
        {"train": [corpus, corpus], "validation": corpus, "tests": {name: corpus}}
    )
    recipe = recipe_of("translation").model_validate(
        {"data": data, "description": text, "search": {"beam": count, "alpha": number}}
    )
    written = tomllib.loads(to_toml(recipe))
    assert written["description"] == text
    assert list(written["data"]["tests"]) == [name]
    assert written["data"]["train"][1]["weight"] == corpus["weight"]
    assert (written["search"]["beam"], written["search"]["alpha"]) == (count, number)


def test_lines_of_tables_keys_and_arrays_of_tables():
    text = """a = 1
[t]
"b c" = 2  # comment
d.e = 3
[[l]]
x = 1
[l.sub]
y = 2
[[l]] # second
x = 3
"""
    assert lines(text) == {
        ("a",): 1,
        ("t",): 2,
        ("t", "b c"): 3,
        ("t", "d"): 4,
        ("t", "d", "e"): 4,
        ("l",): 5,
        ("l", 0): 5,
        ("l", 0, "x"): 6,
        ("l", "sub"): 7,
        ("l", 0, "sub"): 7,
        ("l", 0, "sub", "y"): 8,
        ("l", 1): 9,
        ("l", 1, "x"): 10,
    }


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            {"steps": 10, "schedule": {"warmup": 11}},
            r"warmup \(11\) is longer than the training \(10 steps\)",
        ),
        ({"device": "gpu"}, "device is 'auto', 'cpu' or 'cuda', got 'gpu'"),
    ],
)
def test_a_training_that_cannot_be_is_refused(training, message):
    with pytest.raises(ValidationError, match=message):
        TrainingSettings.model_validate(training)
