"""Learning a shortlist from a run's text; what a model folder does with it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from heedful.data.store import PairStore
from heedful.decoding.shortlist import Shortlist
from heedful.errors import ModelFolderError
from heedful.tasks import load_parts, save
from heedful.tasks.shortlisting import coverage, learn_shortlist, training_text
from heedful.tasks.translation_folder import SHORTLIST
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.special import END, UNKNOWN
from tests.tasks.small_model import ENGLISH, GERMAN, SETTINGS, random_model

PAIRS = 40


@pytest.fixture(scope="module")
def tokenizers(tokenizer: Tokenizer) -> tuple[Tokenizer, Tokenizer]:
    return tokenizer, tokenizer.for_language("de")


@pytest.fixture
def text(tmp_path: Path, tokenizers: tuple[Tokenizer, Tokenizer]) -> PairStore:
    source, target = tokenizers
    pairs = list(zip(source.encode_batch(ENGLISH), target.encode_batch(GERMAN), strict=True))
    return PairStore.write(tmp_path / "text.arrow", pairs * (PAIRS // len(pairs)))


def test_a_list_has_translations_frequent_tokens_and_the_piece_itself(text: PairStore, tokenizers):
    shortlist = learn_shortlist([text], tokenizers, translations=60, frequent=3)
    counts = np.bincount(np.concatenate([target for _, target in text]))
    assert {*shortlist.frequent.tolist()} == {END, UNKNOWN, *np.argsort(-counts, kind="stable")[:3].tolist()}
    for source, target in list(text)[: len(ENGLISH)]:
        allowed = set(shortlist.tokens(torch.tensor([[*source.tolist(), END]])).tolist())
        assert {*source, *target} <= allowed
    # A piece that no training source has leads to itself.
    unseen = max(set(range(4, len(tokenizers[0]))) - {token for source, _ in text for token in source})
    assert unseen in shortlist.tokens(torch.tensor([[unseen]])).tolist()


def test_two_vocabularies_are_matched_by_their_pieces(tmp_path: Path):
    settings = TokenizerSettings(kind="words", vocabulary_size=20, min_frequency=1)
    source, target = Tokenizer.train(["7 a b"], settings), Tokenizer.train(["x y z 7 w"], settings)
    pairs = [(source.encode("a"), target.encode("x"))]
    shortlist = learn_shortlist(
        [PairStore.write(tmp_path / "text.arrow", pairs)], (source, target), frequent=0
    )
    assert shortlist.tokens(torch.tensor([source.encode("7")])).tolist() == sorted(
        [END, UNKNOWN, *target.encode("7")]
    )


def test_fewer_pairs_are_spread_over_the_text(tmp_path: Path, tokenizers):
    pairs = [([10], [20])] * 5 + [([11], [21])] * 5
    store = PairStore.write(tmp_path / "text.arrow", pairs)
    shortlist = learn_shortlist([store], tokenizers, frequent=0, pairs=2)
    assert shortlist.tokens(torch.tensor([[10, 11]])).tolist() == [END, UNKNOWN, 10, 11, 20, 21]


def test_coverage_counts_what_is_listed(tmp_path: Path):
    lists = np.full((8, 1), END)
    lists[4], lists[5] = 14, 15
    shortlist = Shortlist([], lists, 20)
    store = PairStore.write(tmp_path / "text.arrow", [([4], [14, 15]), ([5], [15]), ([4, 5], [14, 16])])
    alone = coverage(shortlist, store)
    assert (alone.tokens, alone.sentences, alone.size) == (3 / 5, 1 / 3, pytest.approx((3 + 3 + 4) / 3))
    assert coverage(shortlist, PairStore.write(tmp_path / "none.arrow", [])).tokens == 0


@pytest.mark.parametrize("sampled", [False, True])
def test_the_text_of_a_run_is_its_ordinary_ids(tmp_path: Path, text: PairStore, tokenizers, sampled: bool):
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    data.mkdir()
    scratch.mkdir()
    pairs = list(zip(ENGLISH, GERMAN, strict=True))
    known: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def ids(pair: tuple[str, str], side: int) -> list[int]:
        if not sampled:
            return tokenizers[side].encode(pair[side])
        return [known[side].setdefault(word, len(known[side])) for word in tokenizers[side].words(pair[side])]

    rows = [(ids(pair, 0), ids(pair, 1)) for pair in pairs]
    # As many corpora as make 10 sort after 9.
    for number in range(11):
        PairStore.write(data / f"train.{number}.arrow", rows[number % 5 :][:1])
    (data / "words.json").write_text(json.dumps([list(table) for table in known]), encoding="utf-8")
    stores = training_text(data, tokenizers, scratch)
    assert [[side.tolist() for side in store[0]] for store in stores] == [
        [tokenizer.encode(line) for tokenizer, line in zip(tokenizers, pairs[number % 5], strict=True)]
        for number in range(11)
    ]


@pytest.fixture
def listed(folder: Path, text: PairStore, tokenizers) -> Path:
    """A model folder with a shortlist."""
    fingerprints = {**load_parts(folder).config.tokenizers}
    learn_shortlist([text], tokenizers, fingerprints=fingerprints).save(folder / SHORTLIST)
    return folder


def test_a_folder_without_one_says_so(folder: Path):
    with pytest.raises(ModelFolderError, match="has no shortlist; learn one with `heedful shortlist`"):
        load_parts(folder).shortlist()


def test_a_new_model_of_the_same_tokenizers_keeps_the_shortlist(listed: Path, tokenizers):
    before = (listed / SHORTLIST).read_bytes()
    save(listed, random_model(SETTINGS, *map(len, tokenizers), seed=1), SETTINGS, *tokenizers)
    assert (listed / SHORTLIST).read_bytes() == before
    assert load_parts(listed).shortlist().source_vocabulary == len(tokenizers[0])


def test_a_model_of_other_tokenizers_drops_it_and_refuses_it(listed: Path, tmp_path: Path):
    kept = tmp_path / "kept"
    shutil.copy(listed / SHORTLIST, kept)
    other = Tokenizer.train(ENGLISH, TokenizerSettings(vocabulary_size=300, min_frequency=1))
    save(listed, random_model(SETTINGS, len(other), len(other)), SETTINGS, other, other)
    assert not (listed / SHORTLIST).exists()
    shutil.copy(kept, listed / SHORTLIST)
    with pytest.raises(ModelFolderError, match="learnt for other tokenizers"):
        load_parts(listed).shortlist()


def test_a_damaged_one_is_refused_and_not_kept(listed: Path, tokenizers):
    (listed / SHORTLIST).write_bytes(b"\x08\0\0")
    with pytest.raises(ModelFolderError, match="damaged or cut short"):
        load_parts(listed).shortlist()
    save(listed, random_model(SETTINGS, *map(len, tokenizers)), SETTINGS, *tokenizers)
    assert not (listed / SHORTLIST).exists()
