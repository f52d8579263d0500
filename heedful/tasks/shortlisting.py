"""Learning a model's vocabulary shortlist from its training text, and measuring what the list lets through.

The list of a source token is its most probable translations by IBM Model 1 (heedful.data.lexicon), and the token's own
piece where the target vocabulary has it too: names and numbers are copied, also those never seen in training.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from heedful.data import lexicon
from heedful.data.store import Pair, PairStore, Ragged
from heedful.decoding.shortlist import FREQUENT, TRANSLATIONS, Shortlist
from heedful.text.special import END
from heedful.text.tokenizer import Tokenizer

PAIRS = 1_000_000
"""Pairs that are learnt from at most, spread over the text: more of them change few of the lists."""
_WINDOW = 8192  # pairs that are read together

Tokenizers = tuple[Tokenizer, Tokenizer]


@dataclass(frozen=True)
class Coverage:
    """What the lists let through.

    tokens: the share of reference tokens that are in the list of their source
    sentences: the share of sentences all of whose reference tokens are
    size: mean number of tokens in a list
    """

    tokens: float
    sentences: float
    size: float


def learn_shortlist(
    texts: Sequence[PairStore],
    tokenizers: Tokenizers,
    *,
    fingerprints: Mapping[str, str] | None = None,
    translations: int = TRANSLATIONS,
    frequent: int = FREQUENT,
    pairs: int = PAIRS,
) -> Shortlist:
    """Learn a shortlist from the ids of training text.

    texts: one or more corpora
    tokenizers: of source and target, which gave these ids
    fingerprints: of the tokenizer files of the model folder that the list is for
    translations, frequent: how many translations of each source token, and frequent target tokens of all sentences
    pairs: learnt from at most

    Raises DataError for text without pairs, or whose ids are not of these tokenizers.
    """
    source, target = tokenizers
    # At least one pair of each text, and always the same ones.
    step = max(1, -(-sum(map(len, texts)) // pairs))
    chosen = [_EveryNth(text, step) for text in texts]
    learnt = lexicon.learn(chosen, len(source), len(target)).best(translations)
    counts = np.zeros(len(target), dtype=np.int64)
    for text in chosen:
        for _, targets in text.windows():
            counts += np.bincount(targets, minlength=len(target))
    by_frequency = np.argsort(-counts, kind="stable")[:frequent]
    lists = np.column_stack([_same_pieces(source, target), learnt])
    return Shortlist(by_frequency, np.where(lists < 0, END, lists), len(target), fingerprints)


def coverage(shortlist: Shortlist, text: PairStore) -> Coverage:
    """Measure on held-out pairs what share of each reference is in the list of its source."""
    tokens = found = whole = size = 0
    for source, reference in (text[pair] for pair in range(len(text))):
        allowed = np.zeros(shortlist.target_vocabulary, dtype=bool)
        allowed[shortlist.tokens(torch.from_numpy(np.append(source, END).astype(np.int64)))] = True
        hits = int(allowed[reference].sum())
        size, tokens, found = size + int(allowed.sum()), tokens + len(reference), found + hits
        whole += hits == len(reference)
    return Coverage(found / max(tokens, 1), whole / max(len(text), 1), size / max(len(text), 1))


def training_text(data: Path, tokenizers: Tokenizers, scratch: Path) -> list[PairStore]:
    """The training text of a run as ids: of its `data` folder, each corpus one store.

    scratch: an existing folder; with subword sampling a run keeps words, whose ordinary ids are written there

    Raises DataError for a store that is damaged.
    """
    paths = sorted(data.glob("train.*.arrow"), key=lambda path: int(path.name.split(".")[1]))
    stores = [PairStore.open(path) for path in paths]
    words = json.loads((data / "words.json").read_text(encoding="utf-8"))
    if not any(words):
        return stores
    ids = [
        [tokenizer.segment(word) for word in side] for tokenizer, side in zip(tokenizers, words, strict=True)
    ]
    return [
        PairStore.write(scratch / path.name, _spelt(store, ids))
        for path, store in zip(paths, stores, strict=True)
    ]


def _spelt(store: PairStore, ids: Sequence[Sequence[Sequence[int]]]) -> Iterator[Pair]:
    for pair in store:
        source, target = (
            [token for word in side for token in table[word]] for side, table in zip(pair, ids, strict=True)
        )
        yield source, target


def _same_pieces(source: Tokenizer, target: Tokenizer) -> np.ndarray:
    """The target id that is spelt like each source id, -1 where there is none: (source_vocabulary,)."""
    known = {piece: number for number, piece in enumerate(target.vocabulary.pieces)}
    return np.array([known.get(piece, -1) for piece in source.vocabulary.pieces], dtype=np.int32)


class _EveryNth:
    """Every n-th pair of a store."""

    def __init__(self, store: PairStore, step: int) -> None:
        self.store, self.step = store, step

    def __len__(self) -> int:
        return -(-len(self.store) // self.step)

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        sources, targets = self.store.lengths()
        return sources[:: self.step], targets[:: self.step]

    def gather(self, indices: np.ndarray) -> tuple[Ragged, Ragged]:
        return self.store.gather(indices * self.step)

    def windows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The ids of both sides, end to end, some thousand pairs at a time."""
        for begin in range(0, len(self), _WINDOW):
            sources, targets = self.gather(np.arange(begin, min(begin + _WINDOW, len(self))))
            yield sources.values, targets.values
