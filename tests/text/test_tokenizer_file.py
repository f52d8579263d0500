"""The tokenizer's file: all of it comes back, and what is wrong with a damaged one is said."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heedful.errors import TokenizerError
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.settings import Kind
from tests.text.tokenizers import KINDS, TEXTS, trained


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_survives_its_file_and_pickling(kind: Kind, tmp_path: Path):
    tokenizer = Tokenizer.train(TEXTS, TokenizerSettings(kind=kind, vocabulary_size=400), language="de")
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    for other in (Tokenizer.load(tmp_path / "tokenizer.json"), pickle.loads(pickle.dumps(tokenizer))):
        assert other.settings == tokenizer.settings
        assert other.language == "de"
        assert other.vocabulary == tokenizer.vocabulary
        assert other.fingerprint() == tokenizer.fingerprint()
        assert other.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)


def test_the_mask_survives_the_file(tmp_path: Path):
    tokenizer = Tokenizer.train(TEXTS, TokenizerSettings(vocabulary_size=400, mask=True))
    tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").settings.mask


def test_fingerprints_tell_tokenizers_apart():
    tokenizer = trained("bpe")
    others = [
        trained("bpe", vocabulary_size=499),
        trained("bpe", dropout=0.1),
        trained("unigram"),
        tokenizer.for_language("de"),
    ]
    fingerprints = {other.fingerprint() for other in [tokenizer, *others]}
    assert len(fingerprints) == 5
    assert all(len(fingerprint) == 64 for fingerprint in fingerprints)


Damage = Callable[[dict[str, Any]], Any]


def _change(key: str, change: Callable[[Any], Any]) -> Damage:
    return lambda content: {**content, key: change(content[key])}


@pytest.mark.parametrize(
    ("kind", "damage", "message"),
    [
        ("bpe", lambda content: [], "this is not a heedful tokenizer"),
        (
            "bpe",
            lambda content: {"version": "1.0", "model": {"type": "BPE"}},
            "this is not a heedful tokenizer",
        ),
        (
            "bpe",
            _change("version", lambda _: 2),
            "has version 2 of the file format; this heedful reads version 1",
        ),
        ("bpe", lambda content: {**content, "extra": 1}, "unknown key 'extra'"),
        ("bpe", lambda content: {k: v for k, v in content.items() if k != "merges"}, "'merges' is missing"),
        ("bpe", _change("settings", lambda s: {**s, "knd": "bpe"}), "settings.knd: Extra inputs"),
        ("bpe", _change("settings", lambda s: {**s, "kind": "spm"}), "settings.kind: Input should be"),
        ("bpe", _change("language", lambda _: 5), "'language' is 5"),
        (
            "bpe",
            _change("pieces", lambda p: p[1:]),
            "'<s>' at id 0, expected '<pad>': special tokens come first",
        ),
        (
            "bpe",
            _change("pieces", lambda p: p[:4] + p[5:]),
            "'<0x01>' at id 4, expected '<0x00>': byte tokens",
        ),
        ("bpe", _change("pieces", lambda p: [*p, p[300]]), "'pieces' has '.*' twice"),
        ("bpe", _change("pieces", lambda p: [*p, ""]), "not a list of non-empty strings"),
        ("bpe", _change("pieces", lambda p: [*p, 5]), "not a list of non-empty strings"),
        ("bpe", _change("pieces", lambda p: [*p, "\ud800"]), "half a surrogate pair"),
        (
            "bpe",
            _change("pieces", lambda p: p[:-1]),
            "speaks of '.*' at rank .*, which is not among 'pieces'",
        ),
        ("bpe", _change("merges", lambda m: [*m, ["a"]]), "expected a pair of pieces"),
        ("bpe", _change("merges", lambda m: [*m, m[0]]), "'merges' has a pair twice"),
        ("bpe", _change("scores", lambda _: [0.0]), "'scores' has 1 entries, expected 0"),
        ("characters", _change("merges", lambda _: [["a", "b"]]), "kind 'characters' has no merges"),
        ("unigram", _change("scores", lambda s: s[:-1]), "'scores' has .* entries, expected"),
        ("unigram", _change("scores", lambda s: [*s[:-1], float("nan")]), "'scores' has nan at id"),
        ("unigram", _change("scores", lambda s: [*s[:-1], True]), "'scores' has True at id"),
        ("unigram", _change("scores", lambda s: [*s[:-1], 0.5]), "'scores' has 0.5 at id"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(kind: Kind, damage: Damage, message: str, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(damage(trained(kind).to_json())))
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a tokenizer file, or cut short"),
        (b'{"format": "heedful tokenizer", "ver', "not a tokenizer file, or cut short"),
        (b"\xff\xfe\x00", "not a tokenizer file, or cut short"),
        (b"[" * 100_000, "not a tokenizer file, or cut short"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_json(content: bytes | None, message: str, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_an_enormous_file_is_not_read(tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TokenizerError, match="too large for a tokenizer"):
        Tokenizer.load(path)


def test_a_file_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TokenizerError, match="the tokenizer cannot be written: File exists"):
        trained("bpe").save(tmp_path / "file" / "tokenizer.json")
