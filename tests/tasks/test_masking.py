"""Masking: the published shares, nothing else asked for, whole words whole, and a function of seed, epoch and place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from heedful.data.documents import Piece
from heedful.data.packing import TrainingWindows, evaluation_windows
from heedful.data.token_stream import TokenStream
from heedful.tasks.masking import MaskedBatches, Masking, MaskingSettings, masked
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.special import END, MASK, MASK_TOKEN, PAD, START

WORDS = ["the", "unbelievable", "dog", "barked", "at", "horses,", "cats", "and", "unhappy", "sheep.\nall"]
WORDS += ["night!", "nobody's", "walking", "away"]
TEXTS = [" ".join(np.random.default_rng(seed).choice(WORDS, 60 + 7 * seed).tolist()) for seed in range(10)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(
        TEXTS, TokenizerSettings(kind="wordpiece", vocabulary_size=90, mask=True, min_frequency=1)
    )


@pytest.fixture(scope="module")
def stream(tokenizer, tmp_path_factory) -> TokenStream:
    pieces = [Piece(text, Path("a"), number, True) for number, text in enumerate(TEXTS)]
    return TokenStream.write(tmp_path_factory.mktemp("stream") / "a.npy", pieces, tokenizer)


def batches(stream, tokenizer, seed=0, **choices) -> MaskedBatches:
    masking = Masking(MaskingSettings(**choices), stream, tokenizer, seed)
    return MaskedBatches(TrainingWindows(stream, 32, 16, seed), masking)


def together(found: MaskedBatches, epochs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, reference and the text as it was, of so many epochs."""
    parts = []
    while found.windows.epoch < epochs:
        batch = next(found)
        parts.append(
            (
                batch.inputs,
                batch.reference,
                torch.where(batch.reference == PAD, batch.inputs, batch.reference),
            )
        )
    inputs, reference, text = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
    return inputs, reference, text


def test_a_vocabulary_has_a_mask_where_it_is_asked_for(tokenizer):
    assert tokenizer.vocabulary.pieces[MASK] == MASK_TOKEN
    assert MASK not in tokenizer.encode("a <mask> is text")
    plain = Tokenizer.train(TEXTS, TokenizerSettings(kind="wordpiece", vocabulary_size=90, min_frequency=1))
    assert MASK_TOKEN not in plain.vocabulary.pieces
    # Files, and so fingerprints, of vocabularies without a mask are what they were before there was one.
    assert "mask" not in plain.to_json()["settings"]
    assert Tokenizer.from_json(tokenizer.to_json()).settings.mask
    assert not Tokenizer.from_json(plain.to_json()).settings.mask


def test_the_published_shares_are_masked_and_nothing_else(tokenizer, stream):
    inputs, reference, text = together(batches(stream, tokenizer), epochs=20)
    words = np.array([bool(tokenizer.decode([index]).strip()) for index in range(len(tokenizer))])
    asked, words = reference != PAD, words[text] & (text > MASK)
    assert not asked[~words].any()
    count, of = asked.sum(), words.sum()
    # Five standard deviations of a binomial variable.
    assert abs(count / of - 0.15) < 5 * (0.15 * 0.85 / of) ** 0.5
    for share, found in ((0.8, inputs == MASK), (0.1 + 0.1 / (len(tokenizer) - 5), inputs == reference)):
        assert abs(found[asked].mean() - share) < 5 * (share * (1 - share) / count) ** 0.5
    other = inputs[asked & (inputs != MASK) & (inputs != reference)]
    assert set(other) <= set(range(5, len(tokenizer)))  # any entry but the special ones
    assert len(set(other)) > 0.9 * (len(tokenizer) - 5)
    assert (inputs == text)[~asked].all()
    assert (inputs != MASK)[~asked].all()


def test_every_word_is_asked_for_sometimes_and_not_always(tokenizer, stream):
    _, reference, text = together(batches(stream, tokenizer), epochs=20)
    for token in set(text.ravel()) - {PAD, START, END}:
        share = (reference == token).sum() / (text == token).sum()
        assert 0 <= share < 0.3
        assert share > 0 or not tokenizer.decode([token]).strip()


def test_whole_words_are_whole(tokenizer, stream):
    whole = {True: 0, False: 0}
    for kind in whole:
        found = batches(stream, tokenizer, whole_words=kind)
        cut = 0
        for _ in range(12):
            batch = next(found)
            text = torch.where(batch.reference == PAD, batch.inputs, batch.reference)
            for asked, row in zip((batch.reference != PAD).tolist(), text.tolist(), strict=True):
                whole[kind] += sum(asked)
                word: set[bool] = set()
                for start, token, each in zip(tokenizer.word_starts(row), row, asked, strict=True):
                    word = set() if start else word
                    word |= (
                        {each} if tokenizer.decode([token]).strip() else set()
                    )  # a space alone is never asked for
                    cut += len(word) > 1
        assert (cut == 0) is kind
    assert whole[True] == pytest.approx(whole[False], rel=0.15)


def test_masks_are_a_function_of_seed_epoch_and_place(tokenizer, stream):
    found = batches(stream, tokenizer)
    first = [next(found) for _ in range(5)]
    state = found.state()
    more = [next(found) for _ in range(30)]
    again = batches(stream, tokenizer)
    again.restore(state)
    for one, other in zip(more, (next(again) for _ in more), strict=True):
        assert one.epoch == other.epoch
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.reference, other.reference)
    assert more[-1].epoch > 0
    # The windows of another batch size are masked the same.
    masking = Masking(MaskingSettings(), stream, tokenizer, 0)
    alone = masking.of(next(TrainingWindows(stream, 32, 3, 0)))
    assert torch.equal(alone.inputs, first[0].inputs[:3])
    other = Masking(MaskingSettings(), stream, tokenizer, 1).of(next(TrainingWindows(stream, 32, 3, 0)))
    assert not torch.equal(other.reference, alone.reference)


def test_windows_begin_with_start_and_end_with_end(tokenizer, stream):
    batch = next(batches(stream, tokenizer))
    assert (batch.inputs[:, 0] == START).all()
    assert (batch.inputs[:, -1] == END).all()
    assert batch.tokens == (batch.reference != PAD).sum()
    parts = batch.split(3)
    assert [len(part) for part in parts] == [6, 6, 4]
    assert torch.equal(torch.cat([part.reference for part in parts]), batch.reference)
    assert {part.tokens for part in parts} == {batch.tokens}
    assert batch.first(1) == f"tokens {batch.starts[0]:,} to {batch.starts[0] + 32:,}"


def test_evaluation_asks_for_no_token_twice(tokenizer, stream):
    masking = Masking(MaskingSettings(share=0.999), stream, tokenizer, 7)
    asked = []
    for batch in masked(evaluation_windows(stream, 32, 32, 5), masking):
        for start, row in zip(batch.starts, batch.reference != PAD, strict=True):
            asked += [start + place for place in row.nonzero().flatten().tolist()]
    assert len(asked) == len(set(asked))
    assert len(asked) > 0.8 * len(stream)


def test_next_sentences_follow_half_of_the_time(tokenizer, stream):
    found = batches(stream, tokenizer, next_sentence=True)
    strange = []
    for _ in range(25):
        batch = next(found)
        assert batch.follows is not None
        assert batch.segments is not None
        assert batch.documents is None
        text = torch.where(batch.reference == PAD, batch.inputs, batch.reference)
        for row, segments, start, follows in zip(
            text, batch.segments, batch.starts, batch.follows, strict=True
        ):
            cut = int(segments.argmax())  # where the second part begins
            assert segments[:cut].eq(0).all()
            assert segments[cut:].eq(1).all()
            assert row[0] == START
            assert row[cut - 1] == row[-1] == END
            own = torch.from_numpy(stream.tokens[start : start + 32].astype(np.int64))
            # What was replaced by random tokens is back in `text`, what was hidden too.
            assert torch.equal(row[1 : cut - 1], own[1 : cut - 1])
            assert torch.equal(row[cut:-1], own[cut:-1]) or follows == 1
            strange.append(int(follows))
    assert abs(np.mean(strange) - 0.5) < 5 * 0.5 / len(strange) ** 0.5


def test_shares_that_are_more_than_all_are_refused():
    with pytest.raises(ValidationError, match=r"hidden \(0.95\) and random \(0.1\) are more than all"):
        MaskingSettings(hidden=0.95)


def test_another_epoch_masks_other_tokens_of_the_same_windows(tokenizer, stream):
    masking, windows = (
        Masking(MaskingSettings(), stream, tokenizer, 0),
        next(TrainingWindows(stream, 32, 16, 0)),
    )
    first, again, later = (masking.of(replace(windows, epoch=epoch)) for epoch in (0, 0, 1))
    assert torch.equal(first.reference, again.reference)
    assert not torch.equal(first.reference != PAD, later.reference != PAD)


def test_the_second_part_of_a_pair_begins_with_a_word_behind_the_first_quarter(tokenizer, stream):
    found, follow = batches(stream, tokenizer, next_sentence=True), 0
    for _ in range(25):
        batch = next(found)
        for start, segments, follows in zip(
            batch.starts.tolist(), batch.segments.tolist(), batch.follows.tolist(), strict=True
        ):
            begin = segments.index(1)
            assert begin > 32 // 4
            if not follows:
                text = stream.tokens[start : start + 32].tolist()
                text[-1] = END  # as a window ends
                assert tokenizer.word_starts(text)[begin]
                follow += 1
    assert follow > 100


def test_a_strange_second_part_is_read_elsewhere_and_is_asked_for_as_well(tokenizer, stream):
    found, asked, strange = batches(stream, tokenizer, next_sentence=True), 0, 0
    whole = " ".join(map(str, stream.tokens.tolist()))
    for _ in range(25):
        batch = next(found)
        text = torch.where(batch.reference == PAD, batch.inputs, batch.reference)
        for row, reference, start, segments, follows in zip(
            text,
            batch.reference,
            batch.starts.tolist(),
            batch.segments.tolist(),
            batch.follows.tolist(),
            strict=True,
        ):
            if follows:
                part = slice(segments.index(1), 31)
                assert row[part].tolist() != stream.tokens[start:][part].tolist()
                assert " ".join(map(str, row[part].tolist())) in whole
                asked, strange = asked + int((reference[part] != PAD).sum()), strange + part.stop - part.start
    assert asked / strange > 0.1
