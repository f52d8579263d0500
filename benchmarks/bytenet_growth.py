"""Claim: ByteNet's cost is linear in the length of a sequence, in training and in decoding, where attention's is not.

    python benchmarks/bytenet_growth.py [--rounds 3] [--threads 1] [--figure FILE] [--quick]

- training: one step (forward, loss, backward, AdamW) over 4,096 tokens a side, cut into sequences of 64 to 4,096
- decoding: one step of one sentence after so many tokens of output, with a source of as many

Beside ByteNet stands heedful's Transformer of about as many parameters, whose attention sees the whole sequence. Per
token, linear cost is a constant, and quadratic cost grows as the length. In each round both sides and lengths follow
one another in one process. Printed are medians over the rounds, and the exponent by which time per token grew since the
row above (0: cost is linear; 1: it is quadratic). With one thread the processor's time is taken.
"""

import argparse
import math
import os
import platform
import time
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from heedful.models import (
    ByteNet,
    ByteNetSettings,
    SequenceToSequence,
    State,
    Transformer,
    TransformerSettings,
)
from heedful.objectives.cross_entropy import smoothed_cross_entropy
from heedful.text.special import END, SPECIAL_TOKENS

LETTERS, TOKENS = 110, 4096
LENGTHS, QUICK = (64, 128, 256, 512, 1024, 2048, 4096), (64, 256)
WINDOW = 24  # steps timed after each output length

Times = dict[tuple[str, int], float]


def models(longest: int) -> dict[str, SequenceToSequence]:
    """Of 1.3 million parameters each."""
    room = longest + WINDOW + 1
    convolutions = ByteNetSettings(d_model=256, sets=1, unfold_factor=1.0, maximum_length=room)
    attention = TransformerSettings(
        d_model=128, d_ff=384, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.0, maximum_length=room
    )
    return {
        "ByteNet": ByteNet(convolutions, LETTERS, LETTERS),
        "Transformer": Transformer(attention, LETTERS, LETTERS),
    }


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def letters(rows: int, length: int) -> Tensor:
    return torch.randint(len(SPECIAL_TOKENS), LETTERS, (rows, length))


def train(model: SequenceToSequence, length: int) -> float:
    """Microseconds of a training step for each token of the target; the second of two steps."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    source, target, reference = (letters(TOKENS // length, length) for _ in range(3))
    begun = clock()
    for _ in range(2):
        begun = clock()
        features = model.features(source, target).flatten(0, 1)
        weight, bias = model.output.weight, model.output.bias
        loss, _ = smoothed_cross_entropy(features, weight, bias, reference.flatten(), 0.0)
        (loss / TOKENS).backward()
        optimizer.step()
        optimizer.zero_grad()
    return 1e6 * (clock() - begun) / TOKENS


@torch.inference_mode()
def decode(model: SequenceToSequence, length: int) -> float:
    """Microseconds of the median step after `length` tokens of output, with a source of that length."""
    model.eval()
    source = letters(1, length)
    source[:, -1] = END
    state: State = model.start(model.encode(source))
    times: list[float] = []
    # The next letter is given, not chosen: it is the step that is timed.
    for token in letters(length + WINDOW, 1):
        begun = clock()
        _, state = model.step(token, state)
        times.append(clock() - begun)
    return 1e6 * median(times[-WINDOW:])


def report(what: str, found: dict[tuple[str, int], list[float]], lengths: tuple[int, ...]) -> Times:
    names = list(dict.fromkeys(name for name, _ in found))
    times = {key: median(measured) for key, measured in found.items()}
    print(f"\n| {what}: length | " + " | ".join(f"{name}, µs a token | exponent" for name in names) + " |")
    print("|---" * (1 + 2 * len(names)) + "|")
    for before, length in zip([None, *lengths], lengths, strict=False):
        cells: list[str] = []
        for name in names:
            grown = ""
            if before is not None:
                ratio = times[name, length] / times[name, before]
                grown = f"{math.log(ratio) / math.log(length / before):.2f}"
            cells += [f"{times[name, length]:,.0f}", grown]
        print(f"| {length:,} | " + " | ".join(cells) + " |", flush=True)
    return times


def draw(panels: dict[str, Times], file: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.2), squeeze=False)
    for (what, times), axis in zip(panels.items(), axes[0], strict=True):
        for name in dict.fromkeys(name for name, _ in times):
            points = sorted((length, value) for (one, length), value in times.items() if one == name)
            axis.loglog(*zip(*points, strict=True), marker="o", label=name)
        axis.set_title(what)
        axis.set_xlabel("length")
        axis.set_ylabel("µs a token")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--figure", type=Path, help="where to draw both curves, as SVG or PNG")
    parser.add_argument("--quick", action="store_true", help="two small lengths, one round")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    lengths, rounds = (QUICK, 1) if options.quick else (LENGTHS, options.rounds)
    made = models(max(lengths))
    print(
        f"torch {torch.__version__}, {options.threads} threads, {platform.platform()}, load {os.getloadavg()[0]:.1f}"
    )
    for name, model in made.items():
        print(f"{name}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    panels: dict[str, Times] = {}
    for what, measure in (("training", train), ("decoding", decode)):
        found: dict[tuple[str, int], list[float]] = {(name, n): [] for n in lengths for name in made}
        for _ in range(rounds):
            for name, length in found:
                found[name, length].append(measure(made[name], length))
        panels[what] = report(what, found, lengths)
    if options.figure:
        draw(panels, options.figure)


if __name__ == "__main__":
    main()
