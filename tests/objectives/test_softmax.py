"""Logits become probabilities where they stand, with the logarithm of what they were divided by."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.attention.kernels import compiled
from heedful.objectives import softmax
from heedful.objectives.softmax import soften

pytestmark = pytest.mark.skipif(
    compiled.refusal(softmax.SOURCE) is not None, reason=str(compiled.refusal(softmax.SOURCE))
)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 1200),
    st.floats(0, 100),
    st.booleans(),
    st.floats(0, 1),
    st.integers(0, 9),
)
def test_it_is_softmax_less_a_share_of_the_reference(rows, classes, size, narrow, share, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = size * torch.randn(rows, classes, generator=generator)
    logits = logits.bfloat16() if narrow else logits
    reference = torch.randint(classes, (rows, 1), generator=generator)
    exact = logits.double()
    normaliser = soften(logits, reference, share)
    assert normaliser is not None
    less = exact.softmax(-1).scatter_add(1, reference, torch.full((rows, 1), -share, dtype=torch.float64))
    # Rounded once: half a unit in the last place.
    rounding = {"atol": 1e-7, "rtol": 2**-8 if narrow else 3e-6}
    torch.testing.assert_close(logits.double(), less, **rounding)
    torch.testing.assert_close(normaliser.double(), exact.logsumexp(-1, keepdim=True), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_are_not_finite_say_so_and_no_others(dtype):
    logits = torch.randn(4, 50).to(dtype)
    logits[1, 7], logits[2, 49], logits[3, 3] = math.nan, math.inf, -math.inf
    normaliser = soften(logits, torch.zeros(4, 1, dtype=torch.int64), 0.0)
    assert normaliser is not None
    assert normaliser[[0, 3]].isfinite().all()
    rounding = 1e-5 if dtype == torch.float32 else 1e-2
    assert logits[[0, 3]].float().sum(-1).allclose(torch.ones(2), atol=rounding)
    assert not normaliser[[1, 2]].isfinite().any()
    assert logits[1].isnan().any()
    assert logits[2].isnan().any()


@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(2, 3, dtype=torch.float64),
        torch.zeros(2, 3, dtype=torch.float16),
        torch.zeros(3, 2).mT,
        torch.zeros(0, 3),
    ],
)
def test_what_it_has_no_loops_for_stays_as_it_is(logits):
    before = logits.clone()
    assert soften(logits, torch.zeros(len(logits), 1, dtype=torch.int64), 0.5) is None
    assert torch.equal(logits, before)
