"""Claim: a saved page of heedful takes at most 1/50 of the bytes of BertViz's at 512 tokens, and opens in under 1 s.

    python benchmarks/view_bertviz.py [--lengths 64 256 512 1024] [--most-memory 12] [--threads 1] [--quick]

BERT with random weights, 12 layers of 12 heads and width 768 (transformers), reads so many tokens. On one side
`heedful.viewing.saved`, on the other BertViz's `head_view(..., html_action="return")` of the weights that
`output_attentions=True` gives. Both begin with the same model and tokens, in a process of their own: time and memory
are of the pass and the page; then the page is written and opened from disk in Chromium:

    first picture    from the start of the navigation until the first canvas is drawn (heedful marks it)

BertViz's page fetches its scripts from a CDN, so that its first picture is not measured; above --most-memory GB, as its
bytes and memory grow with the square of the length, it is not started. Needs the extra 'bench' and chromedriver.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from chromium import chromium, first_picture
from torch import Tensor

from heedful import observe
from heedful.attention import Step
from heedful.viewing.looks.opened import Ask, Opened
from heedful.viewing.saved import page
from heedful.viewing.scene import AttentionMap, Axis, Scene, Token
from heedful.viewing.studio import Studio

LAYERS, HEADS, WIDTH = 12, 12, 768
# Of BertViz, as measured; only to guess what would not fit.
BYTES_A_WEIGHT, MEMORY_A_BYTE = 46, 4.6


def words(length: int) -> list[str]:
    return [("attention", "is", "all", "you", "need")[number % 5] for number in range(length)]


def bert(attention: str) -> Any:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config: Any = BertConfig(
        vocab_size=1000,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=4096,
    )
    config._attn_implementation = attention
    return BertModel(config, add_pooling_layer=False).eval()


def tokens(length: int) -> Tensor:
    return torch.randint(1000, (1, length), generator=torch.Generator().manual_seed(0))


class OpenBert(Opened):
    """Reads random tokens; as many as there are words."""

    title, task, asks = "BERT with random weights", "masked-language-modelling", (Ask("text", "Text"),)

    def __init__(self) -> None:
        self.model = self.network = bert("sdpa")

    def _look(self, texts: dict[str, str], **options: Any) -> Scene:
        read = texts["text"].split()
        with observe(self.network) as seen, torch.inference_mode():
            self.network(tokens(len(read)))
        axis = Axis("text", "Text", tuple(Token(word, number) for number, word in enumerate(read)))
        maps = [
            AttentionMap(name, "encoder", layer, "text", "text", seen[name])
            for layer, name in enumerate(seen)
        ]
        return Scene(
            self.title, texts, {"text": axis}, maps, [Step(one.record, "text", "text") for one in maps]
        )


def heedful(length: int, path: Path) -> float:
    studio = Studio([OpenBert()])
    start = time.perf_counter()
    made = page(studio, [studio.open("0", {"text": " ".join(words(length))})])
    if "0 heads" in made.contents[0]:
        raise RuntimeError("nothing was heard")
    path.write_text(made.html, encoding="utf-8")
    print("\n".join(made.contents), file=sys.stderr)
    return time.perf_counter() - start


def bertviz(length: int, path: Path) -> float:
    from bertviz import head_view

    model = bert("eager")
    start = time.perf_counter()
    with torch.inference_mode():
        attentions = model(tokens(length), output_attentions=True).attentions
    made = head_view(attentions, words(length), html_action="return")
    path.write_text(made.data, encoding="utf-8")
    return time.perf_counter() - start


def opened(path: Path, rounds: int = 3) -> float | None:
    """Give the median time in ms to the first picture; None without Chromium."""
    with chromium() as browser:
        if browser is None:
            return None
        times = [time for _ in range(rounds) if (time := first_picture(browser, path.as_uri())) is not None]
    return sorted(times)[len(times) // 2] if times else None


def measured(side: str, length: int, threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        command = [sys.executable, __file__, "--one", side, "--lengths", str(length), "--page", str(path)]
        ran = subprocess.run(
            [*command, "--threads", str(threads)], stdout=subprocess.PIPE, text=True, check=False
        )
        if ran.returncode:
            return {"failed": ran.returncode}
        found = json.loads(ran.stdout.splitlines()[-1]) | {"bytes": path.stat().st_size}
        if side == "heedful":
            found["first"] = opened(path)
        return found


def told(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return f"{'not started':>31}"
    if "failed" in found:
        return f"{'failed':>31}"
    return f"{found['bytes'] / 1e6:>10.2f} MB {found['seconds']:>6.1f} s {found['memory'] / 1e3:>6.1f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 256, 512, 1024])
    parser.add_argument(
        "--most-memory", type=float, default=12.0, help="GB that BertViz may be expected to take"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="64 tokens")
    parser.add_argument("--one", choices=("heedful", "bertviz"), help=argparse.SUPPRESS)
    parser.add_argument("--page", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.one:
        seconds = {"heedful": heedful, "bertviz": bertviz}[chosen.one](chosen.lengths[0], chosen.page)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(json.dumps({"seconds": seconds, "memory": memory}))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {chosen.threads} threads")
    print(f"{'tokens':>7} {'heedful':>31} {'first picture':>14} {'BertViz':>31} {'bytes':>8}")
    for length in [64] if chosen.quick else chosen.lengths:
        ours = measured("heedful", length, chosen.threads)
        expected = LAYERS * HEADS * length**2 * BYTES_A_WEIGHT * MEMORY_A_BYTE / 1e9
        theirs = measured("bertviz", length, chosen.threads) if expected <= chosen.most_memory else None
        ratio = (
            f"1/{theirs['bytes'] / ours['bytes']:.0f}"
            if theirs and "bytes" in theirs and "bytes" in ours
            else ""
        )
        first = ours.get("first")
        shown = "" if first is None else f"{first:.0f} ms"
        print(f"{length:>7,} {told(ours)} {shown:>14} {told(theirs)} {ratio:>8}", flush=True)


if __name__ == "__main__":
    main()
