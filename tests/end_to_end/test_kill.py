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

    def lines(name):
        log = tmp_path / name / "log.jsonl"
        return log.read_bytes().count(b"\n") if log.exists() else 0

    began = time.monotonic()
    whole = start("whole")
    while not lines("whole") and whole.poll() is None:
        time.sleep(0.01)
    startup = time.monotonic() - began
    assert whole.wait() == 0, (tmp_path / "whole.out").read_text()

    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    kills = 0
    for attempt in range(KILLS):
        before = lines("killed")
        process = start("killed")
        if attempt % 5 == 0:
            # While it starts; the first start may have been longer, as loops were compiled.
            end = time.monotonic() + moments.uniform(0, startup)
            while time.monotonic() < end and lines("killed") <= before and process.poll() is None:
                time.sleep(0.001)
        else:
            # So many lines of the log further, whatever the machine's speed: ten times need half of the training.
            goal = before + moments.randint(0, 12)
            while lines("killed") < goal and process.poll() is None:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.05))
        process.kill()
        ended = process.wait()
        assert ended in (-9, 0), (tmp_path / "killed.out").read_text()
        kills += ended == -9
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
