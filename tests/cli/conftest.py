"""A model trained for a few steps, once for all tests of the command line."""

import io
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RECIPE = """
metrics = ["exact-match"]
data.train.pairs = "train.tsv"
data.validation.pairs = "validation.tsv"
data.tests.unseen = {pairs = "validation.tsv"}
data.batches = {tokens = 512, maximum_length = 20}
tokenizer = {kind = "words", vocabulary_size = 80}
model = {d_model = 16, d_ff = 32, heads = 2, encoder_layers = 1, decoder_layers = 1, maximum_length = 24}
search.beam = 2

[training]
steps = 6
schedule = {kind = "constant", rate = 0.005, warmup = 2}
validate_every = 3
checkpoint_every = 2
log_every = 1
metric = "chrf"
threads = 1
"""


class Ran:
    """How a command ended: its status, standard output and standard error."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


Heedful = Callable[..., Ran]


@pytest.fixture
def heedful(capsys: pytest.CaptureFixture[str]) -> Heedful:
    """Run a command in this process."""
    from heedful.cli import main

    def run(*arguments: object) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 1, out, err)

    return run


def write_folder(folder: Path) -> None:
    """Pairs of numbers and the same backwards, and a recipe to learn them."""
    chosen = random.Random(0)
    for name, count in (("train", 300), ("validation", 20)):
        rows = [
            " ".join(str(chosen.randrange(30)) for _ in range(chosen.randint(2, 8))) for _ in range(count)
        ]
        lines = [f"{row}\t{' '.join(reversed(row.split()))}\n" for row in rows]
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    (folder / "numbers.toml").write_text(RECIPE, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own current folder with data and recipe."""
    write_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be changed."""
    from heedful.cli import main

    folder = tmp_path_factory.mktemp("trained")
    write_folder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(["train", "numbers.toml", "--quiet"])
    assert ended.value.code == 0
    return folder / "runs" / "numbers"


@pytest.fixture(scope="session")
def talking(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with weights drawn at random: after its few steps the trained model says nothing to any line."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("talking") / "run"))
    file, drawn = run / "model" / "model.safetensors", torch.Generator().manual_seed(1)
    with safe_open(file, "pt") as opened:
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        metadata = opened.metadata()
    for name, weight in weights.items():
        if weight.ndim > 1:
            weights[name] = torch.randn(weight.shape, generator=drawn)
    save_file(weights, file, metadata=metadata)
    return run


@pytest.fixture
def chinese(tmp_path: Path) -> tuple[Path, Path]:
    """Sixty translations and their reference, without spaces: a word wrong, or all that is between spaces."""
    for name, text in (("hypotheses.zh", "他们喜欢看电影"), ("reference.zh", "我们喜欢看电影")):
        (tmp_path / name).write_text(f"{text}\n" * 60, encoding="utf-8")
    return tmp_path / "hypotheses.zh", tmp_path / "reference.zh"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    """Give bytes on standard input."""

    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give
