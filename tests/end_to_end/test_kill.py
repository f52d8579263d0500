"""kill -9 at random moments, ten times: the run ends with the bits of a run that was left in peace."""

import os
import random
import subprocess
import sys
import time

import pytest

KILLS = 10
HEEDFUL = [sys.executable, "-c", "from heedful.cli import main; main()"]


def write_corpus(folder):
    chosen = random.Random(0)
    for name, count in (("train", 2000), ("validation", 60)):
        rows = [
            " ".join(str(chosen.randrange(30)) for _ in range(chosen.randint(2, 12))) for _ in range(count)
        ]
        lines = "".join(f"{row}\t{' '.join(reversed(row.split()))}\n" for row in rows)
        (folder / f"{name}.tsv").write_text(lines, encoding="utf-8")


RECIPE = """
metrics = ["exact-match"]
data.train.pairs = "train.tsv"
data.validation.pairs = "validation.tsv"
data.batches.tokens = 512
tokenizer = {kind = "bpe", vocabulary_size = 80, byte_fallback = false, dropout = 0.1}
model = {d_model = 32, d_ff = 64, heads = 2, encoder_layers = 2, decoder_layers = 2, dropout = 0.1}
search.beam = 2

[training]
steps = 400
schedule = {kind = "inverse-sqrt", rate = 0.005, warmup = 50}
averaging = "ema"
validate_every = 80
checkpoint_every = 7
log_every = 3
metric = "chrf"
threads = 1
"""


@pytest.mark.slow
def test_ten_kills_change_nothing(tmp_path):
    write_corpus(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(name):
        command = [*HEEDFUL, "train", "recipe.toml", "--run", name]
        with (tmp_path / f"{name}.out").open("ab") as output:
            return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output)

    began = time.monotonic()
    whole = start("whole")
    while not (tmp_path / "whole" / "log.jsonl").exists() and whole.poll() is None:
        time.sleep(0.05)
    startup = time.monotonic() - began
    assert whole.wait() == 0, (tmp_path / "whole.out").read_text()
    training = time.monotonic() - began - startup

    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    kills = 0
    for _ in range(KILLS):
        process = start("killed")
        try:
            # From the middle of the start to a share of the training small enough that ten kills fit in, even if other
            # work ends meanwhile and the machine becomes faster.
            process.wait(moments.uniform(0.5 * startup, startup + training / 12))
        except subprocess.TimeoutExpired:
            process.kill()
            assert process.wait() == -9
            kills += 1
    assert kills >= KILLS // 2, f"seed {seed}: the run ended before it could be killed often"
    assert start("killed").wait() == 0, (tmp_path / "killed.out").read_text()

    final = "checkpoints/step-00000400"
    for name in (
        "log.jsonl",
        "model/model.safetensors",
        "model/tokenizer.json",
        f"{final}/tensors.safetensors",
    ):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (
            f"{name}, seed {seed}"
        )
