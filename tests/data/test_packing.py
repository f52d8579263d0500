"""Tokens of documents end to end, and windows over them: every token once, nothing across documents, exact resume."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedful.data import documents, token_stream
from heedful.data.documents import Piece, TextSettings, read_pieces
from heedful.data.packing import TrainingWindows, WindowBatch, evaluation_windows, windows
from heedful.data.token_stream import Amount, TokenStream
from heedful.errors import DataError
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.special import END, PAD, START

TEXT = "To be, or not to be:\nthat is the  question.\n\nWhether 'tis nobler\t\nin the mind to suffer\n" * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXT.split("\n"), TokenizerSettings(vocabulary_size=320))


def stream_of(*ids: int) -> TokenStream:
    return TokenStream(np.array(ids), Amount())


def written(folder: Path, tokenizer: Tokenizer, **unit: Any) -> TokenStream:
    (folder / "a.txt").write_text(TEXT)
    pieces = read_pieces(TextSettings(text=(folder / "a.txt",), **unit))
    return TokenStream.write(folder / "a.npy", pieces, tokenizer)


@pytest.mark.parametrize("together", [1, 3, 256])
def test_a_stream_holds_all_documents_between_start_and_end(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(token_stream, "_AT_ONCE", together)
    stream = written(tmp_path, tokenizer, documents="paragraph")
    parts = [part.strip("\n") for part in TEXT.split("\n\n")]
    expected = [token for part in parts for token in (START, *tokenizer.encode(part), END)]
    assert stream.tokens.tolist() == expected
    assert stream.tokens.dtype == np.uint16
    assert stream.amount == Amount(
        4, sum(map(len, parts)), sum(len(part.encode()) for part in parts), len(TEXT.split())
    )
    assert TokenStream.open(tmp_path / "a.npy").tokens.tolist() == expected


@pytest.mark.parametrize(("entries", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_ids_take_two_bytes_while_the_vocabulary_has_room_in_them(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, entries: int, dtype: type
) -> None:
    monkeypatch.setattr(Tokenizer, "__len__", lambda _: entries)
    stream = written(tmp_path, tokenizer)
    assert stream.tokens.dtype == dtype
    assert stream.tokens.tolist() == [START, *tokenizer.encode(TEXT.strip()), END]


@pytest.mark.parametrize("kind", ["bpe", "characters", "unigram", "words"])
def test_pieces_give_the_tokens_of_the_whole(tmp_path: Path, monkeypatch: Any, kind: str) -> None:
    tokenizer = Tokenizer.train(
        TEXT.split("\n"), TokenizerSettings.model_validate({"kind": kind, "vocabulary_size": 320})
    )
    monkeypatch.setattr(documents, "PIECE", 10)
    assert written(tmp_path, tokenizer).tokens.tolist() == [START, *tokenizer.encode(TEXT.strip()), END]


def test_a_stream_that_is_not_whole_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    written(tmp_path, tokenizer)
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match="not a complete stream"):
        TokenStream.open(path)
    with pytest.raises(DataError, match="not a complete stream"):
        TokenStream.open(tmp_path / "b.npy")
    assert not TokenStream.exists(tmp_path / "b.npy")


def test_the_last_part_is_held_out_from_where_a_document_begins(tokenizer: Tokenizer) -> None:
    ids = [START, *tokenizer.encode("To be"), END]
    kept, held = stream_of(*ids * 10).split(0.25, tokenizer)
    assert (kept.tokens.tolist(), held.tokens.tolist()) == (ids * 8, ids * 2)
    assert held.amount == Amount(2, 10, 10, 4)
    one = stream_of(START, *tokenizer.encode(TEXT), END)
    kept, held = one.split(0.25, tokenizer)
    assert np.concatenate((kept.tokens, held.tokens)).tolist() == one.tokens.tolist()
    assert len(held) == round(0.25 * len(one))
    with pytest.raises(DataError, match="too little text"):
        stream_of(START, 7, END).split(0.1, tokenizer)


def test_windows_tell_documents_apart_and_never_predict_a_start() -> None:
    stream = stream_of(START, 4, 5, END, START, 6, END)
    batch = windows(stream, [0, 3], 5)
    assert batch.inputs.tolist() == [[1, 4, 5, 2, 1], [2, 1, 6, 2, 0]]
    assert batch.reference.tolist() == [[4, 5, 2, PAD, 6], [PAD, 6, 2, PAD, PAD]]
    assert batch.documents is not None
    assert batch.documents.tolist() == [[0, 0, 0, 0, 1], [0, 1, 1, 1, 1]]
    assert batch.tokens == 6
    assert windows(stream, [0], 3).documents is None
    assert windows(stream, [0], 5, apart=False).documents is None
    assert batch.first(1) == "tokens 0 to 5"


@given(st.integers(2, 60), st.integers(2, 9), st.data(), st.integers(1, 4))
def test_evaluation_predicts_every_token_once_with_enough_before_it(
    count: int, length: int, data: st.DataObject, size: int
) -> None:
    stride = data.draw(st.integers(1, length))
    stream = stream_of(*range(10, 10 + count))
    seen: list[int] = []
    for batch in evaluation_windows(stream, length, stride, size):
        assert len(batch) <= size
        for inputs, reference in zip(batch.inputs, batch.reference, strict=True):
            for place in (reference != PAD).nonzero().squeeze(1).tolist():
                seen.append(int(reference[place]))
                assert reference[place] == inputs[place] + 1
                before = place + 1
                assert before >= min(length - stride + 1, seen[-1] - 10)
    assert seen == list(range(11, 10 + count))


def test_an_epoch_reads_every_token_once_but_for_the_ends_and_each_is_cut_anew() -> None:
    stream = stream_of(*range(10, 110))
    batches = TrainingWindows(stream, 8, 3, seed=1)
    epochs: dict[int, list[int]] = {}
    while (batch := next(batches)).epoch < 3:
        epochs.setdefault(batch.epoch, []).extend(batch.reference.flatten().tolist())
    for tokens in epochs.values():
        assert len(set(tokens)) == len(tokens) >= 100 - 1 - 14
    assert epochs[0] != epochs[1]
    assert epochs[0][:8] != sorted(epochs[0])[:8]


def test_training_goes_on_exactly_where_it_stood() -> None:
    stream = stream_of(*range(10, 110))
    one, other = (TrainingWindows(stream, 8, 3, seed=1) for _ in range(2))
    for _ in range(6):
        next(one)
    other.restore(one.state())
    for _ in range(6):
        first, second = next(one), next(other)
        assert first.inputs.tolist() == second.inputs.tolist()
        assert first.epoch == second.epoch


def test_the_order_of_windows_is_a_function_of_the_seed() -> None:
    def starts(seed: int) -> list[int]:
        batches = TrainingWindows(stream_of(*range(10, 110)), 8, 3, seed)
        return [start for _ in range(8) for start in next(batches).starts.tolist()]

    assert starts(1) == starts(1)
    assert starts(1) != starts(2)


@pytest.mark.parametrize("apart", [True, False])
def test_documents_are_kept_apart_where_they_shall_be(apart: bool) -> None:
    stream = stream_of(*[START, 4, 5, END] * 6)
    training = TrainingWindows(stream, 7, 3, 1, apart)
    for batch in (next(training), *evaluation_windows(stream, 7, 3, 2, apart)):
        assert (batch.documents is not None) is apart


def test_a_text_shorter_than_a_window_is_filled_up() -> None:
    batch = next(TrainingWindows(stream_of(START, 5, 6, END), 8, 3, seed=1))
    assert batch.inputs.tolist() == [[1, 5, 6, 2, 0, 0, 0, 0]]
    assert batch.tokens == 3


def test_a_batch_splits_into_parts_that_make_it_up() -> None:
    batch = windows(stream_of(*[START, 4, 5, END] * 6), [0, 4, 8, 12, 16], 7)
    parts = batch.split(2)
    assert [len(part) for part in parts] == [3, 2]
    assert all(isinstance(part, WindowBatch) and part.tokens == batch.tokens for part in parts)
    assert torch.equal(torch.cat([part.inputs for part in parts]), batch.inputs)
    assert torch.equal(torch.cat([part.documents for part in parts]), batch.documents)  # pyright: ignore
    assert parts[1].first(2) == "tokens 12 to 19, tokens 16 to 23"


def test_a_piece_is_counted_with_its_document() -> None:
    amount = Amount().of(Piece("one two", Path(), 1, True)).of(Piece("\nthree é", Path(), 2, False))
    assert amount == Amount(1, 15, 16, 4)


def test_each_epoch_is_cut_at_an_offset_of_its_own_and_leaves_out_less_than_a_window_at_either_end():
    batches = TrainingWindows(stream_of(*range(10, 110)), 8, 3, seed=1)
    starts: dict[int, list[int]] = {}
    while (batch := next(batches)).epoch < 60:
        starts.setdefault(batch.epoch, []).extend(batch.starts.tolist())
        assert not (batch.reference == PAD).any()  # each token has the one after it
    for of_epoch in starts.values():
        assert sorted(of_epoch) == list(range(min(of_epoch), 100 - 8, 8))
        assert min(of_epoch) < 8
    assert {min(of_epoch) for of_epoch in starts.values()} == set(range(8))


def test_a_token_is_counted_wherever_it_stands(monkeypatch):
    monkeypatch.setattr(token_stream, "_COUNTED", 3)
    stream = stream_of(3, 5, 3, 3, 7, 3, 5)
    assert [stream.count(token) for token in (3, 5, 7, 9)] == [4, 2, 1, 0]
