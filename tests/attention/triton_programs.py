"""What the triton kernel's programs compute, in Triton's interpreter or on a GPU: `test_triton.py` runs these tests.

They need a process of their own: the environment must say TRITON_INTERPRET=1 before Triton is first imported.
"""

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from heedful.attention import Additive, Bias, Cosine, ScaledDot, Score, SoftCap, attend, masks
from heedful.attention.attend import make_call
from heedful.attention.kernels import reference, triton
from heedful.attention.masks import Mask

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
# Tiles are 16 x 16 here: mostly one of rows and two of keys, cut off. Few, as the interpreter takes its time for each.
BATCH, HEADS, KV_HEADS, QUERIES, KEYS, D, D_VALUE = 2, 2, 1, 13, 21, 3, 5
HALVES = torch.float16, torch.bfloat16
TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 3e-2, torch.float16: 4e-3}


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "TILE_BYTES", 0)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape).to(DEVICE)


def _inputs(
    batch: int = BATCH,
    heads: int = HEADS,
    kv_heads: int = KV_HEADS,
    queries: int = QUERIES,
    keys: int = KEYS,
) -> list[Tensor]:
    shapes = (heads, queries, D), (kv_heads, keys, D), (kv_heads, keys, D_VALUE)
    return [_random(batch, *shape) for shape in shapes]


def _additive() -> Score:
    return Additive(D, D, 4).to(DEVICE)


def _biased(*shape: int, cap: float | None = None) -> Callable[[], Score]:
    modifiers = () if cap is None else (SoftCap(cap),)
    return lambda: ScaledDot().then(Bias(_random(*shape)), *modifiers)


def _some(*shape: int) -> Tensor:
    allowed = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < 0.6
    allowed[..., 3, :] = False  # a query that may see nothing
    return allowed.to(DEVICE)


def _padding(*lengths: int) -> Mask:
    return masks.padding(torch.tensor(lengths).to(DEVICE))


# The score, the mask, and how many sentences.
CASES: dict[str, tuple[Callable[[], Score], Mask | Tensor | None, int]] = {
    "scaled dot, causal": (ScaledDot, masks.causal(), BATCH),
    "scaled dot, padding and prefix": (ScaledDot, _padding(9, 0) & masks.prefix(17), BATCH),
    "scaled dot, any mask": (ScaledDot, _some(BATCH, HEADS, QUERIES, KEYS), BATCH),
    "cosine": (lambda: Cosine(nn.Parameter(torch.tensor(3.0, device=DEVICE))), None, 1),
    "additive, causal, padding and any mask": (
        _additive,
        masks.causal() & _padding(KEYS, 17) & _some(BATCH, 1, QUERIES, KEYS),
        BATCH,
    ),
    "bias of every pair, causal": (_biased(BATCH, HEADS, QUERIES, KEYS), masks.causal(), BATCH),
    "bias of keys, two windows": (
        _biased(BATCH, 1, 1, KEYS),
        masks.window(None, 2) & masks.window(5, None),
        BATCH,
    ),
    # Alone, these biases would change no weight.
    "bias of queries, soft cap": (_biased(HEADS, QUERIES, 1, cap=0.5), masks.causal(), 1),
    "bias of heads, soft cap": (_biased(HEADS, 1, 1, cap=0.5), masks.causal(), 1),
    "soft cap, bias that heads share": (
        lambda: ScaledDot().then(SoftCap(0.5), Bias(_random(QUERIES, KEYS))),
        masks.causal(),
        1,
    ),
    "additive, bias, soft cap, not causal": (
        lambda: _additive().then(Bias(_random(HEADS, QUERIES, KEYS)), SoftCap(0.5)),
        ~masks.causal(),
        1,
    ),
}


def _results(
    kernel: str, dtype: torch.dtype, inputs: list[Tensor], score: Score, upstream: Tensor, **choices
) -> list[Tensor]:
    """What is attended to, and the gradients of query, key, value and all that the score has."""
    leaves = [tensor.to(dtype).detach().requires_grad_() for tensor in inputs]
    if isinstance(score, nn.Module):
        score.to(dtype)
    for modifier in score.modifiers:
        if isinstance(modifier, Bias):
            modifier.bias = modifier.bias.detach().to(dtype).requires_grad_()
            leaves.append(modifier.bias)
    parameters = tuple(score.parameters()) if isinstance(score, nn.Module) else ()
    attended = attend(*leaves[:3], score=score, kernel=kernel, **choices)
    return [attended, *torch.autograd.grad(attended, (*leaves, *parameters), upstream.to(dtype))]


def _is_definition(
    dtype: torch.dtype, inputs: list[Tensor], score: Score, tolerance: float | None = None, **choices
) -> None:
    inputs = [tensor.to(dtype) for tensor in inputs]
    upstream = _random(*inputs[0].shape[:3], inputs[2].shape[-1]).to(dtype)
    got = _results("triton", dtype, inputs, score, upstream, **choices)
    exact = _results("reference", torch.float64, inputs, score, upstream, **choices)
    for one, other in zip(got, exact, strict=True):
        assert one.dtype == dtype
        assert one.shape == other.shape
        assert _differ(one, other) <= (tolerance or TOLERANCE[dtype])


def _differ(one: Tensor, exact: Tensor) -> float:
    """The largest error, relative to the largest number, or to 0.1: some gradients are zero but for rounding."""
    if not exact.numel():
        return 0.0
    return float((one.detach() - exact.detach()).abs().amax() / exact.detach().abs().amax().clamp(min=0.1))


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_definition(name):
    score, mask, batch = CASES[name]
    _is_definition(torch.float32, _inputs(batch), score(), mask=mask)


@pytest.mark.parametrize(
    "dtype", [dtype for dtype in HALVES if DEVICE.type == "cuda" or dtype != torch.bfloat16]
)
@pytest.mark.parametrize("make", [ScaledDot, _additive])
def test_in_half_precision_too(make, dtype):
    _is_definition(dtype, _inputs(1), make().then(SoftCap(0.5)), mask=masks.causal())


@pytest.mark.parametrize("make", [ScaledDot, _additive])
@pytest.mark.parametrize(("queries", "keys"), [(1, 20), (20, 1), (20, 9), (3, 0)])
def test_whatever_the_lengths(make, queries, keys):
    # More queries than keys: the first of them stand before every key, and see nothing.
    _is_definition(torch.float32, _inputs(1, 1, 1, queries, keys), make(), mask=masks.causal())


@pytest.mark.parametrize("mask", [masks.causal(), masks.window(4, 1), ~masks.window(4, 1)], ids=str)
def test_tiles_that_are_passed_over_hide_nothing(mask):
    _is_definition(torch.float32, _inputs(1, 1, 1, 40, 50), ScaledDot(), mask=mask)


@pytest.mark.parametrize("make", [ScaledDot, _additive])
def test_heads_that_share_keys_in_groups(make):
    _is_definition(torch.float32, _inputs(1, 4, 2, 9, 9), make(), mask=masks.window(2, 2))


def test_positions_that_are_given():
    places = {"query_positions": torch.arange(QUERIES), "key_positions": torch.randperm(KEYS)}
    places = {name: positions.to(DEVICE) for name, positions in places.items()}
    _is_definition(torch.float32, _inputs(1), ScaledDot(), mask=masks.window(9, 1), **places)


def test_large_scores_do_not_overflow():
    inputs = _inputs(1)
    inputs[0] *= 300
    # Where scores are some hundreds, so are their rounding errors, and those of weights, larger.
    _is_definition(torch.float32, inputs, ScaledDot(), 1e-4, mask=masks.causal())


def test_log_sum_exp_is_that_of_the_scores():
    query, key, value = _inputs()
    mask = _some(BATCH, HEADS, QUERIES, KEYS)
    scores = ScaledDot()(query.double(), key.double()).masked_fill(~mask, -torch.inf)
    got = triton.log_sum_exp(make_call(query, key, value, mask=mask))
    assert got.dtype == torch.float32
    torch.testing.assert_close(
        got.double(), scores.logsumexp(-1), rtol=1e-6, atol=1e-6
    )  # -inf where nothing is seen


def test_who_may_see_nothing_gets_zeros_and_gives_zero_gradients():
    inputs = _inputs(1, 1, 1, 3, 4)
    upstream = torch.ones(1, 1, 3, D_VALUE, device=DEVICE)
    for mask in (torch.zeros(4, dtype=torch.bool, device=DEVICE), masks.prefix(0)):
        got = _results("triton", torch.float32, inputs, _additive(), upstream, mask=mask)
        assert all(not tensor.any() for tensor in got)  # NaN would be true


def test_masked_keys_get_exactly_no_gradient():
    seen = torch.rand(KEYS).to(DEVICE) < 0.5
    upstream = _random(1, HEADS, QUERIES, D_VALUE)
    _, _, of_key, of_value = _results("triton", torch.float32, _inputs(1), ScaledDot(), upstream, mask=seen)
    for gradient in (of_key, of_value):
        assert not gradient[:, :, ~seen].any()
        assert gradient[:, :, seen].any()


def test_what_stands_behind_the_padding_may_be_anything():
    inputs = _inputs()
    for tensor in inputs[1:]:
        tensor[0, :, 18:] = torch.nan
    mask = _padding(18, KEYS)
    upstream = _random(BATCH, HEADS, QUERIES, D_VALUE)
    assert all(
        t.isfinite().all()
        for t in _results("triton", torch.float32, inputs, ScaledDot(), upstream, mask=mask)
    )


def _dropped(inputs: list[Tensor], seed: int, dropout: float = 0.4) -> Tensor:
    """The weights (batch, heads, queries, keys) after dropout: values that are unit vectors show them."""
    torch.manual_seed(seed)
    unit = torch.eye(KEYS, device=DEVICE).expand(*inputs[1].shape[:2], KEYS, KEYS)
    return attend(*inputs[:2], unit, mask=masks.causal(), dropout=dropout, kernel="triton")


def test_dropout_zeroes_weights_one_by_one_and_lets_the_others_grow():
    inputs = _inputs()
    weights = reference.weights(make_call(*inputs, mask=masks.causal()))
    dropped, seen = _dropped(inputs, 1), weights > 0
    kept = dropped != 0
    torch.testing.assert_close(dropped, torch.where(kept, weights / 0.6, 0.0), rtol=1e-5, atol=1e-6)
    # 780 weights: about three standard deviations.
    assert kept[seen].float().mean().item() == pytest.approx(0.6, abs=0.05)
    # Every head and every sentence draws for itself: two agree by chance, in 0.6^2 + 0.4^2 of the places.
    matrices = kept.flatten(0, 1)[:, seen[0, 0]].float()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (matrices[one] == matrices[other]).float().mean().item() == pytest.approx(0.52, abs=0.12)
    assert torch.equal(dropped, _dropped(inputs, 1))
    assert not torch.equal(dropped, _dropped(inputs, 2))


def test_dropout_does_not_depend_on_the_tiles(monkeypatch):
    inputs = _inputs(1, queries=18)
    small = _dropped(inputs, 1)
    monkeypatch.setattr(triton, "TILE_BYTES", 2**13)
    torch.testing.assert_close(_dropped(inputs, 1), small, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["soft cap, bias that heads share", "additive, bias, soft cap, not causal"])
def test_gradients_are_those_of_the_weights_that_were_kept(name, monkeypatch):
    inputs, score = _inputs(1), CASES[name][0]()
    upstream = _random(1, HEADS, QUERIES, D_VALUE)
    choices = {"mask": masks.causal(), "dropout": 0.4}
    torch.manual_seed(1)
    got = _results("triton", torch.float32, inputs, score, upstream, **choices)
    kept = _dropped(inputs, 1) != 0  # which tells of seed and place alone
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda weights, p: weights * kept / (1 - p))
    exact = _results("reference", torch.float64, inputs, score, upstream, **choices)
    for one, other in zip(got, exact, strict=True):
        assert _differ(one, other) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("make", [ScaledDot, _additive])
def test_a_second_derivative_is_refused(make):
    query, key, value = (tensor.requires_grad_() for tensor in _inputs(1, 1, 1, 2, 2))
    attended = attend(query, key, value, score=make(), kernel="triton")
    for gradient in torch.autograd.grad(attended.sum(), (query, key, value), create_graph=True):
        with pytest.raises(NotImplementedError, match="triton kernel of attention has no second derivative"):
            gradient.sum().backward(retain_graph=True)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="a GPU multiplies bfloat16")
def test_the_interpreter_is_not_trusted_with_bfloat16():
    inputs = [tensor.bfloat16() for tensor in _inputs(1)]
    with pytest.raises(ValueError, match="interpreter multiplies the bits of bfloat16"):
        attend(*inputs, kernel="triton")
