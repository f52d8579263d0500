"""What the documentation tells people to type, typed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"(?:<!-- file: (?P<file>[\w.]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["first-model.md"])
def test_every_command_of_the_page_works(page, repository, tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "2"}
    outputs = []
    for block in BLOCK.finditer((repository / "docs" / page).read_text(encoding="utf-8")):
        text = block["text"]
        if block["file"]:
            (tmp_path / block["file"]).write_text(text, encoding="utf-8")
            continue
        command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[
            block["language"]
        ]
        done = subprocess.run([*command, text], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        outputs.append(done.stdout)
    said = "\n".join(outputs)
    assert "6042" in said
    assert "'999', '7000'" in said
    assert len((tmp_path / "test.out").read_text().splitlines()) == 500
