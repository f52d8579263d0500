"""A search that is watched is the search: its answers, its probabilities, and what was read for each token."""

import json
import math

import pytest
import torch

from heedful.decoding import SearchSettings
from heedful.errors import DataError, HeedfulError
from heedful.tasks.alignment import AlignmentSettings, cross_attention
from heedful.text.special import END
from heedful.viewing.growth import ALTERNATIVES, DROPPED, READ, forced, grow
from heedful.viewing.looking import look
from tests.viewing.every_kind import ARCHITECTURES, embedder, language_model, translator

TEXT = "A man rides a horse."


def path(grown: dict, node: int) -> list[int]:
    """The nodes from the root to this one, the root left out."""
    parent = grown["nodes"]["parent"][node]
    return [] if parent is None else [*path(grown, parent), node]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("beam", [1, 3])
def test_the_first_answer_is_that_of_the_translator_and_probabilities_multiply_out(name, beam):
    model = translator(name)
    grown = grow(model, {"source": TEXT}, beam)
    settings = SearchSettings.model_validate({**model.search.model_dump(), "beam": beam})
    best = model.answers([TEXT], search=settings)[0].candidates[0]
    first = grown["answers"][0]
    assert first["text"] == best.text
    assert first["score"] == pytest.approx(best.score, abs=1e-5)
    assert first["finished"] == best.finished
    nodes = grown["nodes"]
    for answer in grown["answers"]:
        chances = [nodes["probability"][node] for node in path(grown, answer["node"])]
        assert math.prod(chances) == pytest.approx(math.exp(answer["log_probability"]), rel=1e-4)
    assert json.loads(json.dumps(grown, allow_nan=False))["beam"] == beam


def test_nodes_are_a_tree_in_which_as_many_live_on_as_the_beam_has_places():
    grown = grow(translator(), {"source": TEXT}, 3)
    nodes = grown["nodes"]
    assert {len(field) for field in nodes.values()} == {len(nodes["parent"])}
    assert nodes["parent"][0] is None
    for node, parent in enumerate(nodes["parent"]):
        if parent is not None:
            assert nodes["step"][node] == nodes["step"][parent] + 1
            assert nodes["fate"][parent] == "alive"
            assert nodes["log_probability"][node] <= nodes["log_probability"][parent]
    for step in range(1, max(nodes["step"]) + 1):
        fates = [fate for fate, at in zip(nodes["fate"], nodes["step"], strict=True) if at == step]
        assert fates.count("alive") + fates.count("left") <= 3
        assert fates.count("dropped") <= DROPPED
    assert set(nodes["fate"]) <= {"alive", "finished", "cut", "left", "dropped"}


@pytest.mark.parametrize("name", ["transformer", "decoder-only", "rnnsearch", "luong", "convs2s"])
def test_what_was_read_for_a_token_is_the_attention_of_a_pass_over_the_whole(name):
    model = translator(name)
    grown = grow(model, {"source": TEXT}, 2)
    best = model.answers([TEXT])[0].candidates[0]
    pieces = model.target_tokenizer.vocabulary.pieces
    said = torch.tensor([[pieces.index(piece) for piece in best.pieces]])
    source = torch.tensor([[*model.source_tokenizer.encode(TEXT), END]])
    way = path(grown, grown["answers"][0]["node"])
    for layer in range(len(grown["layers"])):
        weights = cross_attention(model.model, source, said, AlignmentSettings(layer=layer))[0].mean(0)
        for row, node in enumerate(way[: said.shape[1]]):
            places, read = grown["reads"][grown["nodes"]["parent"][node]][layer]
            assert read == pytest.approx(weights[row, places].tolist(), abs=1e-4)
            assert read == sorted(read, reverse=True)
            assert len(read) <= READ


def test_alternatives_are_the_likeliest_by_the_model_itself():
    model = translator()
    grown = grow(model, {"source": TEXT}, 3)
    told = grown["alternatives"][0]
    chances = [chance for _, chance in told]
    assert len(told) == ALTERNATIVES
    assert chances == sorted(chances, reverse=True)
    children = [node for node, parent in enumerate(grown["nodes"]["parent"]) if parent == 0]
    best = max(children, key=lambda node: grown["nodes"]["probability"][node])
    assert told[0] == [grown["nodes"]["text"][best], grown["nodes"]["probability"][best]]


def test_a_model_without_attention_grows_too_and_reads_nothing():
    grown = grow(translator("no attention"), {"source": TEXT}, 2)
    assert grown["layers"] == []
    assert all(read == [] for read in grown["reads"].values())


def test_a_coverage_penalty_is_kept():
    model = translator()
    model.search = SearchSettings(beam=2, maximum_length_factor=0, maximum_length_add=6, coverage_penalty=0.3)
    best = model.answers([TEXT])[0].candidates[0]
    assert grow(model, {"source": TEXT}, 2)["answers"][0]["score"] == pytest.approx(best.score, abs=1e-5)


def test_sources_that_are_empty_or_too_long_are_refused():
    with pytest.raises(HeedfulError, match="nothing to translate"):
        grow(translator(), {"source": " "}, 2)
    with pytest.raises(DataError, match="source"):
        grow(translator(), {"source": TEXT * 40}, 2)


def test_a_forced_text_has_the_probabilities_of_the_model():
    model = translator()
    scene = look(model, TEXT, "Ein Mann.")
    told = forced(scene, model)
    assert math.log(math.prod(told["probability"])) == pytest.approx(
        model.score([TEXT], ["Ein Mann."])[0], abs=1e-3
    )
    assert told["text"] == [token.text for token in scene.axes["target"].tokens]
    assert told["of"] == len(told["text"]) == len(told["rank"])
    assert scene.run is not None
    logits = scene.run().detach()
    for row, (rank, others) in enumerate(zip(told["rank"], told["alternatives"], strict=True)):
        assert rank == 1 + int((logits[row] > logits[row, scene.outputs[1][row]]).sum())
        assert others[0][1] == pytest.approx(float(logits[row].softmax(-1).max()), abs=1e-5)


def test_a_language_model_s_text_can_be_weighed_too_and_what_says_no_tokens_cannot():
    model = language_model()
    told = forced(look(model, TEXT), model)
    assert len(told["text"]) == told["of"]
    assert all(0 <= chance <= 1 for chance in told["probability"])
    vectors = embedder()
    with pytest.raises(HeedfulError, match="token by token"):
        forced(look(vectors, TEXT), vectors)


def test_of_a_long_text_only_so_many_outputs_are_weighed(monkeypatch):
    model = translator()
    monkeypatch.setattr("heedful.viewing.growth.SCORES", 2 * len(model.target_tokenizer))
    told = forced(look(model, TEXT, "Ein Mann reitet ein Pferd."), model)
    assert len(told["text"]) == 2 < told["of"]
    assert torch.tensor(told["probability"]).isfinite().all()
