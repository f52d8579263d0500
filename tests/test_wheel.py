"""The wheel, away from the checkout: what `pip install heedful` gives is whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import heedful

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The wheel, built without network and unpacked into an otherwise empty folder."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; the extra 'dev' has it")
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)]
    subprocess.run(build, cwd=repository, check=True)
    (wheel,) = wheels.glob("heedful-*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    return site


def run_installed(site: Path, *command: str) -> str:
    # PYTHONPATH comes before the checkout that an editable install puts on the path.
    environment = os.environ | {"PYTHONPATH": str(site)}
    ran = subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, check=True)
    return ran.stdout


def test_the_command_runs_from_the_wheel(site: Path):
    where = run_installed(site, sys.executable, "-c", "import heedful; print(heedful.__file__)")
    assert Path(where.strip()) == site / "heedful" / "__init__.py"
    assert heedful.__version__ in run_installed(site, str(site / "bin" / "heedful"), "--version")


def test_the_wheel_carries_every_file_of_the_package(site: Path, repository: Path):
    def files(root: Path) -> set[str]:
        found = {
            path.relative_to(root).as_posix() for path in (root / "heedful").rglob("*") if path.is_file()
        }
        return {name for name in found if "__pycache__" not in name}

    assert files(site) == files(repository)
    assert {"heedful/py.typed", "heedful/recipes/multi30k-en-de.toml"} <= files(site)
