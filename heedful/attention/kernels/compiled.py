"""Loops in C++ for what PyTorch has no words for, compiled on first use and kept; where that fails, there are none.

A source is one file of this package with nothing from outside put into it: no headers but the language's own, no
values, no names. It takes about a second to compile and is kept in `$HEEDFUL_CACHE` or heedful's folder in the
user's cache folder, under a name that is a digest of the source, the command, the machine's kind and its C library.
Only a folder that is the user's own is used, as what lies there is run.

HEEDFUL_COMPILE=0 forbids compiling; CXX names another compiler, as everywhere.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs
import torch

SWITCH = "HEEDFUL_COMPILE"

# The `omp simd` of the sources needs no library; vectors as wide as PyTorch itself takes them here.
_FLAGS = ("-O3", "-std=c++17", "-fopenmp-simd", "-fPIC", "-shared", "-pthread")
_WIDER = {
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": ("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
}
_SECONDS = 120

_failures: dict[Path, str] = {}


def refusal(source: Path) -> str | None:
    """Say why a source cannot be had compiled, as far as is known without trying, or None."""
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH} is 0"
    if os.name != "posix":
        return "compiling is for Linux and macOS"
    if not _compiler(os.environ.get("CXX", "")):
        return "there is no C++ compiler"
    return _failures.get(source)


def load(source: Path) -> ctypes.CDLL | None:
    """Give the functions of a source, compiled now or before; None where that cannot be, as `refusal` then says."""
    return None if os.environ.get(SWITCH) == "0" else _load(source)


@functools.cache
def _load(source: Path) -> ctypes.CDLL | None:
    if refusal(source) is not None:
        return None
    try:
        return _build(source)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["without a word"]
        _failures[source] = f"the C++ compiler failed: {said[-1]}"
    except (OSError, subprocess.SubprocessError) as error:
        _failures[source] = f"{source.name} could not be compiled: {error}"
    return None


def _build(source: Path) -> ctypes.CDLL:
    code = source.read_bytes()
    command = [*_compiler(os.environ.get("CXX", "")), *_FLAGS, *_wider()]
    key = repr((command, platform.system(), platform.machine(), platform.libc_ver())).encode()
    name = f"{source.stem}-{hashlib.sha256(code + key).hexdigest()[:20]}.so"
    folder = _folder()
    if folder is not None and (folder / name).exists():
        return ctypes.CDLL(str(folder / name))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        built = Path(place) / name
        subprocess.run(  # noqa: S603 -- the command is made above, the source is this package's
            [*command, "-o", str(built), str(source)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
        if folder is not None:
            built = built.replace(folder / name)  # at once, so that no process ever sees half of it
        return ctypes.CDLL(str(built))


@functools.cache
def _compiler(chosen: str) -> tuple[str, ...]:
    """Give the command that CXX, if it is not empty, or this machine has for a C++ compiler, or nothing."""
    commands = [chosen.split()] if chosen.strip() else [["c++"], ["g++"], ["clang++"]]
    return next((tuple(command) for command in commands if shutil.which(command[0])), ())


def _wider() -> tuple[str, ...]:
    """Give the flags for the widest vectors of this processor."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ()
    return _WIDER.get(torch.backends.cpu.get_cpu_capability(), ())


def _folder() -> Path | None:
    """Give the folder where what is compiled is kept, or None where none can be had that is the user's alone."""
    chosen = os.environ.get("HEEDFUL_CACHE")
    cache = Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("heedful"))
    folder = cache / f"compiled-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    own = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return folder if own and os.access(folder, os.W_OK) else None
