"""`make demo` ends with a model that reads dates it has never seen."""

import os
import re
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_demo_reads_98_of_100_unseen_dates(tmp_path):
    environment = os.environ | {"COLUMNS": "100", "HEEDFUL_DATA": ""}
    demo = [sys.executable, "-c", "from heedful.cli import main; main(['demo'])"]
    done = subprocess.run(demo, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    right, of, percent = re.findall(r"^ *all +(\d+) +(\d+) +([\d.]+)", done.stdout, re.MULTILINE)[0]
    assert int(of) == 2000
    assert float(percent) >= 98, done.stdout
    assert "runs/dates/model" in done.stdout

    # A second time it shows the same, and trains nothing.
    again = subprocess.run(demo, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "nothing is left to do" in again.stderr
    assert f"{right}" in again.stdout
