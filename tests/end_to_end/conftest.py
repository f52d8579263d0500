"""A browser, a model trained a moment before, and the page of it."""

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from torch import Tensor

from heedful.viewing.looking import open_model
from heedful.viewing.looks.opened import Opened
from heedful.viewing.scene import Scene
from tests.end_to_end.browser import PATIENCE, Browser
from tests.end_to_end.looking import CROSS, SOURCE, drawn
from tests.end_to_end.page_server import HEEDFUL, Server

WORDS = ("red", "blue", "green", "gold", "grey", "pink", "black", "white", "שלום", "日本", "🙂")
RECIPE = """
metrics = ["exact-match"]
data.train.pairs = "train.tsv"
data.validation.pairs = "validation.tsv"
data.batches = {tokens = 1024, maximum_length = 30}
tokenizer = {kind = "symbols", vocabulary_size = 40, min_frequency = 1}
model = {d_model = 32, d_ff = 64, heads = 2, encoder_layers = 2, decoder_layers = 2, dropout = 0.0, maximum_length = 32}
search.beam = 2

[training]
steps = 200
schedule = {kind = "inverse-sqrt", rate = 0.005, warmup = 30}
validate_every = 200
metric = "chrf"
threads = 1
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def model(browser: Browser, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Transformer that turns sequences round; after the browser, so that nothing is trained for a skipped test."""
    folder = tmp_path_factory.mktemp("page")
    chosen = random.Random(0)
    for name, count in (("train", 1500), ("validation", 40)):
        rows = [[chosen.choice(WORDS) for _ in range(chosen.randint(2, 7))] for _ in range(count)]
        lines = "".join(f"{' '.join(row)}\t{' '.join(reversed(row))}\n" for row in rows)
        (folder / f"{name}.tsv").write_text(lines, encoding="utf-8")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    command = [*HEEDFUL, "train", "recipe.toml", "--run", "run", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=10 * PATIENCE)
    return folder / "run"


@pytest.fixture(scope="module")
def opened(model: Path) -> Opened:
    return open_model(model, "cpu")


@pytest.fixture(scope="module")
def scene(opened: Opened) -> Scene:
    """What the page shows of SOURCE, as Python has it."""
    return opened.look({"source": SOURCE})


@pytest.fixture(scope="module")
def weights(scene: Scene) -> Tensor:
    """Of CROSS: (heads, queries, keys)."""
    return next(one for one in scene.maps if one.name == CROSS).record.weights()[0]


@pytest.fixture(scope="module")
def one_server(model: Path, repository: Path) -> Iterator[Server]:
    server = Server(model, repository)
    yield server
    server.stop()


@pytest.fixture
def server(one_server: Server) -> Server:
    return one_server.start()


@pytest.fixture
def calm(browser: Browser) -> Iterator[None]:
    """Every test has a wide light window, and leaves no alert and no error in the console."""
    browser.size(1280, 800)
    browser.theme("light")
    browser.errors()
    yield
    assert browser.alert() is None
    assert browser.errors() == []


@pytest.fixture
def show(browser: Browser, server: Server) -> Callable[..., None]:
    """Open a view of SOURCE as an address has it, and wait until it is drawn."""

    def shown(view: str, **state: Any) -> None:
        browser.open(server.address + "#" + urlencode({"view": view, "t.source": SOURCE, **state}))
        drawn(browser, view)

    return shown
