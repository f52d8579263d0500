"""Language modelling: packed documents are learnt as if alone, scores are what they say, texts are reproducible."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from rich.table import Table

import heedful
from heedful.attention import observe
from heedful.data.packing import evaluation_windows, windows
from heedful.decoding import SearchSettings
from heedful.errors import DataError, ModelFolderError, RecipeError
from heedful.models.decoder_only import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.tasks.continuing import continuations
from heedful.tasks.face import Plain
from heedful.tasks.language_modelling import LanguageModelling, LanguageSettings, surprise
from heedful.tasks.language_modelling_folder import load
from heedful.text.special import END, PAD, START
from heedful.training.recipe import recipe_of
from tests.tasks.small_runs import Said, assert_the_objective_is_heard, train

LINES = ["to be, or not to be", "that is the question", "whether 'tis nobler", "in the mind to suffer"] * 4
POSITIONS = ["learned", "sinusoidal", "rotary", "relative", "alibi", "none"]
RELATIVE = POSITIONS[2:]


def recipe(tmp_path: Path, **data: Any) -> LanguageSettings:
    (tmp_path / "a.txt").write_text("\n".join(LINES))
    return LanguageSettings.model_validate(
        {
            "data": {
                "train": {"text": [tmp_path / "a.txt"], "documents": "line"},
                "window": 16,
                "batch": 4,
                **data,
            },
            "tokenizer": {"kind": "characters", "vocabulary_size": 60, "byte_fallback": False},
            "model": {
                "d_model": 16,
                "d_ff": 24,
                "heads": 2,
                "layers": 2,
                "positions": "rotary",
                "dropout": 0.0,
                "maximum_length": 8,
            },
        }
    )


@pytest.fixture
def task(tmp_path: Path) -> LanguageModelling:
    made = LanguageModelling(recipe(tmp_path), tmp_path / "data", Said())
    made.prepare()
    return made


def small(positions: str, **choices: Any) -> DecoderOnlyTransformer:
    torch.manual_seed(3)
    settings = DecoderOnlySettings.model_validate(
        {
            "d_model": 16,
            "d_ff": 24,
            "heads": 4,
            "layers": 2,
            "positions": positions,
            "maximum_length": 8,
            **choices,
        }
    )
    model = DecoderOnlyTransformer(settings, 11, 11).double().eval()
    for name, parameter in model.named_parameters():
        if "relative" in name:
            torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_packed_documents_are_read_as_if_alone(positions: str) -> None:
    model = small(positions)
    parts = [[5, 6, 7, 4], [1, 8, 9], [1, 4, 4, 10, 3]]
    documents = torch.tensor([[number for number, part in enumerate(parts) for _ in part]])
    packed = model.text_features(torch.tensor([[token for part in parts for token in part]]), documents)
    alone = [model.text_features(torch.tensor([part])) for part in parts]
    torch.testing.assert_close(packed, torch.cat(alone, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_a_text_read_in_parts_gives_what_it_gives_at_once(positions: str) -> None:
    model = small(positions)
    text = torch.tensor([[1, 8, 9, 4, 7, 7, 3], [1, 5, 5, 10, 6, 4, 4]])
    logits = model.language(text)
    found, state = model.read_text(text[:, :3])
    torch.testing.assert_close(found, logits[:, 2], rtol=0, atol=1e-12)
    found, state = model.read_text(text[:, 3:5], state)
    torch.testing.assert_close(found, logits[:, 4], rtol=0, atol=1e-12)
    state = state.select(torch.tensor([1, 0]))
    for place in (5, 6):
        found, state = model.read_text(text[[1, 0], place, None], state)
        torch.testing.assert_close(found, logits[[1, 0], place], rtol=0, atol=1e-12)
    assert (state.seen, state.length, state.last(4).seen) == (7, 7, 4)


@pytest.mark.parametrize("positions", RELATIVE)
@torch.no_grad()
def test_where_positions_are_relative_the_oldest_is_forgotten(positions: str) -> None:
    # In one layer a token's keys know of nothing before it, so that this equals a text of the last tokens alone.
    model = small(positions, layers=1)
    text = torch.tensor([[1, 8, 9, 4, 7, 7, 3]])
    _, state = model.read_text(text[:, :6])
    found, _ = model.read_text(text[:, 6:], state.last(3))
    torch.testing.assert_close(found, model.language(text[:, 3:])[:, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_text_may_be_longer_than_the_window(positions: str) -> None:
    settings = SearchSettings(method="sample", minimum_length=100)
    (found,) = continuations(small(positions), [1, 5], settings, 20, window=8)
    assert len(found.tokens) == 20
    assert (found.ended, found.stopped) == (False, False)


@torch.no_grad()
def test_absolute_positions_read_the_latter_half_of_the_window_again() -> None:
    model, window, prompt = small("learned"), 6, [1, 5, 7]
    settings = SearchSettings(method="sample", top_k=1, minimum_length=100)
    (found,) = continuations(model, prompt, settings, 12, window)
    text = [*prompt]
    read = len(prompt)  # tokens that the model sees
    for token in found.tokens:
        logits = model.language(torch.tensor([text[-read:]]))[0, -1]
        logits[[PAD, START, END, 3]] = -torch.inf
        assert token == int(logits.argmax())
        text.append(token)
        read = read + 1 if read < window else window // 2


def test_samples_depend_on_the_seed_and_not_on_each_other() -> None:
    model, settings = small("rotary"), SearchSettings(method="sample", seed=4)
    together = continuations(model, [1, 5], settings, 12, 8, numbers=range(4))
    alone = [continuations(model, [1, 5], settings, 12, 8, numbers=[number])[0] for number in range(4)]
    assert [each.tokens for each in together] == [each.tokens for each in alone]
    assert len({each.tokens for each in together}) > 1
    other = continuations(model, [1, 5], SearchSettings(method="sample", seed=5), 12, 8, numbers=range(4))
    assert [each.tokens for each in other] != [each.tokens for each in together]


def test_a_sample_is_drawn_from_the_models_distribution() -> None:
    model = small("none", deviation=0.5)
    settings = SearchSettings(method="sample", temperature=0.7, minimum_length=2)
    found = continuations(model, [1], settings, 1, 8, numbers=range(2000))
    counts = np.bincount([each.tokens[0] for each in found], minlength=11) / 2000
    with torch.no_grad():
        logits = model.language(torch.tensor([[1]]))[0, -1]
    own = logits.log_softmax(-1)
    logits[[PAD, START, END, 3]] = -torch.inf
    np.testing.assert_allclose(counts, (logits / 0.7).softmax(-1), atol=0.04)
    assert found[0].log_probabilities[0] == pytest.approx(float(own[found[0].tokens[0]]), abs=1e-6)


@torch.no_grad()
def test_the_loss_is_that_of_every_document_by_itself(task: LanguageModelling) -> None:
    torch.manual_seed(1)
    model = task.build().double().eval()
    stream = task.streams["train"]
    batch = windows(stream, [0], len(stream))
    found = task.loss(model, batch, Plain())
    total, count = 0.0, 0
    for line in LINES[: stream.amount.documents]:
        ids = [START, *task.tokenizer.encode(line), END]
        logs = model.language(torch.tensor([ids]))[0, :-1].log_softmax(-1)
        total -= float(logs.gather(1, torch.tensor(ids[1:])[:, None]).sum())
        count += len(ids) - 1
    assert found.tokens == batch.tokens == count
    assert float(found.likelihood) == pytest.approx(total, rel=1e-9)
    nats, tokens = surprise(model, iter([batch]))
    assert (float(nats.sum()), int(tokens.sum())) == (pytest.approx(total, rel=1e-6), count)


def test_smoothing_and_r_drop_reach_the_loss(task: LanguageModelling) -> None:
    model = task.settings.model.model_copy(update={"dropout": 0.2})
    task.settings = task.settings.model_copy(update={"model": model})
    assert_the_objective_is_heard(task)


@torch.no_grad()
def test_a_short_stride_gives_each_token_what_it_may_see() -> None:
    model = small("rotary")
    tokens = np.array([1, *np.random.default_rng(1).integers(4, 11, 20)])
    from heedful.data.token_stream import Amount, TokenStream

    stream = TokenStream(tokens, Amount())
    nats, counts = surprise(model, evaluation_windows(stream, 6, 1, 4))
    expected = [
        -float(
            model.language(torch.tensor(tokens[max(0, place - 6) : place])[None])[0, -1].log_softmax(-1)[
                tokens[place]
            ]
        )
        for place in range(1, len(tokens))
    ]
    assert counts.sum() == 20
    assert nats.sum() == pytest.approx(sum(expected), rel=1e-6)


def test_a_run_is_prepared_once_and_holds_the_last_documents_out(
    tmp_path: Path, task: LanguageModelling
) -> None:
    assert task.streams["train"].amount.documents + task.streams["validation"].amount.documents == len(LINES)
    assert task.streams["validation"].amount.documents == 1
    (section,) = json.loads((tmp_path / "data" / "check.json").read_text())
    (repeated,) = section["findings"]
    assert (section["documents"], repeated["what"], repeated["count"]) == (16, "there twice", 12)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    again = LanguageModelling(task.settings, tmp_path / "data", said := Said())
    again.prepare()
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == before
    assert not [told for told in said if isinstance(told, Table)]


def test_of_many_documents_some_from_all_over_are_held_out(tmp_path: Path) -> None:
    settings = recipe(tmp_path, held_out=0.25)
    lines = [f"line {number}" for number in range(83)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n", "utf-8")
    task = LanguageModelling(settings, tmp_path / "data", Said())
    task.prepare()

    def texts(name: str) -> list[str]:
        ids = task.streams[name].tokens[:]
        parts = np.split(ids, np.flatnonzero(ids == START))[1:]
        return [task.tokenizer.decode(part[part != END][1:].tolist()) for part in parts]

    assert texts("validation") == lines[3::4]
    assert texts("train") == [line for number, line in enumerate(lines) if number % 4 != 3]


def test_a_model_folder_writes_what_the_model_wrote(tmp_path: Path, task: LanguageModelling) -> None:
    torch.manual_seed(1)
    model = task.build().eval()
    task.save(model, tmp_path / "model", {"step": 3})
    loaded = load(tmp_path / "model", device="cpu")
    first, second = loaded.generate("to be", tokens=30, samples=2, seed=7, top_k=5)
    assert [asdict(first), asdict(second)] == [
        asdict(each)
        for each in heedful.load(tmp_path / "model", device="cpu").generate(
            "to be", tokens=30, samples=2, seed=7, top_k=5
        )
    ]
    assert str(first) == "to be" + first.text
    assert first.tokens <= 30
    assert json.loads(json.dumps(first.to_json()))["prompt"] == "to be"
    assert "heedful generate" in (tmp_path / "model" / "README.md").read_text()
    (scores,) = task.evaluate(tmp_path / "model", "cpu").values()
    assert scores[0].value == pytest.approx(task.validate(model, "perplexity"), rel=1e-5)
    assert "window:16|stride:16" in scores[0].signature
    with observe(loaded.model) as seen:
        loaded.generate("to be", tokens=1)
    assert "decoder.layers.1.self_attention" in seen


def test_lines_are_completed_to_their_end(
    tmp_path: Path, task: LanguageModelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heedful.tasks.language_modelling_folder._LONGEST_LINE", 12)
    task.save(task.build(), tmp_path / "model", {})
    loaded = load(tmp_path / "model", device="cpu")
    first, second = loaded.stream(["to be\n", "that\n"])
    assert first.line.startswith("to be")
    assert "\n" not in first.line + second.line
    assert [each.text for each in loaded.stream(["to be", "that"])] == [first.text, second.text]


def test_prompts_and_choices_are_checked(tmp_path: Path, task: LanguageModelling) -> None:
    task.save(task.build(), tmp_path / "model", {})
    loaded = load(tmp_path / "model", device="cpu")
    with pytest.raises(DataError, match="has 'é', which the model has never seen"):
        loaded.generate("to be é")
    with pytest.raises(RecipeError, match="top_p"):
        loaded.generate("to be", top_p=2.0)
    with pytest.raises(RecipeError, match="temprature"):
        loaded.generate("to be", temprature=1.0)
    with pytest.raises(RecipeError, match="beam is no choice of sampling; there are ban_unknown, "):
        loaded.generate("to be", beam=4)
    with pytest.raises(RecipeError, match="tokens is 0"):
        loaded.generate("to be", tokens=0)
    assert loaded.encode("to") == [START, *task.tokenizer.encode("to")]
    loaded.begins = False
    assert task.tokenizer.pieces(loaded.encode("to"))[-2:] == ["t", "o"]
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"window": 16', '"window": 17'))
    with pytest.raises(ModelFolderError, match="window is 17"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {}}, "no training data"),
        ({"data": {"name": "tinyshakespeare", "train": {"text": ["a"]}}}, "both given"),
        (
            {"data": {"name": "tinyshakespeare", "window": 8, "strides": [9]}},
            "strides has 9, but .*set data.strides",
        ),
        ({"data": {"name": "tinyshakespeare", "tests": {"train": {"text": ["a"]}}}}, "rename it"),
    ],
)
def test_data_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LanguageSettings.model_validate(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"maximum_length": 100}}, "twice model.maximum_length"),
        ({"tokenizer": {"normalization": ["moses"]}}, "moses"),
        ({"tokenizer": {"dropout": 0.1}}, "tokenizer.dropout"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(change: dict[str, Any], message: str) -> None:
    settings = LanguageSettings.model_validate({"data": {"name": "tinyshakespeare", "window": 256}, **change})
    with pytest.raises(ValueError, match=message):
        settings.check(Plain())


def test_an_unknown_metric_is_named() -> None:
    assert LanguageSettings.lower_is_better("perplexity")
    with pytest.raises(RecipeError, match="no metric 'bleu' of text"):
        LanguageSettings.lower_is_better("bleu")


def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    training = {
        "steps": 5,
        "validate_every": 4,
        "checkpoint_every": 2,
        "metric": "bits-per-character",
        "label_smoothing": 0.0,
        "device": "cpu",
        "schedule": {"kind": "constant", "rate": 3e-3, "warmup": 0},
    }
    chosen = recipe_of("language-modelling").model_validate(
        {**recipe(tmp_path).model_dump(), "training": training}
    )
    _, whole = train(LanguageModelling, tmp_path / "whole", chosen)
    with pytest.raises(InterruptedError):
        train(LanguageModelling, tmp_path / "killed", chosen, stop_at=3)
    _, resumed = train(LanguageModelling, tmp_path / "killed", chosen)
    state = resumed.model.state_dict()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert resumed.best == whole.best
    assert heedful.load(tmp_path / "killed", device="cpu").generate("to", tokens=3)[0].tokens <= 3
