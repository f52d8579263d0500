"""How well attention aligns words: every head against alignments of people, the best of them chosen on other text.

    python benchmarks/word_alignment.py runs/multi30k-en-fr [--backward runs/multi30k-fr-en] [--gold enfr] [--words 15]

Given translations are read by the model (nothing is searched). Each target token goes with the source token that it
attends to most, and words go together if any of their tokens do; by the position that predicts a token (plain) and by
the one that reads it (shift). Half of the sentences choose: the head, the layer whose mean over heads is best, and the
way of reading; the other half tells the error of what was chosen, and of everything else beside it. With a model of the
other direction also both in one, symmetrised.

A model reads what it has learned to read: one of image captions reads the Canadian parliament badly, and how badly is
told by how much it is surprised, in bits a token. --words leaves long sentences out. The published errors of fast_align
are of models trained on the parliament's own million sentences: no fair opponent, but the number that people know.
--text and --links read pairs of one's own, `source ||| target`. Gold alignments are in shared/data/word_alignment (or
HEEDFUL_DATA).
"""

import argparse
import gzip
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

import heedful
from heedful.attention import observe
from heedful.attention.alignment import Links, Symmetrisation, swapped, symmetrise
from heedful.evaluation.alignment_error import AlignmentError, GoldAlignment, alignment_error, read_gold
from heedful.tasks.alignment import Method, align_words, words_of_tokens
from heedful.tasks.translator import Translator
from heedful.text.special import END, START

# alignment-scripts of Lilt, README: fast_align trained on the large corpora of each task. (forward, backward, both)
PUBLISHED = {
    "enfr": (16.4, 15.9, 10.5),
    "roen": (33.8, 35.5, 32.1),
    "jaen": (None, None, 51.1),
    "zhen": (None, None, 38.1),
}
Pair = tuple[str, str]
# Layer and head, None for the mean of the layer's heads; and how a row is read.
Reading = tuple[int, int | None, Method]


@dataclass
class Read:
    """What a model made of the pairs: links by reading, and how much it was surprised."""

    links: dict[Reading, list[Links]]
    bits: float
    tokens: int
    too_long: int


def read(translator: Translator, pairs: Sequence[Pair]) -> Read:
    """Read all pairs once: every layer and head; one pair at a time, so that none is padded."""
    model = translator.model.eval()
    names = model.source_attention()
    links: dict[Reading, list[Links]] = {}
    bits, tokens, too_long = 0.0, 0, 0
    for source, target in pairs:
        source_ids = translator.source_tokenizer.encode(source)
        target_ids = translator.target_tokenizer.encode(target)
        if max(len(source_ids), len(target_ids)) >= model.maximum_length:
            # No links are found in what the model cannot read; they are missed, not left out.
            too_long += 1
            for one in links.values():
                one.append(frozenset())
            continue
        ids = torch.tensor([[*source_ids, END]]), torch.tensor([[START, *target_ids]])
        with torch.no_grad(), observe(model, names) as seen:
            chances = model(*ids)[0].float().log_softmax(-1)
        taken = torch.tensor([*target_ids, END])
        bits -= float(chances.gather(1, taken[:, None]).sum()) / math.log(2)
        tokens += len(taken)
        words = (
            words_of_tokens(translator.source_tokenizer, source_ids, source),
            words_of_tokens(translator.target_tokenizer, target_ids, target),
        )
        for layer, name in enumerate(names):
            record = seen.joined(name)
            # A decoder-only model has queries and keys of the source before those of the target.
            first = record.shape[2] - len(target_ids) - 1
            weights = record.weights(slice(first, None), slice(len(source_ids)))[0]
            for head, matrix in [(None, weights.mean(0)), *enumerate(weights)]:
                for method in get_args(Method):
                    found = _links(matrix, method, words)
                    links.setdefault((layer, head, method), [frozenset()] * too_long).append(found)
    return Read(links, bits / max(tokens, 1), tokens, too_long)


def _links(matrix: Tensor, method: Method, words: tuple[list[int], list[int]]) -> Links:
    rows = matrix[1:] if method == "shift" else matrix[:-1]
    return frozenset((one, other) for one, other, _ in align_words([rows], *words))


def diagonal(pairs: Sequence[Pair]) -> list[Links]:
    """Link each target word with the source word at the same share of the way: what knows no word."""
    sizes = [(len(source.split()), len(target.split())) for source, target in pairs]
    return [frozenset((j * n // m, j) for j in range(m)) for n, m in sizes]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--gold", choices=list(PUBLISHED), default="enfr")
    parser.add_argument("--text", type=Path, help="pairs of your own, a line each: source ||| target")
    parser.add_argument("--links", type=Path, help="the gold of --text, words counted from 1")
    parser.add_argument("--backward", help="a model of the other direction")
    parser.add_argument("--words", type=int, default=1000, help="only sentences of at most so many words")
    parser.add_argument("--lower", action="store_true", help="for models of lower-case text")
    parser.add_argument("--threads", type=int, default=1)
    choices = parser.parse_args()
    torch.set_num_threads(choices.threads)
    pairs, gold = pairs_of(choices)
    halves = slice(0, None, 2), slice(1, None, 2)
    started = time.perf_counter()
    translator = heedful.load(choices.model)
    done = read(translator, pairs)
    print(f"# Word alignment: {choices.model}, {choices.gold if choices.text is None else choices.text}\n")
    print(
        f"{len(pairs)} pairs of at most {choices.words} words, {done.tokens:,} target tokens, at "
        f"{done.bits:.2f} bits each for this model; {done.too_long} pairs are longer than it reads and have no links. "
        f"heedful {heedful.__version__}, torch {torch.__version__}, {platform.machine()}.\n"
    )

    def error(links: Sequence[Links], half: slice | None = None) -> AlignmentError:
        part = half or slice(None)
        return alignment_error(links[part], gold[part])

    rate = {reading: error(links, halves[0]).rate for reading, links in done.links.items()}
    heads = [reading for reading in rate if reading[1] is not None]
    means = [reading for reading in rate if reading[1] is None]
    lines: list[tuple[str, list[Links]]] = [("diagonal, which knows no word", diagonal(pairs))]
    best_mean, best_head = min(means, key=rate.__getitem__), min(heads, key=rate.__getitem__)
    for method in get_args(Method):
        layer = min((one for one in means if one[2] == method), key=rate.__getitem__)
        lines.append((f"best layer by {method}: {named(layer)}", done.links[layer]))
        head = min((one for one in heads if one[2] == method), key=rate.__getitem__)
        lines.append((f"best head by {method}: {named(head)}", done.links[head]))
    if choices.backward is not None:
        lines += both_ways(
            choices.backward, pairs, gold, halves[0], done.links[min(rate, key=rate.__getitem__)]
        )
    print(
        "Chosen on the even sentences, told of the odd ones; the last column, all, has the choosing half in it.\n"
    )
    print("| what is read | AER of the odd | precision | recall | AER of the even | AER of all |")
    print("|---|---|---|---|---|---|")
    for name, links in lines:
        odd, even, all_ = error(links, halves[1]), error(links, halves[0]), error(links)
        print(
            f"| {name} | {_percent(odd.rate)} | {_percent(odd.precision)} | {_percent(odd.recall)} | "
            f"{_percent(even.rate)} | {_percent(all_.rate)} |"
        )
    if choices.text is None:
        forward, backward, both = PUBLISHED[choices.gold]
        alone = "" if forward is None else f"{forward} one way, {backward} the other, "
        print(f"| fast_align, trained on the corpus of the task (published) | | | | | {alone}{both} both |")
    print(f"\nChosen: {named(best_head)} among heads, {named(best_mean)} among means.\n")
    print("AER of the odd sentences by layer, its heads in order:\n")
    print("| layer | plain: mean | plain: heads | shift: mean | shift: heads |\n|---|---|---|---|---|")
    for layer in sorted({one[0] for one in rate}):
        cells: list[str] = []
        for method in ("plain", "shift"):
            own = [one for one in heads if one[0] == layer and one[2] == method]
            cells.append(_percent(error(done.links[layer, None, method], halves[1]).rate))
            cells.append(" ".join(_percent(error(done.links[one], halves[1]).rate) for one in own))
        print(f"| {layer + 1} | {' | '.join(cells)} |")
    print(f"\n{time.perf_counter() - started:.0f} s on {choices.threads} thread(s).")


def both_ways(
    path: str, pairs: Sequence[Pair], gold: Sequence[GoldAlignment], half: slice, forward: list[Links]
) -> list[tuple[str, list[Links]]]:
    """Read the other direction, choose its reading on the same half, and put both together."""
    done = read(heedful.load(path), [(target, source) for source, target in pairs])
    turned = {reading: [swapped(links) for links in of] for reading, of in done.links.items()}
    best = min(turned, key=lambda one: alignment_error(turned[one][half], gold[half]).rate)
    found = [(f"backward alone: {named(best)}", turned[best])]
    for way in get_args(Symmetrisation):
        found.append(
            (f"both: {way}", [symmetrise(*two, way) for two in zip(forward, turned[best], strict=True)])
        )
    return found


def pairs_of(choices: argparse.Namespace) -> tuple[list[Pair], list[GoldAlignment]]:
    """Give the pairs that are short enough, and their gold."""
    if choices.text is None:
        data = (
            Path(os.environ.get("HEEDFUL_DATA", Path(__file__).parents[2] / "shared" / "data"))
            / "word_alignment"
        )
        text, links = data / f"{choices.gold}.src-tgt.gz", data / f"{choices.gold}.gold.gz"
    else:
        text, links = choices.text, choices.links
    content = text.read_bytes()
    lines = (gzip.decompress(content) if text.suffix == ".gz" else content).decode().splitlines()
    pairs: list[Pair] = []
    gold: list[GoldAlignment] = []
    for line, truth in zip(lines, read_gold(links), strict=True):
        source, target = (" ".join(side.split()) for side in line.split("|||"))
        sizes = len(source.split()), len(target.split())
        if min(sizes) > 0 and max(sizes) <= choices.words:
            pairs.append((source.lower(), target.lower()) if choices.lower else (source, target))
            gold.append(truth.within(*sizes))
    return pairs, gold


def named(reading: Reading) -> str:
    layer, head, method = reading
    return f"layer {layer + 1}, {'mean of heads' if head is None else f'head {head + 1}'}, {method}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
