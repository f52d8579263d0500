"""Additive attention beside the broadcast version that JoeyNMT, OpenNMT and d2l write: its time, and its memory.

    python benchmarks/additive.py [--rounds 5] [--threads 2] [--quick]

Broadcast is v . tanh(q[:, :, None] + k[:, None]), which writes numbers for every query, key and dimension. Two tasks,
with a batch of 1 and float32: the scores alone, and all of attention, `attend(query, key, value, score=Additive(...))`
beside the same projections, a softmax and a product. heedful's side is measured with its loops compiled and, with
HEEDFUL_COMPILE=0, as a machine without a compiler has it.

Time is of the forward pass, n = m = 1,024 and d = 512: all ways alternate in one process, one turn to warm up (which
compiles), then the medians of --rounds turns, the ratios taken within each turn. Memory is of forward and backward,
n = m = 1,024 and d = 256, each way in a process of its own: the most it had (VmHWM, set back before, where the system
lets it be) beyond what it had with its inputs and after a small turn to warm up. Needs Linux (/proc).
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import linear

from heedful.attention import Additive, attend
from heedful.attention.kernels import additive

WAYS = ("compiled", "without a compiler", "broadcast")
TASKS = ("scores", "attention")


def broadcast_scores(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    features = torch.tanh(query[:, :, None] + key[:, None])
    return linear(features, v[None]).squeeze(-1)


def broadcast_attention(query: Tensor, key: Tensor, value: Tensor, score: Additive) -> Tensor:
    projected = linear(query, score.query_weight, score.bias), linear(key, score.key_weight)
    return broadcast_scores(*projected, score.v).softmax(-1) @ value


def made(task: str, way: str, length: int, width: int) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """Give what is to be run, and the tensors to differentiate by."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, length, width).requires_grad_() for _ in range(3))
    if task == "scores":
        v = torch.randn(width).requires_grad_()
        pairs = broadcast_scores if way == "broadcast" else additive.additive_pairs
        return lambda: pairs(query, key, v), [query, key, v]
    score = Additive(width, width, width)
    leaves = [query, key, value, *score.parameters()]
    if way == "broadcast":
        return lambda: broadcast_attention(query, key, value, score), leaves

    def attended() -> Tensor:
        return attend(query[:, None], key[:, None], value[:, None], score=score)[:, 0]

    return attended, leaves


def choose(way: str) -> None:
    """Have heedful find a compiler, or none."""
    os.environ["HEEDFUL_COMPILE"] = "0" if way == "without a compiler" else "1"


@torch.no_grad()
def times(task: str, length: int, width: int, rounds: int) -> dict[str, list[float]]:
    runs = {way: made(task, way, length, width)[0] for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    first: Tensor | None = None
    for turn in range(rounds + 1):
        for way, run in runs.items():
            choose(way)
            began = time.perf_counter()
            result = run()
            if turn:
                seconds[way].append(time.perf_counter() - began)
            else:
                first = result if first is None else first
                torch.testing.assert_close(result, first, rtol=1e-4, atol=1e-4)
    return seconds


def memory(name: str) -> float:
    """A line of this process's status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def growth(task: str, way: str, length: int, width: int) -> float:
    """Give the MiB that forward and backward take at most; to be asked in a fresh process."""
    choose(way)
    # Large enough to be compiled where that is the way.
    small, leaves = made(task, way, 160, 192)
    torch.autograd.grad(small().sum(), leaves)
    run, leaves = made(task, way, length, width)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
    except OSError:
        before = memory("VmHWM")
    torch.autograd.grad(run().sum(), leaves)
    return memory("VmHWM") - before


def asked(task: str, way: str, length: int, width: int, threads: int) -> float:
    command = [
        sys.executable,
        __file__,
        "--threads",
        str(threads),
        "--measure",
        task,
        way,
        str(length),
        str(width),
    ]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def spread(numbers: list[float], digits: int) -> str:
    return f"{median(numbers):.{digits}f} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a quarter of the length, one round")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        task, way, length, width = options.measure
        print(growth(task, way, int(length), int(width)))
        return
    length, rounds = (256, 1) if options.quick else (1024, options.rounds)
    print(
        f"torch {torch.__version__}, {options.threads} threads, {platform.platform()}, load {os.getloadavg()[0]:.1f}"
    )
    place = torch.zeros(1, length, 512)
    choose("compiled")
    print(f"heedful's way: {additive.path(place, place)}\n")
    print(
        f"| n = m = {length:,} | way | forward, d = 512: ms | broadcast / way | forward and backward, d = 256: MiB |"
    )
    print("|---|---|---|---|---|")
    for task in TASKS:
        seconds = times(task, length, 512, rounds)
        for way in WAYS:
            pairs = zip(seconds["broadcast"], seconds[way], strict=True)
            ratios = [slow / quick for slow, quick in pairs]
            milliseconds = [1000 * one for one in seconds[way]]
            grown = [asked(task, way, length, 256, options.threads) for _ in range(min(rounds, 3))]
            line = (
                f"| {task} | {way} | {spread(milliseconds, 1)} | {spread(ratios, 1)} | {spread(grown, 1)} |"
            )
            print(line, flush=True)


if __name__ == "__main__":
    main()
