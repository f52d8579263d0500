"""What the data path alone costs: memory, pairs a second, padding.

    python benchmarks/data_path.py [--pairs 10000000] [--plain-pairs 200000] [--folder FOLDER]

Writes synthetic pairs with the lengths of sentences (log-normal, a mean of 25 subwords, both sides of like length) as
a `PairStore`, and lets a fresh process draw one epoch of batches from it, in each way of choosing shapes. Beside it,
on fewer pairs, what one writes first: all pairs as lists in memory, shuffled, sorted in pools of the same size, and
padded by `pad_sequence`. One thread each; the runs follow one another.

Memory is what the process adds to what it had after its imports, in MiB: `anonymous` cannot be taken back by the
system, `file` (pages of the map) can, each sampled 50 times a second; `peak` is the most that both came to together, as
the kernel counted it. Speed is told by the clock and by the processor time of the one thread, which other work on the
machine disturbs less. Needs Linux (/proc) and about 110 bytes of disk a pair.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.nn.utils.rnn import pad_sequence

from heedful.data.batching import Batches, BatchSettings
from heedful.data.store import PairStore
from heedful.text.special import END, PAD, SPECIAL_TOKENS, START

VOCABULARY = 32_000
MEBIBYTE = 2**20


def synthetic_pairs(pairs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of random ids: sources of log-normal length (median 21.5, mean 25), targets about as long."""
    generator = np.random.default_rng(0)
    for first in range(0, pairs, 65_536):
        rows = min(65_536, pairs - first)
        source = generator.lognormal(np.log(21.5), 0.55, rows)
        target = source * generator.lognormal(0, 0.2, rows)
        sides: list[list[np.ndarray]] = []
        for lengths in (source, target):
            ends = np.cumsum(np.maximum(1, lengths).astype(np.int64))
            ids = generator.integers(len(SPECIAL_TOKENS), VOCABULARY, ends[-1], dtype=np.uint16)
            sides.append(np.split(ids, ends[:-1]))
        yield from zip(*sides, strict=True)


def resident() -> dict[str, int]:
    """Bytes of this process in memory: anonymous, file, both, and the most that both have been."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    keys = {"anonymous": "RssAnon", "file": "RssFile", "both": "VmRSS", "peak": "VmHWM"}
    return {name: int(sizes[key]) * 1024 for name, key in keys.items()}


class Watch:
    """Notes the most of each kind of memory beyond what there was at its start, 50 times a second."""

    def __init__(self) -> None:
        self.start = resident()
        self.most = dict.fromkeys(self.start, 0)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.02):
            self._note()

    def _note(self) -> None:
        for name, size in resident().items():
            self.most[name] = max(self.most[name], size - self.start[name])

    def stop(self) -> dict[str, int]:
        """The most, in bytes."""
        self._stopped.set()
        self._thread.join()
        self._note()
        return {
            "anonymous": self.most["anonymous"],
            "file": self.most["file"],
            "peak": resident()["peak"] - self.start["both"],
        }


def heedful_epoch(store: PairStore, settings: BatchSettings) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Source and target output of each batch of one epoch."""
    for batch in Batches([(store, 1.0)], settings, seed=1):
        if batch.epoch:
            return
        yield batch.source, batch.target_output


def plain_epoch(
    pairs: list[tuple[list[int], list[int]]], settings: BatchSettings
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The same from lists: a shuffle, a sort in each pool, a budget, `pad_sequence`."""
    order = list(range(len(pairs)))
    random.Random(1).shuffle(order)
    for first in range(0, len(order), settings.pool):
        pool = [pairs[index] for index in order[first : first + settings.pool]]
        pool = [pair for pair in pool if max(map(len, pair)) <= settings.maximum_length]
        pool.sort(key=lambda pair: (max(map(len, pair)), sum(map(len, pair))))
        batches: list[list[tuple[list[int], list[int]]]] = []
        rows: list[tuple[list[int], list[int]]] = []
        for pair in pool:
            if rows and (len(rows) + 1) * (max(map(len, pair)) + 1) > settings.tokens:
                batches.append(rows)
                rows = []
            rows.append(pair)
        batches.append(rows)
        random.Random(2).shuffle(batches)
        for batch in batches:
            source = [torch.tensor([*source, END]) for source, _ in batch]
            inputs = [torch.tensor([START, *target]) for _, target in batch]
            output = [torch.tensor([*target, END]) for _, target in batch]
            padded = [pad_sequence(side, True, PAD) for side in (source, inputs, output)]
            yield padded[0], padded[2]


def clocks() -> np.ndarray:
    """Seconds of the clock on the wall, and of the processor time of this thread."""
    return np.array([time.perf_counter(), time.thread_time()])


def measure(path: Path, way: str, plain_pairs: int) -> dict[str, float]:
    """Draw one epoch; the body of the fresh process."""
    torch.set_num_threads(1)
    settings = BatchSettings(shapes="grid" if way == "grid" else "exact")
    watch = Watch()
    store = PairStore.open(path)
    if way == "plain":
        pairs = [(store[index][0].tolist(), store[index][1].tolist()) for index in range(plain_pairs)]
        store.release()
        epoch = plain_epoch(pairs, settings)
    else:
        pairs = range(len(store))
        epoch = heedful_epoch(store, settings)
    count = batches = real = padded = 0
    shapes: Counter[tuple[int, int, int]] = Counter()
    elapsed = np.zeros(2)
    started = clocks()
    for source, target in epoch:
        elapsed += clocks() - started
        count += len(source)
        batches += 1
        real += int((source != PAD).sum() + (target != PAD).sum())
        padded += source.numel() + target.numel()
        shapes[len(source), source.shape[1], target.shape[1]] += 1
        started = clocks()
    return {
        "pairs": len(pairs),
        "pairs used": count,
        "batches": batches,
        "seconds": elapsed[0],
        "processor seconds": elapsed[1],
        "padding": 1 - real / padded,
        "shapes": len(shapes),
        "in 40 shapes": sum(number for _, number in shapes.most_common(40)) / batches,
        **watch.stop(),
    }


def report(way: str, result: dict[str, float]) -> None:
    """One line of the table."""
    used = result["pairs used"]
    memory = [result[kind] / MEBIBYTE for kind in ("anonymous", "file", "peak")]
    print(
        f"{way:6} {result['pairs']:>11,.0f} {used / result['seconds']:>9,.0f} "
        f"{used / result['processor seconds']:>9,.0f} {memory[0]:>10,.0f} {memory[1]:>6,.0f} {memory[2]:>6,.0f} "
        f"{result['anonymous'] / result['pairs']:>9,.0f} {result['padding']:>8.1%} "
        f"{result['batches']:>8,.0f} {result['shapes']:>7,.0f} {result['in 40 shapes']:>12.1%}"
    )


def main() -> None:
    """Write the store, measure each way in its own process, print the table."""
    parser = argparse.ArgumentParser(description="Measure memory and speed of the data path.")
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument(
        "--plain-pairs", type=int, default=200_000, help="pairs held as lists in memory, to compare"
    )
    parser.add_argument(
        "--folder", type=Path, help="where the store is written (default: a temporary folder)"
    )
    parser.add_argument("--measure", nargs=2, metavar=("STORE", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        path, way = options.measure
        print(json.dumps(measure(Path(path), way, options.plain_pairs)))
        return

    print(f"Python {platform.python_version()}, torch {torch.__version__}", end=", ")
    print(f"numpy {np.__version__}, pyarrow {pa.__version__}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}; one thread")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "pairs.arrow"
        watch = Watch()
        started = time.perf_counter()
        store = PairStore.write(path, synthetic_pairs(options.pairs))
        seconds = time.perf_counter() - started
        most = watch.stop()
        size = path.stat().st_size
        print(
            f"written: {len(store):,} pairs, {size / 1e9:.2f} GB ({size / len(store):.0f} bytes a pair), "
            f"{len(store) / seconds:,.0f} pairs/s with their making, {most['anonymous'] / MEBIBYTE:.0f} MiB anonymous"
        )
        print("way          pairs   pairs/s pairs/cpu  anonymous   file   peak  B a pair ", end=" ")
        print("padding  batches  shapes  in 40 shapes")
        results: dict[str, dict[str, float]] = {}
        for way in ("grid", "exact", "plain"):
            command = [sys.executable, __file__, "--measure", str(path), way]
            command += ["--plain-pairs", str(min(options.plain_pairs, options.pairs))]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            results[way] = json.loads(output)
            report(way, results[way])
    plain = results["plain"]
    for way in ("grid", "exact"):
        result = results[way]
        speed = (plain["processor seconds"] / plain["pairs used"]) / (
            result["processor seconds"] / result["pairs used"]
        )
        memory = plain["anonymous"] / plain["pairs"] / (result["anonymous"] / result["pairs"])
        print(f"{way}: {speed:.1f} times as fast as plain, {memory:.0f} times less anonymous memory a pair")


if __name__ == "__main__":
    main()
