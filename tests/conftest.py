"""What every test stands on: one thread, one seed, an empty cache, and the data mirror where there is one."""

import os
import random
import shutil
import tempfile
from pathlib import Path

# Before torch is imported: a worker leaves the other cores to the other workers, and so do the commands it starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_configure(config: pytest.Config) -> None:
    """Point the cache of downloads and prepared data at an empty folder: no test reads what another run left."""
    torch.set_num_threads(1)
    cache = tempfile.mkdtemp(prefix="heedful-tests-")
    os.environ["HEEDFUL_CACHE"] = cache
    config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 -- for code under test that draws from the global generator
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The offline mirror of the named data sets: HEEDFUL_DATA, or shared/data beside the checkout."""
    named = os.environ.get("HEEDFUL_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data mirror: set HEEDFUL_DATA to its folder (looked in {folder})")
    return folder
