"""`heedful compile`: all loops of the package, for a machine without a compiler."""

from pathlib import Path

import pytest

import heedful as package
from heedful.attention.kernels import compiled
from tests.cli.conftest import Heedful

pytestmark = pytest.mark.skipif(
    compiled.refusal(Path("none.cpp")) is not None, reason=str(compiled.refusal(Path("none.cpp")))
)


def test_all_loops_are_compiled_and_found_without_a_compiler(
    heedful: Heedful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, sources = tmp_path / "loops", sorted(Path(package.__file__).parent.rglob("*.cpp"))
    ran = heedful("compile", folder)
    assert ran.status == 0, ran.err
    assert sorted(path.name.split("-")[0] for path in folder.iterdir()) == sorted(
        each.stem for each in sources
    )
    assert f"export HEEDFUL_LOOPS={folder.resolve()}" in ran.out
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("HEEDFUL_LOOPS", str(folder))
    assert [compiled.refusal(source) for source in sources] == [None] * len(sources)


def test_without_a_compiler_it_says_what_to_install(
    heedful: Heedful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CXX", "no-such-compiler")
    ran = heedful("compile", tmp_path / "loops")
    assert ran.status != 0
    assert "Install g++ or clang++" in ran.err
