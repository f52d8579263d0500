"""How long learning byte-pair encoding takes: heedful's pure Python, subword-nmt's, and Rust's `tokenizers`.

    python benchmarks/bpe_speed.py [--merges 10000] [--repeats 5]

All three learn the same number of merges from the same words: both sides of the raw Multi30k training set
(58,000 lines), split at white space and punctuation. They run in turn in one process, several times over;
printed are median and range, and the ratio within each turn. heedful and subword-nmt start from the same
counts of words; `tokenizers` takes texts, and counts them itself, in parallel. subword-nmt and `tokenizers`
attach the end of a word to its last character and break ties in other ways, so not all symbols are the
same; how many are is printed too.

Needs `pip install subword-nmt` and the data in `$HEEDFUL_DATA/multi30k/raw` (by default ../shared/data).
"""

import argparse
import gzip
import io
import json
import os
import platform
import re
import time
from collections import Counter
from pathlib import Path
from statistics import median

from subword_nmt import learn_bpe
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import BpeTrainer

from heedful.text.bpe import learn

WORD = r"\w+|[^\w\s]+"
Run = tuple[float, list[str]]  # seconds, and the symbol that each merge made, its end of word written as </w>


def read_lines() -> list[str]:
    """Both sides of the raw training set."""
    folder = Path(os.environ.get("HEEDFUL_DATA", "../shared/data")) / "multi30k" / "raw"
    lines: list[str] = []
    for language in ("en", "de"):
        with gzip.open(folder / f"train.{language}.gz", "rt", encoding="utf-8") as file:
            lines.extend(file)
    return lines


def run_heedful(counts: Counter[str], merges: int, top: int = 1) -> Run:
    """Learn with this package."""
    started = time.perf_counter()
    encoding = learn(counts, merges, top=top)
    seconds = time.perf_counter() - started
    return seconds, [left.text + right.text + "</w>" * right.ends_word for left, right in encoding.merges]


def run_subword_nmt(counts: Counter[str], merges: int) -> Run:
    """Learn with subword-nmt, from its dictionary format."""
    words = io.StringIO("".join(f"{word} {count}\n" for word, count in counts.items()))
    output = io.StringIO()
    started = time.perf_counter()
    learn_bpe.learn_bpe(words, output, merges, is_dict=True)
    seconds = time.perf_counter() - started
    return seconds, [line.replace(" ", "") for line in output.getvalue().splitlines()[1:]]


def run_tokenizers(lines: list[str], counts: Counter[str], merges: int) -> Run:
    """Learn with `tokenizers`, whose vocabulary size is merges and alphabet together."""
    alphabet = {character for word in counts for character in word} | {word[-1] + "</w>" for word in counts}
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Split(Regex(WORD), "removed", invert=True)
    trainer = BpeTrainer(
        vocab_size=len(alphabet) + merges, min_frequency=2, end_of_word_suffix="</w>", show_progress=False
    )
    started = time.perf_counter()
    tokenizer.train_from_iterator(lines, trainer)
    seconds = time.perf_counter() - started
    return seconds, ["".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def figures(values: list[float]) -> str:
    """Median and range."""
    return f"{median(values):7.2f}  ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Run all in turn and print one line for each."""
    parser = argparse.ArgumentParser(description="Time learning byte-pair encoding on Multi30k.")
    parser.add_argument("--merges", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    learn_bpe.tqdm = iter  # no progress bar inside what is timed

    lines = read_lines()
    counts = Counter(word for line in lines for word in re.findall(WORD, line))
    print(f"{len(lines)} lines, {counts.total()} words, {len(counts)} distinct; {options.merges} merges")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}")

    runs: dict[str, list[Run]] = {}
    for _ in range(options.repeats):
        for name, run in (
            ("heedful", run_heedful(counts, options.merges)),
            ("heedful, top 10", run_heedful(counts, options.merges, top=10)),
            ("subword-nmt", run_subword_nmt(counts, options.merges)),
            ("tokenizers", run_tokenizers(lines, counts, options.merges)),
        ):
            runs.setdefault(name, []).append(run)

    ours = set(runs["heedful"][0][1])
    print(f"{'':17}  merges  shared  seconds: median (range)    seconds / those of heedful")
    for name, results in runs.items():
        seconds = [result[0] for result in results]
        ratios = [result[0] / base[0] for result, base in zip(results, runs["heedful"], strict=True)]
        merged = results[0][1]
        shared = len(ours & set(merged)) / len(ours)
        print(f"{name:17} {len(merged):7} {shared:7.1%} {figures(seconds)}   {figures(ratios)}")


if __name__ == "__main__":
    main()
