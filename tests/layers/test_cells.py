"""Recurrent cells in compiled loops: PyTorch's operations and their gradients, forth and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.attention.kernels import compiled
from heedful.layers import cells
from heedful.layers.cells import gru_step, loops, lstm_step, plain_gru, plain_lstm
from heedful.layers.recurrent import RecurrentCell

pytestmark = pytest.mark.skipif(
    compiled.refusal(cells.SOURCE) is not None, reason=str(compiled.refusal(cells.SOURCE))
)

FLOAT, NARROW = torch.float32, torch.bfloat16


def step_of(kind, library):
    """A step of a cell, as a function of tensors that gives a list of them."""
    if kind == "gru":
        return lambda *inputs: [plain_gru(*inputs) if library is None else gru_step(library, *inputs)]
    return lambda *inputs: list(plain_lstm(*inputs) if library is None else lstm_step(library, *inputs))


def inputs_of(kind, rows, width, size, products, states):
    blocks = 3 if kind == "gru" else 4
    x, u = (
        (size * torch.randn(rows, blocks * width)).to(products),
        torch.randn(rows, blocks * width).to(products),
    )
    bias = [torch.randn(width)] if kind == "gru" else []
    return [x, u, *bias, torch.randn(rows, width).to(states)]


def with_gradients(step, inputs, upstream):
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    made = step(*inputs)
    return [*made, *torch.autograd.grad(made, inputs, upstream)]


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["gru", "lstm"]),
    rows=st.integers(1, 40),
    vectors=st.integers(1, 9),
    size=st.floats(0.01, 40),
    products=st.sampled_from([FLOAT, NARROW]),
    states=st.sampled_from([FLOAT, NARROW]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_a_step_is_pytorch_s_in_float64_rounded_once(
    kind, rows, vectors, size, products, states, threads, seed
):
    torch.manual_seed(seed)
    inputs = inputs_of(kind, rows, 16 * vectors, size, products, states)
    library = loops(inputs[0], inputs[1], inputs[-1])
    assert library is not None
    upstream = [torch.randn_like(inputs[-1]) for _ in range(1 if kind == "gru" else 2)]
    before, cells._THREAD = cells._THREAD, 1
    there = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = with_gradients(step_of(kind, library), inputs, upstream)
    finally:
        cells._THREAD = before
        torch.set_num_threads(there)
    expected = with_gradients(
        step_of(kind, None), [tensor.double() for tensor in inputs], [tensor.double() for tensor in upstream]
    )
    for one, other in zip(found, expected, strict=True):
        # Half a unit in the last place, which is rounded once; a sum over rows has as many terms.
        rounding = 2**-8 if one.dtype == NARROW else 1e-5
        torch.testing.assert_close(one.double(), other, atol=3e-6, rtol=rounding)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_gradients_of_gradients_are_pytorch_s(kind):
    torch.manual_seed(0)
    inputs = inputs_of(kind, 3, 16, 1.0, FLOAT, FLOAT)
    second = []
    for library in (loops(inputs[0], inputs[1], inputs[-1]), None):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        made = sum(tensor.sum() for tensor in step_of(kind, library)(*leaves))
        first = torch.autograd.grad(made, leaves, create_graph=True)
        second.append(torch.autograd.grad(sum(tensor.square().sum() for tensor in first), leaves))
    for one, other in zip(*second, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gru-reset-after", "lstm"])
@pytest.mark.parametrize("narrow", [False, True])
def test_a_sequence_is_read_as_without_loops(kind, narrow, monkeypatch):
    torch.manual_seed(0)
    cell, x = RecurrentCell(kind, 24, 32), torch.randn(9, 5, 24)

    def read():
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            states = cell(leaf)
        upstream = [torch.ones_like(state) for state in states]
        gradients = torch.autograd.grad(states, [leaf, *cell.parameters()], upstream)
        return [*(state.detach() for state in states), *gradients]

    found = read()
    monkeypatch.setenv("HEEDFUL_COMPILE", "0")
    for one, other in zip(found, read(), strict=True):
        assert one.dtype == other.dtype
        # In bfloat16 the two round in different places, each to three digits.
        error = float((one.double() - other.double()).norm() / other.double().norm())
        assert error <= (0.02 if narrow else 1e-6)


@pytest.mark.parametrize(
    "tensors",
    [
        (torch.randn(3, 48).double(), torch.randn(3, 48).double(), torch.randn(3, 16).double()),
        (torch.randn(3, 30), torch.randn(3, 30), torch.randn(3, 10)),  # no whole vectors
        (torch.randn(3, 48), torch.randn(3, 48).bfloat16(), torch.randn(3, 16)),
        (torch.randn(0, 48), torch.randn(0, 48), torch.randn(0, 16)),
        (torch.randn(1, 48), torch.randn(3, 48), torch.randn(3, 16)),  # one input for all rows
    ],
)
def test_the_rest_is_left_to_pytorch(tensors):
    assert loops(*tensors) is None
