"""The tokenizer that training, validation, translation and serving share: text to integers and back.

    tokenizer = Tokenizer.train(lines, TokenizerSettings(vocabulary_size=10_000), language="de")
    tokenizer.pieces(tokenizer.encode("Ein Pferd."))  ->  ["▁Ein", "▁Pferd", "."]
    tokenizer.decode(tokenizer.encode(text)) == text

The last line holds for every Unicode string, provided that the normalisation changes nothing and that no
character is unknown: always with byte fallback and of kind `byte-bpe`; else where every character (`bpe`, `unigram`,
`characters`, `wordpiece`) or every word (`words`, `symbols`) is an entry, that is, where no id is `UNKNOWN`.

`text/bpe.py` is the readable account of byte-pair encoding; this is the production path, on the
`tokenizers` library. Only segmentation by sampling is our own, because the library's cannot be seeded.
"""

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from tokenizers.pre_tokenizers import PreTokenizer

from heedful.errors import TokenizerError
from heedful.text import byte_level, stored
from heedful.text.normalization import Normalizer
from heedful.text.sampling import bpe_dropout, draws, happens, unigram_sample
from heedful.text.settings import TokenizerSettings
from heedful.text.special import UNKNOWN
from heedful.text.vocabulary import Vocabulary, learn, library_tokenizer, reserved_pieces
from heedful.text.words import mark, splitter, unmark

VARIANTS = 64  # random segmentations of a word are numbered 0 to 63
_SEGMENTATIONS_KEPT = 1 << 17  # some 40 MB at most
_CUT = "heedful-cut"  # how bytes that are no text are decoded by `word_starts`
_LINES_AT_ONCE = 8192  # bounds the memory of the library's own records of a batch


def _letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "a" * (error.end - error.start), error.end


codecs.register_error(_CUT, _letters)


class Tokenizer:
    """Text to ids and back, for one language; several may share a vocabulary (`for_language`).

    Made by `train`, `load` or `from_json`. Immutable; can be pickled. `splitter` and `model` are those of the
    `tokenizers` library: what cuts text into words, and words into entries.
    """

    def __init__(self, settings: TokenizerSettings, vocabulary: Vocabulary, language: str | None = None):
        self.settings = settings
        self.vocabulary = vocabulary
        self.language = language
        self._normalizer = Normalizer(settings.normalization, language)
        self.splitter = _splitter(settings)
        self._library = library_tokenizer(vocabulary, settings, self.splitter)
        self.model = self._library.model
        self._sample = lru_cache(maxsize=_SEGMENTATIONS_KEPT)(self._draw)

        pieces = vocabulary.pieces
        self._ids = {piece: index for index, piece in enumerate(pieces)}
        reserved = len(reserved_pieces(settings))
        special = len(settings.special_tokens)
        self._byte_ids = range(special, reserved)
        # What each id contributes to the UTF-8 of a text: special tokens nothing.
        self._bytes = dict.fromkeys(range(special), b"")
        self._bytes |= {index: bytes([byte]) for byte, index in enumerate(self._byte_ids)}
        self._of_bytes = settings.kind == "byte-bpe"
        spell = byte_level.spelt if self._of_bytes else str.encode
        self._bytes |= {index: spell(pieces[index]) for index in range(reserved, len(pieces))}

        # For sampling: merges by ids, or scores by learned piece.
        self._merges = {
            (self._ids[left], self._ids[right]): (rank, self._ids[left + right])
            for rank, (left, right) in enumerate(vocabulary.merges)
        }
        self._scores = dict(zip(pieces[reserved:], vocabulary.scores[reserved:], strict=False))
        self._longest = max(map(len, self._scores), default=1)
        # The library's penalty of an unknown character, that of SentencePiece.
        self._unknown_score = min(self._scores.values(), default=0.0) - 10.0

    @classmethod
    def train(
        cls,
        texts: Iterable[str] | Mapping[str, Iterable[str]],
        settings: TokenizerSettings | None = None,
        language: str | None = None,
    ) -> "Tokenizer":
        """Learns a vocabulary; the same texts and settings give the same one, in any order of the texts.

        Args:
            texts: lines of text; or, for a vocabulary that languages share while each is normalised by its own
                rules, the lines of each language.
            settings: see `TokenizerSettings`.
            language: the language of the result, such as "en"; without it the first of `texts`, where they
                are given by language. The others: `for_language`.

        Raises:
            TokenizerError: there is no text, or `moses` normalisation without a language.
        """
        settings = settings or TokenizerSettings()
        by_language = dict[str | None, Iterable[str]]()
        by_language.update(texts if isinstance(texts, Mapping) else {language: texts})
        language = language or next(iter(by_language), None)

        def marked() -> Iterator[str]:
            for code, lines in by_language.items():
                normalizer = Normalizer(settings.normalization, code)
                yield from (_marked(settings, normalizer.apply(_checked(line))) for line in lines)

        not_empty = filter(None, marked())
        first = next(not_empty, None)
        if first is None:
            raise TokenizerError("there is no text to learn a vocabulary from: every line is empty")
        vocabulary = learn(chain([first], not_empty), settings, _splitter(settings))
        return cls(settings, vocabulary, language)

    def for_language(self, language: str) -> "Tokenizer":
        """The same vocabulary with the normalisation rules of another language."""
        return Tokenizer(self.settings, self.vocabulary, language)

    def __len__(self) -> int:
        """Entries of the vocabulary, special tokens included."""
        return len(self.vocabulary.pieces)

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.settings.kind!r}, entries={len(self)}, language={self.language!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.settings, self.vocabulary, self.language)

    # Text to ids

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without start and end."""
        return self._library.encode(self._mark(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, worked out on all cores."""
        ids: list[list[int]] = []
        for first in range(0, len(texts), _LINES_AT_ONCE):
            lines = [self._mark(text) for text in texts[first : first + _LINES_AT_ONCE]]
            encodings = self._library.encode_batch_fast(lines, add_special_tokens=False)
            ids += [encoding.ids for encoding in encodings]
        return ids

    @property
    def leading(self) -> int:
        """How many tokens the space is that is put before any text: where a line feed follows, it is a word."""
        return 0 if self._of_bytes else len(self.segment(self.words("\n")[0]))

    def words(self, text: str) -> list[str]:
        """The words of the normalised text; their segmentations, one after the other, are its encoding."""
        return [word for word, _ in self.splitter.pre_tokenize_str(self._mark(text))]

    def segment(self, word: str) -> list[int]:
        """The ids of one word as `words` gives it: its ordinary segmentation."""
        return [token.id for token in self.model.tokenize(word)] if word else []

    def sample(self, word: str, variant: int) -> list[int]:
        """A random segmentation of one word, a pure function of the word, the variant and the settings.

        With `dropout=0` the ordinary segmentation.

        Args:
            word: as `words` gives it.
            variant: 0 to 63; which of the 64 random segmentations.
        """
        if not 0 <= variant < VARIANTS:
            raise ValueError(f"variant is {variant}, expected 0 to {VARIANTS - 1}")
        return list(self._sample(word, variant))

    # Ids to text

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. Special ids are dropped; bytes that are not UTF-8 become U+FFFD."""
        try:
            spelt = b"".join([self._bytes[index] for index in ids])
        except KeyError as error:
            raise ValueError(f"id {error} is not in this vocabulary of {len(self)} entries") from None
        text = spelt.decode(errors="replace")
        return self._normalizer.undo(text if self._of_bytes else unmark(text))

    def decode_batch(self, batch: Iterable[Iterable[int]]) -> list[str]:
        """The text of each row of ids."""
        return [self.decode(ids) for ids in batch]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The entries of ids, for people to look at: ▁ is a space, <0xE2> a byte."""
        return [self.vocabulary.pieces[index] for index in ids]

    def word_starts(self, ids: Sequence[int]) -> list[bool]:
        """For each of the ids of a text, or of a part of one, whether a word of `words` begins with it.

        The first does, wherever the part was cut, and special tokens do.
        """
        parts = [self._bytes[index] or b"\0" for index in ids]
        # What is left of a character that was cut counts as a letter: a byte each, so that places stay what they are.
        text = b"".join(parts).decode(errors=_CUT)
        words = self.splitter.pre_tokenize_str(text)
        # What a byte-bpe word is spelt by is a character for each byte.
        sizes = (len(word) if self._of_bytes else len(word.encode()) for word, _ in words)
        starts = set(accumulate(sizes, initial=0))
        places = accumulate(map(len, parts), initial=0)
        return [place in starts or not self._bytes[index] for index, place in zip(ids, places, strict=False)]

    # Files

    def to_json(self) -> dict[str, Any]:
        """Settings, language and vocabulary, as `from_json` reads them (the form is told in `text/stored.py`)."""
        return stored.to_json(self.settings, self.vocabulary, self.language)

    @classmethod
    def from_json(cls, content: Any) -> "Tokenizer":
        """The tokenizer that `to_json` was called on; `TokenizerError` where the content is not of that form."""
        settings, vocabulary, language = stored.from_json(content)
        return cls(settings, vocabulary, language)

    def save(self, path: str | Path) -> None:
        """Writes one JSON file; `TokenizerError` where that is not possible."""
        stored.write(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Reads what `save` wrote; `TokenizerError`, with the name of the file, where it is something else."""
        try:
            return cls.from_json(stored.read(Path(path)))
        except TokenizerError as error:
            raise TokenizerError(f"{path}: {error}") from error.__cause__

    def fingerprint(self) -> str:
        """SHA-256 of all that `to_json` holds, in hexadecimal: equal for equal tokenizers only."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _mark(self, text: str) -> str:
        return _marked(self.settings, self._normalizer.apply(_checked(text)))

    def _draw(self, word: str, variant: int) -> tuple[int, ...]:
        """A segmentation for `sample`, which remembers it."""
        dropout = self.settings.dropout
        if dropout == 0 or not word:
            return tuple(self.segment(word))
        random = draws(word, variant)
        if self.settings.kind in ("bpe", "byte-bpe"):
            symbols = [index for character in word for index in self._spell(character)]
            return tuple(bpe_dropout(symbols, self._merges, dropout, random))
        if not happens(dropout, random):
            return tuple(self.segment(word))
        pieces = unigram_sample(
            word, self._scores, self._longest, self._unknown_score, self.settings.alpha, random
        )
        ids: list[int] = []
        for piece in pieces:
            spelt = self._spell(piece)
            # The library makes one <unk> of neighbouring unknown characters.
            if not (spelt[0] == UNKNOWN and ids[-1:] == [UNKNOWN]):
                ids += spelt
        return tuple(ids)

    def _spell(self, piece: str) -> list[int]:
        """The id of an entry; of an unknown character the ids of its bytes, or the unknown one."""
        if (index := self._ids.get(piece)) is not None:
            return [index]
        return [self._byte_ids[byte] for byte in piece.encode()] if self._byte_ids else [UNKNOWN]


def _marked(settings: TokenizerSettings, text: str) -> str:
    return text if settings.kind == "byte-bpe" else mark(text)


def _splitter(settings: TokenizerSettings) -> PreTokenizer:
    if settings.kind == "byte-bpe":
        return byte_level.splitter()
    at_spaces_only = settings.kind == "symbols" or settings.apart
    return splitter(split_digits=settings.split_digits, at_spaces_only=at_spaces_only)


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text has half a surrogate pair at character {error.start}, which is not Unicode text; "
            "decode its bytes as UTF-8, with errors='replace' if need be"
        ) from None
    return text
