"""The triton kernel: what it takes, when `auto` takes it, and that its programs compute what they should."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from heedful.attention import (
    Additive,
    ALiBi,
    Bias,
    Explanation,
    ScaledDot,
    SoftCap,
    attend,
    explain_kernel,
    masks,
)

LENGTH = 2048
NEEDS_TRITON = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["in Triton's interpreter", "on a GPU"])
def test_the_programs(where, repository: Path):
    # In a process of its own: Triton reads the environment when it is imported, and torch.compile may have done so.
    if find_spec("triton") is None:
        pytest.skip("triton is not installed")
    if where == "on a GPU" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    environment = os.environ | {"TRITON_INTERPRET": "1" if where == "in Triton's interpreter" else "0"}
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        environment.pop(name, None)
    programs = Path(__file__).with_name("triton_programs.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(programs)]
    ran = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Queries on a GPU of which there need not be one: a tensor without numbers."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    return _on_gpu(torch.float32)


def _on_gpu(dtype: torch.dtype, length: int = LENGTH, width: int = 64) -> Tensor:
    with FakeTensorMode():
        return torch.empty(1, 4, length, width, device="cuda", dtype=dtype)


def _why_not(x: Tensor, **choices) -> str:
    return explain_kernel(x, x, x, **choices).others["triton"]


def test_on_a_cpu_it_is_not_to_be_had_and_says_so():
    x = torch.zeros(1, 4, LENGTH, 64)
    explanation = explain_kernel(x, x, x, score=Additive(64, 64, 8))
    assert explanation.kernel == "streaming"
    if find_spec("triton") is None:
        assert explanation.others["triton"] == "it needs the package triton, which is not installed"
    else:
        assert explanation.others["triton"].startswith("it runs on CUDA")
    with pytest.raises(ValueError, match="The triton kernel cannot compute this attention: it "):
        attend(x, x, x, kernel="triton")


def test_without_the_package_it_says_so(monkeypatch, gpu):
    monkeypatch.setattr("heedful.attention.kernels.triton.find_spec", lambda name: None)
    assert _why_not(gpu, score=Additive(64, 64, 8)) == "it needs the package triton, which is not installed"


@NEEDS_TRITON
def test_auto_takes_it_on_a_gpu_for_what_the_fused_kernel_refuses(gpu):
    def chosen(**choices) -> str:
        return explain_kernel(gpu, gpu, gpu, **choices).kernel

    assert chosen() == "fused"
    assert chosen(mask=masks.causal()) == "fused"
    bias = torch.zeros(LENGTH, requires_grad=True)
    for score in (Additive(64, 64, 8), ScaledDot().then(SoftCap(50.0)), ScaledDot().then(Bias(bias))):
        assert chosen(score=score) == "triton"
        assert (
            chosen(score=score, mask=masks.window(9, 0) & masks.padding(torch.tensor([7])), dropout=0.1)
            == "triton"
        )
    # What neither expresses.
    assert chosen(score=ScaledDot().then(ALiBi(torch.ones(4)), SoftCap(50.0))) == "streaming"


@NEEDS_TRITON
def test_auto_lets_it_write_no_large_mask(gpu):
    long = _on_gpu(torch.float32, length=8192)
    capped = ScaledDot().then(SoftCap(50.0))
    assert explain_kernel(long, long, long, score=capped, mask=masks.causal()).kernel == "triton"
    explanation = explain_kernel(long, long, long, score=capped, mask=~masks.causal())
    assert explanation.kernel == "streaming"
    assert explanation.others["triton"] == "it would need the mask written out, 8192 x 8192 weights a head"


@NEEDS_TRITON
def test_it_says_what_it_cannot_compute(gpu, monkeypatch):
    biased = ScaledDot().then(Bias(torch.zeros(1)), Bias(torch.zeros(1)))
    assert _why_not(gpu, score=biased) == "it applies one Bias, not 2"
    assert (
        _why_not(gpu, score=ScaledDot().then(ALiBi(torch.ones(4))))
        == "it applies Bias and SoftCap, not ALiBi"
    )
    wide = _on_gpu(torch.float32, width=512)
    assert _why_not(wide) == "it takes values of a width up to 256, got 512"
    exact = _on_gpu(torch.float64)
    assert _why_not(exact).endswith("one for query, key and value, got torch.float64")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert _why_not(gpu) == "Triton needs a GPU of compute capability 8.0"


def test_it_is_told_among_the_kernels():
    x = torch.zeros(1, 1, 2, 2)
    told: Explanation = explain_kernel(x, x, x)
    assert "\n  not triton: it " in str(told)
    with pytest.raises(ValueError, match="streaming, fused, triton"):
        attend(x, x, x, kernel="tritium")
