"""Claim: heedful trains faster than the Transformers of other libraries, in less memory, on the same batches.

    python benchmarks/train_speed.py [--size tiny small base] [--sides SIDE ...] [--steps 30] [--rounds 3] [--threads 2]
        [--eole PYTHON] [--joeynmt PYTHON] [--quick]

Source and target tokens a second (real ones, padding not counted) on Multi30k English-German, joint BPE of 10,000
entries, batches of 4,096 padded tokens sorted by length. Each side trains in a process of its own, because allocator
and oneDNN are set up for a process; in each round all sides run one after the other, their order turned from round to
round. Printed are medians over the rounds, the spread (range / median), the ratio to the first side within a round, the
peak of resident memory, and the mean loss of the last quarter of the steps.

A side is a library, as shipped, and what is changed about it, such as `huggingface+allocator+bfloat16`:

- heedful, as `heedful train` makes its steps (it sets up the allocator itself); huggingface, torch, x-transformers in a
  plain loop (benchmarks/peers/training.py), huggingface-eager with attention's weights written out; eole and joeynmt
  with their own commands (benchmarks/peers/toolkits.py), if the Python of a virtual environment that has them is given
- +allocator: the allocator and the size of oneDNN's cache set up as `heedful.machine.prepare` does; +bfloat16: under
  autocast; +grid: the same pairs in batches of recurring shapes; +medium: float32 products through oneDNN, which
  heedful chooses by itself where MKL is slow

The limit: matrix products of the model's own kind are timed in each round too, and "of the limit" is the share of the
rate of large ones (in the precision of the side) that 6 FLOP for each multiplying weight and real token come to. With
one thread all is timed by the processor's time, which other work on the machine disturbs less. Needs $HEEDFUL_DATA or
the network; the prepared data is kept in --folder, if that is given.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peers.toolkits import TOOLKITS, run_toolkit
from peers.training import MODELS, SIZES, Size, make
from rich.console import Console

from heedful.data.batching import Batch, Batches, BatchSettings
from heedful.data.store import PairStore
from heedful.machine import native_bfloat16, prepare
from heedful.tasks.translation import DataSettings, Translation, TranslationSettings
from heedful.text.settings import SidesSettings
from heedful.text.special import PAD
from heedful.text.tokenizer import Tokenizer
from heedful.training.progress import Progress

TOKENS, LENGTH, VOCABULARY = 4096, 256, 10_000
LIBRARIES = ("heedful", *MODELS, *TOOLKITS)
CHANGES = ("allocator", "bfloat16", "grid", "medium")
Result = dict[str, Any]


def default_sides(python: dict[str, str | None]) -> list[str]:
    sides = ["heedful"]
    for library in (*list(MODELS)[:-1], *(name for name, path in python.items() if path)):
        sides += [library, f"{library}+allocator"]
    if native_bfloat16("cpu"):
        sides[:0] = ["heedful+bfloat16+grid", "heedful+bfloat16"]
        sides.append("huggingface-eager+allocator+bfloat16+grid")
    return sides


def prepared(folder: Path) -> Path:
    """The folder of the pairs as tokens, made as `heedful train` makes it."""
    settings = TranslationSettings(
        data=DataSettings(name="multi30k-en-de"),
        tokenizer=SidesSettings(kind="bpe", vocabulary_size=VOCABULARY, joint=True),
    )
    Translation(settings, folder, Progress(Console(quiet=True))).prepare()
    return folder


def draw(data: Path, grid: bool, count: int) -> list[Batch]:
    settings = BatchSettings(tokens=TOKENS, shapes="grid" if grid else "exact")
    store = PairStore.open(data / "train.0.arrow")
    return list(islice(Batches([(store, 1.0)], settings, seed=1), count))


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def peak_memory() -> float:
    """MiB that this process has held at most; getrusage would count the parent's before `exec`."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if "VmHWM" in line)


def train(side: str, size: Size, data: Path, steps: int, warmup: int) -> Result:
    """Train one side; the body of its process."""
    library, *changes = side.split("+")
    if library != "heedful":
        torch.set_float32_matmul_precision("medium" if "medium" in changes else "highest")
    vocabulary = len(Tokenizer.load(data / "tokenizer.source.json"))
    torch.manual_seed(1)
    trained = make(library, size, vocabulary, LENGTH + 1, "bfloat16" in changes)
    batches = draw(data, "grid" in changes, warmup + steps)
    seconds: list[float] = []
    source: list[int] = []
    losses: list[float] = []
    for number, batch in enumerate(batches, 1):
        begun = clock()
        loss = trained.step(number, 1e-3 * min(1.0, number / 20), batch)
        seconds.append(clock() - begun)
        source.append(int((batch.source != PAD).sum()))
        losses.append(loss / batch.tokens)
    read, written = sum(source[warmup:]), sum(batch.tokens for batch in batches[warmup:])
    elapsed = sum(seconds[warmup:])
    return {
        "speed": (read + written) / elapsed,
        "flops": size.operations(read, written, vocabulary) / elapsed,
        "memory": peak_memory(),
        "loss": statistics.fmean(losses[-max(1, steps // 4) :]),
    }


def limits(size: Size) -> Result:
    """GFLOP/s of a large product, and of those of a layer and of the output layer of this size; forward only."""
    width = size.d_model
    shapes = {
        "2048 x 2048 x 2048": (2048, 2048, 2048),
        f"2048 x {width} x {3 * width}": (2048, width, 3 * width),
        f"512 x {width} x {VOCABULARY}": (512, width, VOCABULARY),
    }
    kinds = [torch.float32, torch.bfloat16] if native_bfloat16("cpu") else [torch.float32]
    rates: Result = {}
    for kind in kinds:
        for name, (m, k, n) in shapes.items():
            left, right = torch.randn(m, k).to(kind), torch.randn(n, k).to(kind)
            out = torch.empty(m, n, dtype=kind)
            times: list[float] = []
            until = clock() + 0.5
            while clock() < until or len(times) < 3:
                begun = clock()
                torch.mm(left, right.t(), out=out)
                times.append(clock() - begun)
            label = str(kind).removeprefix("torch.")
            rates[f"{label} {name}"] = 2e-9 * m * k * n / statistics.median(times)
    return rates


def in_process(side: str, size: str, data: Path, options: argparse.Namespace) -> Result:
    """Run one side, or "limits", in a fresh process."""
    command = [sys.executable, __file__, "--measure", side, str(data), "--size", size]
    command += ["--steps", str(options.steps), "--warmup", str(options.warmup)]
    command += ["--threads", str(options.threads)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure(options: argparse.Namespace) -> None:
    """The body of a process: what was asked for, as JSON."""
    side, data = options.measure
    if side.startswith("heedful") or "+allocator" in side or side == "limits":
        prepare()
    torch.set_num_threads(options.threads)
    size = SIZES[options.size[0]]
    result = (
        limits(size) if side == "limits" else train(side, size, Path(data), options.steps, options.warmup)
    )
    print(json.dumps(result))


def run_size(name: str, sides: Sequence[str], data: Path, options: argparse.Namespace) -> None:
    runs: dict[str, list[Result]] = {side: [] for side in (*sides, "limits")}
    work: dict[str, Callable[[], Result]] = {}
    for side in runs:
        library, *changes = side.split("+")
        if library in TOOLKITS:
            python = getattr(options, library)
            work[side] = lambda library=library, python=python, tuned="allocator" in changes: run_toolkit(
                library, python, SIZES[name], data, options.threads, options.steps, options.warmup, tuned
            )
        else:
            work[side] = lambda side=side: in_process(side, name, data, options)
    order = list(runs)
    for number in range(options.rounds):
        turn = number % len(order)
        for side in order[turn:] + order[:turn]:
            runs[side].append(work[side]())
            print(f"  round {number + 1}, {name}, {side}: {runs[side][-1]}", file=sys.stderr)
    report(name, sides, runs)


def middle(results: Sequence[Result], key: str) -> float:
    return statistics.median(result[key] for result in results)


def report(name: str, sides: Sequence[str], runs: dict[str, list[Result]]) -> None:
    """The table of one size."""
    rates = {key: middle(runs["limits"], key) for key in runs["limits"][0]}
    print(f"\n**{name}**; matrix products: ", end="")
    print(", ".join(f"{key}: {rate:,.0f} GFLOP/s" for key, rate in rates.items()) + "\n")
    first = sides[0]
    print(f"| side | tokens/s | spread | {first} / side | of the limit | peak MiB | loss |")
    print("|---" * 7 + "|")
    for side in sides:
        speeds = [result["speed"] for result in runs[side]]
        ratio = statistics.median(
            one["speed"] / other["speed"] for one, other in zip(runs[first], runs[side], strict=True)
        )
        speed = statistics.median(speeds)
        kind = "bfloat16" if "bfloat16" in side else "float32"
        # Without native bfloat16 there is no rate of it.
        limit = rates.get(f"{kind} 2048 x 2048 x 2048")
        share = f"{middle(runs[side], 'flops') / limit / 1e9:.0%}" if limit else "-"
        print(
            f"| {side} | {speed:,.0f} | {(max(speeds) - min(speeds)) / speed:.0%} | {ratio:.2f} | {share} "
            f"| {middle(runs[side], 'memory'):,.0f} | {middle(runs[side], 'loss'):.3f} |",
            flush=True,
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["tiny", "small", "base"])
    parser.add_argument("--sides", nargs="+", help="such as: heedful huggingface+allocator")
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a side in a round")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="where the prepared data is kept")
    for library in TOOLKITS:
        parser.add_argument(
            f"--{library}", metavar="PYTHON", help=f"the Python of an environment with {library}"
        )
    parser.add_argument("--quick", action="store_true", help="tiny, one round of 4 steps")
    parser.add_argument("--measure", nargs=2, metavar=("SIDE", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.size, options.rounds, options.steps, options.warmup = ["tiny"], 1, 4, 2
    for side in options.sides or ():
        library, *changes = side.split("+")
        if library not in LIBRARIES or set(changes) - set(CHANGES):
            parser.error(
                f"there is no side {side!r}; sides are {', '.join(LIBRARIES)}, +{', +'.join(CHANGES)}"
            )
        if library in TOOLKITS and not getattr(options, library):
            parser.error(f"{side} needs --{library} PYTHON")
    return options


def main() -> None:
    options = parse()
    if options.measure:
        measure(options)
        return
    python = {library: getattr(options, library) for library in TOOLKITS}
    sides = options.sides or default_sides(python)
    timed = "processor's time" if options.threads == 1 else "clock on the wall"
    print(
        f"torch {torch.__version__}, {platform.platform()}, {options.threads} threads, {timed}, "
        f"load {os.getloadavg()[0]:.1f}; {options.rounds} rounds of {options.steps} steps"
    )
    if not options.sides:
        for library in (library for library, path in python.items() if path is None):
            print(f"{library} is left out: it needs an environment of its own (--{library} PYTHON).")
    with tempfile.TemporaryDirectory() as temporary:
        data = prepared(options.folder or Path(temporary))
        for name in options.size:
            run_size(name, sides, data, options)


if __name__ == "__main__":
    main()
