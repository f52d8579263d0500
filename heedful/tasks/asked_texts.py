"""From questions about texts to what a reader reads: windows of a text behind the question, and places in characters.

A window is START, the question, END, some of the text, END. A text that is longer than a window comes in several, each
beginning `stride` pieces after the one before, so that an answer cut by one window is whole in another (Devlin et al.
2019, the authors' code). Of an answer in several windows, each is taught; when answering, a word may begin an answer in
that window only in which it has most around it.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from heedful.data.rows import RowBatch, padded
from heedful.data.squad import Question
from heedful.text.hashing import bucket
from heedful.text.places import Pieces, Place, spaced, words
from heedful.text.rarity import likeness
from heedful.text.special import END, PAD, START

_AROUND = 3  # START, END, END
_LONGEST_WORD = 32  # pieces of a word that are read
_ENDS = ".!?…。！？"


class Cut(NamedTuple):
    """How texts become windows.

    length: tokens of a window at most, all in all; stride: pieces from one window to the next
    question: pieces of a question that are read at most
    """

    length: int
    stride: int
    question: int


class Row(NamedTuple):
    """A window as the model reads it.

    tokens: (length,); text: where the text begins in it; words: the places of the words in it, as (first, last) tokens
    matches: the tokens of the text in words that the question has too
    likeness: of each token how rare its word is, if the question has it too, else 0, and how like the question its
        sentence is; of START the greatest of both; None where it is not asked for: see `heedful.text.rarity`
    offset: which word of the text the first of these is
    own: which of these words may begin an answer when answering, (first, end)
    start, end: the tokens at which the answer begins and ends; 0 for none
    question: which one it is of
    """

    tokens: list[int]
    text: int
    words: list[tuple[int, int]]
    matches: list[int]
    likeness: list[tuple[float, float]] | None
    offset: int
    own: tuple[int, int]
    start: int
    end: int
    question: int


def ids(text: str, places: Sequence[Place], pieces: Pieces) -> list[tuple[int, ...]]:
    """The pieces of each word of a text."""
    return [
        pieces.of(text[first:end], space)[:_LONGEST_WORD]
        for (first, end), space in zip(places, spaced(text, places), strict=True)
    ]


def encode(
    questions: Sequence[Question], pieces: Pieces, cut: Cut, rare: np.ndarray | None = None
) -> list[Row]:
    """Give the windows of questions, in order; the first answer that stands in a text is the one that is taught.

    rare: how rare words are, where the rows are to have likenesses
    """
    rows: list[Row] = []
    known: dict[str, tuple[list[tuple[int, ...]], list[Place]]] = {}
    for number, question in enumerate(questions):
        if question.context not in known:
            places = words(question.context)
            known[question.context] = ids(question.context, places, pieces), places
        text, places = known[question.context]
        in_asked = words(question.text)
        asked = [piece for word in ids(question.text, in_asked, pieces) for piece in word][: cut.question]
        in_question = set(spelt(question.text, in_asked))
        read = spelt(question.context, places)
        matching = [word in in_question for word in read]
        like = None if rare is None else _likenesses(read, in_question, rare)
        head = [START, *asked, END]
        room = max(_LONGEST_WORD, cut.length - len(asked) - _AROUND)
        first, last = _answer_words(question, places)
        windows = list(_windows([len(word) for word in text], room, cut.stride))
        for at, (begin, end) in enumerate(windows):
            tokens, spans, matches = list(head), [], []
            for word, in_both in zip(text[begin:end], matching[begin:end], strict=True):
                first_token = len(tokens)
                tokens += word
                spans.append((first_token, len(tokens) - 1))
                if in_both:
                    matches += range(first_token, len(tokens))
            taught = first is not None and begin <= first and last < end
            rows.append(
                Row(
                    [*tokens, END],
                    len(head),
                    spans,
                    matches,
                    None if like is None else _of_tokens(like[begin:end], text[begin:end], len(head)),
                    begin,
                    _own(windows, at),
                    spans[first - begin][0] if taught and first is not None else 0,
                    spans[last - begin][1] if taught else 0,
                    number,
                )
            )
    return rows


def spelt(text: str, places: Sequence[Place]) -> list[str]:
    """The words of a text, of which those are the same that differ in case only."""
    return [text[first:end].casefold() for first, end in places]


def _likenesses(read: Sequence[str], in_question: Set[str], rare: np.ndarray) -> list[tuple[float, float]]:
    """For each word of a text how rare it is, if the question has it too, and how like the question its sentence is."""
    found: list[tuple[float, float]] = []
    asked = {word for word in in_question if _tells(word)}
    for sentence in _sentences(read):
        own = {word for word in sentence if _tells(word)}
        like = likeness(asked, own, rare)
        found += [(float(rare[bucket(word)]) if word in asked else 0.0, like) for word in sentence]
    return found


def _of_tokens(
    like: Sequence[tuple[float, float]], read: Sequence[Sequence[int]], before: int
) -> list[tuple[float, float]]:
    """What is known of words, for each of their pieces, after `before` other tokens; the first has the greatest."""
    found = [(0.0, 0.0)] * before + [its for its, word in zip(like, read, strict=True) for _ in word]
    rarest, likest = map(max, zip(*found, strict=True))
    return [(rarest, likest), *found[1:]]


def _tells(word: str) -> bool:
    return any(map(str.isalnum, word))


def _sentences(read: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut words after those that are nothing but ends of sentences."""
    first = 0
    for place, word in enumerate(read, start=1):
        if not word.strip(_ENDS) or place == len(read):
            yield read[first:place]
            first = place


def _windows(sizes: Sequence[int], room: int, stride: int) -> Iterator[tuple[int, int]]:
    """The words of each window, (first, end); one window of nothing for a text without words."""
    first = 0
    while True:
        end, total = first, 0
        while end < len(sizes) and total + sizes[end] <= room:
            total += sizes[end]
            end += 1
        yield first, end
        if end >= len(sizes):
            return
        passed, following = 0, first
        # No word may be left out, however long the stride.
        while following < end and (passed < stride or following == first):
            passed += sizes[following]
            following += 1
        first = following


def _own(windows: Sequence[tuple[int, int]], at: int) -> tuple[int, int]:
    """The words of a window, counted from its first, that have more around them there than in its neighbours.

    What a word has around it is the smaller of the words before and after it: so the border is in the middle of what
    two windows share.
    """
    begin, end = windows[at]
    first = 0 if at == 0 else (begin + windows[at - 1][1] + 1) // 2 - begin
    last = end if at == len(windows) - 1 else (windows[at + 1][0] + end + 1) // 2
    return first, last - begin


def _answer_words(question: Question, places: Sequence[Place]) -> tuple[int | None, int]:
    """The first and the last word of the first answer that stands in the text; None, -1 if there is none."""
    for answer in question.found:
        start, end = answer.start or 0, answer.end or 0
        touched = [number for number, place in enumerate(places) if place[0] < end and place[1] > start]
        if touched:
            return touched[0], touched[-1]
    return None, -1


@dataclass(frozen=True)
class ReadingBatch(RowBatch):
    """Windows of texts with their questions.

    texts, segments, matches, begins, closes: as `heedful.models.span_reader.SpanReader` takes them, (batch, length)
    likeness: (batch, length, 2), as there, where the rows have it
    starts, ends: the tokens at which the answers begin and end, (batch,); 0 for none
    places: where the first questions stand, for messages
    tokens: how many windows the whole batch has that this is a part of
    epoch: how often all questions had been seen before
    """

    texts: Tensor
    segments: Tensor
    matches: Tensor
    begins: Tensor
    closes: Tensor
    likeness: Tensor | None
    starts: Tensor
    ends: Tensor
    places: list[str]
    tokens: int
    epoch: int

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """What the model takes."""
        return self.texts, self.segments, self.matches, self.begins, self.closes, self.likeness

    def first(self, count: int) -> str:
        """Name its first questions."""
        return ", ".join(self.places[:count])


def batch(rows: Sequence[Row], questions: Sequence[Question], own: bool, epoch: int = 0) -> ReadingBatch:
    """Put windows together; own: answers may begin only where a window has most around (when answering)."""
    texts = padded([row.tokens for row in rows], PAD)
    segments = np.zeros_like(texts)
    matches, begins, closes = (np.zeros(texts.shape, dtype=bool) for _ in range(3))
    begins[:, 0] = closes[:, 0] = True
    likenesses = None
    given = [(at, row.likeness) for at, row in enumerate(rows) if row.likeness is not None]
    if given:
        likenesses = np.zeros((*texts.shape, 2), np.float32)
        for at, its in given:
            likenesses[at, : len(its)] = its
    for at, row in enumerate(rows):
        segments[at, row.text : len(row.tokens)] = 1
        matches[at, row.matches] = True
        starting = row.words[slice(*row.own)] if own else row.words
        begins[at, [first for first, _ in starting]] = True
        closes[at, [last for _, last in row.words]] = True
    return ReadingBatch(
        torch.from_numpy(texts),
        torch.from_numpy(segments),
        torch.from_numpy(matches),
        torch.from_numpy(begins),
        torch.from_numpy(closes),
        None if likenesses is None else torch.from_numpy(likenesses),
        torch.tensor([row.start for row in rows]),
        torch.tensor([row.end for row in rows]),
        [questions[row.question].place for row in rows[:5]],
        len(rows),
        epoch,
    )
