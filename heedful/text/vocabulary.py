"""What a tokenizer has learned: its entries in the order of their ids, and how words are made of them.

Learning and segmenting is done by the `tokenizers` library; this file says what it is asked for, and lays
out the result the same way for every kind: special tokens (ids 0 to 3, or 4), then the 256 byte tokens where the
settings ask for them, then what was learned.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, models, trainers
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.pre_tokenizers import PreTokenizer, Sequence, Split

from heedful.text import byte_level
from heedful.text.settings import TokenizerSettings
from heedful.text.special import SPECIAL_TOKENS, UNKNOWN
from heedful.text.unigram import learn_unigram
from heedful.text.words import LONGEST, SPACE

BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))

# Where characters compete for places, the boundary of words must not be the one that is left out.
_ALPHABET = [SPACE]


@dataclass(frozen=True)
class Vocabulary:
    """Entries and the model over them.

    pieces: entry of each id. merges: bpe and byte-bpe only, pairs of pieces, the earliest learned first.
    scores: unigram only, the log probability of each id (0 for special and byte tokens, which it never uses).
    """

    pieces: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()
    scores: tuple[float, ...] = ()


def reserved_pieces(settings: TokenizerSettings) -> tuple[str, ...]:
    """The entries that come first: special tokens, and bytes where the settings ask for them."""
    return settings.special_tokens + (BYTE_TOKENS if settings.byte_fallback else ())


def learn(marked: Iterable[str], settings: TokenizerSettings, splitter: PreTokenizer) -> Vocabulary:
    """The vocabulary of `marked` texts (see `words.mark`), at most as large as the settings say.

    The texts are read once, as a stream; only with `merges` set are they held in memory.
    """
    reserved = reserved_pieces(settings)
    size = settings.vocabulary_size - len(reserved)
    match settings.kind:
        case "characters":
            characters = Counter(_ALPHABET)
            for text in marked:
                characters.update(text)
            # The most frequent first; among equals by code point, so that the order of texts does not matter.
            ranked = sorted(characters, key=lambda character: (-characters[character], character))
            return Vocabulary(reserved + tuple(ranked[:size]))
        case "bpe":
            return _learn_bpe(marked, settings, splitter, size)
        case "byte-bpe":
            # GPT-2's words have no longest one, and what one costs to learn from grows with its square.
            short = Sequence([splitter, Split(Regex(f".{{1,{LONGEST}}}"), behavior="isolated")])
            return _learn_bpe(marked, settings, short, size, sorted(byte_level.ALPHABET))
        case "unigram":
            return _learn_unigram(marked, settings, splitter, size)
        case "wordpiece":
            trainer = trainers.WordPieceTrainer(
                vocab_size=size,
                min_frequency=settings.min_frequency,
                limit_alphabet=size,
                initial_alphabet=_ALPHABET,
                continuing_subword_prefix="",
                show_progress=False,
            )
            library = LibraryTokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS[UNKNOWN]))
        case "words" | "symbols":
            trainer = trainers.WordLevelTrainer(
                vocab_size=size, min_frequency=settings.min_frequency, show_progress=False
            )
            library = LibraryTokenizer(models.WordLevel(unk_token=SPECIAL_TOKENS[UNKNOWN]))
    _train(library, splitter, marked, trainer)
    return Vocabulary(reserved + _by_id(library))


def library_tokenizer(
    vocabulary: Vocabulary, settings: TokenizerSettings, splitter: PreTokenizer
) -> LibraryTokenizer:
    """The library's tokenizer over this vocabulary: marked text in, ids out.

    It knows no special tokens: text that spells one is text.
    """
    ids = {piece: index for index, piece in enumerate(vocabulary.pieces)}
    unknown = SPECIAL_TOKENS[UNKNOWN]
    match settings.kind:
        case "bpe" | "characters":  # characters are what BPE starts from
            model = models.BPE(
                ids, list(vocabulary.merges), unk_token=unknown, byte_fallback=settings.byte_fallback
            )
        case "byte-bpe":
            model = models.BPE(ids, list(vocabulary.merges), unk_token=unknown)
        case "unigram":
            entries = list(zip(vocabulary.pieces, vocabulary.scores, strict=True))
            model = models.Unigram(entries, UNKNOWN, settings.byte_fallback)
        case "wordpiece":
            # ▁ marks where a word starts (as in Wu 2016), so that pieces inside a word need no prefix.
            model = models.WordPiece(
                ids, unk_token=unknown, max_input_chars_per_word=2 * LONGEST, continuing_subword_prefix=""
            )
        case "words" | "symbols":
            model = models.WordLevel(ids, unk_token=unknown)
    library = LibraryTokenizer(model)
    library.pre_tokenizer = splitter
    return library


def _learn_bpe(
    marked: Iterable[str],
    settings: TokenizerSettings,
    splitter: PreTokenizer,
    size: int,
    alphabet: Iterable[str] = _ALPHABET,
) -> Vocabulary:
    if settings.merges is not None:
        marked = list(marked)
        size = len(set(_ALPHABET).union(*marked)) + settings.merges
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=settings.min_frequency,
        limit_alphabet=size,
        initial_alphabet=list(alphabet),
        show_progress=False,
    )
    library = LibraryTokenizer(models.BPE())
    _train(library, splitter, marked, trainer)
    merges = _model_json(library)["merges"]
    return Vocabulary(
        reserved_pieces(settings) + _by_id(library), tuple((left, right) for left, right in merges)
    )


def _by_id(library: LibraryTokenizer) -> tuple[str, ...]:
    ids = library.get_vocab(with_added_tokens=False)
    return tuple(sorted(ids, key=ids.__getitem__))


def _learn_unigram(
    marked: Iterable[str], settings: TokenizerSettings, splitter: PreTokenizer, size: int
) -> Vocabulary:
    counts = Counter(word for text in marked for word, _ in splitter.pre_tokenize_str(text))
    learned = learn_unigram(counts, size)
    reserved = reserved_pieces(settings)
    return Vocabulary(
        reserved + tuple(piece for piece, _ in learned),
        # The last digits are the processor's own.
        scores=(0.0,) * len(reserved) + tuple(round(score, 6) for _, score in learned),
    )


def _train(
    library: LibraryTokenizer, splitter: PreTokenizer, marked: Iterable[str], trainer: trainers.Trainer
) -> None:
    library.pre_tokenizer = splitter
    library.train_from_iterator(iter(marked), trainer)


def _model_json(library: LibraryTokenizer) -> Any:
    return json.loads(library.to_str())["model"]
