"""Products with a packed matrix: equal to their definition in float64, as far as each precision goes."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heedful.attention.kernels import compiled

SOURCE = Path(__file__).with_name("matrix_check.cpp")
FLOAT32, INT8 = 0, 1
# Of the standard deviation of a product of normal numbers, for up to 2,048 inputs.
INT8_ERROR = 0.02

Array = NDArray[np.float32]
Product = Callable[..., Array]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    refusal = compiled.refusal(SOURCE)
    if refusal is not None:
        pytest.skip(f"matrix.hpp is C++, and {refusal}")
    with pytest.MonkeyPatch.context() as patch:  # a library kept before may be of another matrix.hpp
        patch.setenv("HEEDFUL_CACHE", str(tmp_path_factory.mktemp("cache")))
        built = compiled.load(SOURCE)
    assert built is not None, compiled.refusal(SOURCE)
    for function in (built.panel, built.packed):
        function.restype = ctypes.c_int64
    return built


@pytest.fixture(scope="module")
def product(library: ctypes.CDLL) -> Product:
    """Give y (rows, count) for rows x and a matrix w (outs, ins), with room around x and y that must not matter."""

    def run(
        x: Array,
        w: Array,
        precision: int,
        first: int = 0,
        count: int | None = None,
        bias: Array | None = None,
        relu: bool = False,
        before: Array | None = None,
        room: int = 3,
    ) -> Array:
        (rows, ins), outs = x.shape, len(w)
        count = outs - first if count is None else count
        wide = np.full((rows, ins + room), np.nan, np.float32)
        wide[:, :ins] = x
        y = np.full((rows + 1, count + room), 77, np.float32)
        if before is not None:
            y[:rows, :count] = before
        # A copy of its own length, so that a reader beyond its end can be found out.
        bias = None if bias is None else np.array(bias, np.float32)
        pointer = ctypes.POINTER(ctypes.c_float)
        library.product(
            wide.ctypes.data_as(pointer),
            *map(ctypes.c_int64, (rows, ins + room)),
            np.ascontiguousarray(w).ctypes.data_as(pointer),
            *map(ctypes.c_int64, (outs, ins, precision, first, count)),
            None if bias is None else bias.ctypes.data_as(pointer),
            ctypes.c_bool(relu),
            ctypes.c_bool(before is not None),
            y.ctypes.data_as(pointer),
            ctypes.c_int64(count + room),
        )
        assert (y[:rows, count:] == 77).all(), "columns beside y were written"
        assert (y[rows] == 77).all(), "the row below y was written"
        return y[:rows, :count]

    return run


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def exact(x: Array, w: Array) -> NDArray[np.float64]:
    return x.astype(np.float64) @ w.astype(np.float64).T


def rounding(x: Array, w: Array) -> NDArray[np.float64]:
    """Bound what summing in float32 may change, in any order (Higham 2002, equation 3.5)."""
    return (x.shape[1] + 4) * 2.0**-24 * exact(abs(x), abs(w)) + 1e-30


@settings(deadline=None, max_examples=150)
@given(rows=st.integers(1, 40), outs=st.integers(1, 140), ins=st.integers(1, 70))
def test_float32_is_equal_to_rounding(product: Product, rows: int, outs: int, ins: int) -> None:
    x, w = normal(rows, ins), normal(outs, ins, seed=1)
    assert (abs(product(x, w, FLOAT32) - exact(x, w)) <= rounding(x, w)).all()


@settings(deadline=None, max_examples=150)
@given(rows=st.integers(1, 40), outs=st.integers(1, 140), ins=st.integers(1, 70))
def test_int8_is_exact_for_numbers_on_its_grid(product: Product, rows: int, outs: int, ins: int) -> None:
    # Weights of -1, 0, 1 and inputs that are whole multiples of the step of any row's grid leave nothing to round.
    rng = np.random.default_rng([rows, outs, ins])
    x = rng.integers(0, 2, (rows, ins)).astype(np.float32) * rng.integers(1, 9, (rows, 1)).astype(np.float32)
    w = rng.integers(-1, 2, (outs, ins)).astype(np.float32)
    np.testing.assert_allclose(product(x, w, INT8), exact(x, w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", [FLOAT32, INT8])
@pytest.mark.parametrize(
    ("rows", "outs", "ins"), [(1, 384, 128), (5, 50, 512), (64, 100, 128), (300, 40, 1024)]
)
def test_error_of_normal_numbers(product: Product, precision: int, rows: int, outs: int, ins: int) -> None:
    x, w = normal(rows, ins), normal(outs, ins, seed=1)
    error = np.std(product(x, w, precision) - exact(x, w)) / np.std(exact(x, w))
    assert error < (1e-6 if precision == FLOAT32 else INT8_ERROR)


@pytest.mark.parametrize("precision", [FLOAT32, INT8])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 29])
def test_a_range_of_outputs_is_a_part_of_all(
    library: ctypes.CDLL, product: Product, precision: int, rows: int
) -> None:
    panel, outs = library.panel(), 7 * library.panel() + 5
    x, w, bias = normal(rows, 33), normal(outs, 33, seed=1), normal(outs)
    whole = product(x, w, precision, bias=bias)
    for first, last in [(0, panel), (panel, 6 * panel), (2 * panel, outs), (7 * panel, outs)]:
        part = product(x, w, precision, first=first, count=last - first, bias=bias)
        np.testing.assert_array_equal(part, whole[:, first:last])


@pytest.mark.parametrize("precision", [FLOAT32, INT8])
@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 30),
    outs=st.integers(1, 70),
    bias=st.booleans(),
    relu=st.booleans(),
    add=st.booleans(),
)
def test_epilogue(
    product: Product, precision: int, rows: int, outs: int, bias: bool, relu: bool, add: bool
) -> None:
    x, w, shift, before = normal(rows, 20), normal(outs, 20, seed=1), normal(outs), normal(rows, outs)
    y = product(x, w, precision)
    if bias:
        y = y + shift
    if relu:
        y = np.maximum(y, 0)
    if add:
        y = before + y
    given = product(x, w, precision, bias=shift if bias else None, relu=relu, before=before if add else None)
    np.testing.assert_allclose(given, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ins", [8, 127, 2048])
@pytest.mark.parametrize("rows", [1, 4, 9])
def test_int8_does_not_overflow(product: Product, rows: int, ins: int) -> None:
    # Everything as large as it can be, of one sign or of both: a sum of 16 bits that overflows is off by 100%.
    signs = np.sign(normal(40, ins))
    for w in (np.ones((40, ins), np.float32), -np.ones((40, ins), np.float32), signs, np.sign(signs + 1)):
        for x in (
            np.ones((rows, ins), np.float32),
            -np.ones((rows, ins), np.float32),
            np.sign(normal(rows, ins)),
        ):
            bound = 0.02 * np.sqrt(ins) + 0.01 * abs(exact(x, w))
            assert (abs(product(x, w, INT8) - exact(x, w)) <= bound).all()


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), power=st.integers(1, 12))
def test_int8_keeps_its_bound_for_outliers(product: Product, seed: int, power: int) -> None:
    # Half a step of each factor: a step of x is at most its range / 190, one of w at most 4 x its largest / 172 with
    # the hundredth that `pack` may add.
    x, w = normal(3, 50, seed=seed % 1000) ** power, normal(20, 50, seed=seed % 1000 + 1) ** power
    step_x = np.maximum(x.max(1), 0) - np.minimum(x.min(1), 0)
    half_x, half_w = step_x[:, None] / 190 / 2, 1.02 * 4 * abs(w).max(1) / 172 / 2
    bound = half_x * abs(w).sum(1) + half_w * (abs(x).sum(1)[:, None] + 50 * half_x)
    assert (abs(product(x, w, INT8) - exact(x, w)) <= 1.01 * bound + 1e-30).all()


@pytest.mark.parametrize("precision", [FLOAT32, INT8])
def test_zero_rows_and_zero_weights_give_zero(product: Product, precision: int) -> None:
    x, w = normal(6, 40), normal(20, 40, seed=1)
    x[2], w[3] = 0, 0
    y = product(x, w, precision)
    assert (y[2] == 0).all()
    assert (y[:, 3] == 0).all()
    assert product(x[:0], w, precision).shape == (0, 20)


def test_inputs_of_one_sign_use_all_levels(product: Product) -> None:
    # After a ReLU there is nothing below zero: the grid of a row goes from zero to its largest number.
    x, w = np.maximum(normal(50, 512), 0), normal(64, 512, seed=1)
    error = np.std(product(x, w, INT8) - exact(x, w)) / np.std(exact(x, w))
    assert error < INT8_ERROR


@pytest.mark.parametrize("precision", [FLOAT32, INT8])
@pytest.mark.parametrize("scale", [1e-45, 1e-39, 1e-20, 1e18])
def test_scales_from_denormal_to_huge(product: Product, precision: int, scale: float) -> None:
    x, w = normal(3, 40), normal(20, 40, seed=1)
    small = (x * np.float64(scale)).astype(np.float32)
    y = product(small, w, precision)
    assert np.isfinite(y).all()
    if scale > 1e-37:
        np.testing.assert_allclose(y / scale, exact(x, w), atol=0.5)


@pytest.mark.parametrize("precision", [FLOAT32, INT8])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("relu", [False, True])
def test_what_is_not_finite_is_never_hidden(
    product: Product, precision: int, wrong: float, relu: bool
) -> None:
    x, w = normal(9, 37), normal(50, 37, seed=1)
    right = product(x, w, precision, relu=relu)
    bad = x.copy()
    bad[4, 30] = wrong
    y = product(bad, w, precision, relu=relu)
    if precision == INT8 or np.isnan(wrong):
        assert np.isnan(y[4]).all()
    else:
        assert not np.isfinite(y[4, (exact(bad, w)[4] > 0)]).any()
    np.testing.assert_array_equal(np.delete(y, 4, 0), np.delete(right, 4, 0))
    bad = w.copy()
    bad[45, 3] = wrong
    y = product(x, bad, precision)
    assert not np.isfinite(y[:, 45]).any()
    np.testing.assert_array_equal(np.delete(y, 45, 1), np.delete(product(x, w, precision), 45, 1))


@pytest.mark.parametrize("precision", [FLOAT32, INT8])
@given(outs=st.integers(0, 200), ins=st.integers(1, 200))
def test_packed_bytes_keep_the_next_matrix_aligned(
    library: ctypes.CDLL, precision: int, outs: int, ins: int
) -> None:
    size = library.packed(*map(ctypes.c_int64, (outs, ins, precision)))
    assert size % 64 == 0
    assert size >= outs * ins * (4 if precision == FLOAT32 else 1)
