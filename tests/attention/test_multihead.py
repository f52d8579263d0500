"""MultiHeadAttention: PyTorch's own with the same weights, and a cache that changes nothing."""

import pytest
import torch

from heedful.attention import KeyValue, MultiHeadAttention, RelativeBias, masks
from heedful.attention.positions import relative_buckets

BATCH, LENGTH, MEMORY, WIDTH, HEADS = 2, 5, 7, 12, 3


def _pair(bias: bool = True) -> tuple[MultiHeadAttention, torch.nn.MultiheadAttention]:
    """Ours and PyTorch's, with the same weights."""
    ours = MultiHeadAttention(WIDTH, HEADS, bias=bias).double()
    theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.in_weight)
        theirs.out_proj.weight.copy_(ours.out.weight)
        if ours.in_bias is not None:
            theirs.in_proj_bias.copy_(ours.in_bias.normal_())
            theirs.out_proj.bias.copy_(ours.out.bias.normal_())
    return ours, theirs


@pytest.mark.parametrize("bias", [True, False])
def test_self_attention_equals_pytorchs_with_the_same_weights(bias):
    ours, theirs = _pair(bias)
    x = torch.randn(BATCH, LENGTH, WIDTH, dtype=torch.float64)
    # Theirs says who may NOT attend.
    later = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    expected = theirs(x, x, x, attn_mask=later, need_weights=False)[0]
    torch.testing.assert_close(ours(x, mask=masks.causal())[0], expected, rtol=0, atol=1e-12)


def test_cross_attention_equals_pytorchs_with_the_same_weights():
    ours, theirs = _pair()
    x = torch.randn(BATCH, LENGTH, WIDTH, dtype=torch.float64)
    memory = torch.randn(BATCH, MEMORY, WIDTH, dtype=torch.float64)
    lengths = torch.tensor([4, 7])
    may = masks.padding(lengths)
    is_padding = torch.arange(MEMORY) >= lengths.unsqueeze(1)
    expected, weights = theirs(x, memory, memory, key_padding_mask=is_padding)
    got, seen = ours(x, memory, mask=may)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours(x, ours.project(memory), mask=may)[0], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours(x, seen, mask=may)[0], expected, rtol=0, atol=1e-12)
    assert weights.shape == (BATCH, LENGTH, MEMORY)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("kv_heads", [None, 2, 1])
@pytest.mark.parametrize("pieces", [[1] * 6, [3, 1, 2]])
def test_a_cache_changes_nothing(rotary, kv_heads, pieces):
    attention = MultiHeadAttention(16, 4, kv_heads=kv_heads, rotary=rotary).double()
    x, positions = torch.randn(2, 6, 16, dtype=torch.float64), torch.arange(6)
    whole, _ = attention(x, mask=masks.causal(), positions=positions)
    past, got = None, []
    for piece, where in zip(x.split(pieces, 1), positions.split(pieces), strict=True):
        attended, past = attention(piece, mask=masks.causal(), past=past, positions=where)
        got.append(attended)
    torch.testing.assert_close(torch.cat(got, 1), whole, rtol=0, atol=1e-12)


def test_shared_keys_equal_heads_with_the_same_weights():
    shared = MultiHeadAttention(12, 4, kv_heads=2).double()
    full = MultiHeadAttention(12, 4).double()
    with torch.no_grad():
        query, key, value = shared.in_weight.split(shared.split)
        repeated = [part.unflatten(0, (2, 3))[[0, 0, 1, 1]].flatten(0, 1) for part in (key, value)]
        full.in_weight.copy_(torch.cat((query, *repeated)))
        full.out.weight.copy_(shared.out.weight)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(shared(x)[0], full(x)[0], rtol=0, atol=1e-12)


def test_rotary_attention_does_not_know_where_it_begins():
    attention = MultiHeadAttention(16, 2, rotary=True).double()
    x = torch.randn(1, 6, 16, dtype=torch.float64)
    here, _ = attention(x, positions=torch.arange(6))
    there, _ = attention(x, positions=torch.arange(100, 106))
    backwards, _ = attention(x, positions=torch.arange(6).flip(0))
    torch.testing.assert_close(here, there, rtol=0, atol=1e-12)
    assert not torch.allclose(here, backwards)


def test_keys_and_values_are_selected_by_row():
    kept = KeyValue(torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5))
    chosen = kept.select(torch.tensor([2, 0, 0, 1]))
    assert torch.equal(chosen.key, kept.key[[2, 0, 0, 1]])
    assert torch.equal(chosen.value, kept.value[[2, 0, 0, 1]])


def test_neighbours_may_share_a_memory():
    attention = MultiHeadAttention(12, 4, kv_heads=2).double()
    x, memory = torch.randn(6, 1, 12, dtype=torch.float64), torch.randn(2, 5, 12, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])[:, None, None]
    expected, _ = attention(x, memory.repeat_interleave(3, 0), mask=mask.repeat_interleave(3, 0))
    for shared in (memory, attention.project(memory)):
        attended, seen = attention(x, shared, mask=mask)
        torch.testing.assert_close(attended, expected, rtol=0, atol=1e-13)
        assert len(seen.key) == 2
    with pytest.raises(ValueError, match="memory of 2 rows cannot be shared by 5 rows"):
        attention(x[:5], memory)


def test_a_relative_bias_is_that_of_its_bucket():
    relative = RelativeBias(heads=3, both_sides=True)
    torch.nn.init.normal_(relative.weight)
    positions = torch.arange(40)
    bias, buckets = relative(positions, positions), relative_buckets(positions, positions)
    assert bias.shape == (1, 3, 40, 40)
    assert all(torch.equal(bias[0, head], relative.weight[:, head][buckets]) for head in range(3))
    rows = relative(torch.tensor([[3], [9]]), torch.stack((positions, positions)))
    assert torch.equal(rows[:, :, 0], bias[0, :, [3, 9]].transpose(0, 1))


def test_initial_weights_are_glorots_for_each_projection_by_itself():
    attention = MultiHeadAttention(256, 4, d_head=32)
    for part in attention.in_weight.split(attention.split):
        bound = (6 / (256 + 128)) ** 0.5
        assert float(part.detach().abs().max()) == pytest.approx(bound, rel=0.01)
    assert attention.in_bias is None
    assert attention.out.bias is None


def test_dropout_is_for_training_only():
    attention = MultiHeadAttention(8, 2, dropout=0.5)
    x = torch.randn(2, 6, 8)
    assert not torch.equal(attention(x)[0], attention(x)[0])
    attention.eval()
    assert torch.equal(attention(x)[0], attention(x)[0])


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"d_model \(10\) must be a multiple of heads \(3\)"):
        MultiHeadAttention(10, 3)
    with pytest.raises(ValueError, match=r"heads \(6\) must be a multiple of kv_heads \(4\)"):
        MultiHeadAttention(12, 6, kv_heads=4)
    attention, x = MultiHeadAttention(8, 2, rotary=True), torch.zeros(1, 3, 8)
    with pytest.raises(ValueError, match="needs the positions of x"):
        attention(x)
    _, past = attention(x, positions=torch.arange(3))
    with pytest.raises(ValueError, match="the past is of self-attention"):
        attention(x, x, past=past)
