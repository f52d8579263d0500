"""From tagged sentences to what a tagger reads: pieces, the first piece of every word, windows, batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from heedful.data.conll import Tagged
from heedful.data.rows import RowBatch, padded
from heedful.text.places import Pieces, likely_spaced
from heedful.text.special import END, PAD, START
from heedful.text.word_features import COUNT, numbers

NO_WORD = -1
_AROUND = 2  # START and END
_LONGEST_WORD = 32  # pieces of a word that are read: an address may have a hundred
_CONTEXT = 64  # pieces that a window of a long sentence sees of what the windows beside it tag


class Window(NamedTuple):
    """Words `first` to before `end` are read, `own` to before `stop` are tagged."""

    first: int
    end: int
    own: int
    stop: int


def windows(sizes: Sequence[int], room: int, may_begin: Sequence[bool] | None = None) -> Iterator[Window]:
    """Cut a sentence into windows: every word is tagged in one, with words on both sides to be seen.

    sizes: pieces of each word, at most half of `room`, the pieces that a window can have
    may_begin: before which words may be cut; anywhere if left out or else impossible
    """
    count, context, own = len(sizes), min(_CONTEXT, room // 4), 0
    while own < count:
        first, before = own, 0
        while first > 0 and before + sizes[first - 1] <= context:
            first -= 1
            before += sizes[first]
        end, total = first, 0
        while end < count and total + sizes[end] <= room:
            total += sizes[end]
            end += 1
        stop = end
        if end < count:
            after = 0
            while stop > own + 1 and after + sizes[stop - 1] <= context:
                stop -= 1
                after += sizes[stop]
            if may_begin is not None:
                stop = next((place for place in range(stop, own, -1) if may_begin[place]), stop)
        yield Window(first, end, own, stop)
        own = stop


class Row(NamedTuple):
    """A window as the model reads it.

    tokens: START, the pieces, END; firsts: where the first piece of each word stands that is tagged here
    labels: the number of each one's tag; sentence: which one it is of
    features: those of these words, (words, COUNT), where they are asked for: see heedful.text.word_features
    """

    tokens: list[int]
    firsts: list[int]
    labels: list[int]
    sentence: int
    features: np.ndarray | None


def encode(
    sentences: Sequence[Tagged],
    pieces: Pieces,
    room: int,
    labels: Sequence[str] | None = None,
    word_features: bool = False,
) -> list[Row]:
    """Give the windows of sentences, in order.

    room: tokens of a window at most; labels: the tags in the order of their numbers, where they are known; a tag that
    is not among them, of a type never seen in training, counts as O.
    """
    number = {label: place for place, label in enumerate(labels or ())}
    rows: list[Row] = []
    room -= _AROUND
    longest = max(1, min(_LONGEST_WORD, room // 2))
    for at, sentence in enumerate(sentences):
        spaced = likely_spaced(sentence.tokens)
        words = [
            pieces.of(token, space)[:longest] for token, space in zip(sentence.tokens, spaced, strict=True)
        ]
        features = numbers(sentence.tokens) if word_features else None
        begins = [not tag.startswith("I-") for tag in sentence.tags] if labels else None
        for window in windows([len(word) for word in words], room, begins):
            tokens, places = [START], []
            for word in range(window.first, window.end):
                places.append(len(tokens) + pieces.lead(words[word]))
                tokens += words[word]
            own = range(window.own, window.stop)
            tags = [sentence.tags[word] for word in own] if labels else []
            if tags and tags[0].startswith("I-"):  # a span longer than a window
                tags[0] = f"B-{tags[0][2:]}"
            rows.append(
                Row(
                    [*tokens, END],
                    [places[word - window.first] for word in own],
                    [number.get(tag, 0) for tag in tags],
                    at,
                    None if features is None else features[window.own : window.stop],
                )
            )
    return rows


@dataclass(frozen=True)
class TaggingBatch(RowBatch):
    """Windows of sentences.

    texts: (batch, length), padded with PAD
    firsts: (batch, words), the place of each word's first piece; NO_WORD beyond the last
    features: (batch, words, COUNT), those of each word, where the rows have them; 0 beyond the last
    labels: (batch, words), the number of each word's tag; 0 beyond the last
    places: where the first sentences stand, for messages
    tokens: how many words the whole batch has that this is a part of
    epoch: how often all sentences had been seen before
    """

    texts: Tensor
    firsts: Tensor
    features: Tensor | None
    labels: Tensor
    places: list[str]
    tokens: int
    epoch: int

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the model takes."""
        return self.texts, self.firsts, self.features

    def first(self, count: int) -> str:
        """Name its first sentences."""
        return ", ".join(self.places[:count])


def batch(rows: Sequence[Row], sentences: Sequence[Tagged], epoch: int = 0) -> TaggingBatch:
    """Put windows together."""
    firsts = padded([row.firsts for row in rows], NO_WORD)
    features = None
    given = [(at, row.features) for at, row in enumerate(rows) if row.features is not None]
    if given:
        features = np.zeros((*firsts.shape, COUNT), np.int32)
        for at, its in given:
            features[at, : len(its)] = its
    return TaggingBatch(
        torch.from_numpy(padded([row.tokens for row in rows], PAD)),
        torch.from_numpy(firsts),
        None if features is None else torch.from_numpy(features),
        torch.from_numpy(padded([row.labels or [0] * len(row.firsts) for row in rows], 0)),
        [sentences[row.sentence].place for row in rows[:5]],
        sum(len(row.firsts) for row in rows),
        epoch,
    )
