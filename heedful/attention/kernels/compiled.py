"""Loops in C++ for what PyTorch has no words for, compiled on first use and kept; where that fails, there are none.

A source is a file of this package with nothing from outside put into it: no headers but the language's own and those
beside it or beside this file, no values, no names. It takes some seconds to compile and is kept in `$HEEDFUL_CACHE` or
heedful's folder in the user's cache folder, under a name that is a digest of the source, the command, the machine's
kind and its C library. Only a folder that is the user's own is used, as what lies there is run.

For a machine without a compiler `ahead` (`heedful compile`) puts the libraries into a folder to be copied there, which
HEEDFUL_LOOPS names: a folder of the user's or the system's, that nobody else can write to.

HEEDFUL_COMPILE=0 forbids all of this; CXX names another compiler, as everywhere.
"""

import ctypes
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs
import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

SWITCH, READY = "HEEDFUL_COMPILE", "HEEDFUL_LOOPS"

# The `omp simd` of the sources needs no library; vectors as wide as PyTorch itself takes them here.
_FLAGS = ("-O3", "-std=c++17", "-fopenmp-simd", "-fPIC", "-shared", "-pthread")
_WIDER = {
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": ("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
}
_SECONDS = 600  # on an idle machine it takes seconds; one that is busy is waited for
_INCLUDED = re.compile(rb'^#include "([a-z_]+\.hpp)"$', re.MULTILINE)

_TYPES = torch.float32, torch.bfloat16

_HERE = Path(__file__).parent

_failures: dict[Path, str] = {}


def refusal(source: Path) -> str | None:
    """Say why a source cannot be had compiled, as far as is known without trying, or None."""
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH} is 0"
    if os.name != "posix":
        return "compiling is for Linux and macOS"
    if _ready(source) is None and not _compiler(os.environ.get("CXX", "")):
        return "there is no C++ compiler"
    return _failures.get(source)


def load(source: Path) -> ctypes.CDLL | None:
    """Give the functions of a source, compiled now or before; None where that cannot be, as `refusal` then says."""
    return None if os.environ.get(SWITCH) == "0" else _load(source)


def reads(*tensors: Tensor) -> bool:
    """Say whether loops may read these: numbers on a CPU, float32 or bfloat16, of which only gradients are asked.

    Not while a graph of operations is traced, under `torch.func`, or where a derivative is carried forward.
    """
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return (
        not traced
        and not torch._C._are_functorch_transforms_active()
        and all(
            type(tensor) is Tensor
            and tensor.is_cpu
            and tensor.dtype in _TYPES
            and unpack_dual(tensor).tangent is None
            for tensor in tensors
        )
    )


def ahead(source: Path, folder: Path) -> Path:
    """Compile a source for processors like this one into `folder`, for HEEDFUL_LOOPS; give the library's path.

    Raises OSError where there is no compiler, or the folder cannot be written, and CalledProcessError where it fails.
    """
    command = _compiler(os.environ.get("CXX", ""))
    if not command:
        raise OSError("there is no C++ compiler")
    return _build(source, command, folder / _name(source, ()))


@functools.cache
def _load(source: Path) -> ctypes.CDLL | None:
    if refusal(source) is not None:
        return None
    try:
        if (library := _ready(source)) is None:
            command, folder = _compiler(os.environ.get("CXX", "")), _folder()
            with tempfile.TemporaryDirectory() as elsewhere:
                library = (folder or Path(elsewhere)) / _name(source, command)
                return ctypes.CDLL(str(library if library.exists() else _build(source, command, library)))
        return ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["without a word"]
        _failures[source] = f"the C++ compiler failed: {said[-1]}"
    except (OSError, subprocess.SubprocessError) as error:
        _failures[source] = f"{source.name} could not be compiled: {error}"
    return None


def _name(source: Path, command: tuple[str, ...]) -> str:
    """What a library is called: another name for another source, compiler, processor or C library."""
    code = source.read_bytes()
    code += b"".join(_header(source, name.decode()).read_bytes() for name in _INCLUDED.findall(code))
    machine = platform.system(), platform.machine(), platform.libc_ver()
    key = repr(([*command, *_FLAGS, *_wider()], *machine)).encode()
    return f"{source.stem}-{hashlib.sha256(code + key).hexdigest()[:20]}.so"


def _header(source: Path, name: str) -> Path:
    """A header is beside its source, or beside this file."""
    return next(path for path in (source.with_name(name), _HERE / name) if path.exists())


def _build(source: Path, command: tuple[str, ...], library: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=library.parent) as place:
        built = Path(place) / library.name
        subprocess.run(  # noqa: S603 -- the command is made above, the source is this package's
            [*command, *_FLAGS, *_wider(), "-I", str(_HERE), "-o", str(built), str(source)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
        return built.replace(library)  # at once, so that no process ever sees half of it


def _ready(source: Path) -> Path | None:
    """Give the library that was compiled ahead, if the folder that HEEDFUL_LOOPS names has it."""
    chosen = os.environ.get(READY)
    if not chosen:
        return None
    library = Path(chosen).expanduser() / _name(source, ())
    try:
        own = all(_trusted(path.stat(), (0, os.getuid())) for path in (library.parent, library))
    except OSError:
        return None
    return library if own else None


def _trusted(status: os.stat_result, owners: tuple[int, ...]) -> bool:
    """Whether nobody but these owners can have put there what is run."""
    return status.st_uid in owners and not status.st_mode & 0o022


@functools.cache
def _compiler(chosen: str) -> tuple[str, ...]:
    """Give the command that CXX, if it is not empty, or this machine has for a C++ compiler, or nothing."""
    commands = [chosen.split()] if chosen.strip() else [["c++"], ["g++"], ["clang++"]]
    return next((tuple(command) for command in commands if shutil.which(command[0])), ())


def _wider() -> tuple[str, ...]:
    """Give the flags for the widest vectors of this processor."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ()
    flags = _WIDER.get(torch.backends.cpu.get_cpu_capability(), ())
    has = torch.cpu.get_capabilities()
    if "-mavx512f" in flags:
        more = (("avx512_vnni", "-mavx512vnni"), ("avx512_bf16", "-mavx512bf16"))
        return (*flags, *(flag for name, flag in more if has.get(name)))
    return (*flags, "-mavxvnni") if flags and has.get("avx_vnni") else flags


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
    return folder if _trusted(status, (os.getuid(),)) and os.access(folder, os.W_OK) else None
