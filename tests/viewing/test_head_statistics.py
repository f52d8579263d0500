"""What is told of heads is what the definitions say, in float64, and a sample of queries tells nearly the same."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from heedful.attention import Dot, attend, observe
from heedful.viewing import head_statistics as module
from heedful.viewing.head_statistics import EXPLAINED, head_statistics, is_sampled
from heedful.viewing.looking import look
from heedful.viewing.scene import AttentionMap, Axis, Scene, Token
from tests.viewing import every_kind


@pytest.fixture(scope="module")
def scene():
    return look(every_kind.translator(), "A man rides a brown horse.", "Ein Mann reitet ein Pferd.")


def test_each_number_is_its_definition(scene):
    names, found = head_statistics(scene)
    assert names == list(EXPLAINED)
    assert len(found) == len(scene.maps)
    crossed = [one for one in scene.maps if one.group == "cross"]
    together = torch.stack([one.record.weights()[0] for one in crossed]).mean((0, 1)).double().numpy()
    for one, values in zip(scene.maps, found, strict=True):
        weights = one.record.weights()[0].double().numpy()
        heads, queries, keys = weights.shape
        assert values.shape == (len(names), heads)
        assert values.dtype == torch.float32
        of = dict(zip(names, values.double().numpy(), strict=True))
        logs = np.log(np.where(weights > 0, weights, 1))
        assert of["entropy"] == pytest.approx(-(weights * logs).sum(-1).mean(-1), abs=1e-4)
        assert of["maximum"] == pytest.approx(weights.max(-1).mean(-1), abs=1e-5)
        distance = np.abs(np.arange(keys) - np.arange(queries)[:, None])
        if one.group != "cross":
            assert of["distance"] == pytest.approx((weights * distance).sum(-1).mean(-1), abs=1e-4)
            before = [weights[:, at, at - 1] if at else np.zeros(heads) for at in range(queries)]
            assert of["previous"] == pytest.approx(np.mean(before, 0), abs=1e-5)
        else:
            assert np.isnan(of["previous"]).all()
            assert np.isnan(of["itself"]).all()
        special = [token.special for token in scene.axes[one.keys].tokens]
        assert of["special"] == pytest.approx(weights[..., special].sum(-1).mean(-1), abs=1e-5)
        assert of["first"] == pytest.approx(weights[..., 0].mean(-1), abs=1e-5)
        received = weights.sum(1)
        assert of["received"] == pytest.approx(received.max(-1) / received.sum(-1), abs=1e-5)
        if one.group == "cross":
            # </s> is no word of the source, and no row of it counts.
            place = together[:-1, :-1].argmax(-1)
            aligned = weights[:, np.arange(queries - 1), place].mean(-1)
            assert of["alignment"] == pytest.approx(aligned, abs=1e-5)
        else:
            assert np.isnan(of["alignment"]).all()


def test_special_tokens_align_with_nothing_however_much_looks_at_them():
    weights = torch.tensor(
        [
            [[0.2, 0.1, 0.7], [0.1, 0.3, 0.6], [0.3, 0.3, 0.4]],
            [[0.4, 0.1, 0.5], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]],
        ]
    )
    with observe() as seen:
        attend(weights.log()[None], torch.eye(3).expand(1, 2, 3, 3), torch.ones(1, 2, 3, 1), score=Dot())
    words = (Token("a"), Token("b"), Token("</s>", special=True))
    axes = {name: Axis(name, name, words) for name in ("source", "target")}
    scene = Scene("crossed", {}, axes, [AttentionMap("one", "cross", 0, "target", "source", seen[""])])
    names, (values,) = head_statistics(scene)
    assert values[names.index("alignment")].tolist() == pytest.approx([(0.2 + 0.3) / 2, (0.4 + 0.2) / 2])


def test_of_a_large_map_some_queries_are_enough(monkeypatch):
    scene = look(every_kind.language_model(positions="rotary", layers=1), "A man rides a brown horse. " * 40)
    exact = head_statistics(scene)[1][0]
    monkeypatch.setattr(module, "MOST", 1000)
    assert is_sampled(scene.maps[0])
    sampled = head_statistics(scene)[1][0]
    names = list(EXPLAINED)
    for name in ("entropy", "maximum", "first", "special", "itself"):
        row = names.index(name)
        assert_close(sampled[row], exact[row], rtol=0.15, atol=0.01)


def test_one_head_alone_has_no_alignment_to_agree_with():
    names, found = head_statistics(look(every_kind.translator("luong"), "A man rides."))
    assert found[0][names.index("alignment")].isnan().all()
