"""attend: the definition, written with loops, and each kernel beside it, whatever the mask; which kernel is taken.

The laws that hold for every score and modifier are in test_kernels.py.
"""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from heedful.attention import Bias, ScaledDot, attend, explain_kernel, masks
from heedful.attention.attend import make_call
from heedful.attention.grid import Grid
from heedful.attention.kernels import fused
from heedful.attention.masks import as_mask

BATCH, HEADS, QUERIES, KEYS, WIDTH = 2, 4, 5, 7, 6
KERNELS = ("reference", "explicit", "streaming", "fused")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 4e-2}


def _random_mask() -> Tensor:
    mask = torch.rand(BATCH, HEADS, QUERIES, KEYS, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[0, 1, 2] = False  # a query that may see nothing
    return mask


MASKS = {
    "none": None,
    "causal": masks.causal(),
    "padding": masks.padding(torch.tensor([4, 7])),
    "nothing for one sentence": masks.padding(torch.tensor([0, 5])),
    "causal and padding": masks.causal() & ~masks.padding(torch.tensor([2, 0])),
    "any": _random_mask(),
    "of keys": torch.tensor([True, False, True, True, False, True, True]),
    "three dimensions": _random_mask()[0],
    "of queries": torch.tensor([True, False, True, True, False]).unsqueeze(1),
}


def _inputs(dtype: torch.dtype, kv_heads: int = HEADS) -> list[Tensor]:
    shapes = ((HEADS, QUERIES), (kv_heads, KEYS), (kv_heads, KEYS))
    return [torch.randn(BATCH, *shape, WIDTH).to(dtype).requires_grad_() for shape in shapes]


def _with_gradients(inputs: list[Tensor], upstream: Tensor, **choices) -> list[Tensor]:
    """The attended vectors, and the gradients with respect to query, key and value."""
    inputs = [tensor.detach().to(upstream.dtype).requires_grad_() for tensor in inputs]
    attended = attend(*inputs, **choices)
    return [attended.detach(), *torch.autograd.grad(attended, inputs, upstream)]


def _score(bias: Tensor | None) -> ScaledDot:
    return ScaledDot() if bias is None else ScaledDot().then(Bias(bias))


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return torch.allclose(one.double(), other.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_the_reference_is_the_definition_written_with_loops(mask: Tensor | None):
    query, key, value = (tensor.detach() for tensor in _inputs(torch.float64, kv_heads=2))
    bias = torch.randn(HEADS, QUERIES, KEYS, dtype=torch.float64)
    attended = attend(query, key, value, score=ScaledDot().then(Bias(bias)), mask=mask, kernel="reference")
    may = torch.ones(BATCH, HEADS, QUERIES, KEYS, dtype=torch.bool) if mask is None else mask
    may = as_mask(may).tile(Grid(QUERIES, KEYS, query.device).tile()).expand(BATCH, HEADS, QUERIES, KEYS)
    for b, h, i in product(range(BATCH), range(HEADS), range(QUERIES)):
        seen = [j for j in range(KEYS) if may[b, h, i, j]]
        exponentials = [
            math.exp(float(query[b, h, i] @ key[b, h // 2, j]) / math.sqrt(WIDTH) + float(bias[h, i, j]))
            for j in seen
        ]
        expected = torch.zeros(WIDTH, dtype=torch.float64)
        for j, exponential in zip(seen, exponentials, strict=True):
            expected += exponential / sum(exponentials) * value[b, h // 2, j]
        torch.testing.assert_close(attended[b, h, i], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_every_kernel_equals_the_reference(kernel, dtype, mask, kv_heads):
    inputs = _inputs(dtype, kv_heads)
    upstream = torch.randn(BATCH, HEADS, QUERIES, WIDTH).to(dtype)
    for bias in (None, torch.randn(1, HEADS, QUERIES, KEYS).to(dtype)):
        got = _with_gradients(inputs, upstream, mask=mask, kernel=kernel, score=_score(bias))
        exact = _score(None if bias is None else bias.double())
        expected = _with_gradients(inputs, upstream.double(), mask=mask, kernel="reference", score=exact)
        for one, other in zip(got, expected, strict=True):
            assert one.dtype == dtype
            assert _close(one, other, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_who_may_see_nothing_gets_zeros_and_gives_zero_gradients(kernel, dtype):
    mask = torch.zeros(BATCH, 1, 1, KEYS, dtype=torch.bool)
    got = _with_gradients(
        _inputs(dtype), torch.ones(BATCH, HEADS, QUERIES, WIDTH, dtype=dtype), mask=mask, kernel=kernel
    )
    assert all(not tensor.any() for tensor in got)  # NaN would be true


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_masked_key_changes_nothing_and_gets_no_gradient(kernel):
    query, key, value = _inputs(torch.float64)
    mask = MASKS["of keys"]
    attended = attend(query, key, value, mask=mask, kernel=kernel)
    _, key_gradient, value_gradient = torch.autograd.grad(attended.sum(), (query, key, value))
    assert not key_gradient[:, :, ~mask].any()
    assert not value_gradient[:, :, ~mask].any()
    elsewhere = torch.where(mask[:, None], 0.0, 1e3)
    again = attend(query, key + elsewhere, value - elsewhere, mask=mask, kernel=kernel)
    torch.testing.assert_close(again, attended, rtol=0, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_bias_of_minus_infinity_is_a_mask(kernel, masked):
    allowed = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    mask = torch.tensor([[True, True, False], [True, True, True], [False, True, True]])
    query, key, value = _inputs(torch.float64)
    query, key, value = query[:, :, :3], key[:, :, :3], value[:, :, :3]
    upstream = torch.randn(BATCH, HEADS, 3, value.shape[-1], dtype=torch.float64)
    inputs = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
    bias = torch.zeros(3, 3, dtype=torch.float64).masked_fill(~allowed, -torch.inf)
    got = _with_gradients(
        inputs, upstream, mask=mask if masked else None, kernel=kernel, score=ScaledDot().then(Bias(bias))
    )
    expected = _with_gradients(
        inputs, upstream, mask=mask & allowed if masked else allowed, kernel="reference", score=ScaledDot()
    )
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_grouped_queries_equal_repeated_heads(kernel):
    query, key, value = _inputs(torch.float64, kv_heads=2)
    grouped = attend(query, key, value, kernel=kernel)
    # Query heads 0 and 1 share the first head of the keys, 2 and 3 the second.
    repeated = [tensor[:, [0, 0, 1, 1]] for tensor in (key, value)]
    torch.testing.assert_close(grouped, attend(query, *repeated, kernel=kernel), rtol=0, atol=1e-13)


@given(order=st.permutations(range(KEYS)), rows=st.permutations(range(QUERIES)), seed=st.integers(0, 99))
def test_the_order_of_keys_means_nothing_and_that_of_queries_is_kept(order, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, 2, QUERIES, 3, generator=generator, dtype=torch.float64)
    key, value = (torch.randn(1, 2, KEYS, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(1, 1, QUERIES, KEYS, generator=generator) < 0.7
    for kernel in KERNELS:
        attended = attend(query, key, value, mask=mask, kernel=kernel)
        turned = attend(
            query[:, :, rows],
            key[:, :, order],
            value[:, :, order],
            mask=mask[:, :, rows][..., order],
            kernel=kernel,
        )
        torch.testing.assert_close(turned, attended[:, :, rows], rtol=0, atol=1e-13)


def test_values_may_have_a_width_of_their_own():
    query, key = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
    value = torch.randn(1, 2, 5, 9)
    assert attend(query, key, value).shape == (1, 2, 3, 9)
    with pytest.raises(ValueError, match=r"keys and values of one width, got 4 and 9"):
        attend(query, key, value, kernel="fused")


def test_no_keys_at_all_give_zeros():
    nothing = torch.randn(1, 2, 0, 4)
    for kernel in ("reference", "explicit", "streaming"):
        assert not attend(torch.randn(1, 2, 3, 4), nothing, nothing, kernel=kernel).any()


@pytest.mark.parametrize("kernel", ["reference", "explicit", "streaming"])
def test_dropout_zeroes_weights_and_keeps_their_mean(kernel):
    query, key, value = torch.randn(1, 1, 4000, 2), torch.randn(1, 1, 10, 2), torch.eye(10)[None, None]
    weights = attend(query, key, value, kernel=kernel)  # the values are unit vectors: they show the weights
    dropped = attend(query, key, value, dropout=0.25, kernel=kernel)
    kept = dropped != 0
    # 40,000 draws: one standard deviation is 0.0022.
    assert abs(float(kept.double().mean()) - 0.75) < 0.01
    torch.testing.assert_close(dropped[kept], weights[kept] / 0.75)


def test_the_fused_kernel_refuses_what_it_cannot_express():
    query, key, value = (torch.randn(1, 2, 3, 4) for _ in range(3))
    with pytest.raises(ValueError, match="no dropout on the weights"):
        attend(query, key, value, dropout=0.1, kernel="fused")
    bias = torch.zeros(3, 3, requires_grad=True)
    with pytest.raises(ValueError, match="no gradient to the tensors of Bias"):
        attend(query, key, value, score=ScaledDot().then(Bias(bias)), kernel="fused")
    # auto is never refused.
    attend(query, key, value, dropout=0.1)
    attend(query, key, value, score=ScaledDot().then(Bias(bias))).sum().backward()
    assert bias.grad is not None


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("biased", [False, True])
def test_what_the_fused_kernel_accepts_pytorch_does_fuse(name, biased):
    query, key, value = (tensor.detach() for tensor in _inputs(torch.float32, kv_heads=2))
    bias = torch.randn(HEADS, QUERIES, KEYS) if biased else None
    score = _score(bias)
    assert fused.refusal(make_call(query, key, value, score=score)) is None
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):  # raises if it cannot
        attend(query, key, value, score=score, mask=MASKS[name], kernel="fused")


@pytest.mark.parametrize(
    ("length", "trained", "dropout", "kernel"),
    [
        (64, True, 0.0, "explicit"),
        (65, True, 0.0, "fused"),
        (16, False, 0.0, "explicit"),
        (17, False, 0.0, "fused"),
        (256, True, 0.1, "explicit"),
        (257, True, 0.1, "streaming"),
    ],
)
def test_auto_takes_the_kernel_that_is_fastest(length, trained, dropout, kernel):
    x = torch.randn(1, 1, length, 8, requires_grad=trained)
    assert explain_kernel(x, x, x, dropout=dropout).kernel == kernel
    torch.manual_seed(1)
    attended = attend(x, x, x, dropout=dropout)
    torch.manual_seed(1)
    assert torch.equal(attended, attend(x, x, x, dropout=dropout, kernel=kernel))


@pytest.mark.parametrize("trained", range(3))
def test_a_gradient_of_any_of_the_three_counts_as_training(trained):
    inputs = [torch.randn(1, 1, 64, 8, requires_grad=number == trained) for number in range(3)]
    assert explain_kernel(*inputs).kernel == "explicit"
    with torch.no_grad():
        assert explain_kernel(*inputs).kernel == "fused"


def test_a_mask_of_keys_is_fused_at_any_length():
    x = torch.zeros(1, 1, 8192, 8)
    lengths = masks.padding(torch.tensor([5000]))
    of_keys = torch.ones(8192, dtype=torch.bool)
    assert explain_kernel(x, x, x, mask=lengths & of_keys).kernel == "fused"
    assert explain_kernel(x, x, x, mask=lengths & masks.causal()).kernel == "streaming"


@pytest.mark.parametrize(
    ("query", "key", "value", "mask", "message"),
    [
        ((2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), None, r"four dimensions .* query \(2, 3, 4\)"),
        ((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 5), None, r"one width d_k, got .* key \(1, 2, 3, 5\)"),
        ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 4, 4), None, r"Each key needs a value.* value \(1, 2, 4, 4\)"),
        ((2, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), None, r"batches must agree.* query \(2, 2, 3, 4\)"),
        ((1, 3, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), None, r"multiple of kv_heads, got query \(1, 3, 3, 4\)"),
        ((1, 2, 3, 4), (1, 2, 6, 4), (1, 2, 6, 4), (3, 5), r"mask \(3, 5\) does not .* = \(1, 2, 3, 6\)"),
        ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), (5, 1, 3, 3), r"mask \(5, 1, 3, 3\) does not broadcast"),
        ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), (1, 1, 1, 3, 3), r"mask \(1, 1, 1, 3, 3\) does not"),
    ],
)
def test_shapes_that_do_not_fit_are_named(query, key, value, mask, message):
    mask = None if mask is None else torch.ones(mask, dtype=torch.bool)
    with pytest.raises(ValueError, match=message):
        attend(torch.zeros(query), torch.zeros(key), torch.zeros(value), mask=mask)


def test_other_mistakes_are_named():
    query, key, value = (torch.zeros(1, 2, 3, 4) for _ in range(3))
    with pytest.raises(ValueError, match=r"True = may attend\), got torch.float32"):
        attend(query, key, value, mask=torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"Bias: \(3, 2\) does not broadcast"):
        attend(query, key, value, score=ScaledDot().then(Bias(torch.zeros(3, 2))))
    with pytest.raises(ValueError, match="no kernel 'fast'"):
        attend(query, key, value, kernel="fast")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kernel", ["auto", "explicit", "fused", "streaming"])
def test_half_precision_does_not_overflow_where_the_scaled_score_does_not(kernel):
    query = torch.full((1, 1, 4, 64), 40.0, dtype=torch.float16)  # 64 * 40 * 40 is beyond 65,504
    assert attend(query, query, query, kernel=kernel).eq(40).all()
