"""From questions over stories to what a memory network reads: vocabulary, numbers, batches."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from heedful.data.babi import Fact, Question, normal, words
from heedful.data.rows import RowBatch
from heedful.errors import ModelFolderError
from heedful.models.key_value_memory import KeyValueMemory, KeyValueMemorySettings
from heedful.models.memn2n import MemN2N, MemN2NSettings
from heedful.models.memories import Memories, MemoryModel
from heedful.text.special import PAD

ModelSettings = MemN2NSettings | KeyValueMemorySettings


def build(settings: ModelSettings, vocabulary: int) -> MemoryModel:
    """Give a new model, its weights from PyTorch's random generator."""
    if isinstance(settings, MemN2NSettings):
        return MemN2N(settings, vocabulary)
    return KeyValueMemory(settings, vocabulary)


class Vocabulary:
    """The words and answers that a model knows, each with its number; number PAD is no word.

    Words of a question that it does not know are left out: nothing has been learnt of them.
    """

    def __init__(self, entries: Sequence[str], answers: Sequence[int]) -> None:
        self.entries, self.answers = list(entries), list(answers)
        self._number = {entry: number for number, entry in enumerate(self.entries) if number != PAD}

    @classmethod
    def of(cls, questions: Sequence[Question]) -> Self:
        """Make the vocabulary of training questions: words by how frequent they are, then answers that are no word."""
        counts = Counter[str](word for question in questions for word in words(question.text))
        for fact in {fact for question in questions for fact in question.story}:
            counts.update((*words(fact.key or ""), *words(fact.text)))
        answers = {normal(question.answer): None for question in questions}
        known = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
        entries = ["", *known, *sorted(set(answers) - counts.keys())]
        number = {entry: place for place, entry in enumerate(entries)}
        return cls(entries, sorted(number[answer] for answer in answers))

    def encode(self, text: str) -> tuple[int, ...]:
        """Give the numbers of the words of a text that are known."""
        return tuple(self._number[word] for word in words(text) if word in self._number)

    def answer(self, answer: str | None) -> int:
        """Give the number of an answer, PAD for one that is not known."""
        return self._number.get(normal(answer), PAD)

    def __len__(self) -> int:
        return len(self.entries)

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        content = {"entries": self.entries, "answers": self.answers}
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a JSON file. Raises ModelFolderError for one that is missing or damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            entries, answers = content["entries"], content["answers"]
            whole = all(isinstance(entry, str) for entry in entries) and all(
                isinstance(number, int) and 0 < number < len(entries) for number in answers
            )
        except OSError as error:
            raise ModelFolderError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFolderError(f"{path} is damaged: {error!r}. Copy it again.") from error
        if not whole:
            raise ModelFolderError(f"{path} is damaged: it is no list of entries with answers among them.")
        return cls(entries, answers)


class Questions:
    """Questions as numbers: every distinct sentence once, and of each story the facts that the model remembers."""

    def __init__(
        self, questions: Sequence[Question], vocabulary: Vocabulary, settings: ModelSettings
    ) -> None:
        self.questions, self.vocabulary = questions, vocabulary
        number: dict[tuple[int, ...], int] = {}

        def sentence(text: str) -> int:
            return number.setdefault(vocabulary.encode(text), len(number))

        memory = settings.architecture == "key-value-memory"
        # How each fact is found, and what it tells. A memory network that keeps no keys apart reads both as one.
        found: dict[Fact, tuple[int, int]] = {}

        def pair(fact: Fact) -> tuple[int, int]:
            if fact not in found:
                if fact.key is not None and memory:
                    found[fact] = sentence(fact.key), sentence(fact.text)
                else:
                    both = sentence(fact.text if fact.key is None else f"{fact.key} {fact.text}")
                    found[fact] = both, both
            return found[fact]

        stories = [
            [pair(question.story[place]) for place in remembered(question, settings)]
            for question in questions
        ]
        self.lengths = np.array([len(story) for story in stories], dtype=np.int64)
        facts = np.full((len(stories), max(1, self.lengths.max(initial=0)), 2), -1, dtype=np.int64)
        for row, story in zip(facts, stories, strict=True):
            row[: len(story)] = np.array(story, dtype=np.int64).reshape(-1, 2)
        self.keys, self.values = facts[..., 0], facts[..., 1]
        self.keyed = bool((self.keys != self.values).any())
        self.asked = np.array([sentence(question.text) for question in questions], dtype=np.int64)
        self.answers = np.array(
            [vocabulary.answer(question.answer) for question in questions], dtype=np.int64
        )
        self.sentences = np.full((len(number), max(1, *map(len, number))), PAD, dtype=np.int64)
        for row, sentence_words in zip(self.sentences, number, strict=True):
            row[: len(sentence_words)] = sentence_words

    def __len__(self) -> int:
        return len(self.questions)

    def batch(self, rows: np.ndarray, epoch: int = 0) -> "QuestionBatch":
        """Give some questions, with the sentences that they need."""
        facts = max(1, int(self.lengths[rows].max(initial=0)))
        keys, values, asked = self.keys[rows, :facts], self.values[rows, :facts], self.asked[rows]
        parts = (keys, asked, values) if self.keyed else (keys, asked)
        needed, place = np.unique(np.concatenate([part.ravel() for part in parts]), return_inverse=True)
        absent = int(needed[0] == -1)  # place 0 is then that of no fact
        sentences = self.sentences[needed[absent:]]
        longest = max(1, int((sentences != PAD).sum(1).max()))
        tensors = [
            torch.from_numpy(each.reshape(part.shape))
            for part, each in zip(
                parts, np.split(place - absent, np.cumsum([part.size for part in parts])[:-1]), strict=True
            )
        ]
        return QuestionBatch(
            Memories(torch.from_numpy(sentences[:, :longest]), *tensors),
            torch.from_numpy(self.answers[rows]),
            [self.questions[row].place for row in rows[:5]],
            len(rows),
            epoch,
        )

    def all(self, together: int) -> Iterator["QuestionBatch"]:
        """Give all questions in their order, so many at once."""
        for first in range(0, len(self), together):
            yield self.batch(np.arange(first, min(first + together, len(self))))


def remembered(question: Question, settings: ModelSettings) -> range | list[int]:
    """Give the places in the story of the facts that the model looks at: the last ones.

    With key hashing, only of those whose key has a word of the question that fewer than `rare` of the facts have
    (Miller et al. 2016, section 3.1); of all where there is none.
    """
    places: range | list[int] = range(len(question.story))
    if isinstance(settings, KeyValueMemorySettings) and settings.rare is not None:
        keys = [set(words(fact.text if fact.key is None else fact.key)) for fact in question.story]
        counts = Counter(word for key in keys for word in key)
        asked = {word for word in words(question.text) if counts[word] < settings.rare}
        places = [place for place in places if keys[place] & asked] or places
    return places[-settings.memories :]


@dataclass(frozen=True)
class QuestionBatch(RowBatch):
    """Questions with their answers.

    memories: what the model reads
    answers: entries of the vocabulary, (batch,); PAD where the answer is not known
    places: where the first questions stand, for messages
    tokens: how many answers the whole batch has that this is a part of
    epoch: how often all questions had been seen before
    """

    memories: Memories
    answers: Tensor
    places: list[str]
    tokens: int
    epoch: int

    def to(self, device: str) -> Self:
        """The same batch on a device."""
        return replace(super().to(device), memories=self.memories.to(device))

    def rows(self, which: slice) -> Self:
        """Some of its questions."""
        return replace(super().rows(which), memories=self.memories.rows(which))

    def first(self, count: int) -> str:
        """Name its first questions."""
        return ", ".join(self.places[:count])


class QuestionBatches:
    """The questions again and again, each epoch in an order of its own."""

    def __init__(self, questions: Questions, size: int, seed: int) -> None:
        self.questions, self.size, self.seed = questions, size, seed
        self.epoch, self.at = 0, 0
        self._order = self._shuffled()

    def __next__(self) -> QuestionBatch:
        if self.at >= len(self.questions):
            self.epoch, self.at = self.epoch + 1, 0
            self._order = self._shuffled()
        rows = self._order[self.at : self.at + self.size]
        self.at += len(rows)
        return self.questions.batch(rows, self.epoch)

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"epoch": self.epoch, "at": self.at}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self.at = state["epoch"], state["at"]
        self._order = self._shuffled()

    def _shuffled(self) -> np.ndarray:
        return np.random.default_rng((self.seed, self.epoch)).permutation(len(self.questions))
