"""The page's files, and scripts that are run with its modules in node."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import heedful.viewing

PAGE = Path(heedful.viewing.__file__).parent / "page"
FILES = {file.name: file.read_text(encoding="utf-8") for file in sorted(PAGE.iterdir()) if file.is_file()}
MODULES = {name: text for name, text in FILES.items() if name.endswith(".js")}

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not there")


def run(script: str, *flags: str) -> Any:
    """Give what a module prints, read as JSON; "PAGE/" in it is where the page's modules are."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--experimental-default-type=module", "--no-warnings", *flags, "--input-type=module", "-"],
        input=script.replace("PAGE/", PAGE.as_uri() + "/"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def imports(source: str) -> list[tuple[list[str], str]]:
    """Give what a module imports: names, and the file that they are from."""
    found = re.findall(r'import\s*\{([^}]*)\}\s*from\s*"\./([\w.-]+)"', source)
    return [
        ([name.strip().split(" as ")[0] for name in names.split(",") if name.strip()], file)
        for names, file in found
    ]
