"""Masks of other conventions: read as PyTorch's own functions read the same tensor."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from heedful.attention import attend, masks
from heedful.attention.masks import Mask


def _attention(mask: Mask, x: Tensor, heads: int) -> Tensor:
    """Multi-head attention without projections."""
    split = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    return attend(split, split, split, mask=mask).transpose(1, 2).flatten(2)


def _pytorchs(x: Tensor, heads: int, **mask: Tensor) -> Tensor:
    """nn.MultiheadAttention without projections."""
    width = x.shape[-1]
    theirs = torch.nn.MultiheadAttention(width, heads, bias=False, batch_first=True, dtype=x.dtype)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
        theirs.out_proj.weight.copy_(torch.eye(width))
        return theirs(x, x, x, need_weights=False, **mask)[0]


def _ignored(*shape: int) -> Tensor:
    """True = ignore, and nobody ignores everything: there PyTorch gives NaN."""
    ignored = torch.rand(*shape) < 0.5
    ignored[..., 2] = False
    return ignored


@pytest.mark.parametrize("shape", [(5, 5), (2 * 3, 5, 5)])
def test_ignore_masks_mean_what_pytorchs_module_makes_of_them(shape):
    x, ignored = torch.randn(2, 5, 12, dtype=torch.float64), _ignored(*shape)
    expected = _pytorchs(x, 3, attn_mask=ignored)
    got = _attention(masks.from_ignore_mask(ignored, heads=3), x, 3)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    added = torch.zeros(shape, dtype=torch.float64).masked_fill(ignored, -torch.inf)
    torch.testing.assert_close(_pytorchs(x, 3, attn_mask=added), expected, rtol=0, atol=1e-12)
    got = _attention(masks.from_additive(added, heads=3), x, 3)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_a_key_padding_mask_means_what_pytorchs_module_makes_of_it():
    x, ignored = torch.randn(2, 5, 12, dtype=torch.float64), _ignored(2, 5)
    expected = _pytorchs(x, 3, key_padding_mask=ignored, attn_mask=torch.ones(5, 5).triu(1).bool())
    got = _attention(masks.from_key_padding_mask(ignored) & masks.causal(), x, 3)
    # Where causality leaves no key that is not padding, theirs is NaN and ours zero.
    alive = (~ignored).cumsum(1) > 0
    torch.testing.assert_close(got[alive], expected[alive], rtol=0, atol=1e-12)
    assert not got[~alive].any()


@pytest.mark.parametrize("lowest", [-torch.inf, -1e9, -1e4, torch.finfo(torch.float32).min])
def test_additive_masks_mean_what_pytorchs_function_makes_of_them(lowest):
    query, key, value = (torch.randn(2, 3, 5, 4) for _ in range(3))
    allowed = ~_ignored(2, 1, 5, 5)
    added = torch.zeros(2, 1, 5, 5).masked_fill(~allowed, lowest)
    expected = scaled_dot_product_attention(query, key, value, attn_mask=added)
    for mask in (masks.from_additive(added), allowed):  # its bool masks are ours
        torch.testing.assert_close(attend(query, key, value, mask=mask), expected, rtol=0, atol=1e-6)


def test_who_may_see_nothing_gets_zeros_and_not_the_mean_of_everything():
    x = torch.randn(1, 2, 5, 4)
    nothing = torch.full((5, 5), torch.finfo(torch.float32).min)
    theirs = scaled_dot_product_attention(x, x, x, attn_mask=nothing)
    torch.testing.assert_close(theirs, x.mean(2, keepdim=True).expand_as(x), rtol=0, atol=1e-6)
    assert not attend(x, x, x, mask=masks.from_additive(nothing)).any()


BIAS = torch.tensor([[0.0, -1.5], [-torch.inf, 0.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masks.from_ignore_mask(BIAS), "takes a bool mask, True = ignore, got torch.float32"),
        (lambda: masks.from_ignore_mask(torch.ones(4, 2, 2).bool()), r"\(4, 2, 2\) and heads = None; give"),
        (lambda: masks.from_ignore_mask(torch.ones(4, 2, 2).bool(), 3), r"\(4, 2, 2\) and heads = 3; give"),
        (lambda: masks.from_key_padding_mask(torch.ones(3).bool()), r"takes \(batch, keys\), got \(3,\)"),
        (lambda: masks.from_key_padding_mask(BIAS), "takes a bool mask, True = ignore, got torch.float32"),
        (
            lambda: masks.from_additive(BIAS),
            "got -1.5; add numbers in between to the scores with scores.Bias",
        ),
        (lambda: masks.from_additive(BIAS.isnan()), "takes a float mask, .* got torch.bool"),
        (lambda: masks.from_additive(torch.tensor([torch.nan])), "where it may not, got nan"),
    ],
)
def test_what_is_no_such_mask_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
