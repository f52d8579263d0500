"""What it costs to look inside models of `transformers`: `heedful.observe` beside eager `output_attentions=True`.

    python benchmarks/foreign_observe.py [--tokens 8192] [--rounds 5] [--quick]

A BERT-like and a GPT-2-like model with random weights, 2 layers of 4 heads and width 256, read one sentence in three
ways, each in a process of its own, one after the other in every round:

    unobserved   sdpa attention, as transformers chooses it; no weights
    observed     the same under `heedful.observe`; then the entropy and the mass that each key receives of every head,
                 and a tile of 512 x 512 weights of one head
    eager        `attn_implementation="eager"`, `output_attentions=True`: all weights

Memory is what the process had at most (VmHWM) beyond what it had with the model loaded, in MiB: of the pass alone, and
of all. Times are of one pass after a warming one; ratios are medians over the rounds, with the least and the greatest.
One thread. A way that is killed for want of memory is told so. Needs Linux (/proc) and heedful[hf].
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers

import heedful
from heedful.attention.statistics import Entropy, Received

MEBIBYTE = 2**20
WAYS = ("unobserved", "observed", "eager")


def model_of(name: str, tokens: int) -> Any:
    torch.manual_seed(0)
    if name == "BERT":
        config = transformers.BertConfig(
            vocab_size=1000,
            hidden_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=1024,
            max_position_embeddings=tokens,
        )
        return transformers.BertModel(config, add_pooling_layer=False).eval()
    config = transformers.GPT2Config(
        vocab_size=1000,
        n_embd=256,
        n_layer=2,
        n_head=4,
        n_positions=tokens,
        bos_token_id=0,
        eos_token_id=1,
    )
    return transformers.GPT2Model(config).eval()


def peak() -> float:
    """The most that this process has had in memory, in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


@torch.no_grad()
def measure(name: str, way: str, tokens: int) -> dict[str, float]:
    torch.set_num_threads(1)
    model = model_of(name, tokens)
    sentence = torch.randint(1000, (1, tokens), generator=torch.Generator().manual_seed(1))
    if way == "eager":
        model.set_attn_implementation("eager")
    model(input_ids=sentence[:, :64])
    choices: dict[str, bool] = {"use_cache": False} if name == "GPT-2" else {}
    if way == "eager":
        choices["output_attentions"] = True
    before = peak()
    begun = time.perf_counter()
    if way == "observed":
        with heedful.observe(model) as seen:
            model(input_ids=sentence, **choices)
        figures = {"seconds": time.perf_counter() - begun, "pass": peak() - before}
        begun = time.perf_counter()
        records = [seen[layer] for layer in seen]
        for record in records:
            record.measure(Entropy(), Received())  # in one pass
        figures["statistics"] = time.perf_counter() - begun
        middle = slice(tokens // 2, tokens // 2 + 512)
        begun = time.perf_counter()
        records[-1].head(0).weights(middle, middle)
        return {**figures, "tile": time.perf_counter() - begun, "all": peak() - before}
    outputs = model(input_ids=sentence, **choices)
    figures = {"seconds": time.perf_counter() - begun, "pass": peak() - before}
    if way == "eager":
        begun = time.perf_counter()
        for weights in outputs.attentions:
            _ = torch.special.entr(weights).sum(-1), weights.sum(-2)
        figures["statistics"] = time.perf_counter() - begun
    return {**figures, "all": peak() - before}


def asked(name: str, way: str, tokens: int) -> dict[str, float] | None:
    """Measure in a fresh process; None when the system killed it."""
    command = [sys.executable, __file__, "--tokens", str(tokens), "--measure", name, way]
    told = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if told.returncode == -signal.SIGKILL:
        return None
    told.check_returncode()
    return json.loads(told.stdout.splitlines()[-1])


def spread(numbers: list[float]) -> str:
    return f"**{statistics.median(numbers):.2f}** ({min(numbers):.2f} to {max(numbers):.2f})"


def cells(told: list[dict[str, float]]) -> str:
    """One row of the table: medians."""
    if not told:
        return "does not fit into this machine's memory | | | | |"
    middle = {key: statistics.median(one[key] for one in told) for key in told[0]}
    cell = [f"{middle['pass']:,.0f} MiB", f"{middle['seconds']:.2f} s"]
    cell += (
        [f"{middle['all']:,.0f} MiB", f"{middle['statistics']:.2f} s"] if "statistics" in middle else ["", ""]
    )
    return " | ".join([*cell, f"{1000 * middle['tile']:.1f} ms" if "tile" in middle else ""]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="1,024 tokens, one round: to see that it runs")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    choices = parser.parse_args()
    if choices.measure:
        name, way = choices.measure
        print(json.dumps(measure(name, way, choices.tokens)))
        return
    tokens, count = (1024, 1) if choices.quick else (choices.tokens, choices.rounds)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.platform()}")
    print(f"{tokens:,} tokens, 2 layers x 4 heads, {count} rounds, load before {os.getloadavg()[0]:.1f}\n")
    print(
        "| model | way | pass, memory | pass, time | with statistics, memory | statistics, time | tile, time |"
    )
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for name in ("BERT", "GPT-2"):
        rounds = [{way: asked(name, way, tokens) for way in WAYS} for _ in range(count)]
        for way in WAYS:
            told = [one[way] for one in rounds]
            print(f"| {name} | {way} | {cells([one for one in told if one is not None])}", flush=True)
        for one, other, key, what in (
            ("observed", "unobserved", "seconds", "time of the pass"),
            ("eager", "observed", "seconds", "time of the pass"),
            ("eager", "observed", "pass", "memory of the pass"),
            ("eager", "observed", "all", "memory with statistics"),
        ):
            pairs = [(both[one], both[other]) for both in rounds]
            found = [a[key] / b[key] for a, b in pairs if a is not None and b is not None]
            if found:
                ratios.append(f"| {name} | {one} / {other} | {what} | {spread(found)} |")
    print("\n| model | ratio | of | median (least to greatest) |\n|---|---|---|---|")
    print("\n".join(ratios))


if __name__ == "__main__":
    main()
