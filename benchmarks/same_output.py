"""Claim: translating a file gives the same output in any batch size.

    python benchmarks/same_output.py runs/multi30k-en-de test_2016_flickr

Translates a test set of Multi30k with batches of 1 sentence up to 16,384 tokens and counts the lines that differ from
the first; beside it the speed of each.
"""

import argparse
import time

from heedful.machine import prepare

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("test", nargs="?", default="test_2016_flickr")
parser.add_argument("--batch-tokens", type=int, nargs="+", default=[1, 128, 1024, 4096, 16384])
arguments = parser.parse_args()
prepare()

import heedful  # noqa: E402 - after prepare
from heedful.data import read_pairs, resolve  # noqa: E402

sources = [source for source, _ in read_pairs(resolve("multi30k-en-de").tests[arguments.test])]
translator = heedful.load(arguments.model)
first: list[str] = []
print("| batch tokens | lines that differ | sentences/s |\n|---|---|---|")
for tokens in arguments.batch_tokens:
    began = time.perf_counter()
    lines = translator.translate(sources, batch_tokens=tokens)
    seconds = time.perf_counter() - began
    first = first or lines
    differ = sum(one != other for one, other in zip(lines, first, strict=True))
    print(f"| {tokens:,} | {differ} of {len(lines):,} | {len(lines) / seconds:.0f} |", flush=True)
