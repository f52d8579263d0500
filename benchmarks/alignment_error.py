"""How far a translation model's attention is from word alignments that people made.

    python benchmarks/alignment_error.py runs/en-fr enfr [--backward runs/fr-en] [--words 15]

Given translations are read by the model (nothing is searched), and each target word is linked with the source word that
its tokens attend to most: the mean of the heads, for every decoder layer, by the position that predicts a token (plain)
and by the one that reads it (shift). With a model of the other direction also both in one, symmetrised. Beside it the
diagonal, which knows no word. Gold alignments are in shared/data/word_alignment (or HEEDFUL_DATA). A model that was
trained on other text than theirs is out of its domain, on short sentences (--words) less so.
"""

import argparse
import gzip
import os
from pathlib import Path
from typing import get_args

import torch

import heedful
from heedful.attention.alignment import Links, Symmetrisation, swapped, symmetrise
from heedful.evaluation.alignment_error import GoldAlignment, alignment_error, read_gold
from heedful.tasks.alignment import AlignmentSettings, Method, align_words, cross_attention, words_of_tokens
from heedful.tasks.translator import Translator
from heedful.text.special import END

Pair = tuple[str, str]


def alignments(translator: Translator, pairs: list[Pair], settings: AlignmentSettings) -> list[Links]:
    """Links of each pair, (source, target); one pair at a time, so that none is padded."""
    found = []
    for source, target in pairs:
        source_ids = translator.source_tokenizer.encode(source)
        target_ids = translator.target_tokenizer.encode(target)
        ids = torch.tensor([[*source_ids, END]]), torch.tensor([target_ids])
        weights = cross_attention(translator.model, *ids, settings).mean(1)[0, :, :-1]
        source_words = words_of_tokens(translator.source_tokenizer, source_ids, source)
        target_words = words_of_tokens(translator.target_tokenizer, target_ids, target)
        links = align_words([weights], source_words, target_words)
        found.append(frozenset((one, other) for one, other, _ in links))
    return found


def diagonal(pairs: list[Pair]) -> list[Links]:
    lengths = [(len(source.split()), len(target.split())) for source, target in pairs]
    return [frozenset((j * n // m, j) for j in range(m)) for n, m in lengths]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("gold", choices=["enfr", "roen", "jaen", "zhen"])
    parser.add_argument("--backward", help="a model of the other direction")
    parser.add_argument("--words", type=int, default=1000, help="only sentences of at most so many words")
    parser.add_argument("--lower", action="store_true", help="for models of lower-case text")
    choices = parser.parse_args()
    data = (
        Path(os.environ.get("HEEDFUL_DATA", Path(__file__).parents[2] / "shared" / "data")) / "word_alignment"
    )
    text = gzip.decompress((data / f"{choices.gold}.src-tgt.gz").read_bytes()).decode()
    pairs: list[Pair] = []
    gold: list[GoldAlignment] = []
    for line, truth in zip(text.splitlines(), read_gold(data / f"{choices.gold}.gold.gz"), strict=True):
        source, target = (" ".join(side.split()) for side in line.split("|||"))
        sizes = len(source.split()), len(target.split())
        if min(sizes) > 0 and max(sizes) <= choices.words:
            pairs.append((source.lower(), target.lower()) if choices.lower else (source, target))
            gold.append(truth.within(*sizes))
    print(f"{choices.model}, {choices.gold}: {len(pairs)} pairs of at most {choices.words} words\n")
    print("| layer | method | |\n|---|---|---|")
    print(f"| | diagonal | {alignment_error(diagonal(pairs), gold)} |")
    forward = heedful.load(choices.model)
    backward = None if choices.backward is None else heedful.load(choices.backward)
    turned = [(target, source) for source, target in pairs]
    layers = sum(name.endswith("cross_attention") for name, _ in forward.model.named_modules())
    for layer in range(layers):
        for method in get_args(Method):
            settings = AlignmentSettings(method=method, layer=layer)
            found = alignments(forward, pairs, settings)
            print(f"| {layer} | {method} | {alignment_error(found, gold)} |", flush=True)
            if backward is None:
                continue
            other = [swapped(links) for links in alignments(backward, turned, settings)]
            print(f"| {layer} | {method}, backward | {alignment_error(other, gold)} |")
            for way in get_args(Symmetrisation):
                both = [symmetrise(*two, way) for two in zip(found, other, strict=True)]
                print(f"| {layer} | {method}, {way} | {alignment_error(both, gold)} |", flush=True)


if __name__ == "__main__":
    main()
