"""Additive scores: whichever way they are computed, they are v . tanh(q + k), and so are their gradients."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heedful.attention import Additive, Concat, attend, masks
from heedful.attention.kernels import additive, compiled
from heedful.attention.kernels.additive import additive_pairs
from tests.attention.additive_definition import formula, with_gradients

WAYS = ("plain", "chunked", "compiled")
EVERY_WAY = pytest.mark.parametrize("way", WAYS)
NO_LOOPS = compiled.refusal(additive.SOURCE)
POSIX = pytest.mark.skipif(os.name != "posix", reason="compiling is for Linux and macOS")
NEEDS_COMPILER = pytest.mark.skipif(NO_LOOPS is not None, reason=str(NO_LOOPS))


@contextmanager
def _going(way: str, block: int = additive.BLOCK) -> Iterator[None]:
    """Have all pairs, few as they are, computed one way."""
    if way == "compiled" and NO_LOOPS is not None:
        pytest.skip(NO_LOOPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(additive, "PLAIN", 2**62 if way == "plain" else 0)
        patch.setattr(additive, "REUSE", 0)
        patch.setattr(additive, "COMPILED", 0 if way == "compiled" else 2**62)
        patch.setattr(additive, "BLOCK", block)
        one = torch.zeros(1, 1)
        assert additive.path(one, one).startswith(way)
        yield


def _random(*shape: int, scale: float | Tensor = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.randn(*shape, dtype=torch.float64) * scale).to(dtype)


def _is_formula(inputs: list[Tensor], error: float) -> None:
    """Values and gradients differ from those in float64 by at most `error` times what they could be at most."""
    exact = [tensor.double() for tensor in inputs]
    upstream = torch.randn(formula(*exact).shape).to(inputs[0].dtype)
    got = with_gradients(additive_pairs, inputs, upstream)
    expected = with_gradients(formula, exact, upstream)
    # Were each tanh 1, or each slope, and had all terms of a sum one sign.
    v, g = exact[2].abs(), upstream.double().abs()
    of_query = (g.sum(-1, keepdim=True) * v).sum_to_size(inputs[0].shape)
    of_key = (g.sum(-2).unsqueeze(-1) * v).sum_to_size(inputs[1].shape)
    bounds = v.sum(), of_query, of_key, g.sum()
    for one, other, bound in zip(got, expected, bounds, strict=True):
        assert one.dtype == inputs[0].dtype
        assert one.shape == other.shape
        assert bool(((one.double() - other).abs() <= error * bound).all())


@EVERY_WAY
def test_scores_and_gradients_are_those_of_the_formula_to_ten_digits(way):
    inputs = [_random(2, 33, 50), _random(2, 70, 50), _random(50)]
    upstream = torch.rand(2, 33, 70, dtype=torch.float64)
    with _going(way):
        _is_formula(inputs, 1e-14)
        got = with_gradients(additive_pairs, inputs, upstream)
    for one, other in zip(got, with_gradients(formula, inputs, upstream), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@EVERY_WAY
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_in_float32_the_error_is_some_units_in_the_last_place(way, scale):
    inputs = [_random(*shape, scale=scale, dtype=torch.float32) for shape in ((2, 33, 50), (2, 70, 50))]
    with _going(way):
        _is_formula([*inputs, _random(50, dtype=torch.float32)], 8 * torch.finfo(torch.float32).eps)


@EVERY_WAY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_rounded_once(way, dtype):
    inputs = [_random(2, 9, 20, dtype=dtype), _random(2, 11, 20, dtype=dtype), _random(20, dtype=dtype)]
    upstream = torch.randn(2, 9, 11).to(dtype)
    with _going(way):
        got = with_gradients(additive_pairs, inputs, upstream)
        wider = with_gradients(additive_pairs, [tensor.float() for tensor in inputs], upstream)
    for one, other in zip(got, wider, strict=True):
        assert torch.equal(one, other.to(dtype))


def _far(kind: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Queries (1, 6, 8) and keys (1, 7, 8) out of the range in which exponentials are ordinary numbers."""
    query, key = _random(1, 6, 8, dtype=dtype), _random(1, 7, 8, dtype=dtype)
    if kind == "one side":
        query[..., ::2] += 1000
        key[..., 1::2] -= 1000
    elif kind == "some rows and keys":
        query[:, 1] = 1000
        query[:, 2] = -1000
        key[:, 3] = -1000
    elif kind == "both sides, one balanced by the other":
        query[..., 3] += 1000
        key[..., 3] -= 1000
    elif kind == "every magnitude":
        query = query * torch.logspace(-3, 4, 8, dtype=dtype)
        key = key * torch.logspace(4, -3, 8, dtype=dtype)
    return query, key


KINDS = ("one side", "some rows and keys", "both sides, one balanced by the other", "every magnitude")


@EVERY_WAY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_values_that_no_exponential_could_hold_give_the_formula(way, kind, dtype):
    inputs = [*_far(kind, dtype), _random(8, dtype=dtype)]
    with _going(way):
        _is_formula(inputs, 8 * torch.finfo(dtype).eps)


@EVERY_WAY
@pytest.mark.parametrize("odd", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("at", ["query", "key", "both"])
def test_what_is_not_finite_gives_what_the_formula_gives(way, odd, at):
    query, key, v = _random(1, 6, 8), _random(1, 7, 8), _random(8)
    if at != "key":
        query[0, 2, 3] = odd
    if at != "query":
        key[0, 4, 3] = -odd  # of infinities that meet, the formula makes NaN
    upstream = torch.randn(1, 6, 7, dtype=torch.float64)
    with _going(way):
        got = with_gradients(additive_pairs, [query, key, v], upstream)
    expected = with_gradients(formula, [query, key, v], upstream)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert bool(got[0].isfinite().all()) == (odd == odd and at != "both")


@EVERY_WAY
@settings(max_examples=50)
@given(
    sizes=st.tuples(*[st.integers(1, 20)] * 3, st.integers(1, 3)),
    magnitudes=st.tuples(*[st.sampled_from([0.0, 1e-3, 1.0, 30.0, 60.0, 400.0, 1e6])] * 2),
    block=st.sampled_from([1, 100, 10_000]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 99),
)
def test_any_shape_and_any_magnitude_give_the_formula(way, sizes, magnitudes, block, dtype, seed):
    rows, keys, width, batch = sizes
    torch.manual_seed(seed)
    # Each dimension at one of the two magnitudes, queries and keys apart.
    of_query, of_key = (torch.tensor(magnitudes)[torch.randint(2, (width,))] for _ in range(2))
    query = _random(batch, rows, width, scale=of_query, dtype=dtype)
    key = _random(batch, keys, width, scale=of_key, dtype=dtype)
    with _going(way, block):
        _is_formula([query, key, _random(width, dtype=dtype)], 8 * torch.finfo(dtype).eps)


@EVERY_WAY
def test_dimensions_before_the_last_two_broadcast(way):
    query, key, v = _random(2, 1, 5, 6), _random(3, 7, 6), _random(6)
    with _going(way):
        assert additive_pairs(query, key, v).shape == (2, 3, 5, 7)
        _is_formula([query, key, v], 1e-14)
        _is_formula([query[0, 0], key[0], v], 1e-14)  # none before them
        # Views with other strides are read as what they are.
        _is_formula([_random(6, 5).mT, _random(7, 2, 6).transpose(0, 1), _random(12)[::2]], 1e-14)


@EVERY_WAY
def test_nothing_to_score_gives_nothing(way):
    with _going(way):
        for shape in ((0, 3, 4), (2, 0, 4)):
            query, v = torch.zeros(shape, requires_grad=True), torch.ones(4, requires_grad=True)
            scores = additive_pairs(query, torch.zeros(shape[0], 5, 4), v)
            assert scores.shape == (*shape[:2], 5)
            assert not torch.autograd.grad(scores.sum(), (query, v))[1].any()
        assert not additive_pairs(torch.zeros(2, 3, 0), torch.zeros(2, 5, 0), torch.zeros(0)).any()


@EVERY_WAY
def test_second_derivatives_are_those_of_the_formula(way):
    inputs = [tensor.requires_grad_() for tensor in (_random(1, 3, 4), _random(1, 2, 4), _random(4))]
    with _going(way):
        assert torch.autograd.gradgradcheck(additive_pairs, inputs, fast_mode=True)
        # Of one input alone, as a penalty on the gradient of the queries asks for.
        query, key, v = (tensor.detach() for tensor in inputs)
        assert torch.autograd.gradgradcheck(
            lambda query: additive_pairs(query, key, v), query.requires_grad_()
        )


@EVERY_WAY
def test_autocast_changes_nothing(way):
    inputs = [_random(2, 9, 20, dtype=torch.float32), _random(2, 11, 20, dtype=torch.float32)]
    inputs.append(_random(20, dtype=torch.float32))
    upstream = torch.randn(2, 9, 11)
    with _going(way):
        expected = with_gradients(additive_pairs, inputs, upstream)
        with torch.autocast("cpu", torch.bfloat16):
            got = with_gradients(additive_pairs, inputs, upstream)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


@NEEDS_COMPILER
def test_the_compiled_loops_give_the_same_bits_on_one_thread_and_on_several(monkeypatch):
    monkeypatch.setattr(additive, "THREAD", 1)
    inputs = [_random(3, 70, 40, dtype=torch.float32), _random(3, 90, 40, dtype=torch.float32)]
    inputs.append(_random(40, dtype=torch.float32))
    upstream = torch.randn(3, 70, 90)
    asked = []
    call = additive.Compiled._call

    def spied(self, name, tensors, sizes, work):
        asked.append((name, min(torch.get_num_threads(), 1 + work // additive.THREAD)))
        call(self, name, tensors, sizes, work)

    monkeypatch.setattr(additive.Compiled, "_call", spied)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            with _going("compiled"):
                results.append(with_gradients(additive_pairs, inputs, upstream))
        finally:
            torch.set_num_threads(1)
    assert asked == [("forward", 1), ("backward", 1), ("forward", 2), ("backward", 2)]
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@EVERY_WAY
@pytest.mark.parametrize("make", [Additive, Concat])
def test_attention_is_that_of_the_definition_with_all_its_gradients(way, make):
    score = make(5, 6, 7).double()
    inputs = [_random(2, 4, 9, 5), _random(2, 2, 12, 6), _random(2, 2, 12, 3)]
    mask = masks.causal() & masks.padding(torch.tensor([12, 8]))

    def attended(kernel: str) -> list[Tensor]:
        leaves = [tensor.requires_grad_() for tensor in inputs]
        result = attend(*leaves, score=score, mask=mask, kernel=kernel)
        return [result, *torch.autograd.grad(result.cos().sum(), (*leaves, *score.parameters()))]

    with _going("plain"):
        expected = attended("reference")
    with _going(way):
        for kernel in ("reference", "explicit", "streaming"):
            for one, other in zip(attended(kernel), expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_way_is_chosen_by_how_much_there_is_to_do_and_told():
    def path(batch: int, rows: int, keys: int, width: int) -> str:
        # Nothing is computed: numbers that stand for all places of a tensor.
        one = torch.zeros(1).expand
        return additive.path(one(batch, rows, width), one(batch, keys, width))

    assert path(1, 100, 100, 100) == "plain: 1,000,000 tanh are few"
    # The one query of a recurrent decoder: linear in memory as it is.
    assert path(64, 1, 100_000, 512) == "plain: 1 x 100000 pairs are few for so many queries and keys"
    assert path(1, 140, 140, 100) == "chunked: 1,960,000 tanh are not worth compiling for"
    if NO_LOOPS is None:
        assert path(1, 1024, 1024, 512) == "compiled: 536,870,912 tanh in the loops of additive.cpp"
    meta = torch.zeros(1, 1024, 512, device="meta")
    assert additive.path(meta, meta) == "chunked: the compiled loops are for a CPU, not meta"


@pytest.fixture
def anew() -> Iterator[None]:
    """Have the compiler looked for and asked again, whatever was found before."""
    found = compiled._load, compiled._compiler
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_failures", {})
        for cached in found:
            cached.cache_clear()
        yield
    for cached in found:
        cached.cache_clear()


def _program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


def _has_blocks(why: str) -> None:
    """The loops are not to be had, `path` says why, and what is computed is right nonetheless."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PLAIN", "REUSE", "COMPILED"):
            patch.setattr(additive, name, 0)
        inputs = [_random(2, 9, 20), _random(2, 11, 20), _random(20)]
        _is_formula(inputs, 1e-14)
        assert additive.path(*inputs[:2]).startswith(f"chunked: {why}")


@pytest.mark.usefixtures("anew")
def test_a_switch_forbids_compiling(monkeypatch):
    monkeypatch.setenv("HEEDFUL_COMPILE", "0")
    _has_blocks("HEEDFUL_COMPILE is 0")


@POSIX
@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("command", ["no-such-compiler", "'"])
def test_a_compiler_that_does_not_exist_is_none(monkeypatch, command):
    monkeypatch.setenv("CXX", command)
    _has_blocks("there is no C++ compiler")


@POSIX
@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("named", ["", " "])
def test_a_machine_without_a_compiler_has_blocks(monkeypatch, tmp_path, named):
    monkeypatch.setenv("CXX", named)
    monkeypatch.setenv("PATH", str(tmp_path))
    _has_blocks("there is no C++ compiler")


@POSIX
@pytest.mark.usefixtures("anew")
def test_of_a_compiler_that_fails_the_last_word_is_told(monkeypatch, tmp_path):
    script = "echo building >&2; echo 'fatal error: no space left' >&2; exit 1"
    monkeypatch.setenv("CXX", _program(tmp_path / "cxx", script))
    _has_blocks("the C++ compiler failed: fatal error: no space left")
    monkeypatch.setenv("CXX", _program(tmp_path / "other", "exit 0"))  # and makes nothing
    compiled._load.cache_clear()
    compiled._failures.clear()
    _has_blocks("additive.cpp could not be compiled: ")


class Copying:
    """A compiler that gives what was compiled before, and says how often it was asked."""

    def __init__(self, place: Path, library: str) -> None:
        self.runs = place / "runs"
        # The file that is wanted stands between -o and the source, at the end.
        script = f"echo run >> {self.runs}; while [ $# -gt 2 ]; do shift; done; cp {library} $1"
        self.command = _program(place / "cxx", script)

    def asked(self) -> int:
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0


@pytest.fixture
def copying(anew, tmp_path, monkeypatch) -> Copying:
    if NO_LOOPS is not None:
        pytest.skip(NO_LOOPS)
    library = compiled.load(additive.SOURCE)
    assert library is not None
    compiler = Copying(tmp_path, library._name)
    monkeypatch.setenv("CXX", compiler.command)
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path / "cache"))
    return compiler


def _load_anew() -> None:
    """As the next process does."""
    compiled._load.cache_clear()
    assert compiled.load(additive.SOURCE) is not None


def test_what_was_compiled_is_kept_in_a_folder_of_the_user_alone(copying, tmp_path):
    for _ in range(2):
        _load_anew()
    assert copying.asked() == 1
    folder = tmp_path / "cache" / f"compiled-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [file.suffix for file in folder.iterdir()] == [".so"]  # and nothing was left lying


@pytest.mark.parametrize(
    "why", ["the group may write", "others may write", "it is another's", "it is a file"]
)
def test_a_folder_that_is_not_the_users_alone_is_not_used(copying, tmp_path, monkeypatch, why):
    _load_anew()
    folder = tmp_path / "cache" / f"compiled-{os.getuid()}"
    (library,) = folder.iterdir()
    library.unlink()  # not overwritten, as this process has it in memory
    library.write_text("what someone else would have us run")
    if why == "it is another's":
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
        folder = folder.rename(tmp_path / "cache" / f"compiled-{os.getuid()}")
    elif why == "it is a file":
        monkeypatch.setenv("HEEDFUL_CACHE", str(folder / library.name))
    else:
        folder.chmod(0o720 if why == "the group may write" else 0o702)
    _load_anew()
    assert copying.asked() == 2
    assert [file.read_text() for file in folder.iterdir()] == ["what someone else would have us run"]
