"""Random segmentations: ordinary ones where nothing is dropped, the papers' distributions, the same everywhere."""

import gzip
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.text import UNKNOWN, Tokenizer, TokenizerSettings
from heedful.text.sampling import bpe_dropout, draws, unigram_sample
from heedful.text.settings import Kind
from heedful.text.tokenizer import VARIANTS

TEXTS = ["the lowest tower is lower than the highest tower of the town"] * 3 + ["low newer wider 2019年3月"]


@cache
def trained(kind: Kind, dropout: float, **settings: Any) -> Tokenizer:
    given = {"kind": kind, "dropout": dropout, "vocabulary_size": 330, **settings}
    return Tokenizer.train(TEXTS, TokenizerSettings(**given))


@pytest.fixture(scope="module")
def multi30k(mirror: Path) -> list[str]:
    texts: list[str] = []
    for name in ("val.de", "val.en"):
        with gzip.open(mirror / "multi30k" / "raw" / f"{name}.gz", "rt", encoding="utf-8") as file:
            texts += file.read().splitlines()
    return texts


def never() -> Iterator[int]:
    """Numbers so large that nothing is dropped."""
    while True:
        yield (1 << 32) - 1


# Random numbers


def test_draws_are_these_numbers():
    # Written down: other numbers would be another training, on every machine.
    assert list(islice(draws("▁horse", 0), 3)) == [171750212, 332829938, 1382726375]
    assert list(islice(draws("▁horse", 63), 20))[-3:] == [326506538, 2720032643, 2738418299]


def test_draws_are_uniform_and_unrelated():
    numbers = [number / 2**32 for variant in range(VARIANTS) for number in islice(draws("w", variant), 500)]
    assert len(set(numbers)) > 0.9999 * len(numbers)
    histogram = Counter(int(10 * number) for number in numbers)
    expected = len(numbers) / 10
    chi_squared = sum((histogram[tenth] - expected) ** 2 / expected for tenth in range(10))
    assert chi_squared < 27.9  # 9 degrees of freedom: one in a thousand is above


# BPE-dropout


def paper_bpe_dropout(
    symbols: list[int], merges: dict[tuple[int, int], tuple[int, int]], dropout: float, random: Random
) -> tuple[int, ...]:
    """Provilkov et al. 2020, algorithm 1, word for word."""
    current = list(symbols)
    while True:
        possible = [(place, pair) for place, pair in enumerate(pairwise(current)) if pair in merges]
        possible = [(merges[pair], place) for place, pair in possible if random.random() >= dropout]
        if not possible:
            return tuple(current)
        (_, merged), place = min(possible)
        current[place : place + 2] = [merged]


@st.composite
def learned_merges(draw: st.DrawFn) -> dict[tuple[int, int], tuple[int, int]]:
    """Merges of symbols that are letters (0, 1, 2) or have been merged before."""
    merges: dict[tuple[int, int], tuple[int, int]] = {}
    for rank in range(draw(st.integers(0, 12))):
        known = st.integers(0, 2 + len(merges))
        pair = draw(st.tuples(known, known).filter(lambda pair: pair not in merges))
        merges[pair] = (rank, 3 + len(merges))
    return merges


@given(st.lists(st.integers(0, 2), max_size=30), learned_merges())
def test_nothing_dropped_is_ordinary_bpe(symbols: list[int], merges: dict[tuple[int, int], tuple[int, int]]):
    expected = paper_bpe_dropout(symbols, merges, 0.0, Random(0))
    assert tuple(bpe_dropout(symbols, merges, 0.0, never())) == expected


@pytest.mark.parametrize("dropout", [0.1, 0.4, 0.8])
def test_segmentations_are_as_frequent_as_the_papers(dropout: float):
    # "abab": merges ab, aba, abab, ba; several ways lead to the same pieces
    merges = {(0, 1): (0, 3), (3, 3): (1, 4), (1, 0): (2, 5), (3, 0): (3, 6), (0, 5): (4, 6), (6, 1): (5, 4)}
    number, random = 20_000, Random(1)
    paper = Counter(paper_bpe_dropout([0, 1, 0, 1], merges, dropout, random) for _ in range(number))
    ours = Counter(tuple(bpe_dropout([0, 1, 0, 1], merges, dropout, draws(str(i), 0))) for i in range(number))
    assert set(paper) == set(ours)
    distance = sum(abs(paper[pieces] - ours[pieces]) for pieces in paper) / (2 * number)
    assert distance < 0.015  # of two samples of this size; 0 for equal frequencies, 1 for no common outcome


def test_everything_dropped_leaves_characters():
    tokenizer = trained("bpe", 1.0)
    assert tokenizer.pieces(tokenizer.sample("▁tower", 5)) == list("▁tower")
    of_bytes = trained("byte-bpe", 1.0)
    assert len(of_bytes.sample(of_bytes.words(" tower")[0], 3)) == len(" tower")


def test_replaying_merges_gives_what_the_library_gives(multi30k: list[str]):
    settings = TokenizerSettings(
        vocabulary_size=2000, dropout=1e-12
    )  # nothing dropped, but not the short cut
    tokenizer = Tokenizer.train(multi30k, settings)
    words = {word for text in multi30k for word in tokenizer.words(text + " Übergrößenträger ☂☂")}
    assert len(words) > 4000
    assert all(tokenizer.sample(word, 0) == tokenizer.segment(word) for word in words)


def test_a_very_long_word_takes_no_quadratic_time():
    # 100,000 symbols: 10^10 steps if each merge looked at all others
    merges = {(0, 0): (0, 1), (1, 1): (1, 2)}
    assert len(bpe_dropout([0] * 100_000, merges, 0.1, draws("", 0))) < 60_000


# Sampling from a unigram model

SCORES = {"a": -2.0, "b": -2.5, "ab": -3.0, "ba": -3.2, "aba": -4.5, "bab": -6.0}


def segmentations(word: str) -> Iterator[tuple[str, ...]]:
    if not word:
        yield ()
    for end in range(1, len(word) + 1):
        if word[:end] in SCORES:
            yield from ((word[:end], *rest) for rest in segmentations(word[end:]))


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0, 3.0])
def test_segmentations_are_as_probable_as_their_power(alpha: float):
    weights = {x: math.exp(alpha * sum(SCORES[piece] for piece in x)) for x in segmentations("ababa")}
    assert len(weights) == 13
    number = 20_000
    drawn = Counter(
        tuple(unigram_sample("ababa", SCORES, 3, -20.0, alpha, draws(str(i), 0))) for i in range(number)
    )
    total = sum(weights.values())
    distance = sum(abs(drawn[x] / number - weight / total) for x, weight in weights.items()) / 2
    assert distance < 0.015


def test_an_unknown_character_is_a_piece():
    assert unigram_sample("a?b", SCORES, 3, -20.0, 1.0, draws("", 0)) == ["a", "?", "b"]


def test_a_large_alpha_gives_what_the_library_gives(multi30k: list[str]):
    settings = TokenizerSettings(kind="unigram", vocabulary_size=2000, dropout=1.0, alpha=100.0)
    tokenizer = Tokenizer.train(multi30k, settings)
    words = {word for text in multi30k for word in tokenizer.words(text + " Übergrößenträger ☂☂")}
    differing = [word for word in words if tokenizer.sample(word, 0) != tokenizer.segment(word)]
    assert len(differing) < 0.01 * len(words)  # where two segmentations are as good as equally probable


def test_unigram_dropout_is_how_often_a_word_is_sampled():
    always, sometimes = trained("unigram", 1.0, alpha=0.01), trained("unigram", 0.25, alpha=0.01)
    word = "▁lowest"
    usual = always.segment(word)
    different = sum(always.sample(word, variant) != usual for variant in range(VARIANTS))
    assert different > 30
    assert 4 <= sum(sometimes.sample(word, variant) != usual for variant in range(VARIANTS)) <= 28


# Through the tokenizer


@pytest.mark.parametrize("kind", ["bpe", "byte-bpe", "unigram"])
@given(text=st.text(), variant=st.integers(0, VARIANTS - 1))
def test_a_sample_spells_the_word(kind: Kind, text: str, variant: int):
    tokenizer = trained(kind, 0.5)
    ids = [index for word in tokenizer.words(text) for index in tokenizer.sample(word, variant)]
    assert tokenizer.decode(ids) == text
    assert UNKNOWN not in ids


@pytest.mark.parametrize("kind", ["bpe", "byte-bpe", "unigram", "characters", "wordpiece", "words"])
def test_without_dropout_a_sample_is_the_ordinary_segmentation(kind: Kind):
    tokenizer = trained(kind, 0.0)
    for word in [*tokenizer.words(TEXTS[0] + " ☂"), ""]:
        assert tokenizer.sample(word, 3) == tokenizer.segment(word)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_unknown_characters_in_a_sample(kind: Kind):
    tokenizer = trained(kind, 1.0, byte_fallback=False)
    expected = {"bpe": ["▁", "<unk>", "<unk>"], "unigram": ["▁", "<unk>"]}[kind]  # as the library has it
    assert tokenizer.pieces(tokenizer.segment("▁☂☂")) == expected
    assert tokenizer.pieces(tokenizer.sample("▁☂☂", 0)) == expected


def test_a_caller_may_change_what_it_is_given():
    tokenizer = trained("bpe", 0.3)
    first = tokenizer.sample("▁tower", 7)
    first.append(-1)
    assert tokenizer.sample("▁tower", 7) == first[:-1]


@pytest.mark.parametrize("variant", [-1, VARIANTS])
def test_variants_are_numbered_from_0_to_63(variant: int):
    with pytest.raises(ValueError, match=f"variant is {variant}, expected 0 to 63"):
        trained("bpe", 0.3).sample("▁tower", variant)


_PRINT_SAMPLES = """
import json, sys
from heedful.text import Tokenizer
content, words = json.load(sys.stdin)
tokenizer = Tokenizer.from_json(content)
print(json.dumps([[tokenizer.sample(word, variant) for variant in range(63, -1, -1)] for word in words]))
"""


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_sample_is_the_same_in_every_process(kind: Kind, repository: Path):
    tokenizer = trained(kind, 0.5, alpha=0.01)
    words = tokenizer.words(TEXTS[0] + " " + TEXTS[-1])
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_SAMPLES],
        input=json.dumps([tokenizer.to_json(), words]),
        env={**os.environ, "PYTHONHASHSEED": "5"},
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    samples = [[tokenizer.sample(word, variant) for variant in range(63, -1, -1)] for word in words]
    assert json.loads(done.stdout) == samples
    assert len({tuple(sample) for sample in samples[1]}) > 2  # "▁lowest" in several ways
