"""Claim: heedful decodes faster than CTranslate2 and Hugging Face, with the same weights and the same translations.

    python benchmarks/decode_speed.py [--size tiny small base] [--cells 1x64 4x64 1x1] [--seconds 3] [--rounds 5]
        [--threads 2] [--engines plain lean ctranslate2 "hugging face"] [--quick]
    python benchmarks/decode_speed.py --quality --model runs/multi30k-en-de [--lines 1000] [--shortlist]

Sentences a second, by beam x sentences in a batch: English captions of Multi30k (test_2016_flickr, joint BPE of 10,000
entries learnt from train), batches of like length, an answer of exactly 15 tokens. The model is heedful's Transformer
(pre-norm, ReLU, sinusoidal positions) with random weights; CTranslate2 has the same ones, in float32 and in int8, and
before anything is timed both must give the same answers in float32 (a sentence in 20 may differ, by rounding). Hugging
Face's MarianMTModel has the same dimensions. benchmarks/peers/decoding.py tells what is in the time, which threads each
side has (written "batches at once x threads within a batch"), and that every side has a process of its own.

In every round all sides translate one after the other, each for about --seconds, the order turned from round to round.
Printed are medians over the rounds, the least and the greatest, and medians of the ratios within a round: to the
fastest CTranslate2 of all its settings, to the fastest in float32, to Hugging Face. "Of the limit": the multiplications
and additions of real tokens by weights, as a share of what large float32 products on all threads reach in the same run.
With --threads 1 all is timed by the processor's time, which other work on the machine disturbs less.

--quality: a trained model translates the test set of Multi30k in its languages without a forced length, greedily and
with the beam and length penalty of its own search: lines that differ from the plain search in float32, sacreBLEU, and
sentences a second. A search ends as CTranslate2's does, when as many hypotheses have ended as the beam is wide, so that
the answers can be compared; heedful's own rule (stopping = "bound") has a row of its own. With --shortlist all sides
use the one in the model folder (`heedful shortlist`): heedful for each sentence its own list, CTranslate2 for a batch
that of all its sentences, as it has no other way.
"""

import argparse
import os
import platform
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import get_args

import torch
from peers.conversion import to_ctranslate2, write_mapping
from peers.decoding import Batch, Engine, Models, Search, Side, Worker, sides
from peers.limits import limits, processor
from peers.training import SIZES, Size

from heedful.data import read_pairs, resolve
from heedful.evaluation import evaluate
from heedful.models import Transformer, TransformerSettings, build
from heedful.tasks import load_parts, save
from heedful.text.special import END, SPECIAL_TOKENS
from heedful.text.tokenizer import Tokenizer, TokenizerSettings

DATA, TEST = "multi30k-en-de", "test_2016_flickr"
VOCABULARY, STEPS, CHECKED = 10_000, 15, 64
Rates = dict[Side, list[float]]


def random_model(size: Size, tokenizer: Tokenizer, folder: Path) -> Models:
    """Write a model of this size for all sides."""
    settings = TransformerSettings(
        d_model=size.d_model,
        d_ff=size.d_ff,
        heads=size.heads,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        norm="pre",
        maximum_length=512,
    )
    torch.manual_seed(0)
    model = build(settings, len(tokenizer), len(tokenizer)).eval()
    assert isinstance(model, Transformer)
    # Their logits are then 0, below the best of thousands of random ones: no side needs to be kept from saying them.
    torch.nn.init.zeros_(model.source_embedding.table.weight[: len(SPECIAL_TOKENS)].detach())
    save(folder / "heedful", model, settings, tokenizer, tokenizer)
    return converted(folder / "heedful", folder)


def converted(heedful: Path, folder: Path, shortlist: bool = False) -> Models:
    """Write a model folder of heedful for CTranslate2, with its shortlist if that is wanted, into `folder`."""
    parts = load_parts(heedful)
    model = parts.model
    if not isinstance(model, Transformer):
        raise SystemExit(f"{heedful} is not a Transformer with encoder and decoder; CTranslate2 has no other")
    theirs = folder / "ctranslate2"
    theirs.mkdir()
    mapping = folder / "vmap.txt" if shortlist else None
    if mapping is not None:
        write_mapping(parts.shortlist(), mapping)
    to_ctranslate2(model, theirs, mapping)
    return Models(heedful, theirs)


def batches_of(sentences: Sequence[list[int]], size: int) -> list[Batch]:
    """Cut sentences, sorted by length, into full batches, and shuffle those."""
    by_length = sorted(sentences, key=len)
    batches = [by_length[first : first + size] for first in range(0, len(by_length) - size + 1, size)]
    random.Random(0).shuffle(batches)
    return batches


@contextmanager
def working(found: Sequence[Side], models: Models) -> Iterator[list[Worker]]:
    workers = [Worker(side, models) for side in found]
    yield workers
    for worker in workers:
        worker.close()


def differing(one: Sequence[Batch], other: Sequence[Batch]) -> int:
    return sum(a != b for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def check(workers: Sequence[Worker], batches: list[Batch], searches: Sequence[Search]) -> str:
    """Compare the answers of the float32 sides that have the same weights; refuse to go on if they are others."""
    plain, *others = (w for w in workers if w.side.precision == "float32" and w.side.engine != "hugging face")
    said: list[str] = []
    for search in searches:
        expected, _ = plain.translate(batches, search)
        count = sum(map(len, batches))
        for worker in others:
            found, _ = worker.translate(batches, search)
            other = differing(expected, found)
            said.append(f"{worker.side.name} beam {search.beam}: {count - other} of {count}")
            if other > count / 20:
                raise SystemExit(f"Not the same translations as {plain.side.name}: {said[-1]}")
    return f"The same translations as {plain.side.name}: " + "; ".join(said)


def repeated(batches: list[Batch], first: int, count: int) -> list[Batch]:
    return [batches[(first + number) % len(batches)] for number in range(count)]


def rates(
    workers: Sequence[Worker], batches: list[Batch], search: Search, seconds: float, rounds: int
) -> Rates:
    """Sentences a second of every side in every round."""
    size = len(batches[0])
    counts: dict[Worker, int] = {}
    for worker in workers:
        first = worker.side.at_once * (1 if size > 1 else 8)
        worker.translate(repeated(batches, 0, first), search)
        _, took = worker.translate(repeated(batches, 0, first), search)
        # As many for each that translates at once.
        counts[worker] = worker.side.at_once * max(1, ceil(seconds / took * first / worker.side.at_once))
    found: Rates = {worker.side: [] for worker in workers}
    for number in range(rounds):
        turn = number % len(workers)
        for worker in (*workers[turn:], *workers[:turn]):
            count = counts[worker]
            _, took = worker.translate(repeated(batches, number, count), search)
            found[worker.side].append(size * count / took)
    return found


def ratio(found: Rates, side: Side, *others: Side) -> str:
    """The median ratio to the fastest of `others`."""
    if not others:
        return "-"
    fastest = max(others, key=lambda other: statistics.median(found[other]))
    pairs = zip(found[side], found[fastest], strict=True)
    return f"{statistics.median(mine / theirs for mine, theirs in pairs):.2f}"


def row(found: Rates, side: Side) -> str:
    """The columns that all tables have: the rate, its range, and the ratios to CTranslate2."""
    mine = found[side]
    theirs = [other for other in found if other.engine == "ctranslate2"]
    whole = [other for other in theirs if other.precision == "float32"]
    return (
        f"{statistics.median(mine):,.1f} | {min(mine):,.1f} to {max(mine):,.1f} "
        f"| {ratio(found, side, *theirs)} | {ratio(found, side, *whole)}"
    )


def speed(choices: argparse.Namespace, limit: float) -> None:
    """The table of speeds."""
    data = resolve(DATA)
    lines = [line for train in data.train for pair in read_pairs(train) for line in pair]
    tokenizer = Tokenizer.train(lines, TokenizerSettings(vocabulary_size=VOCABULARY))
    sources = [source for source, _ in read_pairs(data.tests[TEST])]
    sentences = [[*ids, END] for ids in tokenizer.encode_batch(sources)]
    length = statistics.mean(map(len, sentences))
    print(f"{len(tokenizer):,} entries, {length:.1f} source tokens a sentence, {STEPS} steps\n", flush=True)
    columns = ("size", "beam x batch", "side", "sentences/s", "range", "/ CTranslate2", "/ its float32")
    header = f"| {' | '.join((*columns, '/ Hugging Face', 'of the limit'))} |"
    for name in choices.size:
        with tempfile.TemporaryDirectory() as folder:
            models = random_model(SIZES[name], tokenizer, Path(folder))
            with working(sides(choices.threads, choices.engines), models) as workers:
                cells = [tuple(map(int, cell.split("x"))) for cell in choices.cells]
                searches = [Search(beam, STEPS) for beam in sorted({beam for beam, _ in cells})]
                print(name + ". " + check(workers, batches_of(sentences, 32)[: CHECKED // 32], searches))
                print("\n" + header + "\n" + "|---" * 9 + "|", flush=True)
                for beam, size in cells:
                    search = Search(beam, STEPS)
                    found = rates(
                        workers, batches_of(sentences, size), search, choices.seconds, choices.rounds
                    )
                    # `operations` are those of a training step, whose backward pass takes twice the forward one.
                    work = SIZES[name].operations(1, 0, 0) * length / 3
                    work += SIZES[name].operations(0, beam * STEPS, len(tokenizer)) / 3
                    marian = [side for side in found if side.engine == "hugging face"]
                    for side in found:
                        share = statistics.median(found[side]) * work / (limit * 1e9)
                        print(
                            f"| {name} | {beam} x {size} | {side.name} | {row(found, side)} "
                            f"| {ratio(found, side, *marian)} | {100 * share:.0f}% |",
                            flush=True,
                        )
        print()


def quality(choices: argparse.Namespace) -> None:
    """The table of a trained model's translations."""
    parts = load_parts(choices.model)
    languages = parts.config.source_language, parts.config.target_language
    pairs = list(read_pairs(resolve(f"multi30k-{languages[0]}-{languages[1]}").tests[TEST]))[: choices.lines]
    sources, references = zip(*pairs, strict=True)
    ids = [[*line, END] for line in parts.source_tokenizer.encode_batch(sources)]
    # Sorted by length, in batches of 64, and where each line of these is in the file.
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    batches = [[ids[place] for place in order[first : first + 64]] for first in range(0, len(order), 64)]
    own = parts.config.search
    alpha = own.alpha if own.length_penalty == "average" else 1.0
    searches = [Search(1, alpha=0.0, shortlist=choices.shortlist)]
    if own.beam > 1:
        searches.append(Search(own.beam, alpha=alpha, shortlist=choices.shortlist))
    print(f"{len(ids):,} lines of {TEST}, {parts.config.target_vocabulary:,} entries; alpha {alpha}\n")
    print("| beam | side | lines that differ | BLEU | sentences/s | range | / CTranslate2 | / its float32 |")
    print("|---" * 8 + "|", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        working(
            sides(choices.threads, [e for e in choices.engines if e != "hugging face"]),
            converted(parts.folder, Path(folder), choices.shortlist),
        ) as workers,
    ):
        for search in searches:
            answers: dict[Side, list[Batch]] = {}
            found: Rates = {worker.side: [] for worker in workers}
            for number in range(choices.rounds):
                turn = number % len(workers)
                for worker in (*workers[turn:], *workers[:turn]):
                    answers[worker.side], took = worker.translate(batches, search)
                    found[worker.side].append(len(ids) / took)
            plain = workers[0]
            rows = {side.name: (answers[side], row(found, side)) for side in found}
            if search.beam > 1:
                bound, _ = plain.translate(batches, replace(search, stopping="bound"))
                rows[f"{plain.side.name}, ending by bound"] = bound, "| | |"
            for name, (batched, columns) in rows.items():
                lines = [""] * len(ids)
                flat = [line for batch in batched for line in batch]
                for place, line in zip(order, flat, strict=True):
                    lines[place] = parts.target_tokenizer.decode(line)
                (bleu,) = evaluate(lines, references, ["bleu"], languages[1], confidence=False)
                other = differing(batched, answers[plain.side])
                print(f"| {search.beam} | {name} | {other} | {bleu.value:.2f} | {columns} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument(
        "--cells", nargs="+", default=["1x64", "4x64", "1x1"], help="beam x sentences in a batch"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of one side in one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of every side, however divided")
    parser.add_argument("--engines", nargs="+", choices=get_args(Engine), default=list(get_args(Engine)))
    parser.add_argument("--quick", action="store_true", help="tiny only, 3 rounds of 0.3 seconds; 100 lines")
    parser.add_argument("--quality", action="store_true", help="translate the test set with --model instead")
    parser.add_argument("--model", type=Path, help="a model folder of heedful")
    parser.add_argument("--shortlist", action="store_true", help="that of the model folder, for --quality")
    parser.add_argument("--lines", type=int, default=1000, help="of the test set, for --quality")
    choices = parser.parse_args()
    if choices.quick:
        choices.size, choices.seconds, choices.rounds, choices.lines = ["tiny"], 0.3, 3, 100
    if choices.quality and choices.model is None:
        parser.error("--quality needs --model FOLDER, a trained one")
    if "plain" not in choices.engines:
        parser.error("--engines must have plain, which the others are compared with")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "ctranslate2", "transformers"))
    print(f"{platform.platform()}, {processor()}, load {os.getloadavg()[0]:.1f}; {libraries}")
    measured = [limits(threads) for threads in sorted({1, choices.threads})]
    for each in measured:
        print(each)
    if choices.quality:
        quality(choices)
    else:
        speed(choices, measured[-1].products)


if __name__ == "__main__":
    main()
