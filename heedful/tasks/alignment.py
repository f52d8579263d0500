"""Which source word a target word is the translation of, read off the cross-attention.

When a decoder predicts y_t it has not seen y_t yet, and attends to what it may need. One step later y_t is its input,
and it attends to what y_t came from. So the alignment of y_t is the attention of the position whose *input* is y_t:
SHIFT-ATT (Chen et al. 2020, "Accurate Word Alignment Induction from Neural Machine Translation", section 3); taking the
position that predicts y_t is NAIVE-ATT. Heads are averaged (Garg et al. 2019, "Jointly Learning to Align and Translate
with Transformer Models").

It works for every model that says which modules attend to the source (`SequenceToSequence.source_attention`); of a
decoder that attends step by step, the steps are put together. Of a token's weights on the source, the largest is its
link; words are linked if any of their tokens are.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from heedful.attention import observe
from heedful.errors import HeedfulError
from heedful.models.face import SequenceToSequence
from heedful.settings import Settings
from heedful.tasks.answer import Alignment
from heedful.text import byte_level
from heedful.text.special import SPECIAL_TOKENS, START, UNKNOWN
from heedful.text.tokenizer import Tokenizer
from heedful.text.vocabulary import BYTE_TOKENS
from heedful.text.words import SPACE

Method = Literal["shift", "plain"]
Layer = int | Literal["middle", "penultimate", "last"]

# A token outside every word: a space on its own.
NO_WORD = -1
_BYTES = frozenset(BYTE_TOKENS)


class AlignmentSettings(Settings):
    """How an alignment is read off the cross-attention."""

    # The layers near the output look at what they are about to write: in our model of Multi30k "shift" would align each
    # word with the source of the next one. Lower layers of deep decoders look at what they have read.
    method: Method = Field(
        default="plain",
        description="the attention of the position that reads a token (shift) or predicts it (plain)",
    )
    # Garg et al. 2019. Chen et al. 2020 show the third layer of six, which is "middle".
    layer: Layer = Field(
        default="penultimate", description="decoder layer: middle, penultimate, last, or its number from 0"
    )


@dataclass(frozen=True)
class AttentionMap:
    """Attention of each target token to the source: weights (target_length, source_length), and the tokens."""

    weights: Tensor
    source_pieces: tuple[str, ...]
    """The source ends with </s>, which is attended to like other tokens."""

    target_pieces: tuple[str, ...]


def cross_attention(
    model: SequenceToSequence, source: Tensor, target: Tensor, settings: AlignmentSettings | None = None
) -> Tensor:
    """Give the weights (batch, heads, target_length, source_length) of given pairs, in one forward pass.

    source: (batch, source_length), ids ending in END, padded with PAD
    target: (batch, target_length), ids without START and END, padded with PAD

    A target of the model's maximum length lacks its last row under "shift": the model cannot read that token.
    """
    settings = settings or AlignmentSettings()
    name = _layer(_modules(model), settings.layer)
    start = torch.full_like(source[:, :1], START)
    read = torch.cat([start, target if settings.method == "shift" else target[:, :-1]], 1)
    read = read[:, : model.maximum_length]
    with torch.no_grad(), observe(model, name) as seen:
        model.features(source, read)
    record = seen.joined(name)
    # In a decoder-only model the queries, and the keys, of the source stand before those of the target.
    first = record.shape[2] - read.shape[1]
    rows = slice(1, None) if settings.method == "shift" else slice(target.shape[1])
    return record.weights(rows=slice(first, None), keys=slice(source.shape[1]))[:, :, rows]


@contextmanager
def step_attention(model: SequenceToSequence, source_length: int) -> Iterator[Callable[[], Tensor]]:
    """Give a function that gives the attention (hypotheses, source_length) of the step just made.

    It is that of the last decoder layer, averaged over heads: what the coverage penalty of the search needs.
    """
    name = _modules(model)[-1]
    with observe(model, name) as seen:

        def last_step() -> Tensor:
            # (hypotheses, heads, 1, keys) or (sentences, heads, hypotheses of each, keys), the source's keys first
            weights = seen[name].weights(keys=slice(source_length)).mean(1).flatten(0, 1)
            seen.clear()
            return weights

        yield last_step


def align_words(
    weights: Sequence[Tensor], source_words: Sequence[int], target_words: Sequence[int]
) -> Alignment:
    """Link words by the weights of their tokens; of several links between two words the largest weight counts.

    weights: (target_length, source_length), without END; of a text in parts one for each, whose tokens follow
    each other; a row of zeros has no link
    source_words, target_words: of every token its word, as `words_of_tokens` gives them
    """
    links: dict[tuple[int, int], float] = {}
    source_done = target_done = 0
    for matrix in weights:
        rows, columns = matrix.shape
        in_words = [token for token in range(columns) if source_words[source_done + token] != NO_WORD]
        if rows and in_words:
            weight, place = matrix[:, in_words].max(1)
            for target, (choice, value) in enumerate(zip(place.tolist(), weight.tolist(), strict=True)):
                link = source_words[source_done + in_words[choice]], target_words[target_done + target]
                if value > 0 and link[1] != NO_WORD:
                    links[link] = max(links.get(link, 0.0), value)
        source_done, target_done = source_done + columns, target_done + rows
    return tuple((*link, weight) for link, weight in sorted(links.items()))


def words_of_tokens(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[int]:
    """Give for each token the word of `text` that it belongs to; words are what white space separates.

    Tokens are counted off in bytes against the words, each as the tokenizer spells it, so that normalisation
    (lower case, Moses) does not matter. Where the two disagree, because normalisation depends on neighbouring
    words, places are in proportion.

    >>> tokenizer = Tokenizer.train(["ab ab ab"])
    >>> ids = tokenizer.encode("ab abb")
    >>> tokenizer.pieces(ids), words_of_tokens(tokenizer, ids, "ab abb")
    (['▁ab', '▁ab', 'b'], [0, 1, 1])
    """
    sizes = [_size(tokenizer, token) for token in ids]
    words = tokenizer.encode_batch(text.split())
    ends = list(accumulate(sum(_size(tokenizer, token) for token in word) for word in words))
    total = sum(sizes)
    if not total or not ends or not ends[-1]:
        return [NO_WORD] * len(ids)
    found: list[int] = []
    before = 0
    for size in sizes:
        middle = (before + size / 2) * ends[-1] / total
        found.append(min(bisect_right(ends, middle), len(ends) - 1) if size else NO_WORD)
        before += size
    return found


def _size(tokenizer: Tokenizer, token: int) -> int:
    """How many bytes a token spells, white space not counted."""
    if token < len(SPECIAL_TOKENS):
        return int(token == UNKNOWN)
    (piece,) = tokenizer.pieces([token])
    if tokenizer.settings.kind == "byte-bpe":
        return len(b"".join(byte_level.spelt(piece).split()))
    return 1 if piece in _BYTES else len("".join(piece.replace(SPACE, " ").split()).encode())


def _modules(model: SequenceToSequence) -> list[str]:
    """The names of the modules by which a decoder attends to the source, the first layer first."""
    found = model.source_attention()
    if not found:
        raise HeedfulError(
            "This model has no attention to the source, so there is nothing to align words by, or to measure "
            "coverage by."
        )
    return found


def _layer(names: list[str], layer: Layer) -> str:
    match layer:
        case "last":
            return names[-1]
        case "penultimate":
            return names[max(len(names) - 2, 0)]
        case "middle":
            return names[(len(names) - 1) // 2]
    if not 0 <= layer < len(names):
        raise HeedfulError(f"There is no decoder layer {layer}: the model has {len(names)}, counted from 0.")
    return names[layer]
