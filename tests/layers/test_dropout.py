"""Dropout: k of 256 bytes drop, the mean is kept, and every byte of a draw counts alike."""

import pytest
import torch

from heedful.layers.dropout import Dropout, keep_mask


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.9])
def test_the_fraction_dropped_is_a_multiple_of_256_and_the_mean_is_kept(probability):
    count = 1_000_000
    dropped = torch.ones(count, dtype=torch.float64)
    dropped = Dropout(probability)(dropped)
    exact = round(probability * 256) / 256
    deviation = (exact * (1 - exact) / count) ** 0.5
    assert abs(float((dropped == 0).double().mean()) - exact) < 5 * deviation
    assert dropped.max() == 256 / (256 - round(probability * 256))
    assert abs(float(dropped.mean()) - 1) < 5 * deviation / (1 - exact)


def test_every_byte_of_a_draw_is_unbiased():
    # The highest byte is the one that a draw of non-negative numbers would keep below 128.
    rows = keep_mask(torch.empty(200_000, 8), 64) == 0
    deviation = (0.25 * 0.75 / 200_000) ** 0.5
    assert bool(((rows.double().mean(0) - 0.25).abs() < 5 * deviation).all())
    for dropped, half in ((128, 0.5), (255, 255 / 256)):
        fractions = (keep_mask(torch.empty(200_000, 8), dropped) == 0).double().mean(0)
        assert bool(((fractions - half).abs() < 0.006).all())


def test_neighbours_are_independent():
    kept = (keep_mask(torch.empty(100_000, 8), 128) != 0).double()
    correlation = torch.corrcoef(kept.t()) - torch.eye(8)
    assert float(correlation.abs().max()) < 5 / 100_000**0.5


def test_a_seed_determines_what_is_dropped():
    x, dropout = torch.randn(5, 13), Dropout(0.4)
    torch.manual_seed(7)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(7)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_the_gradient_goes_where_the_values_went():
    x = torch.ones(3, 50, requires_grad=True)
    dropped = Dropout(0.5)(x)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())


@pytest.mark.parametrize("probability", [0.0, 0.001, 0.3])
@pytest.mark.parametrize("compiles", ["1", "0"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_left_is_added_to_a_residual(probability, compiles, dtype, monkeypatch):
    monkeypatch.setenv("HEEDFUL_COMPILE", compiles)
    x, residual = (torch.randn(40, 1000, dtype=dtype, requires_grad=True) for _ in range(2))
    upstream, dropout = torch.randn(40, 1000, dtype=dtype), Dropout(probability)
    results = []
    for given in (None, residual):
        torch.manual_seed(5)
        made = dropout(x, given)
        made = made + residual if given is None else made
        results.append([made, *torch.autograd.grad(made, (x, residual), upstream)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_the_loop_draws_what_is_drawn_without_it(monkeypatch):
    x, results = torch.randn(33, 999), []
    for compiles in ("1", "0"):
        monkeypatch.setenv("HEEDFUL_COMPILE", compiles)
        torch.manual_seed(5)
        results.append(Dropout(0.2)(x))
    assert torch.equal(*results)


@pytest.mark.parametrize("to", [None, torch.bfloat16, torch.float32])
def test_bfloat16_is_dropped_as_float32_is_and_rounded_once(to, monkeypatch):
    """What is dropped and added in float32, in the type that PyTorch would give it."""
    x, residual = torch.randn(30, 70).bfloat16(), None if to is None else torch.randn(30, 70).to(to)
    kind, upstream = to or torch.bfloat16, torch.randn(30, 70)
    results = []
    for compiles, width in (("1", lambda y: y), ("0", torch.Tensor.float)):
        monkeypatch.setenv("HEEDFUL_COMPILE", compiles)
        torch.manual_seed(5)
        inputs = [width(y).detach().requires_grad_() for y in (x, residual) if y is not None]
        made = Dropout(0.2)(*inputs)
        gradients = torch.autograd.grad(made, inputs, upstream.to(kind).to(made.dtype))
        results.append(
            [made.to(kind), *(each.to(x.dtype if n == 0 else kind) for n, each in enumerate(gradients))]
        )
        if compiles == "1":
            assert [each.dtype for each in (made, *gradients)] == [each.dtype for each in results[0]]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6 if one.dtype == torch.float32 else 2**-8)


def test_gradients_of_gradients_are_dropped_alike():
    x = torch.randn(50, requires_grad=True)
    dropped = Dropout(0.5)(x * x)
    (first,) = torch.autograd.grad(dropped.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(second == 0, dropped == 0)
    torch.testing.assert_close(first, 2 * dropped / x)


def test_nothing_is_dropped_in_evaluation_or_with_probability_zero():
    x = torch.randn(4, 9)
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(Dropout(0.5).eval()(x, x), 2 * x)
    assert Dropout(0.0)(x) is x
    assert torch.equal(Dropout(0.001)(x), x)  # less than half a 256th


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 0, 2), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_shapes_and_types_stay(shape, dtype):
    dropped = Dropout(0.3)(torch.ones(shape, dtype=dtype))
    assert dropped.shape == shape
    assert dropped.dtype == dtype


def test_a_probability_next_to_one_keeps_some():
    dropped = Dropout(0.999)(torch.ones(100_000))
    assert set(dropped.unique().tolist()) == {0.0, 256.0}


@pytest.mark.parametrize("probability", [-0.1, 1.0, 2.0])
def test_other_probabilities_are_refused(probability):
    with pytest.raises(ValueError, match=rf"in \[0, 1\), got {probability}"):
        Dropout(probability)
