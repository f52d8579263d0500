"""The machine: threads, the memory allocator, what multiplies matrices, and the precision it computes natively.

`prepare` is called once when a training or translating command starts. Its settings change speed and not results:

- glibc gives freed memory back to the system by default and has to fault it in again at each step; told to keep it,
  training is a third faster.
- oneDNN compiles a kernel for each new shape of matrices and forgets old ones beyond 1,024; text has many shapes.
- MKL, which multiplies float32 matrices for PyTorch, reaches half of what oneDNN does on AMD's AVX-512.

They are measured in benchmarks/RESULTS.md. Elsewhere than on Linux with glibc they are left alone.
"""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]

# Parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
# Above the largest tensor of a step; glibc takes an int.
_KEPT_BYTES = 2**30


def prepare(threads: int | None = None) -> None:
    """Set up allocator, oneDNN and threads for this process. Call it before the first tensor is made."""
    import torch

    # Read by oneDNN when it first runs; a user's own value is left in place.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")
    if sys.platform == "linux":
        _keep_memory()
    if threads:
        torch.set_num_threads(threads)
    if _slow_mkl():
        _multiply_by_onednn()


def _keep_memory() -> None:
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TOP_PAD, 64 * 2**20)


def _slow_mkl() -> bool:
    import torch

    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_f")) and str(has.get("cpu_name", "")).startswith("AMD")


def _multiply_by_onednn() -> None:
    """Let oneDNN multiply float32 matrices, if it computes in float32.

    PyTorch has one word for both: "medium" hands products to oneDNN and lets it round to bfloat16 where that is faster,
    which it does with AMX. So it is asked.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    x = torch.linspace(-1, 1, 128 * 128).view(128, 128)
    torch.set_float32_matmul_precision("medium")
    # They go up to 126: float32 is off by 4e-5, bfloat16 by 0.016 and more.
    if (x @ x.mT - x.double() @ x.double().mT).abs().max() > 1e-3:
        torch.set_float32_matmul_precision(before)


def cores() -> int:
    """How many processors this process may use: those of its affinity, and no more than its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # "max 100000": no quota
        # Of a container, which sees its own group as the root.
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def native_bfloat16(device: str) -> bool:
    """Whether `device` ("cpu", "cuda:1", ...) multiplies bfloat16 matrices natively, and so faster than float32."""
    import torch

    kind = device.split(":")[0]
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        has = torch.cpu.get_capabilities()
        # Intel's AVX-512 alone, as virtual machines give it without AMX, multiplies bfloat16 half as fast as float32.
        wide = has.get("avx512_bf16", False) and not str(has.get("cpu_name", "")).startswith("Intel")
        return wide or has.get("amx_bf16", False)
    return False


def resolve_device(name: str) -> str:
    """Turn "auto" into "cuda" where there is a GPU, else "cpu". Raises HeedfulError for a device that is not here."""
    import torch

    from heedful.errors import HeedfulError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda", "mps", "xpu"):
        raise HeedfulError(f"There is no device {name!r}: give auto, cpu, cuda, cuda:1, ...")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise HeedfulError(f"The device {name!r} cannot be used here: {error}") from error
    return name


def resolve_precision(precision: Precision, device: str) -> Literal["float32", "bfloat16"]:
    """Turn "auto" into "bfloat16" where the device computes it natively, else "float32"."""
    if precision == "auto":
        return "bfloat16" if native_bfloat16(device) else "float32"
    return precision
