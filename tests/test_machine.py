"""What is known of a machine."""

import pytest
import torch

from heedful import machine
from heedful.errors import HeedfulError
from heedful.machine import native_bfloat16, resolve_precision


@pytest.mark.parametrize(("processor", "fast"), [
    ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
    ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),  # a virtual machine without AMX
    ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True),
    ({"cpu_name": "AMD EPYC", "avx512_bf16": False, "amx_bf16": False}, False),
    ({"architecture": "aarch64"}, False),
])  # fmt: skip
def test_bfloat16_is_chosen_where_it_is_faster(monkeypatch, processor, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    assert native_bfloat16("cpu") is fast
    assert resolve_precision("auto", "cpu") == ("bfloat16" if fast else "float32")
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(("processor", "slow"), [
    ({"cpu_name": "AMD EPYC", "avx512_f": True}, True),
    ({"cpu_name": "AMD EPYC", "avx512_f": False}, False),
    ({"cpu_name": "Intel Xeon", "avx512_f": True}, False),
    ({"architecture": "aarch64"}, False),
])  # fmt: skip
def test_who_multiplies_float32_goes_by_processor(monkeypatch, processor, slow):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    asked = []
    monkeypatch.setattr(machine, "_multiply_by_onednn", lambda: asked.append(True))
    machine.prepare()
    assert bool(asked) is slow


@pytest.mark.parametrize("rounds", [False, True])
def test_products_of_float32_stay_in_float32(monkeypatch, rounds):
    """Where the processor rounds to bfloat16 what "medium" allows it to, it is not allowed to."""
    before = torch.get_float32_matmul_precision()
    if rounds:
        product = torch.Tensor.__matmul__
        monkeypatch.setattr(
            torch.Tensor,
            "__matmul__",
            lambda x, y: (
                product(x, y) if x.dtype == torch.float64 else product(x.bfloat16(), y.bfloat16()).float()
            ),
        )
    try:
        machine._multiply_by_onednn()
        assert not rounds or torch.get_float32_matmul_precision() == before
        x = torch.randn(300, 200)
        monkeypatch.undo()
        assert torch.allclose((x @ x.mT).double(), x.double() @ x.double().mT, atol=1e-3)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", ["gpu", "CUDA", "", "0"])
def test_a_device_that_there_is_not_is_told_what_there_is(name):
    with pytest.raises(HeedfulError, match=f"no device '{name}': give auto, cpu, cuda, cuda:1"):
        machine.resolve_device(name)


def test_a_gpu_of_any_number_is_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert resolve_precision("auto", "cuda") == resolve_precision("auto", "cuda:1") == "bfloat16"
