"""Approximations: each is its paper's formula, its cheap form is its plain form, and its cost is linear."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import elu

from heedful.attention import attend, masks
from heedful.attention.approximations import (
    linear_attention,
    linear_attention_step,
    linformer_attention,
    orthogonal_directions,
    performer_attention,
    positive_features,
    sliding_window_attention,
)
from tests.attention.largest import Largest

DOUBLE = {"dtype": torch.float64}
KEY_MASK = torch.tensor([[True] * 4 + [False] * 3, [False, True] * 3 + [True]])


def _inputs(
    length: int = 7, heads: int = 4, kv_heads: int = 2, width: int = 5, batch: int = 2
) -> list[Tensor]:
    shapes = ((heads, length, width), (kv_heads, length, width), (kv_heads, length, 3))
    return [torch.randn(batch, *shape, **DOUBLE) for shape in shapes]


def _means(similarity: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """The definition: values averaged with weights in proportion to the similarities that are allowed."""
    weights = similarity * allowed
    return weights / weights.sum(-1, keepdim=True) @ value.repeat_interleave(2, 1)


def _allowed(length: int, causal: bool, key_mask: Tensor | None) -> Tensor:
    allowed = torch.ones(length, length, dtype=torch.bool)
    allowed = (allowed.tril() if causal else allowed).expand(2, 1, -1, -1)
    return allowed if key_mask is None else allowed & key_mask[:, None, None]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [7, 64, 150])
def test_linear_attention_is_its_formula(causal, length):
    query, key, value = _inputs(length)
    key_mask = torch.rand(2, length) < 0.7
    key_mask[:, 0] = True  # the formula divides by zero where nothing is seen
    similarity = (elu(query) + 1) @ (elu(key) + 1).repeat_interleave(2, 1).transpose(-2, -1)
    for mask in (None, key_mask):
        expected = _means(similarity, value, _allowed(length, causal, mask))
        got = linear_attention(query, key, value, causal=causal, key_mask=mask)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@settings(max_examples=25)
@given(length=st.integers(1, 140), seed=st.integers(0, 99))
def test_the_recurrent_form_is_the_parallel_one(length, seed):
    torch.manual_seed(seed)
    query, key, value = _inputs(length)
    whole, state, steps = linear_attention(query, key, value, causal=True), None, []
    for i in range(length):
        token = [tensor[:, :, i : i + 1] for tensor in (query, key, value)]
        attended, state = linear_attention_step(*token, state)
        steps.append(attended)
    torch.testing.assert_close(torch.cat(steps, 2), whole, rtol=0, atol=1e-12)
    assert state is not None
    assert state.shape == (2, 2, 5, 4)


def test_far_below_zero_features_stay_above_it():
    # elu(-40) + 1 rounds to 0 in float32, e^-40 does not.
    query, key, value = torch.full((1, 1, 1, 2), -40.0), torch.zeros(1, 1, 3, 2), torch.randn(1, 1, 3, 4)
    torch.testing.assert_close(linear_attention(query, key, value)[0, 0, 0], value[0, 0].mean(0))


def _errors(query: Tensor, key: Tensor, directions: Tensor) -> Tensor:
    """What each draw of `directions` (draws, features, d) misses of exp(q . k / sqrt(d)), (draws, queries, keys)."""
    queries, keys = (torch.stack([positive_features(x, each) for each in directions]) for x in (query, key))
    return queries @ keys.transpose(-2, -1) - (query @ key.t() / math.sqrt(query.shape[-1])).exp()


def _drawn(draws: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (
        orthogonal_directions(draws * width, width, generator=generator).unflatten(0, (draws, width)).double()
    )


def test_positive_features_are_unbiased_wherever_the_queries_lie():
    # QR without its signs, which the authors' code and others' have (google-research#436), misses by 65 of these.
    queries = torch.cat((torch.eye(3), -torch.eye(3))).double() * 1.2
    keys = torch.tensor([[0.9, 0.5, -0.4], [0.3, -0.8, 0.6]], **DOUBLE)
    errors = _errors(queries, keys, _drawn(4000, 3))
    standard_errors = errors.mean(0) / (errors.std(0) / math.sqrt(len(errors)))
    assert float(standard_errors.abs().max()) < 4


def test_orthogonal_directions_estimate_better_than_independent_ones():
    query, key = torch.randn(2, 5, 8, **DOUBLE) / 2
    orthogonal = _errors(query, key, _drawn(2000, 8))
    independent = _errors(query, key, torch.randn(2000, 8, 8, **DOUBLE))
    assert float(orthogonal.square().mean() / independent.square().mean()) < 0.85


def test_directions_of_a_block_are_orthogonal_and_as_long_as_normal_ones():
    directions = orthogonal_directions(40, 16, generator=torch.Generator().manual_seed(0))
    assert directions.shape == (40, 16)
    for block in directions.split(16):
        products = block @ block.t()
        torch.testing.assert_close(products, torch.diag(products.diagonal()), rtol=0, atol=1e-5)
    squares = orthogonal_directions(4096, 16, generator=torch.Generator().manual_seed(0)).square().sum(1)
    assert float(squares.mean()) == pytest.approx(16, abs=5 * math.sqrt(32 / 4096))
    assert float(squares.var()) == pytest.approx(32, rel=0.2)


def _performer_error(features: int) -> float:
    query, key, value = _inputs(20, width=8)
    query, key = 0.3 * query, 0.3 * key
    generator = torch.Generator().manual_seed(0)
    exact, squares = attend(query, key, value), []
    for _ in range(40):
        directions = orthogonal_directions(features, 8, generator=generator)
        squares.append((performer_attention(query, key, value, directions) - exact).square().mean())
    return math.sqrt(float(torch.stack(squares).mean()))


def test_the_error_of_the_performer_falls_as_one_over_the_root_of_its_features():
    errors = [_performer_error(features) for features in (64, 1024)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)
    assert errors[1] < 0.01


@pytest.mark.parametrize("causal", [False, True])
def test_the_performer_is_its_formula_for_given_directions(causal):
    query, key, value = _inputs()
    directions = orthogonal_directions(9, 5).double()
    for mask in (None, KEY_MASK):
        keys = positive_features(key, directions).repeat_interleave(2, 1)
        similarity = positive_features(query, directions) @ keys.transpose(-2, -1)
        allowed = _allowed(7, causal, mask)
        some = allowed.any(-1).expand(2, 4, 7)
        expected = _means(similarity, value, allowed)[some]  # the others are 0 / 0
        got = performer_attention(query, key, value, directions, causal=causal, key_mask=mask)
        torch.testing.assert_close(got[some], expected, rtol=0, atol=1e-12)
        assert not got[~some].any()


def test_the_performers_stabilising_factors_change_no_gradient():
    inputs = [tensor.requires_grad_() for tensor in _inputs()]
    query, key, value = inputs
    keys = positive_features(key, DIRECTIONS).repeat_interleave(2, 1)
    similarity = positive_features(query, DIRECTIONS) @ keys.transpose(-2, -1)
    formula = _means(similarity, value, _allowed(7, True, None))
    upstream = torch.randn_like(formula)
    got = performer_attention(*inputs, DIRECTIONS, causal=True)
    gradients = (torch.autograd.grad(attended, inputs, upstream) for attended in (got, formula))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_performer_does_not_overflow():
    query, key, value = (20 * tensor.float() for tensor in _inputs())
    attended = performer_attention(query, key, value, orthogonal_directions(16, 5))
    assert attended.isfinite().all()


@pytest.mark.parametrize("shape", [(), (2,)])
def test_linformer_is_its_formula(shape):
    query, key, value = _inputs()
    e, f = (torch.randn(*shape, 4, 9, **DOUBLE) for _ in range(2))
    for mask in (None, KEY_MASK):
        seen = torch.ones(2, 1, 7, 1) if mask is None else mask[:, None, :, None]
        keys, values = (
            (projection[..., :7] @ (tensor * seen)).repeat_interleave(2, 1)
            for projection, tensor in ((e, key), (f, value))
        )
        expected = (query @ keys.transpose(-2, -1) / math.sqrt(5)).softmax(-1) @ values
        got = linformer_attention(query, key, value, e, f, key_mask=mask)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_linformer_with_a_mixture_for_each_key_is_attention():
    query, key, value = _inputs()
    each = torch.eye(7, **DOUBLE)
    got = linformer_attention(query, key, value, each, each)
    torch.testing.assert_close(got, attend(query, key, value), rtol=0, atol=1e-12)


@settings(max_examples=60)
@given(
    length=st.integers(1, 90),
    left=st.integers(0, 40),
    right=st.integers(0, 40),
    chosen=st.sampled_from(["none", "no token", "of all", "of each"]),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_sliding_window_is_exactly_attend_with_its_mask(length, left, right, chosen, masked, seed):
    torch.manual_seed(seed)
    query, key, value = _inputs(length)
    global_tokens = {
        "none": None,
        "no token": torch.zeros(length, dtype=torch.bool),
        "of all": torch.rand(length) < 0.2,
        "of each": torch.rand(2, length) < torch.tensor([[0.1], [0.4]]),
    }[chosen]
    key_mask = torch.rand(2, length) < 0.7 if masked else None
    mask = masks.window(left, right)
    if global_tokens is not None:
        each = global_tokens.expand(2, -1)
        mask = mask | each[:, None, None, :] | each[:, None, :, None]
    if key_mask is not None:
        mask = mask & key_mask[:, None, None]
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    expected = attend(*inputs, mask=mask, kernel="reference")
    got = sliding_window_attention(*inputs, left, right, global_tokens=global_tokens, key_mask=key_mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(got)
    gradients = (torch.autograd.grad(attended, inputs, upstream) for attended in (got, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_dropout_of_a_window_drops_weights_and_keeps_their_mean():
    query, key, value = _inputs(40)
    value = torch.ones_like(value)
    dropped = torch.stack([sliding_window_attention(query, key, value, 9, 9, dropout=0.5) for _ in range(50)])
    assert float(dropped.std()) > 0.1
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)


NOBODY = torch.tensor([[False] * 7, [True] * 7])
FORMS = {
    "linear": linear_attention,
    "linear, causal": lambda *inputs, **mask: linear_attention(*inputs, causal=True, **mask),
    "performer": lambda *inputs, **mask: performer_attention(*inputs, DIRECTIONS, **mask),
    "performer, causal": lambda *inputs, **mask: performer_attention(
        *inputs, DIRECTIONS, causal=True, **mask
    ),
    "linformer": lambda *inputs, **mask: linformer_attention(*inputs, MIXTURES, MIXTURES, **mask),
    "window": lambda *inputs, **mask: sliding_window_attention(*inputs, 2, 1, global_tokens=GLOBAL, **mask),
}
DIRECTIONS = orthogonal_directions(9, 5).double()
MIXTURES = torch.randn(3, 8192, **DOUBLE)
GLOBAL = torch.arange(7) == 2


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_who_may_see_nothing_gets_zeros_and_masked_keys_get_no_gradient(form):
    inputs = [tensor.requires_grad_() for tensor in _inputs()]
    attended = form(*inputs, key_mask=NOBODY)
    assert not attended[0].any()
    assert attended[1].any()
    gradients = torch.autograd.grad(attended.square().sum() + attended.sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not any(gradient[0].any() for gradient in gradients[1:])


@pytest.mark.parametrize("form", ["linear, causal", "performer, causal"])
def test_the_future_cannot_change_the_past(form):
    query, key, value = _inputs()
    whole = FORMS[form](query, key, value)
    for length in range(1, 7):
        begin = FORMS[form](*(tensor[:, :, :length] for tensor in (query, key, value)))
        torch.testing.assert_close(begin, whole[:, :, :length], rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_half_precision_is_kept_and_is_near(form):
    inputs = _inputs()
    halves = [tensor.bfloat16() for tensor in inputs]
    if form is FORMS["linformer"]:
        got = linformer_attention(*halves, MIXTURES.bfloat16(), MIXTURES.bfloat16())
    else:
        got = form(*halves)
    assert got.dtype == torch.bfloat16
    scale = float(form(*inputs).abs().max())
    assert float((got.double() - form(*inputs)).abs().max()) < 0.05 * scale


@pytest.mark.parametrize("form", FORMS)
def test_no_tensor_grows_with_the_square_of_the_length_forward_or_backward(form):
    largest = {}
    for length in (1024, 4096):
        inputs = [tensor.requires_grad_() for tensor in _inputs(length, heads=1, kv_heads=1, batch=1)]
        with Largest() as mode:
            if form == "window":
                attended = sliding_window_attention(*inputs, 20, 20, global_tokens=torch.arange(length) < 2)
            else:
                attended = FORMS[form](*inputs)
            attended.sum().backward()
        largest[length] = mode.elements
    assert largest[4096] <= 4.1 * largest[1024]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda q, k, v: linear_attention(q[0], k, v), "linear_attention takes four dimensions"),
        (lambda q, k, v: linear_attention(q, k[:, :, 1:], v), "a value for each key, .* as wide as queries"),
        (lambda q, k, v: linear_attention(q[..., 1:], k, v), "a value for each key, .* as wide as queries"),
        (lambda q, k, v: linear_attention(q[:, :3], k, v), "heads be a multiple of kv_heads"),
        (
            lambda q, k, v: linear_attention(q, k, v, key_mask=torch.ones(2, 7)),
            r"bool key_mask \(batch, keys\) = \(2, 7\), got torch.float32 of \(2, 7\)",
        ),
        (
            lambda q, k, v: linear_attention(q, k, v, key_mask=torch.ones(2, 1, 7).bool()),
            r"\(2, 7\), got torch.bool of \(2, 1, 7\)",
        ),
        (
            lambda q, k, v: linear_attention(q[:, :, 1:], k, v, causal=True),
            "take as many queries as keys, got 6 and 7",
        ),
        (lambda q, k, v: linear_attention_step(q, k, v), "takes one token, got 7 queries and 7 keys"),
        (
            lambda q, k, v: performer_attention(q, k, v, torch.ones(9, 4)),
            r"directions \(features, 5\), as wide as the queries, got \(9, 4\)",
        ),
        (
            lambda q, k, v: linformer_attention(q, k, v, torch.ones(3, 7), torch.ones(3, 6)),
            r"takes a value_projection .* for 2 kv_heads and 7 keys, got \(3, 6\)",
        ),
        (
            lambda q, k, v: linformer_attention(q, k, v, torch.ones(4, 3, 7), torch.ones(3, 7)),
            r"takes a key_projection .* got \(4, 3, 7\)",
        ),
        (
            lambda q, k, v: sliding_window_attention(q[:, :, 1:], k, v, 1, 1),
            "as many queries as keys, got 6 and 7",
        ),
        (lambda q, k, v: sliding_window_attention(q, k, v, -1, 1), "widths of at least 0, got -1 and 1"),
        (
            lambda q, k, v: sliding_window_attention(q, k, v, 1, 1, global_tokens=torch.tensor([0, 3])),
            r"bool global_tokens \(7,\) or \(2, 7\), got torch.int64 of \(2,\)",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(*_inputs())
