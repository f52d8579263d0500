"""Words in their contexts: the vector of every word of a text in every layer, and what becomes of one word.

    occurrences = find(reader, sentences, "couch potato")
    occurrences[0].vectors                        # (layers + 1, width)
    table = by_layer(reader, sentences)           # a `Contextuality` for each layer

A word is what the tokenizer's pre-tokenization cuts, and has the mean of the vectors of its tokens; a phrase is a
sequence of words. Case and leading spaces make no difference between words.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from heedful.errors import DataError
from heedful.evaluation.vectors import Contextuality, contextuality
from heedful.layers.every_layer import every_layer
from heedful.tasks.embedding import windows
from heedful.tasks.readers import Reader
from heedful.text.words import unmark

Vectors = NDArray[np.float32]

# Ethayarajh 2019, section 3.3: words with five contexts at least; so many, for each must be compared with each.
LEAST_CONTEXTS = 5
MOST_CONTEXTS = 200


@dataclass(frozen=True)
class Sentence:
    """A sentence as a model reads it.

    words: as they stand in it, without spaces, in lower case
    vectors: (layers + 1, words, d_model); layer 0 is what the first layer reads
    """

    text: str
    words: tuple[str, ...]
    vectors: Vectors


@dataclass(frozen=True)
class Occurrence:
    """A word or phrase in a sentence.

    number: of the sentence, from 1
    first: of its words, from 0
    vectors: (layers + 1, d_model)
    """

    phrase: str
    sentence: str
    number: int
    first: int
    vectors: Vectors


def read_words(reader: Reader, sentences: Iterable[str]) -> Iterator[Sentence]:
    """Read sentences: each of its words in every layer. Long ones are read in windows; words that are cut keep all."""
    for text in sentences:
        cut = reader.tokenizer.words(text)
        pieces = [reader.tokenizer.segment(word) for word in cut]
        tokens = [token for piece in pieces for token in piece]
        vectors = _of_tokens(reader, tokens)
        ends = list(accumulate(map(len, pieces), initial=0))
        # White space of its own is no word.
        own = [
            (name, start, end)
            for word, start, end in zip(cut, ends, ends[1:], strict=False)
            if (name := unmark(word).strip().lower()) and end > start
        ]
        means = [vectors[:, start:end].mean(1) for _, start, end in own]
        stacked = np.stack(means, 1) if means else vectors[:, :0]
        yield Sentence(text, tuple(name for name, _, _ in own), stacked)


def find(reader: Reader, sentences: Iterable[str], phrase: str) -> list[Occurrence]:
    """Find a word or phrase in sentences, wherever it stands. Raises DataError for a phrase without a word."""
    return found_in(reader, read_words(reader, sentences), [phrase])[phrase]


def found_in(reader: Reader, read: Iterable[Sentence], phrases: Sequence[str]) -> dict[str, list[Occurrence]]:
    """Find several phrases in sentences that are read once."""
    wanted = {phrase: _words_of(reader, phrase) for phrase in phrases}
    found: dict[str, list[Occurrence]] = {phrase: [] for phrase in phrases}
    for number, sentence in enumerate(read, 1):
        for phrase, words in wanted.items():
            for first in range(len(sentence.words) - len(words) + 1):
                if sentence.words[first : first + len(words)] == words:
                    vectors = sentence.vectors[:, first : first + len(words)].mean(1)
                    found[phrase].append(Occurrence(phrase, sentence.text, number, first, vectors))
    return found


def by_layer(
    reader: Reader, read: Iterable[Sentence], least: int = LEAST_CONTEXTS, sample: int = 1000
) -> list[Contextuality]:
    """Measure each layer, from 0, over the words that stand in `least` different sentences at least.

    sample: see `heedful.evaluation.vectors.contextuality`

    Raises DataError where no word stands in so many.
    """
    of_word: defaultdict[str, dict[int, Vectors]] = defaultdict(dict)
    sentences: list[Vectors] = []
    for number, sentence in enumerate(read):
        sentences.append(sentence.vectors)
        for place, word in enumerate(sentence.words):
            contexts = of_word[word]
            # One of each sentence: the same word twice in it shares its context.
            if number not in contexts and len(contexts) < MOST_CONTEXTS:
                contexts[number] = sentence.vectors[:, place]
    contexts = [np.stack(list(of.values()), 1) for of in of_word.values() if len(of) >= least]
    if not contexts:
        raise DataError(
            f"No word stands in {least} of the {len(sentences)} sentences; give more text to measure layers with."
        )
    return [
        contextuality([of[layer] for of in contexts], [of[layer] for of in sentences], sample)
        for layer in range(reader.layers + 1)
    ]


def _words_of(reader: Reader, phrase: str) -> tuple[str, ...]:
    words = tuple(name for word in reader.tokenizer.words(phrase) if (name := unmark(word).strip().lower()))
    if not words:
        raise DataError(f"{phrase!r} is no word to look for.")
    return words


@torch.inference_mode()
def _of_tokens(reader: Reader, tokens: Sequence[int]) -> Vectors:
    """(layers + 1, tokens, d_model)"""
    parts: list[Vectors] = [np.zeros((reader.layers + 1, 0, reader.width), np.float32)]
    for part in windows(tokens, reader.longest):
        with every_layer(reader.stack) as vectors:
            reader.run(torch.tensor([reader.around(part)], device=reader.device))
        start = len(reader.before)
        own = [layer[0, start : start + len(part)].float().cpu().numpy() for layer in vectors]
        parts.append(np.stack(own))
    return np.concatenate(parts, 1)
