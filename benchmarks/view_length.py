"""Claim: the page opens and can be zoomed at any length: 65,536 tokens of one text, tiles under 100 ms, memory linear.

    python benchmarks/view_length.py [--lengths 1024 4096 16384 65536] [--tiles 12] [--threads 1] [--quick]

A GPT-style model with random weights, 4 layers of 4 heads, width 256, rotary positions, reads so many bytes. Each
length has a process of its own, which asks the page's server (`heedful.viewing.server`) what the page would ask:

    pass       one pass of the model, observed
    overview   the first picture of all heads; above 2^25 weights a module it is made of some queries, exact ones
    head       one pass over all weights of one head, in the background, after which its coarse tiles are exact too
    tiles      median and worst of some tiles of each level of that head, below the diagonal, answers packed
    memory     of the server (VmRSS), above what it had with the model loaded; and at most (VmHWM)

Then Chromium opens the page on that text: the first picture, from the start of the navigation on; a walk into the map,
from the whole to single weights and back, twice; and the memory of the page after it, above that of an empty one.

With one thread, times are the processor's, which other work on the machine disturbs less, but for the first picture.
Needs Linux (/proc), and for the page chromedriver and selenium.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from chromium import chromium, first_picture
from chromium import memory as of_pages
from fastapi.testclient import TestClient
from torch import Tensor, nn

from heedful.attention import Step, masks, observe
from heedful.layers.transformer_layer import LayerShape, TransformerStack
from heedful.viewing.looks.opened import Ask, Opened
from heedful.viewing.scene import AttentionMap, Axis, Scene, Token
from heedful.viewing.server import address_of, create, listen, serve
from heedful.viewing.studio import Studio

LAYERS, HEADS, WIDTH = 4, 4, 256


class Bytes(nn.Module):
    """Bytes in, vectors out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, WIDTH)
        shape = LayerShape(WIDTH, 4 * WIDTH, HEADS, norm="pre", rotary=True, dropout=0.0)
        self.stack = TransformerStack(shape, LAYERS, cross=False, relative="no")

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1])
        return self.stack(self.embedding(tokens), positions, mask=masks.causal(), keep=False)[0]


class Reader(Opened):
    """Reads a text, byte by byte."""

    title, task, asks = "GPT with random weights", "language-modelling", (Ask("text", "Text"),)

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = self.network = Bytes().eval()

    def _look(self, texts: dict[str, str], **options: Any) -> Scene:
        read = list(texts["text"].encode())
        with observe(self.network) as seen, torch.inference_mode():
            self.network(torch.tensor([read]))
        axis = Axis("text", "Text", tuple(Token(chr(byte)) for byte in read))
        maps = [
            AttentionMap(name, "decoder", layer, "text", "text", seen[name])
            for layer, name in enumerate(seen)
        ]
        return Scene(
            self.title, texts, {"text": axis}, maps, [Step(one.record, "text", "text") for one in maps]
        )


def measure(length: int, tiles: int) -> dict[str, Any]:
    # With one thread the processor's time is taken, which other work on the machine disturbs less.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    chance = random.Random(0)
    text = " ".join(chance.choice(("attention", "is", "all", "you", "need", "here")) for _ in range(length))[
        :length
    ]
    studio = Studio([Reader()])
    client = TestClient(create(studio), base_url="http://127.0.0.1")
    before = memory("VmRSS")

    def get(path: str) -> bytes:
        answer = client.get(path)
        answer.raise_for_status()
        return answer.content

    found: dict[str, Any] = {"length": length}
    start = clock()
    answer = client.post("/api/scenes", json={"model": "0", "texts": {"text": text}})
    answer.raise_for_status()
    found["pass"] = clock() - start
    at = f"/api/scenes/{answer.json()['id']}"
    start = clock()
    get(f"{at}/thumbnails?size=48")
    found["overview"] = clock() - start
    view = studio.view(answer.json()["id"])
    studio.background.drop(view.id)  # all heads would be passed over, one after the other
    pyramid = view.pyramid(LAYERS - 1, 1)
    start = clock()
    get(f"{at}/maps/{LAYERS - 1}/heads/1/tiles/{pyramid.top}/0/0")
    found["first whole"] = clock() - start
    start = clock()
    pyramid.pass_over()
    found["head"] = clock() - start
    studio.background.drop(view.id)
    studio.background.wait()
    found["tiles"] = {}
    for level in range(pyramid.top + 1):
        side = -(-length // (256 << level))
        places = [(row, column) for row in range(side) for column in range(row + 1)]
        times = []
        for row, column in chance.sample(places, min(tiles, len(places))):
            start = clock()
            get(f"{at}/maps/{LAYERS - 1}/heads/1/tiles/{level}/{row}/{column}")
            times.append(1000 * (clock() - start))
        found["tiles"][level] = statistics.median(times), max(times)
    found["memory"] = memory("VmRSS") - before
    found["most"] = memory("VmHWM") - before
    found["first picture"], found["page"] = walk(studio, {"model": "0", "texts": {"text": text}})
    return found


def walk(studio: Studio, opened: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Open the page and walk into the map; give the milliseconds to the first picture, and MB."""
    with chromium() as browser:
        if browser is None:
            return None, None
        taken = listen("127.0.0.1", 0)
        address = address_of(taken)
        threading.Thread(target=serve, args=(create(studio, opened), taken), daemon=True).start()
        browser.get("about:blank")
        empty = of_pages()
        first = first_picture(browser, address)
        page = browser.find_element("css selector", "body")
        page.send_keys("2")  # the map
        for keys in ["0", *"+" * 30, *"-" * 4, "0"] * 2:
            time.sleep(0.2)
            page.send_keys(keys)
        time.sleep(2)
        return first, of_pages() - empty


def memory(kind: str) -> float:
    """Of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(kind))


def told(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:,.0f}{unit}"


def table(rows: list[Mapping[str, Any]]) -> None:
    levels = max(len(row["tiles"]) for row in rows)
    print(
        f"\n{'tokens':>8} {'pass s':>8} {'overview s':>11} {'whole s':>8} {'head s':>8} {'MB':>7} {'at most':>8} "
        f"{'picture':>9} {'page MB':>8}   "
        "tiles, ms: median (worst) by level"
    )
    for row in rows:
        tiles = "  ".join(
            f"{level}: {median:.0f} ({worst:.0f})" for level, (median, worst) in row["tiles"].items()
        )
        print(
            f"{row['length']:>8,} {row['pass']:>8.2f} {row['overview']:>11.2f} {row['first whole']:>8.2f} "
            f"{row['head']:>8.2f} {row['memory']:>7.0f} {row['most']:>8.0f} "
            f"{told(row['first picture'], ' ms'):>9} {told(row['page']):>8}   {tiles}"
        )
    worst = max(worst for row in rows for _, worst in row["tiles"].values())
    print(f"\nslowest tile of {levels} levels: {worst:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--tiles", type=int, default=12, help="of each level")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="1,024 and 4,096 tokens")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.one:
        print(json.dumps(measure(chosen.one, chosen.tiles)), flush=True)
        os._exit(0)  # the server, which has no end of its own, may still be at work
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {chosen.threads} threads, "
        f"torch {torch.__version__}"
    )
    rows = []
    for length in [1024, 4096] if chosen.quick else chosen.lengths:
        command = [
            sys.executable,
            __file__,
            "--one",
            str(length),
            "--tiles",
            str(chosen.tiles),
            "--threads",
            str(chosen.threads),
        ]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(ran.stdout.splitlines()[-1])
        rows.append(row)
        print(f"{length:,} tokens done", file=sys.stderr)
    table(rows)


if __name__ == "__main__":
    main()
