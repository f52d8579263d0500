"""Claims: looking inside changes no bit and costs little, and what is told of the weights is exact, at any length.

    python benchmarks/observe.py [--quick] [--only pass exact tile received memory]

    pass      a forward pass with and without `observe`: the same bits, and the ratio of the times (claim: under 1.05)
    exact     every statistic beside the same of the matrix written out, in float32 and float64: the greatest difference
    tile      512 x 512 weights of one head of 65,536 tokens, after a pass over it (claim: under 20 ms) and before any
    received  attention received by each of 16,384 tokens beside the gradient of the sum of outputs with respect to
              values of ones, which is the same (claim: 10 times faster); autograd goes through PyTorch's fused kernel
              with values as wide as keys, which is its fastest way: narrower ones make it write the weights out
    memory    a Transformer encoder of 12 layers x 12 heads (width 768) that reads 16,384 tokens, in processes of their
              own: the most that each had in memory (VmHWM) (claim: observing takes less than 2 GB)

The allocator is set as heedful's commands set it, but for memory, where it is glibc's own. Both sides of a ratio are
measured in turn in every round; told are medians with the least and the greatest. One thread unless --threads says
otherwise. Memory needs Linux (/proc).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from heedful.attention import Record, masks, observe
from heedful.attention.attend import attend, make_call
from heedful.attention.overview import Overview
from heedful.attention.statistics import Entropy, Received, Top
from heedful.machine import prepare
from heedful.models import Transformer, TransformerSettings

PARTS = "pass", "exact", "tile", "received", "memory"


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def spread(numbers: list[float], digits: int = 2) -> str:
    return f"{statistics.median(numbers):.{digits}f} ({min(numbers):.{digits}f} .. {max(numbers):.{digits}f})"


def model_of(width: int, heads: int, layers: int, tokens: int) -> Transformer:
    torch.manual_seed(0)
    settings = TransformerSettings(
        d_model=width,
        d_ff=2 * width,
        heads=heads,
        encoder_layers=layers,
        decoder_layers=layers,
        maximum_length=tokens,
    )
    return Transformer(settings, 1000, 1000).eval()


@torch.no_grad()
def the_pass(rounds: int, quick: bool) -> None:
    print(
        "\n| forward pass | observed / unobserved | milliseconds unobserved | the same bits |\n|---|---|---|---|"
    )
    for batch, length in ((32, 32), (4, 256), (1, 512 if quick else 2048)):
        model = model_of(128, 4, 4, length)
        tokens = torch.randint(4, 1000, (batch, length))
        logits = model(tokens, tokens)
        with observe(model):
            same = torch.equal(model(tokens, tokens), logits)
        plain, ratios = [], []
        repeat = max(1, 2048 // (batch * length))

        def unobserved(model=model, tokens=tokens, repeat=repeat) -> None:
            for _ in range(repeat):
                model(tokens, tokens)

        def observed(model=model, tokens=tokens, repeat=repeat) -> None:
            for _ in range(repeat):
                with observe(model):
                    model(tokens, tokens)

        for number in range(4 * rounds):
            first, second = (unobserved, observed) if number % 2 else (observed, unobserved)
            times = {first: seconds(first), second: seconds(second)}
            plain.append(1000 * times[unobserved] / repeat)
            ratios.append(times[observed] / times[unobserved])
        size = f"{batch} x {length} tokens, 4+4 layers of width 128"
        print(
            f"| {size} | {spread(ratios, 3)} | {spread(plain, 1)} | {'yes' if same else 'NO'} |", flush=True
        )


def exact() -> None:
    n = 700
    print(f"\n| {n} queries and keys, 4 heads, causal | float32 | float64 |\n|---|---|---|")
    found: dict[str, list[float]] = {}
    for dtype in (torch.float32, torch.float64):
        query, key = torch.randn(2, 1, 4, n, 64, dtype=dtype)
        record = Record(make_call(query, key, key, mask=masks.causal()))
        dense = (query @ key.mT / 8).masked_fill(torch.ones(n, n).triu(1) > 0, -torch.inf).softmax(-1)
        places = torch.arange(n, dtype=dtype)
        position = dense @ places
        away = (places - position.unsqueeze(-1)) ** 2
        picture = dense.unfold(-2, 2, 2).unfold(-2, 2, 2)  # 350 x 350 cells of 2 x 2
        separators = torch.arange(n) % 17 == 5
        pairs: dict[str, tuple[Tensor, Tensor]] = {
            "entropy (nats)": (record.entropy(), torch.special.entr(dense).sum(-1)),
            "received": (record.received(), dense.sum(-2)),
            "distance / n": (record.distance() / n, (dense * (places - places[:, None]).abs()).sum(-1) / n),
            "position / n": (record.position() / n, position / n),
            "spread / n": (record.spread() / n, (dense * away).sum(-1).sqrt() / n),
            "maximum": (record.maximum(), dense.amax(-1)),
            "first token": (record.mass(0), dense[..., 0]),
            "separators": (record.mass(separators), dense[..., separators].sum(-1)),
            "previous token": (record.at(-1)[..., 1:], dense.diagonal(-1, -2, -1)),
            "next token": (record.at(1), torch.zeros_like(position)),
            "top 8": (record.top(8)[0], dense.topk(8).values),
            "overview, mean": (record.overview(512).mean, picture.mean((-1, -2))),
            "overview, maximum": (record.overview(512).maximum, picture.amax((-1, -2))),
        }
        for name, (one, other) in pairs.items():
            found.setdefault(name, []).append(float((one - other).abs().max()))
    for name, (single, double) in found.items():
        print(f"| {name} | {single:.1e} | {double:.1e} |")


def tile(rounds: int, quick: bool) -> None:
    n = 8192 if quick else 65536
    query, key = torch.randn(2, 1, 2, n, 64)
    middle = slice(n // 2, n // 2 + 512)
    call = make_call(query, key, key, mask=masks.causal())
    before = [1000 * seconds(lambda: Record(call).head(0).weights(middle, middle)) for _ in range(rounds)]
    record = Record(call).head(0)
    whole = seconds(record.entropy)
    record.weights(middle, middle)
    after = [1000 * seconds(lambda: record.weights(middle, middle)) for _ in range(5 * rounds)]
    print(f"\n| 512 x 512 weights of one head of {n:,} tokens | ms |\n|---|---|")
    print(f"| after the pass (which took {whole:.1f} s) | {spread(after, 1)} |")
    print(f"| before any: the log-sum-exp of 512 rows is made first | {spread(before, 1)} |", flush=True)


def received(rounds: int, quick: bool) -> None:
    n = 4096 if quick else 16384
    query, key = torch.randn(2, 1, 1, n, 64)
    print(f"\n| received, one head of {n:,} tokens | seconds | autograd | autograd / this | difference |")
    print("|---|---|---|---|---|")
    for name, mask in (("all see all", None), ("causal", masks.causal())):
        for known in (False, True):
            ours, theirs, ratios, difference = [], [], [], 0.0
            for _ in range(rounds):
                record = Record(make_call(query, key, key, mask=mask))
                if known:
                    record.log_sum_exp()
                ours.append(seconds(record.received))
                ones = torch.ones_like(key, requires_grad=True)

                def autograd(ones: Tensor = ones, mask: masks.Mask | None = mask) -> None:
                    attend(query, key, ones, mask=mask, kernel="fused")[..., 0].sum().backward()

                theirs.append(seconds(autograd))
                ratios.append(theirs[-1] / ours[-1])
                assert ones.grad is not None
                difference = max(difference, float((ones.grad[..., 0] - record.received()).abs().max()))
            what = f"{name}, log-sum-exp known" if known else name
            print(
                f"| {what} | {spread(ours)} | {spread(theirs)} | {spread(ratios, 1)} | {difference:.0e} |",
                flush=True,
            )


def peak() -> float:
    """The most that this process has had in memory, in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


@torch.no_grad()
def remembered(watched: bool, layers: int, tokens: int) -> dict[str, float]:
    torch.manual_seed(0)
    settings = TransformerSettings(
        d_model=768, d_ff=768, heads=12, encoder_layers=layers, decoder_layers=1, maximum_length=tokens
    )
    model = Transformer(settings, 100, 100).eval()
    source = torch.randint(4, 100, (1, tokens))
    loaded = peak()
    if not watched:
        took = seconds(lambda: model.encode(source))
        return {"loaded": loaded, "pass": peak(), "seconds": took}
    begun = time.perf_counter()
    with observe(model, "encoder") as seen:
        model.encode(source)
    took = time.perf_counter() - begun
    after = peak()
    some = slice(0, 512)
    record = seen[f"encoder.layers.{layers - 1}.self_attention"].head(11)
    record.measure(Entropy(), Received(), Overview(512), Top(8))
    for name in seen:
        seen[name].weights(some, some)
    return {"loaded": loaded, "pass": after, "all": peak(), "seconds": took}


def memory(threads: int, quick: bool) -> None:
    layers, tokens = (4, 4096) if quick else (12, 16384)
    found = []
    for way in ("unobserved", "observed"):
        command = [
            sys.executable,
            __file__,
            "--threads",
            str(threads),
            "--measure",
            way,
            str(layers),
            str(tokens),
        ]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found.append((way, json.loads(told.stdout.splitlines()[-1])))
    print(
        f"\n| {layers} layers x 12 heads x {tokens:,} tokens, float32 | MiB with the model | after the pass | ",
        end="",
    )
    print(
        "and after tiles of all layers and 4 statistics of a head | seconds of the pass |\n|---|---|---|---|---|"
    )
    for way, told in found:
        then = f"{told['all']:,.0f}" if "all" in told else ""
        print(
            f"| {way} | {told['loaded']:,.0f} | {told['pass']:,.0f} | {then} | {told['seconds']:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller: to see that it runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    choices = parser.parse_args()
    torch.set_num_threads(choices.threads)
    if choices.measure:
        way, layers, tokens = choices.measure
        print(json.dumps(remembered(way == "observed", int(layers), int(tokens))))
        return
    prepare()
    torch.manual_seed(0)
    machine = f"torch {torch.__version__}, {platform.platform()}, {choices.threads} thread"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}")
    for part in choices.only:
        match part:
            case "pass":
                the_pass(choices.rounds, choices.quick)
            case "exact":
                exact()
            case "tile":
                tile(choices.rounds, choices.quick)
            case "received":
                received(choices.rounds, choices.quick)
            case "memory":
                memory(choices.threads, choices.quick)


if __name__ == "__main__":
    main()
