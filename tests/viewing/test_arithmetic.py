"""What is told of a query multiplies out to the weights of its record and the output of the kernels."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from heedful.attention import (
    Additive,
    ALiBi,
    Attending,
    Bias,
    Concat,
    Cosine,
    Dot,
    Gaussian,
    General,
    Location,
    LocationAware,
    MultiHeadAttention,
    RelativeBuckets,
    RelativePositions,
    Rotary,
    ScaledDot,
    Score,
    SoftCap,
    attend,
    masks,
    observe,
    positions,
)
from heedful.attention.masks import Mask
from heedful.errors import HeedfulError
from heedful.viewing import arithmetic
from heedful.viewing.arithmetic import explain
from heedful.viewing.looking import look
from heedful.viewing.scene import AttentionMap, Axis, Scene, Token
from tests.viewing import unpacked as packed
from tests.viewing.every_kind import translator

HEADS, QUERIES, KEYS, WIDTH = 2, 5, 7, 4


def unpacked(content: bytes) -> dict[str, Any]:
    """What is told and the arrays, under one name each, as the page has them."""
    told, arrays = packed.unpack(content)
    return told | {name: array.copy() for name, array in arrays.items()}


class Attends(Attending):
    """Attends by a score, in one call or query by query."""

    def __init__(self, score: Score, mask: Mask | None = None, step_by_step: bool = False) -> None:
        super().__init__()
        self.score, self.mask, self.step_by_step = score, mask, step_by_step

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if not self.step_by_step:
            return attend(query, key, value, score=self.score, mask=self.mask)
        return torch.cat([attend(row, key, value, score=self.score) for row in query.split(1, 2)], 2)


def scene_of(module: nn.Module, *inputs: Tensor, runs: bool = True) -> tuple[Scene, Tensor]:
    """Give a scene with one map, of a module called once or step by step, and the module's output."""

    def run(rows: slice = slice(None)) -> Tensor:
        return module(*inputs)

    with observe(module) as seen, torch.no_grad():
        output = run()
    # observe calls the module itself ""
    record = seen.joined("")
    axis = Axis("text", "text", tuple(Token(str(number)) for number in range(record.shape[3])))
    one = AttentionMap("attention", "encoder", 0, "text", "text", record, module)
    return Scene("a model", {}, {"text": axis}, [one], run=run if runs else None), output


def tensors(
    queries: int = QUERIES, keys: int = KEYS, heads: int = HEADS, kv_heads: int = HEADS
) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(queries + keys)
    shapes = (heads, queries, WIDTH), (kv_heads, keys, WIDTH), (kv_heads, keys, 3)
    query, key, value = (
        torch.randn(1, *shape, generator=random, dtype=torch.float64).mul(2) for shape in shapes
    )
    return query, key, value


def centers() -> Tensor:
    return torch.linspace(0, KEYS - 1, QUERIES, dtype=torch.float64).reshape(1, 1, QUERIES, 1)


def score(name: str) -> tuple[Score, Mask | None]:
    torch.manual_seed(3)
    bias = torch.randn(1, HEADS, QUERIES, KEYS, dtype=torch.float64)
    bias[..., 1, 2] = -torch.inf
    table = torch.randn(5, WIDTH, dtype=torch.float64)
    given: dict[str, tuple[Score, Mask | None]] = {
        "dot": (Dot(), None),
        "scaled dot": (ScaledDot(), masks.causal()),
        "rotary": (Rotary(), masks.causal()),
        "general": (General(WIDTH, WIDTH), masks.padding(torch.tensor([5]))),
        "cosine": (Cosine(2.5), None),
        "cosine of a controller": (Cosine(torch.rand(1, HEADS, QUERIES, 1) + 0.5), None),
        "location": (Location(WIDTH, 10), None),
        "additive": (Additive(WIDTH, WIDTH, 6), None),
        "concat": (Concat(WIDTH, WIDTH), None),
        "bias": (ScaledDot().then(Bias(bias)), None),
        "relative": (ScaledDot().then(RelativePositions(table), SoftCap(1.5)), None),
        "buckets": (Dot().then(RelativeBuckets(torch.randn(8, HEADS))), None),
        "alibi": (ScaledDot().then(ALiBi(positions.alibi_slopes(HEADS))), masks.causal()),
        "gaussian": (General(WIDTH, WIDTH).then(Gaussian(centers(), 2.0)), masks.around(centers(), 2.0)),
    }
    return given[name]


NAMES = (
    *("dot", "scaled dot", "rotary", "general", "cosine", "cosine of a controller", "location", "additive"),
    *("concat", "bias", "relative", "buckets", "alibi", "gaussian"),
)


def assert_multiplies_out(told: dict[str, Any], weights: Tensor, output: Tensor) -> None:
    """The steps, each made of the step before; then the weights of the record and the output of the kernel."""
    asked, keys = told["asked"].astype(np.float64), told["keys"].astype(np.float64)
    sums = keys @ asked if told["form"] == "product" else np.tanh(keys + asked) @ told["v"].astype(np.float64)
    assert told["sums"] == pytest.approx(sums, abs=1e-5)
    last = told[f"step{len(told['steps']) - 1}"] if told["steps"] else told["sums"]
    allowed = told["allowed"].astype(bool)
    exp = np.where(allowed, np.exp(last.astype(np.float64) - told["greatest"]), 0)
    assert told["exp"] == pytest.approx(exp, abs=1e-5)
    assert told["total"] == pytest.approx(told["exp"].sum() + told["rest"]["exp"], rel=1e-5)
    shares = told["exp"] / (told["total"] or 1) * told.get("factors", 1.0)
    assert told["weights"] == pytest.approx(shares, abs=1e-6)
    assert told["weights"] == pytest.approx(weights[told["numbers"]].numpy(), abs=1e-6)
    assert told["rest"]["weight"] == pytest.approx(float(weights.sum()) - told["weights"].sum(), abs=1e-6)
    assert told["output"] == pytest.approx(told["weights"] @ told["values"] + told["rest_output"], abs=1e-5)
    assert told["output"] == pytest.approx(output.numpy(), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_steps_multiply_out_for_every_score_and_modifier(name):
    attends = Attends(*score(name)).double()
    scene, output = scene_of(attends, *tensors())
    for head, query in ((0, 0), (1, 1), (1, QUERIES - 1)):
        told = unpacked(explain(scene, 0, head, query))
        weights = scene.maps[0].record.weights()[0, head, query]
        assert_multiplies_out(told, weights, output[0, head, query])
        assert len(told["numbers"]) == KEYS
        assert told["rest"] == {"keys": 0, "weight": 0.0, "exp": 0.0}
        assert told["missing"] is None


def test_a_scaled_product_is_told_before_and_after_it_is_scaled():
    query, key, value = tensors()
    scene, _ = scene_of(Attends(ScaledDot()), query, key, value)
    told = unpacked(explain(scene, "attention", 1, 2))
    assert told["kind"] == "scaled dot"
    assert [step["name"] for step in told["steps"]] == ["scale"]
    assert told["steps"][0]["says"] == "divided by √4 = 2"
    assert told["asked"] == pytest.approx(query[0, 1, 2].numpy(), abs=1e-6)
    assert told["sums"] == pytest.approx((key[0, 1] @ query[0, 1, 2]).numpy(), abs=1e-5)
    assert told["step0"] == pytest.approx(told["sums"] / 2, abs=1e-6)


def test_keys_and_values_shared_by_heads_are_those_of_the_group():
    query, key, value = tensors(heads=4, kv_heads=2)
    scene, output = scene_of(Attends(ScaledDot()), query, key, value)
    for head, group in enumerate((0, 0, 1, 1)):
        told = unpacked(explain(scene, 0, head, 3))
        assert_multiplies_out(told, scene.maps[0].record.weights()[0, head, 3], output[0, head, 3])
        assert told["keys"] == pytest.approx(key[0, group].numpy(), abs=1e-6)
        assert told["values"] == pytest.approx(value[0, group].numpy(), abs=1e-6)


def test_what_the_mask_hides_has_no_share_and_a_query_that_sees_nothing_no_output():
    none = masks.as_mask(
        torch.tensor([[True, False, True, False, True, True, True], [False] * 7] * 2 + [[True] * 7])
    )
    scene, output = scene_of(Attends(ScaledDot(), none), *tensors())
    told = unpacked(explain(scene, 0, 0, 0))
    assert told["allowed"].tolist() == [1, 0, 1, 0, 1, 1, 1]
    assert told["weights"][1] == 0
    assert told["open"] == 5
    told = unpacked(explain(scene, 0, 0, 1))
    assert told["open"] == 0
    assert not told["weights"].any()
    assert not told["output"].any()
    assert not output[0, 0, 1].any()


def test_of_a_decoder_that_attends_step_by_step_the_step_of_the_query_is_told():
    scene, output = scene_of(Attends(Additive(WIDTH, WIDTH, 6), step_by_step=True).double(), *tensors())
    told = unpacked(explain(scene, 0, 1, 3))
    assert_multiplies_out(told, scene.maps[0].record.weights()[0, 1, 3], output[0, 1, 3])


def test_location_aware_scores_have_the_features_in_their_keys():
    aware = LocationAware(WIDTH, WIDTH, 6, filters=2, width=3).double()
    previous = torch.rand(1, HEADS, KEYS, dtype=torch.float64).softmax(-1)
    query, key, value = tensors(queries=1)
    scene, output = scene_of(Attends(aware.after(previous)).double(), query, key, value)
    told = unpacked(explain(scene, 0, 1, 0))
    assert told["kind"] == "location-aware"
    weights = attend(
        query, key, torch.eye(KEYS, dtype=torch.float64).expand(1, HEADS, -1, -1), score=aware.after(previous)
    )
    assert_multiplies_out(told, weights[0, 1, 0].detach(), output[0, 1, 0])


def test_of_a_long_text_the_keys_with_the_largest_weights_are_told_and_the_rest_is_summed_up():
    query, key, value = tensors(queries=3, keys=500)
    scene, output = scene_of(Attends(ScaledDot()), query, key, value)
    told = unpacked(explain(scene, 0, 0, 2))
    weights = scene.maps[0].record.weights()[0, 0, 2]
    assert_multiplies_out(told, weights, output[0, 0, 2])
    assert len(told["numbers"]) == arithmetic.KEYS
    assert told["numbers"].tolist() == sorted(weights.topk(arithmetic.KEYS).indices.tolist())
    assert told["rest"]["keys"] == 500 - arithmetic.KEYS
    assert told["count"] == 500


def test_of_keys_without_weight_those_that_may_be_seen_are_told():
    query, key, value = tensors(queries=1, keys=500)
    seen = torch.arange(500) % 2 == 0
    # One key has all the weight, and the others none, seen or not.
    scene, _ = scene_of(Attends(ScaledDot(), masks.as_mask(seen[None])), 1e6 * query, key, value)
    told = unpacked(explain(scene, 0, 0, 0))
    assert (told["weights"] > 0).sum() == 1
    assert told["allowed"].all()


def test_the_size_of_an_explanation_is_bounded_for_wide_heads_too():
    query, key, value = (torch.randn(1, 1, 300, 8192) for _ in range(3))
    scene, _ = scene_of(Attends(ScaledDot()), query[:, :, :1], key, value)
    content = explain(scene, 0, 0, 0)
    assert len(unpacked(content)["numbers"]) == arithmetic.NUMBERS // (2 * 8192)
    assert len(content) < 4 * arithmetic.NUMBERS + 8 * 2**16 * 2


def test_multi_head_attention_is_told_before_its_output_projection():
    torch.manual_seed(0)
    module = MultiHeadAttention(8, 2).double()
    x = torch.randn(1, 6, 8, dtype=torch.float64)

    scene, _ = scene_of(module, x)
    heads = [unpacked(explain(scene, 0, head, 4))["output"] for head in range(2)]
    projected = module.out.weight.detach().numpy() @ np.concatenate(heads)
    assert projected == pytest.approx(module(x)[0][0, 4].detach().numpy(), abs=1e-5)


def test_a_scene_that_cannot_be_run_again_is_told_without_values():
    scene, _ = scene_of(Attends(ScaledDot()), *tensors(), runs=False)
    told = unpacked(explain(scene, 0, 0, 0))
    assert "cannot be made once more" in told["missing"]
    assert "output" not in told
    assert "values" not in told
    assert told["weights"] == pytest.approx(scene.maps[0].record.weights()[0, 0, 0].numpy(), abs=1e-6)


def test_what_is_not_there_is_refused_in_a_sentence():
    scene, _ = scene_of(Attends(ScaledDot()), *tensors())
    with pytest.raises(HeedfulError, match="has no head 2: there are 2"):
        explain(scene, 0, 2, 0)
    with pytest.raises(HeedfulError, match="has no query 5: there are 5"):
        explain(scene, 0, 0, 5)
    with pytest.raises(HeedfulError, match="no attention 'decoder' here; there are 1"):
        explain(scene, "decoder", 0, 0)
    steps, _ = scene_of(Attends(Dot(), step_by_step=True), *tensors(), runs=False)
    with pytest.raises(HeedfulError, match="queries and keys are not known"):
        explain(steps, 0, 0, 0)


@pytest.mark.parametrize(
    "name", ["transformer", "decoder-only", "rnnsearch", "luong", "luong, unfed", "convs2s"]
)
def test_every_attention_of_a_model_can_be_explained(name):
    scene = look(translator(name), "A man rides a horse.")
    for number, one in enumerate(scene.maps):
        if one.module is None:  # a part of another map
            continue
        head, query = one.heads - 1, one.record.shape[2] - 1
        told = unpacked(explain(scene, number, head, query))
        assert told["missing"] is None
        weights = one.record.weights()[0, head, query]
        assert told["weights"] == pytest.approx(weights[told["numbers"]].numpy(), abs=1e-6)
        assert told["output"] == pytest.approx(
            told["weights"] @ told["values"] + told["rest_output"], abs=1e-5
        )
