"""Claim: cost grows with size no faster than the work does: training, decoding, the data path.

    python benchmarks/growth.py [training vocabulary decoding beam corpus] [--rounds 3] [--threads 1] [--figures FOLDER]
        [--quick]

- training: one step over 4,096 tokens a side, cut into sequences of 64 to 4,096: time and peak memory
- vocabulary: one step over 64 sequences of 32 tokens, 1,000 to 64,000 words
- decoding: time of one step after so many tokens of output, to 2,000, beside the bytes of keys and values it reads
- beam: time of one token of output (32 tokens for each of 16 sentences) with beams of 1 to 16
- corpus: pairs a second and anonymous memory of the data path (benchmarks/data_path.py, which compares it with others)

The model has random weights and the dimensions of the tiny Transformer (4+4 layers, d 128). Beside heedful stands
MarianMTModel of `transformers` with the same dimensions and allocator. Each measurement has a process of its own; in
each round all follow one another. Printed are medians over the rounds, and the exponent by which heedful's time grew
since the row above (0: not at all, 1: as the size, 2: as its square). Memory is what the process held at most, less
what it held before the model was made. With one thread the processor's time is taken, which other work on the machine
disturbs less.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_path
import numpy as np
import torch
from peers.training import SIZES, HuggingFace, Size, make
from torch import Tensor, nn

from heedful.data.batching import Batch
from heedful.data.store import PairStore
from heedful.decoding import SearchSettings, search
from heedful.machine import prepare
from heedful.models import SequenceToSequence
from heedful.text.special import END, SPECIAL_TOKENS, START

SIZE: Size = SIZES["tiny"]
VOCABULARY, TOKENS = 10_000, 4096
SOURCE = 32  # tokens of the source in decoding
SENTENCES, WRITTEN = 16, 32  # of the beams
WINDOW = 20  # steps timed around each output length
Result = dict[str, float]

GROWTHS = {
    "training": ("length", (64, 128, 256, 512, 1024, 2048, 4096), (64, 256)),
    "vocabulary": ("words", (1000, 4000, 16_000, 64_000), (1000, 4000)),
    "decoding": ("tokens before", (50, 100, 200, 500, 1000, 2000), (50, 100)),
    "beam": ("beam", (1, 2, 4, 8, 16), (1, 4)),
    "corpus": ("pairs", (100_000, 1_000_000, 10_000_000), (20_000, 40_000)),
}


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def tokens(rows: int, length: int, vocabulary: int) -> Tensor:
    return torch.randint(len(SPECIAL_TOKENS), vocabulary, (rows, length))


def train(library: str, rows: int, length: int, vocabulary: int) -> Result:
    """Time and memory of a step; both sides of every pair have the same length."""
    before = data_path.resident()["both"]
    side = make(library, SIZE, vocabulary, length + 1, bfloat16=False)
    source, target, output = (tokens(rows, length, vocabulary) for _ in range(3))
    batch = Batch(source, target, output, rows * length, 0, np.arange(rows))
    times: list[float] = []
    while len(times) < 4 or (sum(times) < 1 and len(times) < 20):
        begun = clock()
        side.step(len(times) + 1, 1e-4, batch)
        times.append(clock() - begun)
    peak = data_path.resident()["peak"] - before
    return {"ms": 1e3 * statistics.median(times[2:]), "MiB": peak / data_path.MEBIBYTE}


def decoder(library: str, maximum: int) -> nn.Module:
    model = make(library, SIZE, VOCABULARY, maximum, bfloat16=False).model.eval()
    if isinstance(model, HuggingFace):
        model.model.config.use_cache = True
        return model.model
    return model


@torch.inference_mode()
def decode(library: str, sizes: list[int]) -> dict[str, Result]:
    """The median time of the steps around each output length, all in one decoding of one sentence."""
    model = decoder(library, max(sizes) + WINDOW)
    source = tokens(1, SOURCE, VOCABULARY)
    step = (
        heedful_steps(model, source) if isinstance(model, SequenceToSequence) else their_steps(model, source)
    )
    # The next word is given, not chosen: it is the step that is timed.
    times: list[float] = []
    for token in tokens(max(sizes) + WINDOW // 2, 1, VOCABULARY):
        begun = clock()
        step(token)
        times.append(clock() - begun)
    found: dict[str, Result] = {}
    for size in sizes:
        here = times[size - WINDOW // 2 : size + WINDOW // 2]
        # Keys and values of the output so far and of the source, in float32.
        read = 2 * 4 * SIZE.layers * SIZE.d_model * (size + SOURCE)
        found[str(size)] = {"ms": 1e3 * statistics.median(here), "KiB read": read / 1024}
    return found


def heedful_steps(model: SequenceToSequence, source: Tensor) -> Callable[[Tensor], Tensor]:
    state = model.start(model.encode(source))

    def step(token: Tensor) -> Tensor:
        nonlocal state
        logits, state = model.step(token, state)
        return logits

    return step


def their_steps(model: Any, source: Tensor) -> Callable[[Tensor], Tensor]:
    read, past = model.model.encoder(input_ids=source), None

    def step(token: Tensor) -> Tensor:
        nonlocal past
        output = model(
            encoder_outputs=read, decoder_input_ids=token[:, None], past_key_values=past, use_cache=True
        )
        past = output.past_key_values
        return output.logits

    return step


@torch.inference_mode()
def widen(library: str, beam: int) -> Result:
    """Time of a token of output with this beam; all answers have the same length."""
    model = decoder(library, SOURCE + 2 * WRITTEN)
    source = tokens(SENTENCES, SOURCE, VOCABULARY)
    source[:, -1] = END

    def run() -> None:
        if isinstance(model, SequenceToSequence):
            settings = SearchSettings(
                beam=beam, minimum_length=WRITTEN, maximum_length_factor=0.0, maximum_length_add=WRITTEN
            )
            search(model, source, settings)
        else:
            generate: Any = model.generate
            generate(
                source,
                num_beams=beam,
                do_sample=False,
                min_new_tokens=WRITTEN,
                max_new_tokens=WRITTEN,
                eos_token_id=END,
                forced_eos_token_id=None,
                decoder_start_token_id=START,
            )

    times: list[float] = []
    for _ in range(4):
        begun = clock()
        run()
        times.append(clock() - begun)
    return {"ms": 1e3 * statistics.median(times[1:]) / WRITTEN}


def corpus(pairs: int) -> Result:
    """The data path over one epoch of a corpus made here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.arrow"
        PairStore.write(path, data_path.synthetic_pairs(pairs))
        command = [sys.executable, data_path.__file__, "--measure", str(path), "grid"]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return {
        "µs a pair": 1e6 * found["processor seconds"] / found["pairs used"],
        "MiB": found["anonymous"] / data_path.MEBIBYTE,
    }


def measure(growth: str, library: str, sizes: list[int]) -> dict[str, Result]:
    """The body of a process."""
    if growth == "decoding":
        return decode(library, sizes)
    size = sizes[0]
    ways: dict[str, Callable[[], Result]] = {
        "training": lambda: train(library, TOKENS // size, size, VOCABULARY),
        "vocabulary": lambda: train(library, 64, 32, size),
        "beam": lambda: widen(library, size),
        "corpus": lambda: corpus(size),
    }
    return {str(size): ways[growth]()}


def in_process(growth: str, library: str, sizes: list[int], threads: int) -> dict[str, Result]:
    command = [
        sys.executable,
        __file__,
        "--measure",
        growth,
        library,
        *map(str, sizes),
        "--threads",
        str(threads),
    ]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def collect(growth: str, sizes: list[int], rounds: int, threads: int) -> dict[str, dict[int, Result]]:
    """For each side and size the medians over the rounds."""
    libraries = ["heedful"] if growth == "corpus" else ["heedful", "huggingface"]
    # In decoding one process passes all lengths on its way.
    groups = [sizes] if growth == "decoding" else [[size] for size in sizes]
    runs: dict[str, dict[int, list[Result]]] = {name: {size: [] for size in sizes} for name in libraries}
    for number in range(rounds):
        for group in groups:
            for library in libraries if number % 2 == 0 else libraries[::-1]:
                for size, result in in_process(growth, library, group, threads).items():
                    runs[library][int(size)].append(result)
    return {
        library: {
            size: {key: statistics.median(one[key] for one in results) for key in results[0]}
            for size, results in found.items()
        }
        for library, found in runs.items()
    }


def report(growth: str, found: dict[str, dict[int, Result]]) -> None:
    label, sizes = GROWTHS[growth][0], list(found["heedful"])
    keys = [(library, key) for library, by_size in found.items() for key in by_size[sizes[0]]]
    # What is read is the same for all sides.
    keys = [pair for pair in keys if pair[1] != "KiB read"] + [key for key in keys if key[1] == "KiB read"][
        :1
    ]
    head = [key if key == "KiB read" else f"{library}, {key}" for library, key in keys]
    print(f"\n**{growth}**\n\n| {label} | " + " | ".join(head) + " | exponent of heedful's time |")
    print("|---" * (len(head) + 2) + "|")
    time_key = keys[0][1]
    for before, size in zip([None, *sizes], sizes, strict=False):
        numbers = [f"{found[library][size][key]:,.4g}" for library, key in keys]
        grown = ""
        if before is not None:
            ratio = found["heedful"][size][time_key] / found["heedful"][before][time_key]
            grown = f"{math.log(ratio) / math.log(size / before):.2f}"
        print(f"| {size:,} | " + " | ".join(numbers) + f" | {grown} |", flush=True)


def draw(growth: str, found: dict[str, dict[int, Result]], folder: Path) -> None:
    """One figure: each unit in a panel of its own, both axes logarithmic."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    numbers = FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
    folder.mkdir(parents=True, exist_ok=True)
    units = list(next(iter(found["heedful"].values())))
    figure, panels = pyplot.subplots(1, len(units), figsize=(4.2 * len(units), 3.2), squeeze=False)
    for unit, panel in zip(units, panels[0], strict=True):
        for library, by_size in found.items():
            panel.loglog(
                list(by_size), [result[unit] for result in by_size.values()], marker="o", label=library
            )
        panel.set_xlabel(GROWTHS[growth][0])
        panel.set_ylabel(unit)
        panel.set_ylim(bottom=0.5 * panel.get_ylim()[0])
        panel.set_xticks(list(next(iter(found.values()))))
        panel.tick_params(axis="x", labelrotation=30)
        panel.xaxis.set_major_formatter(numbers)
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(numbers)
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
        panel.legend()
    figure.suptitle(growth)
    figure.tight_layout()
    figure.savefig(folder / f"growth_{growth}.svg")
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "growths", nargs="*", metavar="GROWTH", help=f"{', '.join(GROWTHS)}; all when left out"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="where to write a figure each, as SVG")
    parser.add_argument("--quick", action="store_true", help="two small sizes each, one round")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        prepare(options.threads)
        torch.manual_seed(0)
        growth, library, *sizes = options.measure
        print(json.dumps(measure(growth, library, [int(size) for size in sizes])))
        return
    if unknown := set(options.growths) - set(GROWTHS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(GROWTHS)}")
    load = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {platform.platform()}, {options.threads} threads, load {load:.1f}")
    for growth in options.growths or GROWTHS:
        _, full, few = GROWTHS[growth]
        rounds = 1 if options.quick else options.rounds
        found = collect(growth, list(few if options.quick else full), rounds, options.threads)
        report(growth, found)
        if options.figures:
            draw(growth, found, options.figures)


if __name__ == "__main__":
    main()
