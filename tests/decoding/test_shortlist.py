"""A shortlist gives the union of what its tokens allow, and a damaged file is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from heedful.decoding.shortlist import FORMAT, Shortlist
from heedful.errors import ModelFolderError
from heedful.text.special import END, PAD, UNKNOWN

SOURCE, TARGET = 12, 40


@st.composite
def shortlists(draw: st.DrawFn) -> tuple[Shortlist, list[int], list[list[int]]]:
    width = draw(st.integers(0, 4))
    ids = st.integers(0, TARGET - 1)
    frequent = draw(st.lists(ids, max_size=5))
    lists = draw(st.lists(st.lists(ids, min_size=width, max_size=width), min_size=SOURCE, max_size=SOURCE))
    return Shortlist(frequent, np.array(lists).reshape(SOURCE, width), TARGET), frequent, lists


batches = st.integers(1, 6).flatmap(
    lambda length: st.lists(
        st.lists(st.integers(0, SOURCE - 1), min_size=length, max_size=length), min_size=1, max_size=4
    )
)


@given(made=shortlists(), source=batches, also=st.lists(st.integers(0, TARGET - 1), max_size=3))
def test_the_tokens_are_the_sorted_union(made, source: list[list[int]], also: list[int]):
    shortlist, frequent, lists = made
    present = {token for row in source for token in row} - {PAD}
    expected = {END, UNKNOWN, *frequent, *also, *(token for word in present for token in lists[word])}
    tokens = shortlist.tokens(torch.tensor(source), also)
    assert (tokens.dtype, tokens.tolist()) == (torch.long, sorted(expected))


def test_padding_allows_nothing():
    lists = np.full((SOURCE, 1), END)
    lists[PAD], lists[5], lists[6] = 30, 31, 32
    shortlist = Shortlist([], lists, TARGET)
    assert shortlist.tokens(torch.tensor([[5, END, PAD, PAD]])).tolist() == [END, UNKNOWN, 31]
    alone = [shortlist.tokens(torch.tensor([[word]])).tolist() for word in (5, 6)]
    assert shortlist.tokens(torch.tensor([[5], [6]])).tolist() == sorted({*alone[0], *alone[1]})


@given(made=shortlists())
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, made):
    shortlist, _, lists = made
    shortlist.tokenizers = {"tokenizer.json": "abc"}
    path = tmp_path_factory.mktemp("shortlist") / "shortlist.safetensors"
    shortlist.save(path)
    loaded = Shortlist.load(path)
    assert repr(loaded) == repr(shortlist)
    assert loaded.frequent.tolist() == shortlist.frequent.tolist()
    assert (loaded.source_vocabulary, loaded.translations) == (SOURCE, len(lists[0]))
    assert (loaded.target_vocabulary, loaded.tokenizers) == (TARGET, {"tokenizer.json": "abc"})
    every = torch.arange(SOURCE)[None]
    assert torch.equal(loaded.tokens(every), shortlist.tokens(every))


@pytest.mark.parametrize("wrong", [TARGET, -1])
def test_ids_outside_the_vocabulary_are_refused(wrong: int):
    with pytest.raises(ValueError, match="lists has an id outside the target vocabulary of 40"):
        Shortlist([], np.full((SOURCE, 2), wrong), TARGET)
    with pytest.raises(ValueError, match="frequent has an id outside"):
        Shortlist([wrong], np.zeros((SOURCE, 2), dtype=int), TARGET)
    with pytest.raises(ValueError, match=r"must be \(source_vocabulary, n\), not of shape \(2,\)"):
        Shortlist([], np.zeros(2, dtype=int), TARGET)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path):
    path = tmp_path / "shortlist.safetensors"
    Shortlist([4], np.full((SOURCE, 2), 7), TARGET).save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFolderError, match="damaged or cut short"):
            Shortlist.load(path)


GOOD = {"frequent": np.array([2, 3], dtype=np.int32), "lists": np.full((SOURCE, 2), 7, dtype=np.int32)}
DESCRIBED = {"format": FORMAT, "target_vocabulary": 40, "tokenizers": {}}


def metadata(described: object) -> dict[str, str]:
    return {"heedful shortlist": json.dumps(described)}


@pytest.mark.parametrize(
    ("tensors", "described", "said"),
    [
        ({}, {"format": 2}, "not a shortlist that this version reads"),
        ({"lists": np.full((SOURCE, 2), 40, dtype=np.int32)}, {}, "outside the target vocabulary"),
        ({"lists": np.full((SOURCE, 2), 7, dtype=np.int64)}, {}, "32-bit integers"),
        ({"lists": np.full(SOURCE, 7, dtype=np.int32)}, {}, "source_vocabulary"),
        ({"frequent": np.array([[2]], dtype=np.int32)}, {}, "32-bit integers"),
        ({"frequent": np.array([-1], dtype=np.int32)}, {}, "outside the target vocabulary"),
        ({}, {"target_vocabulary": "many"}, "damaged"),
        ({}, {"target_vocabulary": 10**15}, "a target vocabulary of"),
        ({}, {"tokenizers": 5}, "damaged"),
        ({}, {"tokenizers": None}, "damaged"),
    ],
)
def test_what_is_no_shortlist_is_refused(tmp_path: Path, tensors, described, said: str):
    path = tmp_path / "shortlist.safetensors"
    save_file(GOOD, path, metadata=metadata(DESCRIBED))
    assert Shortlist.load(path).translations == 2
    save_file(GOOD | tensors, path, metadata=metadata(DESCRIBED | described))
    with pytest.raises(ModelFolderError, match=said):
        Shortlist.load(path)


def test_a_file_without_the_tensors_is_refused(tmp_path: Path):
    path = tmp_path / "shortlist.safetensors"
    save_file({"frequent": GOOD["frequent"]}, path, metadata=metadata(DESCRIBED))
    with pytest.raises(ModelFolderError, match="damaged"):
        Shortlist.load(path)
    save_file(GOOD, path)
    with pytest.raises(ModelFolderError, match="its format is None"):
        Shortlist.load(path)
    for wrong in ("[]", "{"):
        save_file(GOOD, path, metadata={"heedful shortlist": wrong})
        with pytest.raises(ModelFolderError, match="damaged"):
            Shortlist.load(path)
    with pytest.raises(ModelFolderError):
        Shortlist.load(tmp_path / "missing")
    with pytest.raises(ModelFolderError, match="cannot be written"):
        Shortlist([], GOOD["lists"], TARGET).save(path / "below" / "a file")
