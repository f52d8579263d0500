"""Toolkits that bring their own training: eole and JoeyNMT, driven through their commands.

Each wants an environment of its own (`python -m venv eole && eole/bin/pip install eole`), so that only the path of its
Python is needed here. They read the same pairs as subwords separated by spaces, make batches of their own of at most
4,096 tokens, and tell the speed of each step in their log, by the clock on the wall; read is what the log says.
"""

import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from heedful.data.store import PairStore
from heedful.text.special import SPECIAL_TOKENS
from heedful.text.tokenizer import Tokenizer
from peers.training import BETAS, DROPOUT, EPSILON, SMOOTHING, Size

TOKENS, RATE = 4096, 1e-3
# What heedful.machine.prepare sets, in glibc's own words.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "20000",
}
# A step of each one's log: tokens of source and target in the step, and of each a second; the loss.
EOLE = re.compile(r"Step\s*(\d+)/.*xent: ([\d.]+).*bsz:\s*(\d+)/\s*(\d+)/.*?([\d.]+)/\s*([\d.]+) tok/s")
JOEYNMT = re.compile(r"Step:\s*(\d+), Batch Loss:\s*([\d.]+).*Tokens per Sec:\s*([\d.]+)")


def write_text(data: Path, folder: Path) -> float:
    """Write train.src, train.tgt and vocabulary.txt; give source tokens per target token, ends counted."""
    store = PairStore.open(data / "train.0.arrow")
    pieces = Tokenizer.load(data / "tokenizer.source.json").vocabulary.pieces
    (folder / "vocabulary.txt").write_text("\n".join(pieces[len(SPECIAL_TOKENS) :]) + "\n", encoding="utf-8")
    counts = [0, 0]
    for side, name in enumerate(("train.src", "train.tgt")):
        with (folder / name).open("w", encoding="utf-8") as file:
            for index in range(len(store)):
                ids = store[index][side].tolist()
                counts[side] += len(ids) + 1
                file.write(" ".join(pieces[token] for token in ids) + "\n")
    for end in ("src", "tgt"):
        lines = (folder / f"train.{end}").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"dev.{end}").write_text("".join(lines[:20]), encoding="utf-8")
    return counts[0] / counts[1]


def eole_settings(folder: Path, size: Size, steps: int) -> dict[str, Any]:
    return {
        "seed": 1,
        "share_vocab": True,
        "src_vocab": str(folder / "vocabulary.txt"),
        "tgt_vocab": str(folder / "vocabulary.txt"),
        "overwrite": True,
        "report_every": 1,
        "data": {
            "corpus_1": {
                "path_src": str(folder / "train.src"),
                "path_tgt": str(folder / "train.tgt"),
                "transforms": [],
            }
        },
        "training": {
            "model_path": str(folder / "model"),
            "train_steps": steps,
            "valid_steps": 10**6,
            "save_checkpoint_steps": 10**6,
            "batch_type": "tokens",
            "batch_size": TOKENS,
            "bucket_size": 30_000,
            "num_workers": 0,
            "normalization": "tokens",
            "compute_dtype": "fp32",
            "optim": "adam",
            "adam_beta1": BETAS[0],
            "adam_beta2": BETAS[1],
            "adam_eps": EPSILON,
            "learning_rate": RATE,
            "decay_method": "none",
            "max_grad_norm": 0.0,
            "dropout": [DROPOUT],
            "attention_dropout": [0.0],
            "dropout_steps": [0],
            "label_smoothing": SMOOTHING,
        },
        "model": {
            "architecture": "transformer",
            "layers": size.layers,
            "hidden_size": size.d_model,
            "heads": size.heads,
            "transformer_ff": size.d_ff,
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "embeddings": {"word_vec_size": size.d_model, "position_encoding_type": "SinusoidalInterleaved"},
        },
    }


def joeynmt_settings(folder: Path, size: Size, steps: int) -> dict[str, Any]:
    side = {
        "level": "word",
        "lowercase": False,
        "max_length": 256,
        "voc_file": str(folder / "vocabulary.txt"),
    }
    stack = {
        "type": "transformer",
        "num_layers": size.layers,
        "num_heads": size.heads,
        "embeddings": {"embedding_dim": size.d_model, "scale": True, "dropout": DROPOUT},
        "hidden_size": size.d_model,
        "ff_size": size.d_ff,
        "dropout": DROPOUT,
    }
    return {
        "name": "speed",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "fp16": False,
        "random_seed": 1,
        "data": {
            "train": str(folder / "train"),
            "dev": str(folder / "dev"),
            "dataset_type": "plain",
            "src": {"lang": "src", **side},
            "trg": {"lang": "tgt", **side},
        },
        "testing": {"beam_size": 1, "max_output_length": 5, "eval_metrics": []},
        "training": {
            "optimizer": "adam",
            "adam_betas": list(BETAS),
            "learning_rate": RATE,
            "scheduling": "decaying",  # it takes no "none"; in epochs, which never go by
            "decaying_step_size": 10**6,
            "normalization": "tokens",
            "label_smoothing": SMOOTHING,
            "loss": "crossentropy",
            "batch_size": TOKENS,
            "batch_type": "token",
            "epochs": 1000,
            "updates": steps,
            "validation_freq": 10**6,
            "logging_freq": 1,
            "early_stopping_metric": "loss",
            "overwrite": True,
            "shuffle": True,
        },
        "model": {"tied_embeddings": True, "tied_softmax": True, "encoder": stack, "decoder": stack},
    }


SETTINGS = {"eole": eole_settings, "joeynmt": joeynmt_settings}
TOOLKITS = tuple(SETTINGS)


def run_toolkit(
    toolkit: str, python: str, size: Size, data: Path, threads: int, steps: int, warmup: int, tuned: bool
) -> dict[str, float]:
    """Train with the toolkit's own command; speed, FLOP/s, memory and loss as of the other sides."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratio = write_text(data, folder)
        # YAML takes JSON.
        settings = SETTINGS[toolkit](folder, size, warmup + steps)
        (folder / "settings.yaml").write_text(json.dumps(settings), encoding="utf-8")
        if toolkit == "eole":
            command = [str(Path(python).parent / "eole"), "train", "-config", str(folder / "settings.yaml")]
        else:
            command = [python, "-m", "joeynmt", "train", str(folder / "settings.yaml"), "--skip-test"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **(ALLOCATOR if tuned else {})}
        log, memory = run(command, environment, folder / "log.txt")
        vocabulary = sum(1 for _ in (folder / "vocabulary.txt").open(encoding="utf-8"))
    each = eole_speeds(log) if toolkit == "eole" else joeynmt_speeds(log, ratio)
    if len(each) <= warmup:
        raise SystemExit(f"{toolkit} told no speed of {warmup + steps} steps; its log ends:\n{log[-2000:]}")
    speed = statistics.median(pair[0] for pair in each[warmup:])
    share = ratio / (1 + ratio)
    return {
        "speed": speed,
        "flops": size.operations(1, 0, vocabulary) * speed * share
        + size.operations(0, 1, vocabulary) * speed * (1 - share),
        "memory": memory,
        "loss": statistics.fmean(pair[1] for pair in each[-max(1, steps // 4) :]),
    }


def eole_speeds(log: str) -> list[tuple[float, float]]:
    """Source and target tokens a second, and the loss, of each step."""
    return [(float(found[5]) + float(found[6]), float(found[2])) for found in EOLE.finditer(log)]


def joeynmt_speeds(log: str, ratio: float) -> list[tuple[float, float]]:
    """The same; it tells of target tokens only, so those of the source are added by the ratio of the whole text."""
    return [(float(found[3]) * (1 + ratio), float(found[2])) for found in JOEYNMT.finditer(log)]


def run(command: list[str], environment: dict[str, str], log: Path) -> tuple[str, float]:
    """What the command printed, and the most MiB that it held; looked at five times a second."""
    most = 0
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            if status.exists():
                most = max([most, *map(int, re.findall(r"VmHWM:\s*(\d+)", status.read_text()))])
            time.sleep(0.2)
    return log.read_text(encoding="utf-8", errors="replace"), most / 1024
