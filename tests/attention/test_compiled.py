"""Loops in C++ are compiled once, or ahead for a machine without a compiler, and only what is trusted is run."""

import ctypes
from pathlib import Path

import pytest

from heedful.attention.kernels import compiled

pytestmark = pytest.mark.skipif(
    compiled.refusal(Path("none.cpp")) is not None, reason=str(compiled.refusal(Path("none.cpp")))
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A source of two files, and a cache of its own."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "number.hpp").write_text("constexpr int kNumber = 7;\n")
    (folder / "loops.cpp").write_text('#include "number.hpp"\nextern "C" int number() { return kNumber; }\n')
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(compiled.READY, raising=False)
    compiled._load.cache_clear()
    yield folder / "loops.cpp"
    compiled._load.cache_clear()


def _number(source: Path) -> int | None:
    compiled._load.cache_clear()
    library = compiled.load(source)
    return None if library is None else library.number()


def test_what_was_compiled_is_kept_and_made_anew_for_another_header(source, tmp_path):
    assert _number(source) == 7
    (kept,) = (tmp_path / "cache").glob("compiled-*/loops-*.so")
    written = kept.stat().st_mtime_ns
    assert _number(source) == 7
    assert kept.stat().st_mtime_ns == written
    source.with_name("number.hpp").write_text("constexpr int kNumber = 8;\n")
    assert _number(source) == 8


def test_what_was_compiled_ahead_needs_no_compiler(source, tmp_path, monkeypatch):
    folder = tmp_path / "loops"
    folder.mkdir(mode=0o755)
    library = compiled.ahead(source, folder)
    assert ctypes.CDLL(str(library)).number() == 7
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert _number(source) is None
    assert compiled.refusal(source) == "there is no C++ compiler"
    monkeypatch.setenv(compiled.READY, str(folder))
    assert compiled.refusal(source) is None
    assert _number(source) == 7
    monkeypatch.setenv(compiled.SWITCH, "0")
    assert _number(source) is None


def test_a_folder_that_others_can_write_to_is_not_run(source, tmp_path, monkeypatch):
    folder = tmp_path / "loops"
    folder.mkdir()
    compiled.ahead(source, folder)
    folder.chmod(0o777)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv(compiled.READY, str(folder))
    assert _number(source) is None


def test_a_library_for_another_source_is_not_taken(source, tmp_path, monkeypatch):
    folder = tmp_path / "loops"
    folder.mkdir(mode=0o755)
    compiled.ahead(source, folder)
    source.with_name("number.hpp").write_text("constexpr int kNumber = 8;\n")
    monkeypatch.setenv(compiled.READY, str(folder))
    assert _number(source) == 8
