"""The file of a tokenizer: one JSON object with settings, language and vocabulary.

    {"format": "heedful tokenizer", "version": 1, "settings": {...}, "language": "de",
     "pieces": ["<pad>", "<s>", "</s>", "<unk>", ...],     the entry of each id
     "merges": [["l", "o"], ...],                          bpe, byte-bpe: the earliest learned first
     "scores": [0.0, ...]}                                 unigram: the log probability of each id

A file may come from anywhere, so everything that the tokenizer relies on is checked here.
"""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from heedful.durable import write_text
from heedful.errors import TokenizerError
from heedful.text.byte_level import ALPHABET
from heedful.text.settings import TokenizerSettings
from heedful.text.vocabulary import Vocabulary, reserved_pieces

FORMAT, VERSION = "heedful tokenizer", 1
_KEYS = ("format", "version", "settings", "language", "pieces", "merges", "scores")
_LARGEST_FILE = 256 << 20  # bytes; a million entries with their merges take about 60 MB


def to_json(settings: TokenizerSettings, vocabulary: Vocabulary, language: str | None) -> dict[str, Any]:
    """What `from_json` reads."""
    # Left out where there is none, so that the files of vocabularies without it, and their fingerprints, stay the same.
    said = settings.model_dump(mode="json", exclude=None if settings.mask else {"mask"})
    return {
        "format": FORMAT,
        "version": VERSION,
        "settings": said,
        "language": language,
        "pieces": list(vocabulary.pieces),
        "merges": [list(pair) for pair in vocabulary.merges],
        "scores": list(vocabulary.scores),
    }


def from_json(content: Any) -> tuple[TokenizerSettings, Vocabulary, str | None]:
    """Settings, vocabulary and language.

    Raises:
        TokenizerError: something is missing, unknown, or does not fit the rest.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TokenizerError("this is not a heedful tokenizer (a tokenizer.json written by `Tokenizer.save`)")
    if content.get("version") != VERSION:
        raise TokenizerError(
            f"this tokenizer has version {content.get('version')!r} of the file format; "
            f"this heedful reads version {VERSION}"
        )
    for key in _KEYS:
        if key not in content:
            raise TokenizerError(f"{key!r} is missing; the file is damaged or incomplete")
    for key in content:
        if key not in _KEYS:
            raise TokenizerError(f"unknown key {key!r}; expected {', '.join(_KEYS)}")
    try:
        settings = TokenizerSettings.model_validate(content["settings"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["settings", *map(str, first["loc"])])
        raise TokenizerError(f"{where}: {first['msg']}") from None
    language = content["language"]
    if not (language is None or isinstance(language, str)):
        raise TokenizerError(f"'language' is {language!r}, expected a code such as 'de', or null")
    pieces = _pieces(content["pieces"], settings)
    vocabulary = Vocabulary(
        pieces,
        _merges(content["merges"], set(pieces), settings),
        _scores(content["scores"], pieces, settings),
    )
    return settings, vocabulary, language


def read(path: Path) -> Any:
    """The JSON content of a file.

    Raises:
        TokenizerError: there is no such file, or it is too large, or no JSON.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise TokenizerError(f"{size:,} bytes is too large for a tokenizer (at most {_LARGEST_FILE:,})")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TokenizerError(f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"not a tokenizer file, or cut short: {error}") from None


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes the file in one step: after a crash there is the old one or the new one, never a part.

    Raises:
        TokenizerError: the file cannot be written.
    """
    try:
        write_text(path, json.dumps(content, ensure_ascii=False))
    except OSError as error:
        raise TokenizerError(f"{path}: the tokenizer cannot be written: {error.strerror}") from error


def _pieces(pieces: Any, settings: TokenizerSettings) -> tuple[str, ...]:
    if not isinstance(pieces, list) or not all(isinstance(piece, str) and piece for piece in pieces):
        raise TokenizerError("'pieces' is not a list of non-empty strings")
    expected = reserved_pieces(settings)
    for index, piece in enumerate(expected):
        found = pieces[index] if index < len(pieces) else None
        if found != piece:
            what = "special tokens" if index < len(settings.special_tokens) else "byte tokens"
            raise TokenizerError(
                f"'pieces' has {found!r} at id {index}, expected {piece!r}: {what} come first"
            )
    if len(set(pieces)) < len(pieces):
        twice = next(piece for index, piece in enumerate(pieces) if piece in pieces[:index])
        raise TokenizerError(f"'pieces' has {twice!r} twice")
    try:
        "".join(pieces).encode()
    except UnicodeEncodeError:
        raise TokenizerError("'pieces' has an entry with half a surrogate pair, which is not text") from None
    if settings.kind == "byte-bpe":
        if missing := next((spelling for spelling in ALPHABET if spelling not in pieces), None):
            raise TokenizerError(f"'pieces' lacks {missing!r}: byte-bpe has an entry for each byte")
        for index, piece in enumerate(pieces[len(expected) :], start=len(expected)):
            if not ALPHABET.keys() >= set(piece):
                raise TokenizerError(f"'pieces' has {piece!r} at id {index}, which spells no bytes")
    return tuple(pieces)


def _merges(merges: Any, pieces: set[str], settings: TokenizerSettings) -> tuple[tuple[str, str], ...]:
    if not isinstance(merges, list) or (merges and settings.kind not in ("bpe", "byte-bpe")):
        raise TokenizerError(f"'merges' is not a list of pairs, or kind {settings.kind!r} has no merges")
    for rank, pair in enumerate(merges):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, str) for side in pair)):
            raise TokenizerError(f"'merges' has {pair!r} at rank {rank}, expected a pair of pieces")
        for piece in (*pair, "".join(pair)):
            if piece not in pieces:
                raise TokenizerError(
                    f"'merges' speaks of {piece!r} at rank {rank}, which is not among 'pieces'"
                )
    result = tuple((left, right) for left, right in merges)
    if len(set(result)) < len(result):
        raise TokenizerError("'merges' has a pair twice")
    return result


def _scores(scores: Any, pieces: tuple[str, ...], settings: TokenizerSettings) -> tuple[float, ...]:
    expected = len(pieces) if settings.kind == "unigram" else 0
    if not isinstance(scores, list) or len(scores) != expected:
        count = f"{len(scores)} entries" if isinstance(scores, list) else "no list"
        raise TokenizerError(f"'scores' has {count}, expected {expected}")
    for index, score in enumerate(scores):
        if type(score) not in (int, float) or not math.isfinite(score) or score > 0:
            raise TokenizerError(f"'scores' has {score!r} at id {index}, expected a log probability")
    return tuple(float(score) for score in scores)
