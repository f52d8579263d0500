"""What is known of a machine."""

import pytest
import torch

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
