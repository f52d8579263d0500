"""Texts as an encoder reads them: nothing is cut off."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedful.tasks.windows import Reading, Texts
from heedful.text import END, PAD, START, Tokenizer, TokenizerSettings

WORDS = Tokenizer.train(["a b c d e f g h"] * 2, TokenizerSettings(kind="words"))


@given(st.integers(0, 60), st.integers(6, 20), st.data())
def test_windows_cover_a_text_and_none_is_too_long(length, window, data):
    overlap = data.draw(st.integers(0, (window - 3) // 2))
    tokens = list(range(100, 100 + length))
    windows = Reading(WORDS, window, overlap).windows(tokens, None)
    seen: list[int] = []
    for each, head in windows:
        assert len(each) == head <= window
        assert (each[0], each[-1]) == (START, END)
        inner = each[1:-1]
        assert inner == list(range(inner[0], inner[0] + len(inner))) if inner else True
        if seen:  # it begins in what was seen, or right after, and shares at least the overlap
            assert inner[0] <= seen[-1] + 1 - overlap
        seen += [token for token in inner if token not in seen]
    assert seen == tokens
    if len(windows) > 1:
        assert {len(each) for each, _ in windows} == {window}


@given(st.integers(1, 40), st.integers(1, 40), st.integers(8, 20), st.integers(0, 10))
def test_of_a_pair_the_second_goes_on_beside_the_beginning_of_the_first(first, second, window, overlap):
    one, two = list(range(100, 100 + first)), list(range(200, 200 + second))
    seen: set[int] = set()
    for each, head in Reading(WORDS, window, min(overlap, window // 2)).windows(one, two):
        assert len(each) <= window
        assert each[head - 1] == each[-1] == END
        kept = each[1 : head - 1]
        assert kept == one[: len(kept)]
        seen |= set(each[head:-1])
    assert seen == set(two)
    if first + second + 3 <= window:
        assert kept == one


def test_tensors_are_the_windows_of_the_texts_asked_for():
    texts = Texts([("a b c", None), ("a b c d e f g h", None), ("h", None)], Reading(WORDS, 6, 1))
    assert texts.counts.tolist() == [1, 3, 1]
    tokens, segments, of = texts.tensors(np.array([2, 1]))
    assert segments is None
    assert of.tolist() == [0, 1, 1, 1]
    assert tokens[0].tolist() == [START, *WORDS.encode("h"), END, PAD, PAD, PAD]
    assert tokens[1].tolist() == [START, *WORDS.encode("a b c d"), END]
    assert tokens[3].tolist() == [START, *WORDS.encode("a b c d e f g h")[4:], END]
    drawn, _, of = texts.tensors(np.array([1, 0]), most=2, draw=np.random.default_rng(0))
    assert of.tolist() == [0, 0, 1]
    assert {tuple(row) for row in drawn[:2].tolist()} <= {tuple(row) for row in tokens[1:].tolist()}


def test_the_second_text_of_a_pair_is_another_segment():
    texts = Texts([("a b", "c"), ("a", "b c d")], Reading(WORDS, 12))
    tokens, segments, _ = texts.tensors(np.array([0, 1]))
    assert segments is not None
    assert tokens[0].tolist()[:6] == [START, *WORDS.encode("a b"), END, *WORDS.encode("c"), END]
    assert segments[:, :6].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert torch.equal(segments.max(1).values, torch.ones(2, dtype=torch.int64))


def test_a_long_first_text_takes_half_of_the_room_and_no_more_unless_the_second_leaves_it():
    def kept(first, second):
        windows = Reading(WORDS, 19, 2).windows(range(100, 100 + first), range(200, 200 + second))
        (head,) = {head for _, head in windows}
        return head - 2

    # 19 without START and two END are 16.
    assert [kept(40, 40), kept(40, 3), kept(40, 12), kept(5, 40)] == [8, 13, 8, 5]
