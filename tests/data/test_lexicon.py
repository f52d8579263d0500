"""IBM Model 1: equal to its definition in plain Python, whatever the chunks; and what pruning leaves."""

import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.data import lexicon
from heedful.data.lexicon import learn
from heedful.data.store import PairStore, Ragged
from heedful.errors import DataError

SOURCE, TARGET = 5, 6
NULL = SOURCE

Corpus = list[tuple[list[int], list[int]]]

pairs = st.tuples(
    st.lists(st.integers(0, SOURCE - 1), max_size=5), st.lists(st.integers(0, TARGET - 1), max_size=5)
)
corpora = st.lists(pairs, min_size=1, max_size=12).filter(lambda corpus: any(e and f for e, f in corpus))


class Memory:
    """A store in memory."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def __len__(self) -> int:
        return len(self.corpus)

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        sources, targets = zip(*self.corpus, strict=True)
        return np.array([*map(len, sources)]), np.array([*map(len, targets)])

    def gather(self, indices: np.ndarray) -> tuple[Ragged, Ragged]:
        sources, targets = zip(*(self.corpus[index] for index in indices), strict=True)
        return Ragged.of(sources), Ragged.of(targets)


def by_definition(corpus: Corpus, passes: int) -> dict[tuple[int, int], float]:
    """t(f|e) after as many passes over uniform probabilities: Brown et al. 1993, equations 17 and 12."""
    t: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(passes):
        count: dict[tuple[int, int], float] = defaultdict(float)
        total: dict[int, float] = defaultdict(float)
        for source, target in corpus:
            if not source:
                continue
            for f in target:
                places = [*source, NULL]
                denominator = sum(t[e, f] for e in places)
                for e in places:
                    count[e, f] += t[e, f] / denominator
                    total[e] += t[e, f] / denominator
        t = defaultdict(float, {(e, f): value / total[e] for (e, f), value in count.items()})
    return {(e, f): value for (e, f), value in t.items() if e != NULL and value > 0}


def as_dict(learnt: lexicon.Lexicon) -> dict[tuple[int, int], float]:
    entries = zip(learnt.source.tolist(), learnt.target.tolist(), learnt.probability.tolist(), strict=True)
    return {(e, f): value for e, f, value in entries}


@given(corpus=corpora, passes=st.integers(0, 4))
def test_it_is_the_definition(corpus: Corpus, passes: int):
    learnt = as_dict(learn([Memory(corpus)], SOURCE, TARGET, passes=passes))
    assert learnt == pytest.approx(by_definition(corpus, passes + 1), rel=1e-5)


@given(corpus=corpora)
def test_the_probabilities_of_a_source_token_sum_to_one(corpus: Corpus):
    learnt = learn([Memory(corpus)], SOURCE, TARGET)
    sums = np.bincount(learnt.source, weights=learnt.probability, minlength=SOURCE)
    seen = {token for source, target in corpus if target for token in source}
    assert sums == pytest.approx([float(token in seen) for token in range(SOURCE)], abs=1e-5)


@given(corpus=corpora, links=st.integers(30, 100))
def test_chunks_and_what_is_remembered_change_nothing(corpus: Corpus, links: int):
    at_once = learn([Memory(corpus)], SOURCE, TARGET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lexicon, "LINKS", links)
        patch.setattr(lexicon, "_REMEMBERED", links)
        in_chunks = learn([Memory(corpus)], SOURCE, TARGET)
    assert as_dict(in_chunks) == pytest.approx(as_dict(at_once), rel=1e-5)


@given(corpus=corpora, cut=st.integers(1, 11))
def test_two_corpora_are_one(corpus: Corpus, cut: int):
    parts = [Memory(part) for part in (corpus[:cut], corpus[cut:]) if part]
    together = as_dict(learn([Memory(corpus)], SOURCE, TARGET))
    assert as_dict(learn(parts, SOURCE, TARGET)) == pytest.approx(together, rel=1e-5)


@given(corpus=corpora, count=st.integers(1, 7))
def test_best_gives_the_most_probable_first(corpus: Corpus, count: int):
    learnt = learn([Memory(corpus)], SOURCE, TARGET)
    known = as_dict(learnt)
    for e, row in enumerate(learnt.best(count).tolist()):
        mine = {f: value for (other, f), value in known.items() if other == e}
        given_, none = row[: len(mine)], row[len(mine) :]
        # Words that stand in the same places are equal but for rounding, and may stand in any order.
        assert [mine[f] for f in given_] == pytest.approx(
            sorted(mine.values(), reverse=True)[:count], rel=1e-5
        )
        assert len(set(given_)) == len(given_)
        assert none == [-1] * (count - len(mine))


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=60))
def test_distinct_is_unique(keys: list[int]):
    array = np.array(keys)
    for given_, expected in zip(lexicon._distinct(array), np.unique(array, return_inverse=True), strict=True):
        assert given_.tolist() == expected.tolist()


@pytest.fixture(scope="module")
def ciphered() -> tuple[Corpus, dict[int, int]]:
    """Sentences of 200 words, frequent and rare, each word always put as the same other one, in another order."""
    draw = random.Random(0)
    code = dict(zip(range(200), draw.sample(range(200), 200), strict=True))
    weights = [1 / (rank + 1) for rank in range(200)]
    corpus: Corpus = []
    for _ in range(3000):
        source = draw.choices(range(200), weights, k=draw.randint(3, 12))
        corpus.append((source, draw.sample([code[word] for word in source], len(source))))
    return corpus, code


def right(learnt: lexicon.Lexicon, code: dict[int, int]) -> int:
    return sum(code[word] == best for word, best in enumerate(learnt.best(1)[:, 0].tolist()))


def test_a_cipher_is_read(ciphered: tuple[Corpus, dict[int, int]]):
    corpus, code = ciphered
    assert right(learn([Memory(corpus)], 200, 200), code) == 200


def test_with_little_memory_the_probable_entries_stay(
    ciphered: tuple[Corpus, dict[int, int]], monkeypatch: pytest.MonkeyPatch
):
    corpus, code = ciphered
    whole = learn([Memory(corpus)], 200, 200)
    monkeypatch.setattr(lexicon, "LINKS", 5000)
    monkeypatch.setattr(lexicon, "ENTRIES", 8000)
    pruned = learn([Memory(corpus)], 200, 200)
    assert len(pruned.source) <= 4000 < len(whole.source) / 5
    assert right(pruned, code) == 200


def test_a_pair_with_too_many_links_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lexicon, "LINKS", 20)
    learnt = learn([Memory([([0], [1]), ([2] * 4, [3] * 5)])], SOURCE, TARGET)
    assert as_dict(learnt) == {(0, 1): 1}


def test_it_reads_a_store(tmp_path: Path):
    corpus: Corpus = [([0, 1], [2, 3]), ([0], [2]), ([], [4])]
    store = PairStore.write(tmp_path / "pairs.arrow", corpus)
    assert as_dict(learn([store], SOURCE, TARGET)) == as_dict(learn([Memory(corpus)], SOURCE, TARGET))


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(DataError, match="The source has an id 5, but its vocabulary has 5 entries"):
        learn([Memory([([5], [1])])], SOURCE, TARGET)
    with pytest.raises(DataError, match="The target has an id 9"):
        learn([Memory([([1], [9])])], SOURCE, TARGET)


@pytest.mark.parametrize("corpus", [[([], [1])], [([1], [])]])
def test_text_without_pairs_is_refused(corpus: Corpus):
    with pytest.raises(DataError, match="nothing to learn a lexicon from"):
        learn([Memory(corpus)], SOURCE, TARGET)
