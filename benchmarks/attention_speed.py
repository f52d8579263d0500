"""Claim: scaled dot product attention is never slower than the better of PyTorch's SDPA and the written out softmax.

    python benchmarks/attention_speed.py [--quick] [--threads 1] [--rounds 15]

`attend` as `auto` computes it, beside `scaled_dot_product_attention` and `softmax(q k^T / sqrt(d)) v` in plain PyTorch,
at the shapes of training and at those of long texts. In every round all sides run one after the other, their order
turned from round to round, each as often as takes some milliseconds; a ratio is the median over the rounds of time by
time in the same round. "auto / auto" is the same code timed against itself: a ratio within its spread (the quartiles)
is noise. The last column says how much slower than the better side auto is beyond that, if it is. All sides have the
allocator that `heedful.machine.prepare` gives a training: it keeps freed memory (--plain: it does not).
"""

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from heedful.attention import attend, explain_kernel, masks
from heedful.machine import prepare

Way = Callable[[Tensor, Tensor, Tensor], Tensor]
# Beyond so many weights the written out softmax is not timed: it takes gigabytes.
WRITTEN = 2**28


@dataclass(frozen=True)
class Shape:
    batch: int
    heads: int
    length: int
    width: int
    backward: bool
    mask: str

    def inputs(self) -> list[Tensor]:
        shape = self.batch, self.heads, self.length, self.width
        return [torch.randn(shape, requires_grad=self.backward) for _ in range(3)]

    def ways(self) -> dict[str, Way]:
        """The sides; masks are made once, as a model makes them for all its layers."""
        n = self.length
        mask = theirs = blocked = None
        causal = self.mask == "causal"
        if causal:
            mask = masks.causal()
            blocked = torch.ones(n, n, dtype=torch.bool).triu(1)
        elif self.mask == "padding":
            lengths = torch.linspace(n / 2, n, self.batch).round().long()
            mask = masks.padding(lengths)
            theirs = (torch.arange(n) < lengths[:, None])[:, None, None]
            blocked = ~theirs

        def auto(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return attend(query, key, value, mask=mask)

        def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return scaled_dot_product_attention(query, key, value, attn_mask=theirs, is_causal=causal)

        def written(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            scores = query @ key.transpose(-2, -1) / math.sqrt(key.shape[-1])
            if blocked is not None:
                scores = scores.masked_fill(blocked, -torch.inf)
            return scores.softmax(-1) @ value

        ways: dict[str, Way] = {"auto": auto, "again": auto, "SDPA": sdpa}
        if self.batch * self.heads * n * n <= WRITTEN:
            ways["softmax"] = written
        return ways

    def kernel(self) -> str:
        query, key, value = self.inputs()
        mask = masks.causal() if self.mask == "causal" else None
        return explain_kernel(query, key, value, mask=mask).kernel


def timed(shape: Shape, way: Way, inputs: list[Tensor], upstream: Tensor, repeats: int) -> float:
    # One thread: the processor's time, which other work on the machine disturbs less than the clock on the wall.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    begun = clock()
    for _ in range(repeats):
        attended = way(*inputs)
        if shape.backward:
            torch.autograd.grad(attended, inputs, upstream)
    return (clock() - begun) / repeats


def rounds(shape: Shape, count: int) -> dict[str, list[float]]:
    """The times of each side in each round."""
    inputs, ways = shape.inputs(), shape.ways()
    upstream = torch.randn_like(inputs[2])
    repeats = 1
    for way in ways.values():
        timed(shape, way, inputs, upstream, 1)
        once = timed(shape, way, inputs, upstream, 1)
        repeats = max(repeats, min(50, int(0.004 / once)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(count):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(timed(shape, ways[name], inputs, upstream, repeats))
    return times


def training(quick: bool) -> Iterator[Shape]:
    sizes = [(32, 4, 32), (16, 16, 64)] if quick else [(32, 4, 32), (64, 8, 64), (16, 16, 64)]
    for batch, heads, width in sizes:
        for length in (8, 64) if quick else (8, 16, 32, 64):
            for backward in (False, True):
                for mask in ("padding",) if quick else ("none", "causal", "padding"):
                    yield Shape(batch, heads, length, width, backward, mask)


def long(quick: bool) -> Iterator[Shape]:
    for length in (512, 2048) if quick else (512, 1024, 2048, 4096, 8192, 16384):
        for mask in ("none", "causal"):
            yield Shape(1, 8 if length <= 4096 else 2, length, 64, False, mask)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few shapes")
    parser.add_argument(
        "--plain", action="store_true", help="without the allocator's settings of heedful.machine"
    )
    choices = parser.parse_args()
    if not choices.plain:
        prepare()
    torch.set_num_threads(choices.threads)
    torch.manual_seed(0)
    load = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {platform.platform()}, {choices.threads} threads, load {load:.1f}\n")
    print(
        "| batch x heads x length x width | pass | mask | kernel | auto, ms | auto / SDPA | auto / softmax |",
        end="",
    )
    print(" auto / auto | slower |\n" + "|---" * 9 + "|")
    late = 0
    for shape in (*training(choices.quick), *long(choices.quick)):
        times = rounds(shape, choices.rounds)
        ratios = {
            name: [one / other for one, other in zip(times["auto"], others, strict=True)]
            for name, others in times.items()
            if name != "auto"
        }
        middle = {name: statistics.median(numbers) for name, numbers in ratios.items()}
        low, _, high = statistics.quantiles(ratios["again"])
        worst = max(middle["SDPA"], middle.get("softmax", 0.0))
        slower = worst > max(high, 1.03)
        late += slower
        size = f"{shape.batch} x {shape.heads} x {shape.length:,} x {shape.width}"
        pass_ = "forward and backward" if shape.backward else "forward"
        softmax = f"{middle['softmax']:.2f}" if "softmax" in middle else "-"
        print(
            f"| {size} | {pass_} | {shape.mask} | {shape.kernel()} | {1e3 * statistics.median(times['auto']):.2f} "
            f"| {middle['SDPA']:.2f} | {softmax} | {low:.2f} .. {high:.2f} | {f'{worst:.2f}' if slower else ''} |",
            flush=True,
        )
    print(f"\nslower than the better side beyond noise at {late} shapes")


if __name__ == "__main__":
    main()
