"""The manifest: what the page is told of a scene, in JSON."""

import json

import pytest
import torch

from heedful.attention import Additive, ALiBi, Dot, Record, Rotary, ScaledDot, attend, masks, observe
from heedful.attention.matrix import Joined
from heedful.attention.scores import DotScore
from heedful.viewing.manifest import causal, manifest, model_told, plain, score_of
from tests.viewing.tiny import Tiny


def record(score=None, mask=None, queries: int = 5, keys: int = 5) -> Record:
    with observe() as seen:
        attend(
            torch.randn(1, 2, queries, 4),
            torch.randn(1, 2, keys, 4),
            torch.randn(1, 2, keys, 4),
            score=score or ScaledDot(),
            mask=mask,
        )
    return seen[""]


def test_all_but_the_weights_is_told():
    told = manifest(Tiny().look({"text": "ab."}), "id", "0")
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["axes"]["text"] == {
        "title": "Text",
        "text": ["a", "b", "."],
        "word": [0, 0, 0],
        "special": [2],
    }
    assert told["maps"][1] == {
        "name": "layers.1",
        "group": "decoder",
        "layer": 1,
        "heads": 2,
        "queries": "text",
        "keys": "text",
        "shape": [3, 3],
        "score": "scaled dot product",
        "arithmetic": True,
        "causal": True,
    }
    assert told["outputs"] == {"axis": "text", "taken": ["b", ".", "97"]}
    assert told["facts"] == {"half": 0.5, "none": None, "set": [1]}
    assert (told["rollout"], told["gradients"], told["sampled"]) == (True, True, False)


def test_a_model_is_told_with_what_it_asks_for():
    told = model_told(Tiny(), "3")
    assert (told["id"], told["folder_name"], told["writes"]) == ("3", "tiny", False)
    assert told["parameters"] == 128 * 16 + 2 * 4 * 16 * 16
    assert told["asks"][0] == {"name": "text", "title": "Text", "optional": False, "example": "abc"}


@pytest.mark.parametrize(
    ("score", "name"),
    [
        (Dot(), "dot product"),
        (Rotary(), "scaled dot product of turned vectors"),
        (Additive(4, 4, 3), "additive"),
        (DotScore(), "dot product, scaled"),
        (ScaledDot().then(ALiBi(torch.tensor([0.5, 0.25]))), "scaled dot product + ALiBi"),
    ],
)
def test_scores_have_names(score, name: str):
    assert score_of(record(score)) == name


def test_steps_that_were_joined_are_weights():
    one = record(queries=1)
    assert score_of(Record(Joined([one.matrix, one.matrix]))) == "weights of single steps, joined"


def test_causal_is_what_hides_all_that_comes_after():
    assert causal(record(mask=masks.causal()))
    assert causal(record(mask=masks.causal() & masks.window(2, None)))
    assert not causal(record())
    assert not causal(record(mask=masks.padding(torch.tensor([3]))))
    assert not causal(record(mask=masks.causal() | masks.prefix(3)))
    assert not causal(record(queries=3, mask=masks.causal()))


def test_what_json_has_not_becomes_what_it_has():
    found = plain({"a": torch.tensor([1.0, torch.inf]), 2: (1, {"b": None}), "c": object})
    assert found == {"a": [1.0, None], "2": [1, {"b": None}], "c": "<class 'object'>"}
