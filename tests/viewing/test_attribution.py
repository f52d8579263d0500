import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from heedful.attention import MultiHeadAttention, Rollout, Step, masks, observe
from heedful.errors import HeedfulError
from heedful.viewing.attribution import Node, along, attribute, integrate
from heedful.viewing.input_model import InputModel
from heedful.viewing.packed import pack
from heedful.viewing.ranks import kendall, ranks, spearman
from heedful.viewing.scene import AttentionMap, Axis, Scene, Token
from heedful.viewing.value_norms import value_norms
from tests.viewing.unpacked import unpack

TOKENS = [3, 1, 4, 1, 5]
WIDTH, VOCABULARY = 8, 7


class Linear(nn.Module):
    """Scores that are linear in the vectors that are read: those of all tokens up to each output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.weight = nn.Parameter(torch.randn(len(TOKENS), WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cumsum((self.embedding(tokens)[0] * self.weight).sum(-1), 0)


class Attends(nn.Module):
    """One causal layer with a norm before it: a small language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = MultiHeadAttention(WIDTH, 2, bias=True)
        self.output = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        attended, _ = self.attention(self.norm(x), mask=masks.causal())
        return self.output((x + attended).tanh())[0]


@pytest.fixture
def scene() -> Scene:
    torch.manual_seed(1)
    model = Attends().double().eval()
    tokens = torch.tensor([TOKENS])
    with observe(model) as seen, torch.no_grad():
        model(tokens)
    record = seen["attention"]
    axis = Axis("text", "Text", tuple(Token(str(token)) for token in TOKENS))
    return Scene(
        "small",
        {"text": ""},
        {"text": axis},
        [AttentionMap("attention", "decoder", 0, "text", "text", record, model.attention)],
        steps=[Step(record, "text", "text")],
        run=lambda rows=slice(None): model(tokens)[rows],
        inputs={"text": model.embedding},
        outputs=("text", [1, 4, 1, 5, 2]),
        facts={"model": model},
    )


def linear_scene() -> tuple[Linear, Scene]:
    torch.manual_seed(0)
    model = Linear().double()
    axis = Axis("text", "Text", tuple(Token(str(token)) for token in TOKENS))

    def run(rows: slice = slice(None)) -> Tensor:
        # Two classes whose probabilities make the first's log-probability linear: p and 1 - p, p small enough.
        log_p = model(torch.tensor([TOKENS])) / 100 - 2
        return torch.stack([log_p, (1 - log_p.exp()).log()], -1)[rows]

    return model, Scene(
        "linear", {}, {"text": axis}, [], run=run, inputs={"text": model.embedding}, outputs=("text", [0] * 5)
    )


def test_gradients_of_a_linear_model_are_its_weights():
    model, scene = linear_scene()
    score, gradients = InputModel(scene, 3).gradients(InputModel(scene, 3).vectors)
    expected = torch.cat([model.weight[:4], torch.zeros(1, WIDTH)]).detach() / 100
    torch.testing.assert_close(gradients["text"], expected.double())
    assert score == pytest.approx(model(torch.tensor([TOKENS]))[3].item() / 100 - 2)


def test_of_a_linear_model_all_methods_say_the_same():
    _, scene = linear_scene()
    told, arrays = unpack(attribute(scene, 4, "integrated"))
    np.testing.assert_allclose(arrays["integrated.text"], arrays["gradient.text"], rtol=1e-5)
    np.testing.assert_allclose(arrays["occlusion.text"], arrays["gradient.text"], rtol=1e-4)
    assert told["completeness"]["passes"] == 3
    assert told["correlation"]["text"]["spearman"] == [[1.0] * 3] * 3
    assert told["correlation"]["text"]["kendall"] == [[1.0] * 3] * 3
    assert told["missing"]  # it attends to nothing


@pytest.mark.parametrize("output", range(5))
def test_integrated_gradients_are_complete(scene: Scene, output: int):
    model = InputModel(scene, output)
    found, told = integrate(model)
    with torch.no_grad():
        difference = float(model.score(model.vectors) - model.score(model.baseline))
    assert told["difference"] == pytest.approx(difference, abs=1e-9)
    assert float(found["text"].sum()) == pytest.approx(difference, abs=1e-3 * abs(difference))
    assert not found["text"][output + 1 :].any()  # what comes later is not seen


def test_integrated_gradients_are_those_of_many_small_steps(scene: Scene):
    model = InputModel(scene, 4)
    found, _ = integrate(model, passes=400, tolerance=1e-6)
    total, steps = torch.zeros(5, dtype=torch.double), 120
    for step in range(steps):
        # Finer towards the baseline, where the norm turns quickly: a = u^3, da = 3 u^2 du.
        u = (step + 0.5) / steps
        _, gradients = model.gradients({"text": model.vectors["text"] * u**3})
        total += (gradients["text"] * model.vectors["text"]).sum(-1) * 3 * u**2 / steps
    np.testing.assert_allclose(found["text"], total.numpy(), atol=2e-3)


def test_a_step_close_to_the_baseline_is_found():
    # All happens within a thousandth of the way: sixteen even steps would find nothing of it.
    def at(place: float) -> Node:
        return Node(place, math.tanh(place * 1000), np.array([1000 / math.cosh(min(place * 1000, 300)) ** 2]))

    total, told = along(at)
    assert total[0] == pytest.approx(1, abs=2e-3)
    assert told["passes"] < 100


def test_occlusion_is_the_fall_of_the_score(scene: Scene):
    told, arrays = unpack(attribute(scene, 2, "integrated"))
    assert scene.run is not None
    hook = scene.inputs["text"].register_forward_hook(
        lambda _m, _i, given: given * torch.tensor([[[1], [0], [1], [1], [1]]])
    )
    without = scene.run()[2].log_softmax(-1)[1].item()
    hook.remove()
    assert arrays["occlusion.text"][1] == pytest.approx(told["score"] - without, abs=1e-6)
    assert told["score"] == pytest.approx(scene.run()[2].log_softmax(-1)[1].item())
    assert not arrays["occlusion.text"][3:].any()


def test_attention_beside_it_is_what_the_record_says(scene: Scene):
    told, arrays = unpack(attribute(scene, 3))
    record = scene.maps[0].record
    expected = record.row(3)[0].mean(0).float().numpy()
    np.testing.assert_allclose(arrays["attention.text"], expected, rtol=1e-6)
    np.testing.assert_allclose(arrays["attention.layers.text"], expected[None], rtol=1e-6)
    np.testing.assert_allclose(arrays["rollout.text"], Rollout([record]).rows(3)["tokens"][0, 0], rtol=1e-6)
    assert arrays["seen.text"].tolist() == [1, 1, 1, 1, 0]
    correlation = told["correlation"]["text"]
    assert correlation["methods"] == ["gradient", "attention", "norms", "rollout"]
    assert correlation["tokens"] == 4
    lists = np.abs([arrays[f"{name}.text"][:4] for name in correlation["methods"]])
    np.testing.assert_allclose(correlation["spearman"], spearman(lists), atol=1e-4)
    assert told["missing"] == []


def test_norms_are_those_of_what_is_added(scene: Scene):
    (one,) = scene.maps
    module = one.module
    assert isinstance(module, MultiHeadAttention)
    (norms,) = value_norms(scene, [one], 4)
    model = scene.facts["model"]
    with torch.no_grad():
        # By the definition: the values of each head, through its part of W_O.
        x = model.norm(model.embedding(torch.tensor([TOKENS])))[0]
        value = linear(x, module.in_weight, module.in_bias)[:, 2 * WIDTH :].unflatten(-1, (2, 4))
        out = module.out.weight.unflatten(1, (2, 4))
        weights = one.record.row(4)[0]
        expected = [
            sum(weights[h, j] * out[:, h] @ value[j, h] for h in range(2)).norm().item()  # pyright: ignore
            for j in range(5)
        ]
    np.testing.assert_allclose(norms, expected, rtol=1e-9)  # pyright: ignore


def test_hooks_are_gone_afterwards(scene: Scene):
    attribute(scene, 0, "integrated")
    assert not scene.inputs["text"]._forward_hooks
    assert not scene.maps[0].module._forward_hooks  # pyright: ignore


def test_what_cannot_be_told_is_said(scene: Scene):
    with pytest.raises(HeedfulError, match="no output 5: there are 5"):
        attribute(scene, 5)
    with pytest.raises(HeedfulError, match="gives no scores"):
        attribute(replace(scene, run=None), 0)
    with pytest.raises(HeedfulError, match="gradient or integrated"):
        attribute(scene, 0, "saliency")  # pyright: ignore
    told, _ = unpack(attribute(replace(scene, steps=(), maps=[replace(scene.maps[0], module=None)]), 0))
    assert len(told["missing"]) == 2


def test_of_equal_axes_of_one_module_each_has_its_own():
    table = nn.Embedding(9, 4).double()
    axes = {name: Axis(name, name, (Token("a"), Token("b"))) for name in ("source", "target")}

    def run(rows: slice = slice(None)) -> Tensor:
        source, target = table(torch.tensor([[1, 2]])), table(torch.tensor([[3, 4]]))
        return (source[0, :, :2] + 3 * target[0, :, :2])[rows]

    scene = Scene(
        "tied", {}, axes, [], run=run, inputs=dict.fromkeys(axes, table), outputs=("target", [0, 0])
    )
    _, gradients = InputModel(scene, 0).gradients(InputModel(scene, 0).vectors)
    torch.testing.assert_close(gradients["target"], 3 * gradients["source"])
    assert gradients["source"][0].any()
    assert not gradients["source"][1].any()


def test_ranks_and_correlations_are_the_published_ones():
    assert ranks([2, 2, 1, 5]).tolist() == [2.5, 2.5, 1, 4]
    # Ten pupils' marks in two subjects; the exact values follow from sums of squared differences of ranks.
    one, other = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [2, 1, 4, 3, 6, 5, 8, 7, 10, 9]
    assert spearman([one, other])[0, 1] == pytest.approx(1 - 6 * 10 / (10 * 99))
    assert kendall([one, other])[0, 1] == pytest.approx((40 - 5) / 45)
    assert spearman([one, one[::-1]])[0, 1] == -1
    assert kendall([one, one[::-1]])[0, 1] == -1
    # With ties: tau-b of [1, 2, 2, 3] and [1, 2, 3, 4] is 5 / sqrt(5 * 6).
    assert kendall([[1, 2, 2, 3], [1, 2, 3, 4]])[0, 1] == pytest.approx(5 / math.sqrt(30))
    assert np.isnan(spearman([[1, 1, 1], [1, 2, 3]])[0, 1])


def test_packed_attribution_is_json_without_nan(scene: Scene):
    alone = attribute(scene, 0)  # one token is seen: there is nothing to rank
    told, _ = unpack(alone)
    assert told["correlation"]["text"]["spearman"] is None
    assert pack(told, {})  # which refuses NaN
