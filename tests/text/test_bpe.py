"""Byte-pair encoding: the published trace, the laws of encoding, and the fast way against the plain one."""

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.errors import TokenizerError
from heedful.text import bpe, bpe_incremental
from heedful.text.bpe import (
    END_OF_WORD,
    Pair,
    Symbol,
    Word,
    expect,
    initialize,
    learn,
    trace,
)

# Emory, NLP Essentials, "Byte Pair Encoding": an example, its merges with counts, and what ten leave.
EXAMPLE = {"high": 12, "higher": 14, "highest": 10, "low": 12, "lower": 11, "lowest": 13}
TRACE = [
    ("h", "i", 36),
    ("hi", "g", 36),
    ("hig", "h", 36),
    ("l", "o", 36),
    ("lo", "w", 36),
    ("e", "r", 25),
    ("er", "[EoW]", 25),
    ("e", "s", 23),
    ("es", "t", 23),
    ("est", "[EoW]", 23),
    ("high", "er[EoW]", 14),
    ("low", "est[EoW]", 13),
    ("high", "[EoW]", 12),
    ("low", "[EoW]", 12),
    ("low", "er[EoW]", 11),
    ("high", "est[EoW]", 10),
]
AFTER_TEN = {
    "high [EoW]": 12,
    "high er[EoW]": 14,
    "high est[EoW]": 10,
    "low [EoW]": 12,
    "low er[EoW]": 11,
    "low est[EoW]": 13,
}

few_letters = st.text("abc", max_size=9)  # so that pairs repeat, overlap and tie
corpora = st.dictionaries(few_letters, st.integers(0, 5), max_size=9)
settings = st.fixed_dictionaries(
    {"merges": st.integers(0, 30), "top": st.integers(1, 5), "min_frequency": st.integers(1, 4)}
)
any_text = st.text(st.characters(), max_size=20)  # every code point, also lone surrogates


def printed(word: Word | Pair) -> str:
    return " ".join(map(str, word))


def symbols(*texts: str) -> Word:
    return tuple(Symbol(text) for text in texts)


def test_published_trace_until_exhausted() -> None:
    steps = list(trace(EXAMPLE, merges=100))
    seen = [(*map(str, choice.pair), choice.merged) for step in steps for choice in step.choices]
    assert seen == TRACE
    assert {printed(word): count for word, count in steps[9].vocabulary.items()} == AFTER_TEN
    assert all(len(word) == 1 for word in steps[-1].vocabulary)
    assert [printed(pair) for pair in learn(EXAMPLE, merges=100).merges] == [f"{a} {b}" for a, b, _ in TRACE]


def test_min_frequency_stops_before_rarer_pairs() -> None:
    assert len(learn(EXAMPLE, merges=100, min_frequency=14).merges) == 11
    assert learn({"once": 1}, merges=100).merges == ()
    assert len(learn({"once": 1}, merges=100, min_frequency=1).merges) == 4
    assert learn({}, merges=100).merges == ()


def test_overlapping_pairs_count_as_often_as_they_merge() -> None:
    a, b = Symbol("a"), Symbol("b")
    counts = expect(initialize({"aaaa": 3, "abab": 1, "aaa": 1}))
    assert counts == {(a, a): 2 * 3 + 1, (a, END_OF_WORD): 4, (a, b): 2, (b, a): 1, (b, END_OF_WORD): 1}


@given(corpora)
def test_a_pair_merges_as_often_as_expected(corpus: dict[str, int]) -> None:
    for step in trace(corpus, merges=30):
        assert [choice.expected for choice in step.choices] == [choice.merged for choice in step.choices]


def test_top_pairs_are_merged_in_rank_order_and_counted_again() -> None:
    # (b, c) was counted three times, but (a, b) takes the b of two of them; (x, y) is touched by neither.
    corpus = {"abc": 2, "ab": 3, "bc": 1, "xy": 2}
    ranked = [
        ("a", "b", 5),
        ("b", "[EoW]", 3),
        ("b", "c", 3),
        ("c", "[EoW]", 3),
        ("x", "y", 2),
        ("y", "[EoW]", 2),
    ]
    assert sorted((*map(str, pair), n) for pair, n in expect(initialize(corpus)).items()) == ranked
    first, *_ = trace(corpus, merges=9, top=5)
    assert [(printed(choice.pair), choice.expected, choice.merged) for choice in first.choices] == [
        ("a b", 5, 5),
        ("b [EoW]", 3, 0),  # every one of these b is now part of ab
        ("b c", 3, 0),  # one is left, too few
        ("c [EoW]", 3, 3),
        ("x y", 2, 2),
    ]
    assert [printed(pair) for pair in first.merges] == ["a b", "c [EoW]", "x y"]
    assert {printed(word) for word in first.vocabulary} == {"ab c[EoW]", "ab [EoW]", "b c[EoW]", "xy [EoW]"}


@given(corpora, settings)
def test_a_step_merges_no_more_than_top_and_no_pair_too_rare(
    corpus: dict[str, int], settings: dict[str, int]
) -> None:
    steps = list(trace(corpus, **settings))
    choices = [choice for step in steps for choice in step.choices]
    assert all(1 <= len(step.merges) <= settings["top"] for step in steps)
    assert sum(len(step.merges) for step in steps) <= settings["merges"]
    assert all(choice.merged == 0 or choice.merged >= settings["min_frequency"] for choice in choices)
    assert all(choice.merged <= choice.expected for choice in choices)


def test_top_never_exceeds_the_merges_asked_for() -> None:
    for top in range(1, 20):
        assert len(learn(EXAMPLE, merges=10, top=top).merges) == 10


def test_equal_top_pairs_overlap_in_rank_order() -> None:
    # (a, b) and (b, a) both occur in a b a b; (a, b) goes first and takes all.
    step = next(trace({"abab": 4, "ba": 4}, merges=2, top=2))
    assert [printed(pair) for pair in step.merges] == ["a b", "b a"]
    assert {printed(word) for word in step.vocabulary} == {"ab ab [EoW]", "ba [EoW]"}


@given(corpora, settings, st.randoms())
def test_fast_way_equals_plain_way_in_any_order_of_words(
    corpus: dict[str, int], settings: dict[str, int], random: Random
) -> None:
    steps = list(trace(corpus, **settings))
    merges = [pair for step in steps for pair in step.merges]
    words = list(corpus.items())
    random.shuffle(words)
    assert list(learn(dict(words), **settings).merges) == merges
    assert [pair for step in trace(dict(words), **settings) for pair in step.merges] == merges


@given(st.dictionaries(any_text, st.integers(0, 3), max_size=6), st.integers(1, 3))
def test_fast_way_equals_plain_way_on_any_text(corpus: dict[str, int], top: int) -> None:
    steps = trace(corpus, merges=30, top=top, min_frequency=1)
    assert list(learn(corpus, merges=30, top=top, min_frequency=1).merges) == [
        pair for step in steps for pair in step.merges
    ]


@given(corpora, settings)
def test_a_learned_word_is_encoded_as_learning_left_it(
    corpus: dict[str, int], settings: dict[str, int]
) -> None:
    vocabulary = initialize(corpus)
    for step in trace(corpus, **settings):
        vocabulary = step.vocabulary
    encoding = learn(corpus, **settings)
    assert {encoding.encode(word): count for word, count in corpus.items()} == vocabulary


@given(few_letters, corpora, settings)
def test_unseen_words_are_encoded_by_every_merge_in_turn(
    word: str, corpus: dict[str, int], settings: dict[str, int]
) -> None:
    encoding = learn(corpus, **settings)
    one_by_one = bpe.spell(word)
    for pair in encoding.merges:
        one_by_one = bpe.merge(one_by_one, pair)
    assert encoding.encode(word) == one_by_one


@given(corpora, settings)
def test_no_symbol_is_made_in_two_ways(corpus: dict[str, int], settings: dict[str, int]) -> None:
    merges = learn(corpus, **settings).merges
    assert len({bpe.join(pair) for pair in merges}) == len(merges)


@given(any_text, st.dictionaries(any_text, st.integers(1, 3), max_size=6))
def test_decoding_undoes_encoding_of_any_word(word: str, corpus: dict[str, int]) -> None:
    encoding = learn({**corpus, word[::2]: 2, word: 1}, merges=20, top=2)
    assert encoding.decode(encoding.encode(word)) == word


@given(st.lists(any_text))
def test_encodings_one_after_the_other_decode_to_the_words(words: list[str]) -> None:
    encoding = learn(Counter(words), merges=20, min_frequency=1)
    stream = [symbol for word in words for symbol in encoding.encode(word)]
    assert encoding.decode_words(stream) == words


@pytest.mark.parametrize(
    "word", ["[EoW]", "a[EoW]", r"a\n", r"\g<0>", "a b", " ", "\0", "", ".*", "</w>", "e\u0301", "\ud800"]
)
def test_text_that_looks_like_markup_is_text(word: str) -> None:
    encoding = learn({word: 9, "other": 3}, merges=99)
    assert encoding.encode(word) == ((Symbol(word, ends_word=True),) if word else (END_OF_WORD,))
    assert encoding.decode(encoding.encode(word)) == word


@given(any_text, any_text, st.booleans(), st.booleans())
def test_no_two_symbols_print_alike(one: str, other: str, one_ends: bool, other_ends: bool) -> None:
    first, second = Symbol(one, one_ends), Symbol(other, other_ends)
    assert (str(first) == str(second)) == (first == second)


def test_merges_do_not_depend_on_the_hash_seed() -> None:
    program = (
        "from heedful.text.bpe import learn;"
        "words = {word: 2 for word in 'the cat sat on that mat then the hat had a chat'.split()};"
        "print(learn(words, 40, top=3).merges)"
    )
    command = [sys.executable, "-c", program]
    outputs = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_decoding_refuses_what_is_not_whole_words() -> None:
    encoding = learn(EXAMPLE, merges=10)
    with pytest.raises(TokenizerError, match="stop inside the word 'high'"):
        encoding.decode_words(symbols("high"))
    with pytest.raises(TokenizerError, match="2 words, not one"):
        encoding.decode(encoding.encode("low") + encoding.encode("high"))
    with pytest.raises(TokenizerError, match="0 words, not one"):
        encoding.decode([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"word_counts": {"low": -1}}, "'low' has the count -1"),
        ({"merges": -1}, "merges is -1"),
        ({"top": 0}, "top is 0"),
        ({"min_frequency": 0}, "min_frequency is 0"),
    ],
)
def test_meaningless_settings_are_refused(change: dict[str, Any], message: str) -> None:
    settings = {"word_counts": EXAMPLE, "merges": 3, **change}
    with pytest.raises(ValueError, match=message):
        learn(**settings)
    with pytest.raises(ValueError, match=message):
        list(trace(**settings))


def test_rendering_shows_what_was_passed_over() -> None:
    step = next(trace({"abc": 2, "ab": 3, "bc": 1}, merges=3, top=3))
    assert step.render(words=1).splitlines() == [
        "step 1: a + b = ab (5 times)",
        "step 1: b + [EoW] = b[EoW] (passed over, 3 expected)",
        "step 1: b + c = bc (passed over, 3 expected)",
        "        3  ab [EoW]",
    ]


@given(corpora, st.integers(0, 9), st.randoms())
def test_counts_stay_right_whatever_is_merged(corpus: dict[str, int], merges: int, random: Random) -> None:
    counts = bpe_incremental.IncrementalCounts(corpus, min_frequency=1)
    for _ in range(merges):
        present = sorted(pair for pair, count in counts.counts.items() if count)
        if present:
            counts.merge(random.choice(present))
    recounted: Counter[str] = Counter()
    for word, frequency in zip(counts.words, counts.frequencies, strict=True):
        for pair in {a + b for a, b in pairwise(word)}:
            recounted[pair] += word.count(pair) * frequency
    assert +Counter(counts.counts) == +recounted
    ranked = sorted(+recounted, key=lambda pair: (-recounted[pair], counts.spell(pair)))
    assert counts.pop(1000) == ranked


def test_more_symbols_than_characters_are_refused() -> None:
    with pytest.raises(TokenizerError, match="ask for fewer merges"):
        bpe_incremental.learn_merges({chr(sys.maxunicode) * 2: 2}, merges=1, top=1, min_frequency=1)
