"""Facts about the repository as a whole."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import heedful


def test_the_newest_entry_of_the_changelog_is_this_version(repository: Path):
    versions = re.findall(
        r"^## \[(\d[^\]]*)\]", (repository / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert versions[0] == heedful.__version__


def test_every_make_command_in_the_documents_is_a_target(repository: Path):
    targets = set(re.findall(r"^([\w-]+):(?!=)", (repository / "Makefile").read_text("utf-8"), re.MULTILINE))
    documents = [
        repository / "README.md",
        repository / "CONTRIBUTING.md",
        *(repository / "docs").rglob("*.md"),
    ]
    named = {
        command
        for document in documents
        for code in re.findall(r"```.*?```|`[^`\n]+`", document.read_text("utf-8"), re.DOTALL)
        for command in re.findall(r"(?:^|`)make ([a-z][\w-]*)", code, re.MULTILINE)
    }
    assert {"demo", "test"} <= named
    assert named <= targets


def test_no_tracked_file_is_larger_than_250_kb(repository: Path):
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=True)
    paths = [repository / name for name in listed.stdout.decode().split("\0") if name]
    large = {
        str(path): path.stat().st_size for path in paths if path.is_file() and path.stat().st_size > 250_000
    }
    assert not large, "data, models and pictures stay out of the repository"
