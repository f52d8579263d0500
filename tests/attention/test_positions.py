"""Positions: the papers' formulas, and the laws they were made for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedful.attention import Rotary, ScaledDot, attend, masks
from heedful.attention.positions import alibi_slopes, relative_buckets, rotate, sinusoidal


@pytest.mark.parametrize("width", [2, 8, 512])
def test_sinusoids_are_the_formula_of_the_paper(width):
    encoding = sinusoidal(torch.tensor([0, 1, 2, 57, 999]), width)
    assert encoding.dtype == torch.float32
    for row, position in zip(encoding.tolist(), (0, 1, 2, 57, 999), strict=True):
        for i in range(width // 2):
            angle = position / 10_000 ** (2 * i / width)
            assert row[2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert row[2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


@given(position=st.integers(0, 2000), shift=st.integers(0, 500))
def test_the_encoding_of_a_shifted_position_is_a_rotation_that_depends_on_the_shift_only(position, shift):
    width = 16
    before, after = sinusoidal(torch.tensor([position, position + shift]), width).double()
    turn = torch.zeros(width, width, dtype=torch.float64)
    for i in range(width // 2):
        angle = shift / 10_000 ** (2 * i / width)
        turn[2 * i, 2 * i], turn[2 * i, 2 * i + 1] = math.cos(angle), math.sin(angle)
        turn[2 * i + 1, 2 * i], turn[2 * i + 1, 2 * i + 1] = -math.sin(angle), math.cos(angle)
    torch.testing.assert_close(turn @ before, after, rtol=0, atol=1e-6)


def test_the_concatenated_layout_is_that_of_fairseq():
    # fairseq/modules/sinusoidal_positional_embedding.py, get_embedding, in numpy.
    width, positions = 10, np.arange(40)
    frequencies = np.exp(np.arange(width // 2) * -(math.log(10_000) / (width // 2 - 1)))
    angles = positions[:, None] * frequencies[None, :]
    expected = torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1)).float()
    got = sinusoidal(torch.from_numpy(positions), width, "concatenated")
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(got, sinusoidal(torch.from_numpy(positions), width), atol=0.1)


def test_sinusoids_keep_the_dimensions_of_the_positions():
    positions = torch.tensor([[0, 1], [4, 2]])
    assert torch.equal(sinusoidal(positions, 6)[1, 0], sinusoidal(torch.tensor(4), 6))


@given(first=st.integers(0, 1000), second=st.integers(0, 1000), shift=st.integers(0, 1000))
def test_rotary_products_depend_on_the_distance_only(first, second, shift):
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def product(m: int, n: int) -> float:
        return float((rotate(query, torch.tensor([m])) * rotate(key, torch.tensor([n]))).sum())

    assert product(first, second) == pytest.approx(product(first + shift, second + shift), abs=1e-10)


def matrix_of_rotation(position: float, width: int) -> torch.Tensor:
    """Su et al. 2021, equation 15."""
    angles = position / 10_000 ** (2 * torch.arange(width // 2).double() / width)
    blocks = [
        torch.stack((torch.stack((a.cos(), -a.sin())), torch.stack((a.sin(), a.cos())))) for a in angles
    ]
    return torch.block_diag(*blocks)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[..., :6].contiguous(),
        lambda x: x[..., 1:7],  # begins within a pair of memory
        lambda x: x[..., :6],  # of an odd width
        lambda x: x.transpose(1, 2).contiguous().transpose(1, 2)[..., 2:8],  # as heads lie
        lambda x: x.mT.contiguous().mT[..., :6],  # coordinates far apart
        lambda x: torch.cat((x, x), 2).mT.contiguous().mT[:, :, ::2, :6],  # and by even steps
    ],
)
def test_rotation_turns_each_pair_by_its_own_angle(view):
    whole = torch.randn(1, 2, 4, 9, dtype=torch.float64, requires_grad=True)
    vectors, positions = view(whole), torch.tensor([0, 5, 70, 71])
    turned = rotate(vectors, positions)
    matrices = torch.stack([matrix_of_rotation(float(position), 6) for position in positions])
    expected = (matrices @ vectors.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(turned, expected)
    torch.testing.assert_close(turned.norm(dim=-1), vectors.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], vectors[:, :, 0])  # position 0 turns nothing
    upstream = torch.randn_like(turned)
    gradients = [torch.autograd.grad(y, whole, upstream, retain_graph=True)[0] for y in (turned, expected)]
    torch.testing.assert_close(*gradients)


def test_rotation_takes_positions_of_each_row():
    vectors = torch.randn(2, 3, 4, 6)
    positions = torch.tensor([[0, 1, 2, 3], [9, 10, 11, 12]])
    turned = rotate(vectors, positions)
    for row in range(2):
        torch.testing.assert_close(turned[row], rotate(vectors[row : row + 1], positions[row])[0])


def test_rotation_in_bfloat16_still_knows_far_positions():
    vectors = torch.randn(1, 1, 2, 8).bfloat16()
    positions = torch.tensor([256, 257])  # one number in bfloat16
    exact = rotate(vectors.double(), positions)
    turned = rotate(vectors, positions)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.double(), exact, rtol=0.01, atol=0.02)


def test_pairs_of_two_halves_are_pairs_of_neighbours_in_another_order():
    # GPT-NeoX and Llama in transformers: rotate_half.
    vectors, positions = torch.randn(2, 3, 5, 8, dtype=torch.float64), torch.arange(5) * 7
    neighbours = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    halves = rotate(vectors, positions, layout="concatenated")
    torch.testing.assert_close(halves[..., neighbours], rotate(vectors[..., neighbours], positions))
    angles = positions.double()[:, None] / 10_000 ** (torch.arange(4).double() / 4)
    cosine, sine = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    rotated_half = torch.cat((-vectors[..., 4:], vectors[..., :4]), -1)
    torch.testing.assert_close(halves, vectors * cosine + rotated_half * sine)


def test_partial_rotation_leaves_the_other_coordinates():
    vectors, positions = torch.randn(1, 2, 3, 10, dtype=torch.float64), torch.tensor([1, 2, 3])
    turned = rotate(vectors, positions, width=4)
    assert torch.equal(turned[..., 4:], vectors[..., 4:])
    torch.testing.assert_close(turned[..., :4], rotate(vectors[..., :4], positions))


def test_stretch_divides_positions_and_base_slows_the_turning():
    vectors, positions = torch.randn(1, 1, 3, 4, dtype=torch.float64), torch.tensor([2, 4, 60])
    torch.testing.assert_close(rotate(vectors, positions, stretch=2.0), rotate(vectors, positions // 2))
    turned = rotate(vectors, positions, base=100.0)
    pairs = torch.view_as_complex(vectors.unflatten(-1, (2, 2)))
    angles = positions.double()[:, None] / 100 ** (torch.arange(2).double() / 2)
    expected = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    torch.testing.assert_close(turned, expected)


@pytest.mark.parametrize(
    "choices", [{}, {"width": 4}, {"layout": "concatenated"}, {"stretch": 3.0, "base": 500.0}]
)
@pytest.mark.parametrize("batched", [False, True])
def test_a_rotary_score_turns_queries_and_keys_by_the_positions_that_attend_is_given(choices, batched):
    query, key, value = (torch.randn(2, heads, 4, 8, dtype=torch.float64) for heads in (4, 2, 2))
    at_query, at_key = torch.tensor([5, 6, 7, 8]), torch.tensor([2, 9, 0, 4])
    if batched:
        at_query, at_key = torch.stack((at_query, at_key)), torch.stack((at_key, at_key + 3))
    places = {"query_positions": at_query, "key_positions": at_key}
    attended = attend(query, key, value, score=Rotary(**choices), mask=masks.causal(), **places)
    turned = rotate(query, at_query, **choices), rotate(key, at_key, **choices)
    torch.testing.assert_close(
        attended, attend(*turned, value, score=ScaledDot(), mask=masks.causal(), **places)
    )


@given(shift=st.integers(-500, 500))
def test_rotary_attention_does_not_change_when_all_positions_are_shifted(shift):
    query, key, value = torch.randn(3, 1, 2, 5, 6, dtype=torch.float64)
    shifted = torch.arange(5) + shift
    moved = attend(query, key, value, score=Rotary(), query_positions=shifted, key_positions=shifted)
    torch.testing.assert_close(moved, attend(query, key, value, score=Rotary()))


def test_a_cached_step_of_rotary_attention_is_the_last_of_a_full_pass():
    query, key, value = torch.randn(3, 1, 2, 5, 6, dtype=torch.float64)
    whole = attend(query, key, value, score=Rotary(), mask=masks.causal())
    last = attend(query[:, :, -1:], key, value, score=Rotary(), mask=masks.causal())
    torch.testing.assert_close(last, whole[:, :, -1:])


def test_slopes_of_alibi_are_those_of_the_paper():
    assert alibi_slopes(8).tolist() == [2.0**-n for n in range(1, 9)]  # section 3
    assert alibi_slopes(16).tolist() == pytest.approx([2 ** (-n / 2) for n in range(1, 17)], rel=1e-6)
    # Other numbers: the authors' code takes every second slope of twice as many heads.
    more = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(12).tolist() == pytest.approx([*alibi_slopes(8).tolist(), *more], rel=1e-6)


@given(st.integers(1, 130))
def test_every_head_of_alibi_has_a_slope_of_its_own(heads):
    slopes = alibi_slopes(heads).tolist()
    assert len(slopes) == len(set(slopes)) == heads
    assert all(0 < slope < 1 for slope in slopes)


@pytest.mark.parametrize(
    ("both_sides", "starts"),
    # Where each bucket of distances begins, worked out by hand for 32 buckets and 128: 8 * 2^(k/2) and 16 * 8^(k/16).
    [
        (True, [*range(8), 8, 12, 16, 23, 32, 46, 64, 91]),
        (False, [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]),
    ],
)
def test_buckets_of_distances_are_those_of_t5(both_sides, starts):
    distances = torch.arange(300)
    expected = [sum(start <= distance for start in starts) - 1 for distance in range(300)]
    # A key that stands `distance` before its query.
    before = relative_buckets(torch.tensor([299]), 299 - distances, both_sides=both_sides)
    assert before[0].tolist() == expected
    after = relative_buckets(torch.tensor([0]), distances, both_sides=both_sides)
    assert after[0].tolist() == ([0, *(16 + bucket for bucket in expected[1:])] if both_sides else [0] * 300)


def test_odd_widths_are_refused():
    with pytest.raises(ValueError, match="even width, got 5"):
        sinusoidal(torch.arange(3), 5)
    with pytest.raises(ValueError, match=r"even width, got \(1, 1, 2, 3\)"):
        rotate(torch.zeros(1, 1, 2, 3), torch.arange(2))
    with pytest.raises(ValueError, match="an even number of at most 4 coordinates, got 6"):
        rotate(torch.zeros(1, 1, 2, 4), torch.arange(2), width=6)
    with pytest.raises(ValueError, match="at least one head, got 0"):
        alibi_slopes(0)
