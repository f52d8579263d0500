"""Claim: memory of attention grows with length, not with its square, forward and backward, whatever the score.

    python benchmarks/attention_memory.py [--quick] [--lengths 4096 8192 16384 32768] [--only "scaled dot, dropout"]

One head of width 64, one sentence; forward and backward with gradients of queries, keys, values and all parameters.
Ours is `attend` as `auto` computes it. Theirs is `torch.nn.functional.scaled_dot_product_attention` of the same, with
masks and biases written out where it takes them only so; for additive scores, which PyTorch has not, the sum that
teaching code and toolkits write, over a tensor queries x keys x width.

Each figure is the growth of the peak of resident memory over what the process had before, in MiB, in a process of its
own whose address space is bounded by --limit GiB ("-": it did not fit). The slope is that of log(growth) by
log(length): 1 is linear, 2 quadratic. One thread. Needs Linux (/proc).
"""

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, scaled_dot_product_attention

from heedful.attention import (
    Additive,
    ALiBi,
    Bias,
    Concat,
    Cosine,
    Dot,
    Gaussian,
    General,
    Location,
    LocationAware,
    RelativeBuckets,
    RelativePositions,
    Rotary,
    ScaledDot,
    Score,
    SoftCap,
    attend,
    explain_kernel,
    masks,
)
from heedful.attention.positions import distance_buckets

WIDTH, HIDDEN = 64, 16
Run = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(
    score: Callable[[int], Score] = lambda n: ScaledDot(),
    mask=None,
    dropout: float = 0.0,
    d_value: int = WIDTH,
):
    def build(n: int) -> tuple[Run, str]:
        made = score(n)
        choices = {"score": made, "mask": None if mask is None else mask(n), "dropout": dropout}
        few = torch.zeros(1, 1, 1 if isinstance(made, LocationAware) else n, WIDTH, requires_grad=True)
        key, value = torch.zeros(1, 1, n, WIDTH), torch.zeros(1, 1, n, d_value)
        kernel = explain_kernel(few, key, value, **choices).kernel
        return lambda query, key, value: attend(query, key, value, **choices), kernel

    return build


def theirs(choices: Callable[[int], dict] = lambda n: {}):
    def build(n: int) -> tuple[Run, str]:
        made = choices(n)
        return lambda query, key, value: scaled_dot_product_attention(query, key, value, **made), "SDPA"

    return build


def their_buckets(n: int) -> tuple[Run, str]:
    """T5's way: the bias of all pairs from the table, then added."""
    table = nn.Parameter(torch.zeros(32, 1))

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        places = torch.arange(n)
        bias = embedding(distance_buckets(places - places[:, None], 32, 128, True), table).movedim(-1, 0)
        return scaled_dot_product_attention(query, key, value, attn_mask=bias[None])

    return run, "SDPA"


def their_additive(n: int) -> tuple[Run, str]:
    weights = [nn.Parameter(torch.randn(HIDDEN, WIDTH) / 8) for _ in range(2)]
    v = nn.Parameter(torch.randn(HIDDEN))

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key = (linear(x, weight) for x, weight in zip((query, key), weights, strict=True))
        return (torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3)) @ v).softmax(-1) @ value

    return run, "broadcast"


def triangle(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).tril()


def band(n: int) -> Tensor:
    return triangle(n).triu(-256)


def keys_bias(n: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(1, 1, 1, n))


def gaussian(n: int) -> Score:
    return ScaledDot().then(Gaussian(nn.Parameter(torch.arange(float(n)).reshape(1, 1, n, 1)), 64.0))


def previous(n: int) -> Score:
    return LocationAware(WIDTH, WIDTH, HIDDEN).after(torch.full((1, 1, n), 1 / n))


# What is asked, ours and theirs (None: PyTorch has nothing that does it, beyond writing all weights out).
CASES: dict[str, tuple[Callable, Callable | None]] = {
    "scaled dot": (ours(), theirs()),
    "scaled dot, dropout": (ours(dropout=0.1), theirs(lambda n: {"dropout_p": 0.1})),
    "scaled dot, causal": (ours(mask=lambda n: masks.causal()), theirs(lambda n: {"is_causal": True})),
    "scaled dot, padding": (
        ours(mask=lambda n: masks.padding(torch.tensor([n // 2]))),
        theirs(lambda n: {"attn_mask": (torch.arange(n) < n // 2)[None, None, None]}),
    ),
    "scaled dot, window of 256": (
        ours(mask=lambda n: masks.window(256, 0)),
        theirs(lambda n: {"attn_mask": band(n)}),
    ),
    "scaled dot, causal, dropout": (
        ours(mask=lambda n: masks.causal(), dropout=0.1),
        theirs(lambda n: {"is_causal": True, "dropout_p": 0.1}),
    ),
    "scaled dot, d_v 32": (ours(d_value=32), theirs()),
    "learned bias of keys": (
        ours(lambda n: ScaledDot().then(Bias(keys_bias(n)))),
        theirs(lambda n: {"attn_mask": keys_bias(n)}),
    ),
    "learned relative buckets": (
        ours(lambda n: ScaledDot().then(RelativeBuckets.learned(1))),
        their_buckets,
    ),
    "learned relative positions": (
        ours(lambda n: ScaledDot().then(RelativePositions.learned(16, WIDTH))),
        None,
    ),
    "ALiBi": (ours(lambda n: ScaledDot().then(ALiBi(torch.tensor([0.5])))), None),
    "soft cap": (ours(lambda n: ScaledDot().then(SoftCap(50.0))), None),
    "Gaussian": (ours(gaussian), None),
    "dot": (ours(lambda n: Dot()), None),
    "rotary": (ours(lambda n: Rotary()), None),
    "general": (ours(lambda n: General(WIDTH, WIDTH)), None),
    "cosine": (ours(lambda n: Cosine(3.0)), None),
    "location": (ours(lambda n: Location(WIDTH, n)), None),
    "additive": (ours(lambda n: Additive(WIDTH, WIDTH, HIDDEN)), their_additive),
    "additive, dropout, causal": (
        ours(lambda n: Additive(WIDTH, WIDTH, HIDDEN), lambda n: masks.causal(), 0.1),
        None,
    ),
    "concat": (ours(lambda n: Concat(WIDTH, WIDTH, HIDDEN)), None),
    "location-aware, one query": (ours(previous), None),
}


def resident(what: str) -> float:
    """VmRSS or VmHWM of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def measure(case: str, side: int, n: int) -> tuple[float, str]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    build = CASES[case][side]
    assert build is not None

    def passed(n: int, before: Callable[[], float]) -> tuple[float, str]:
        queries = 1 if "one query" in case else n
        value_width = 32 if "d_v" in case else WIDTH
        shapes = (queries, WIDTH), (n, WIDTH), (n, value_width)
        run, kernel = build(n)
        inputs = [torch.randn(1, 1, *shape, requires_grad=True) for shape in shapes]
        had = before()
        run(*inputs).sum().backward()
        return had, kernel

    def reset() -> float:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        return resident("VmRSS")

    passed(512, lambda: 0.0)  # what libraries load on their first use, and what is compiled, is not counted
    had, kernel = passed(n, reset)
    return resident("VmHWM") - had, kernel


def asked(case: str, side: int, n: int, limit: float) -> tuple[float, str] | None:
    """Measure in a fresh process; None when it did not fit."""
    command = [sys.executable, __file__, "--measure", case, str(side), str(n), "--limit", str(limit)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, capture_output=True, text=True, env=environment)
    if told.returncode:
        if "allocate" in told.stderr or "MemoryError" in told.stderr or told.returncode < 0:
            return None
        raise SystemExit(told.stderr)
    return tuple(json.loads(told.stdout.splitlines()[-1]))


def slope(lengths: list[int], growth: list[float]) -> float:
    x, y = ([math.log(number) for number in numbers] for numbers in (lengths, growth))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 8192, 16384, 32768])
    parser.add_argument("--quick", action="store_true", help="1,024 to 4,096 tokens")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--limit", type=float, default=12.0, help="GiB that a process may have")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    choices = parser.parse_args()
    if choices.measure:
        bytes_ = int(
            (choices.limit + 2) * 2**30
        )  # libraries take some two GiB of addresses, and hardly any memory
        resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
        case, side, n = choices.measure
        print(json.dumps(measure(case, int(side), int(n))))
        return
    lengths = [1024, 2048, 4096] if choices.quick else choices.lengths
    load = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {platform.platform()}, one thread, load {load:.1f}\n")
    print(f"| attention | how | {' | '.join(f'{n:,}' for n in lengths)} | slope |")
    print("|---" * (len(lengths) + 3) + "|")
    for case in choices.only:
        for side, build in enumerate(CASES[case]):
            if build is None:
                continue
            figures = [asked(case, side, n, choices.limit) for n in lengths]
            known = [(n, figure[0]) for n, figure in zip(lengths, figures, strict=True) if figure]
            grown = f"{slope(*map(list, zip(*known, strict=True))):.2f}" if len(known) > 1 else "-"
            how = next((figure[1] for figure in figures if figure), "")
            how = f"{('heedful', 'torch')[side]}: {how}"
            cells = " | ".join(f"{figure[0]:,.0f}" if figure else "-" for figure in figures)
            print(f"| {case} | {how} | {cells} | {grown} |", flush=True)


if __name__ == "__main__":
    main()
