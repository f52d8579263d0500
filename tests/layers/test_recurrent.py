"""Recurrent cells: PyTorch's with the same weights, and the printed GRU; the gradient of a repeated product."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear

from heedful.layers.recurrent import RecurrentCell, last, pick, reversal
from heedful.layers.repeated import RepeatedLinear

PYTORCHS = {"gru-reset-after": nn.GRU, "lstm": nn.LSTM}


def _cell(kind):
    torch.manual_seed(0)
    cell = RecurrentCell(kind, 5, 4).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter)
    return cell


@pytest.mark.parametrize("kind", PYTORCHS)
def test_it_is_pytorch_s_with_the_same_weights_and_its_gradients(kind):
    cell = _cell(kind)
    theirs = PYTORCHS[kind](5, 4).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(cell.input.weight)
        theirs.weight_hh_l0.copy_(cell.recurrent)
        theirs.bias_ih_l0.copy_(cell.input.bias)
        theirs.bias_hh_l0.zero_()
        if cell.candidate_bias is not None:
            theirs.bias_hh_l0[8:] = cell.candidate_bias
    x = torch.randn(7, 3, 5, dtype=torch.double, requires_grad=True)
    found, expected = cell(x)[0], theirs(x)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(found)
    ours = torch.autograd.grad(found, [x, cell.input.weight, cell.recurrent, cell.input.bias], upstream)
    their = [x, theirs.weight_ih_l0, theirs.weight_hh_l0, theirs.bias_ih_l0]
    for mine, other in zip(ours, torch.autograd.grad(expected, their, upstream), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_the_gru_is_as_it_was_printed():
    cell = _cell("gru")
    x = torch.randn(6, 3, 5, dtype=torch.double)
    h = torch.zeros(3, 4, dtype=torch.double)
    u_z, u_r, u = cell.recurrent.chunk(3)
    for now, (found,) in zip(x, zip(*cell(x), strict=True), strict=True):
        into_z, into_r, into = cell.input(now).chunk(3, 1)
        z, r = torch.sigmoid(into_z + h @ u_z.t()), torch.sigmoid(into_r + h @ u_r.t())
        h = (1 - z) * h + z * torch.tanh(into + (r * h) @ u.t())
        torch.testing.assert_close(found, h, rtol=0, atol=1e-12)


def test_a_repeated_product_has_the_gradients_of_a_plain_one():
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 4).double().requires_grad_(), torch.randn(3).double().requires_grad_()
    start = torch.randn(2, 4).double().requires_grad_()

    def run(product):
        x = start
        for _ in range(5):
            x = torch.cat((torch.tanh(product(x)), x[:, :1]), 1)
        return x.square().sum()

    repeated = RepeatedLinear(weight, bias)
    ours = run(repeated)
    expected = torch.autograd.grad(run(lambda x: linear(x, weight, bias)), (weight, bias, start))
    # Through one graph twice: each time counts once.
    for keep in (True, False):
        for mine, other in zip(
            torch.autograd.grad(ours, (weight, bias, start), retain_graph=keep), expected, strict=True
        ):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_a_repeated_product_without_gradients_is_a_plain_one():
    weight = torch.randn(3, 4)
    product = RepeatedLinear(weight)
    x = torch.randn(2, 4, requires_grad=True)
    torch.testing.assert_close(product(x), x @ weight.t())
    product(x).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(2, -1))
    with torch.autocast("cpu", torch.bfloat16):
        weight.requires_grad_()
        product = RepeatedLinear(weight)
        assert product(x).dtype == torch.bfloat16
    product(x).float().sum().backward()
    assert weight.grad.dtype == torch.float32


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_a_row_is_turned_round_within_its_length(lengths):
    lengths = torch.tensor(lengths)
    longest = 6
    x = torch.arange(longest * len(lengths), dtype=torch.float).view(longest, len(lengths), 1)
    turned = pick(x, reversal(lengths, longest))
    for row, length in enumerate(lengths.tolist()):
        assert turned[:length, row].tolist() == x[:length, row].flip(0).tolist()
        assert turned[length:, row].tolist() == x[length:, row].tolist()
        assert last(x, lengths)[row].tolist() == x[max(length - 1, 0), row].tolist()
    assert torch.equal(pick(turned, reversal(lengths, longest)), x)
