import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heedful.attention import attend, observe
from heedful.attention.masks import causal
from heedful.errors import HeedfulError
from heedful.layers import TransformerStack
from heedful.layers.every_layer import every_layer
from heedful.layers.transformer_layer import LayerShape
from heedful.viewing.comparison import CELLS, Compared, compare, measured
from heedful.viewing.pairing import Unit, paired, units
from heedful.viewing.ranks import spearman
from heedful.viewing.scene import AttentionMap, Axis, Scene, Token
from heedful.viewing.vectors import layer_vectors
from tests.viewing.unpacked import unpack

WIDTH = 16


def axis_of(text: str, name: str = "text") -> Axis:
    return Axis(name, name, tuple(Token(word, number) for number, word in enumerate(text.split())))


def scene_of(text: str, stack: TransformerStack, seed: int = 0) -> Scene:
    """A text through a stack: each word has a vector of its own."""
    axis = axis_of(text)
    x = torch.stack([vector_of(token.text) for token in axis.tokens]).unsqueeze(0)
    positions = torch.arange(len(axis.tokens))

    def run(rows: slice = slice(None)) -> Tensor:
        return stack(x, positions, keep=False)[0][0, rows]

    with torch.no_grad(), observe(stack) as seen:
        run()
    maps = [
        AttentionMap(name, "encoder", layer, "text", "text", seen[name], dict(stack.named_modules())[name])
        for layer, name in enumerate(seen)
    ]
    return Scene("stack", {"text": text}, {"text": axis}, maps, run=run)


def vector_of(word: str) -> Tensor:
    generator = torch.Generator().manual_seed(sum(map(ord, word)) * 31 + len(word))
    return torch.randn(WIDTH, generator=generator, dtype=torch.float64)


def map_of(text: str, weights_from: int, length: int | None = None, heads: int = 2) -> Scene:
    """A scene with one causal map of random queries and keys."""
    axis = (
        axis_of(text)
        if length is None
        else Axis("text", "text", tuple(Token(f"w{n}", n) for n in range(length)))
    )
    generator = torch.Generator().manual_seed(weights_from)
    query, key = (torch.randn(1, heads, len(axis.tokens), 4, generator=generator) for _ in range(2))
    with observe() as seen:
        attend(query, key, key, mask=causal())
    return Scene("random", {}, {"text": axis}, [AttentionMap("one", "decoder", 0, "text", "text", seen[""])])


@pytest.fixture
def stack() -> TransformerStack:
    torch.manual_seed(0)
    return TransformerStack(LayerShape(WIDTH, 32, 2), 3, cross=False, relative="no").double().eval()


OPERA, FIELD = "they were at the ball in the opera house", "they lost the ball on the wide field"


def test_equal_maps_do_not_differ(stack: TransformerStack):
    scene = scene_of(OPERA, stack)
    told, arrays = unpack(compare(Compared(scene, 1, 0), Compared(scene, 1, 0)))
    assert not arrays["difference"].any()
    assert not arrays["divergence"].any()
    np.testing.assert_allclose(arrays["cosine"], 1, rtol=1e-6)
    np.testing.assert_allclose(arrays["rank"], 1, rtol=1e-6)
    assert told["common"]["keys"] == {"both": 9, "left": 0, "right": 0}
    assert told["level"] == "tokens"
    assert told["summary"]["divergence"] == 0


def test_ranks_are_those_of_keys_that_one_side_at_least_looks_at():
    left, right = (np.array([row], np.float32) for row in ([0.5, 0.3, 0.2, 0, 0], [0.2, 0.3, 0.1, 0.4, 0]))
    keys = np.stack([np.arange(5)] * 2, 1)
    expected = spearman([left[0, :4], right[0, :4]])[0, 1]
    assert measured(left, right, keys)["rank"] == pytest.approx(expected)


def test_two_heads_differ_by_what_the_record_says(stack: TransformerStack):
    scene = scene_of(OPERA, stack)
    told, arrays = unpack(compare(Compared(scene, 0, 0), Compared(scene, 2, None)))
    one = scene.maps[0].record.weights()[0, 0].numpy()
    other = scene.maps[2].record.weights()[0].mean(0).numpy()
    np.testing.assert_allclose(arrays["left"], one, rtol=1e-6)
    np.testing.assert_allclose(arrays["right"], other, rtol=1e-6)
    np.testing.assert_allclose(arrays["difference"], other - one, atol=1e-7)
    m = (one + other) / 2
    expected = (one * np.log2(one / m) + other * np.log2(other / m)).sum(-1) / 2
    np.testing.assert_allclose(arrays["divergence"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        arrays["rank"], [spearman([a, b])[0, 1] for a, b in zip(one, other, strict=True)], rtol=1e-5
    )
    assert told["sides"]["left"] == {"model": "stack", "map": "layers.0.self_attention", "head": 0}
    assert told["sides"]["right"]["head"] == "mean"
    assert told["cells"] == [1, 1]
    assert not any(name.startswith("moved") for name in arrays)  # it is one text


def test_two_texts_are_put_together_by_their_common_words(stack: TransformerStack):
    left, right = scene_of(OPERA, stack), scene_of(FIELD, stack)
    told, arrays = unpack(compare(Compared(left, 0, 1), Compared(right, 0, 1)))
    text = told["row_text"]
    sides = [["-" if number < 0 else "x" for number in column] for column in arrays["queries"].T]
    both = [word for word, a, b in zip(text, *sides, strict=True) if a == b == "x"]
    assert both == ["they", "the", "ball", "the"]
    assert told["common"]["queries"] == {"both": 4, "left": 5, "right": 4}
    # No weight is lost, none is divided anew.
    for name, record in (("left", left), ("right", right)):
        sums = np.nansum(arrays[name], -1)
        known = ~np.isnan(arrays[name]).all(-1)
        np.testing.assert_allclose(sums[known], 1, rtol=1e-6)
        assert known.sum() == len(record.axes["text"].tokens)
    ball = text.index("ball")
    mine = arrays["queries"][ball, 0]
    alone = arrays["keys"][arrays["keys"][:, 1] < 0, 0]
    expected = left.maps[0].record.weights()[0, 1, mine][alone.tolist()].sum()
    assert arrays["only_left"][ball] == pytest.approx(float(expected))
    assert np.isnan(arrays["divergence"][text.index("opera")])


def test_a_word_moves_with_its_context(stack: TransformerStack):
    left, right = scene_of(OPERA, stack), scene_of(FIELD, stack)
    told, arrays = unpack(compare(Compared(left, 0, 0), Compared(right, 0, 0)))
    moved = arrays["moved.queries"]
    assert moved.shape == (4, len(told["row_text"]))
    ball = told["row_text"].index("ball")
    # Before the first layer it is the same vector; later it is not.
    assert moved[0, ball] == pytest.approx(1)
    assert moved[3, ball] < 0.999
    a, b = (layer_vectors(scene, "text") for scene in (left, right))
    expected = torch.cosine_similarity(
        a[2][OPERA.split().index("ball")], b[2][FIELD.split().index("ball")], dim=0
    )
    assert moved[2, ball] == pytest.approx(float(expected), rel=1e-5)
    assert told["moved"] == {"same_model": True}


def test_vectors_of_layers_are_those_that_every_layer_gives(stack: TransformerStack):
    scene = scene_of(OPERA, stack)
    assert scene.run is not None
    with every_layer(stack) as vectors, torch.no_grad():
        scene.run()
    found = layer_vectors(scene, "text")
    assert len(found) == 4
    for one, other in zip(found, vectors, strict=True):
        torch.testing.assert_close(one, other[0], rtol=0, atol=0)
    assert not torch.nn.modules.module._global_forward_hooks


def test_vectors_of_two_models_are_not_compared(stack: TransformerStack):
    other = TransformerStack(LayerShape(WIDTH, 32, 2), 3, cross=False, relative="no").double().eval()
    told, arrays = unpack(
        compare(Compared(scene_of(OPERA, stack), 0, 0), Compared(scene_of(OPERA, other), 0, 0))
    )
    assert told["moved"] == {"same_model": False}
    assert "moved.queries" not in arrays
    assert told["common"]["queries"]["both"] == 9


def test_texts_cut_differently_are_put_together_by_words():
    fine = Axis(
        "text",
        "text",
        tuple(Token(part, word) for part, word in (("un", 0), ("seen", 0), ("ly", 0), ("ball", 1))),
    )
    coarse = axis_of("unseenly ball")
    left, right = map_of("a b c d", 1), map_of("a b", 2)
    left = Scene("fine", {}, {"text": fine}, left.maps)
    right = Scene("coarse", {}, {"text": coarse}, right.maps)
    told, arrays = unpack(compare(Compared(left, 0, 0), Compared(right, 0, 0)))
    assert told["level"] == "words"
    assert told["row_text"] == ["unseenly", "ball"]
    weights = left.maps[0].record.weights()[0, 0]
    expected = [
        [weights[:3, :3].sum(-1).mean(), weights[:3, 3].mean()],
        [weights[3, :3].sum(), weights[3, 3]],
    ]
    np.testing.assert_allclose(arrays["left"], expected, rtol=1e-6)
    np.testing.assert_allclose(arrays["right"], right.maps[0].record.weights()[0, 0], rtol=1e-6)


def test_a_long_comparison_is_told_in_cells():
    length = CELLS * 2 + 5
    left, right = map_of("", 1, length), map_of("", 2, length)
    told, arrays = unpack(compare(Compared(left, 0, 0), Compared(right, 0, 1)))
    assert told["cells"] == [3, 3]
    one, other = left.maps[0].record.weights()[0, 0].numpy(), right.maps[0].record.weights()[0, 1].numpy()
    cell = other[300:303, 30:33] - one[300:303, 30:33]
    assert arrays["left"][100, 10] == pytest.approx(one[300:303, 30:33].mean(), rel=1e-3)
    assert arrays["difference"][100, 10] == pytest.approx(cell.flat[np.abs(cell).argmax()], rel=1e-3)
    assert arrays["divergence"].shape == (length,)
    assert told["column_text"] is None


def test_of_a_very_long_text_some_queries_are_compared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heedful.viewing.comparison.QUERIES", 7)
    left, right = map_of("", 1, 50), map_of("", 2, 50)
    told, arrays = unpack(compare(Compared(left, 0, 0), Compared(right, 0, 0)))
    assert told["sampled"]
    assert arrays["queries"][:, 0].tolist() == [0, 8, 16, 24, 33, 41, 49]
    np.testing.assert_allclose(
        arrays["left"], left.maps[0].record.weights()[0, 0][arrays["queries"][:, 0].tolist()], rtol=1e-6
    )


def test_words_far_apart_are_means_of_all_their_tokens_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heedful.viewing.comparison.QUERIES", 4)
    monkeypatch.setattr("heedful.viewing.comparison.ROWS", 2)
    halves = Axis(
        "text", "text", tuple(Token(f"{number // 2}{'ab'[number % 2]}", number // 2) for number in range(200))
    )
    left = Scene("halves", {}, {"text": halves}, map_of("", 1, 200).maps)
    right = Scene(
        "whole", {}, {"text": axis_of(" ".join(f"{n}a{n}b" for n in range(100)))}, map_of("", 2, 100).maps
    )
    told, arrays = unpack(compare(Compared(left, 0, 0), Compared(right, 0, 0)))
    assert (told["level"], arrays["queries"][:, 0].tolist()) == ("words", [0, 33, 66, 99])
    expected = (
        left.maps[0].record.weights()[0, 0].unflatten(0, (100, 2)).mean(1).unflatten(1, (100, 2)).sum(2)
    )
    np.testing.assert_allclose(arrays["left"], expected[[0, 33, 66, 99]], rtol=1e-5)


def test_divergence_has_its_known_values():
    keys = np.array([[0, 0], [1, 1], [2, -1], [-1, 2]])
    nan = np.nan
    left = np.array([[1, 0, 0, nan], [0.5, 0.5, 0, nan], [0, 0, 1, nan]], np.float32)
    right = np.array([[0, 1, nan, 0], [0.5, 0.5, nan, 0], [0, 0, nan, 1]], np.float32)
    found = measured(left, right, keys)
    assert found["divergence"].tolist() == [1, 0, 1]
    assert found["cosine"].tolist() == [0, 1, 0]
    assert found["only_left"].tolist() == [0, 0, 1]
    assert found["only_right"].tolist() == [0, 0, 1]


def test_what_is_not_there_is_said(stack: TransformerStack):
    scene = scene_of(OPERA, stack)
    with pytest.raises(HeedfulError, match="no map 3: there are 3"):
        compare(Compared(scene, 3, 0), Compared(scene, 0, 0))
    with pytest.raises(HeedfulError, match=r"no head 2: layers\.0\.self_attention has 2"):
        compare(Compared(scene, 0, 0), Compared(scene, 0, 2))


def lengths(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence, by its recursion."""
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return lengths(one[:-1], other[:-1]) + 1
    return max(lengths(one[:-1], other), lengths(one, other[:-1]))


@settings(max_examples=60, deadline=None)
@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_pairs_are_a_longest_common_subsequence(one: str, other: str):
    sides = [[Unit(letter, [number]) for number, letter in enumerate(text)] for text in (one, other)]
    pairs = paired(*sides).tolist()
    assert [a for a, _ in pairs if a >= 0] == list(range(len(one)))
    assert [b for _, b in pairs if b >= 0] == list(range(len(other)))
    both = [(a, b) for a, b in pairs if a >= 0 and b >= 0]
    assert all(one[a] == other[b] for a, b in both)
    assert len(both) == lengths(one, other)


def test_words_are_their_tokens_together():
    axis = Axis(
        "text",
        "",
        (Token("<s>", None, True), Token("op", 0), Token("era", 0), Token(" ", None), Token("x", 1)),
    )
    assert [unit.text for unit in units(axis, words=True)] == ["<s>", "opera", " ", "x"]
    assert units(axis, words=True)[1].tokens == [1, 2]


def test_divergence_is_symmetric_and_at_most_a_bit():
    rng = np.random.default_rng(0)
    one, other = (rng.dirichlet(np.ones(6) / 3, 50).astype(np.float32) for _ in range(2))
    keys = np.stack([np.arange(6)] * 2, 1)
    forth, back = measured(one, other, keys)["divergence"], measured(other, one, keys)["divergence"]
    np.testing.assert_allclose(forth, back, rtol=1e-5)
    assert forth.max() <= 1
    assert math.isclose(float(measured(one, one, keys)["divergence"].max()), 0, abs_tol=1e-6)
