"""Documents as vectors: which layers, and how the vectors of many tokens become one.

    embedder = load("runs/bert-mlm", layer="3", pooling="mean")
    vectors = embedder.embed(["A document.", "Another one."])          # (documents, width), float32

A document longer than the model's window is read in windows of equal size, and every token counts as much as in a short
one: its vector is sum_i w_i x_i / sum_i w_i over the tokens i of all windows, where the weights are the pooling:

    mean   1 for each token of the text (start and end do not count)
    idf    ln((1 + N) / (1 + n_i)) + 1: a token that stands in n_i of N documents (Sparck Jones 1972)
    cls    the vector of the first token, as BERT's classifiers take it: of a window with m tokens m
    last   that of the last token, for stacks that read from left to right: of a window with m tokens m

A layer is a number: 0 is what the first layer reads, -1 the last; "5+6+7+8" is the mean of four, "0.2*4+0.8*8" a
mixture, and "5,6,7,8" puts four vectors beside each other (Devlin et al. 2019, table 7, found that best).
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.errors import HeedfulError
from heedful.layers.every_layer import every_layer
from heedful.tasks import readers
from heedful.tasks.readers import Pooling, Reader
from heedful.tasks.several import several
from heedful.text.special import PAD
from heedful.text.tokenizer import Tokenizer

Vectors = NDArray[np.float32]

_TOGETHER = 512  # documents that are sorted by length and answered together
_TOKENS = 8192  # of a batch, with padding
_TERM = re.compile(r"(?:(?P<weight>\d+(?:\.\d+)?|\.\d+)\*)?(?P<layer>-?\d+)")


@dataclass(frozen=True)
class Embedded:
    """A document and its vector (width,)."""

    document: str
    vector: Vectors

    @property
    def line(self) -> str:
        """The vector as numbers with spaces between."""
        return " ".join(f"{number:.6g}" for number in self.vector.tolist())

    def to_json(self) -> dict[str, Any]:
        """Document and vector as plain values that JSON can hold."""
        return {"document": self.document, "vector": self.vector.tolist()}


class Embedder:
    """A model that turns documents into vectors.

    layer: see above; pooling: which tokens count how much; both those that the reader was trained for when left out
    idf: (vocabulary,), for that pooling only; see `inverse_document_frequencies`
    window: most tokens that are read at once; those that the model can read when left out

    Raises HeedfulError for a layer or a window that the model does not have, and for a pooling that does not fit it.
    """

    def __init__(
        self,
        reader: Reader,
        layer: str | None = None,
        pooling: Pooling | None = None,
        idf: Sequence[float] | None = None,
        window: int | None = None,
    ) -> None:
        self.reader = reader
        self.mixtures = parse_layer(layer or reader.layer, reader.layers)
        self.pooling: Pooling = pooling or reader.pooling
        self.idf = idf
        self.window = window or reader.longest
        self._check()

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return self.reader.width * len(self.mixtures)

    def embed(self, documents: Iterable[str]) -> Vectors:
        """Give (documents, width). A document without a token has the vector of zeros, like nothing."""
        several(documents, "embed")
        rows = [answer.vector for answer in self.stream(documents)]
        return np.stack(rows) if rows else np.zeros((0, self.width), np.float32)

    def stream(self, lines: Iterable[str]) -> Iterator[Embedded]:
        """Give the vector of each document, one a line, in order and in bounded memory."""
        documents = iter(lines)
        while together := list(islice(documents, _TOGETHER)):
            for document, vector in zip(together, self._embed(together), strict=True):
                yield Embedded(document, vector)

    def _embed(self, documents: Sequence[str]) -> Vectors:
        encoded = self.reader.tokenizer.encode_batch(documents)
        cut = [(row, part) for row, tokens in enumerate(encoded) for part in windows(tokens, self.window)]
        sums = np.zeros((len(documents), self.width))
        totals = np.zeros(len(documents))
        for batch in batches(cut):
            rows = [row for row, _ in batch]
            texts = [self.reader.around(part) for _, part in batch]
            weights = _padded([self.weights(part) for _, part in batch], 0.0).to(self.reader.device)
            with torch.inference_mode():
                pooled = torch.einsum("bl,blw->bw", weights, self.joined(texts))
            np.add.at(sums, rows, pooled.double().cpu().numpy())
            np.add.at(totals, rows, weights.sum(1).double().cpu().numpy())
        return (sums / np.where(totals > 0, totals, 1)[:, None]).astype(np.float32)

    def weights(self, tokens: Sequence[int]) -> list[float]:
        """What each token of a window counts, special tokens around it included."""
        before, after = len(self.reader.before), len(self.reader.after)
        if self.pooling == "idf":
            assert self.idf is not None  # noqa: S101 -- checked at the start
            own = [self.idf[token] for token in tokens]
            return [0.0] * before + own + [0.0] * after
        if self.pooling == "mean":
            return [0.0] * before + [1.0] * len(tokens) + [0.0] * after
        rest = [0.0] * (before + len(tokens) + after - 1)
        whole = float(len(tokens))
        return [whole, *rest] if self.pooling == "cls" else [*rest, whole]

    def joined(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Read texts: (batch, length, width), the mixtures of layers beside each other."""
        return mixed(self.layers(texts), self.mixtures)

    def layers(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Read texts with their special tokens: of each layer, from 0, (batch, length, d_model)."""
        tokens = _padded(texts, PAD).to(self.reader.device)
        with every_layer(self.reader.stack) as vectors:
            self.reader.run(tokens)
        return vectors

    def _check(self) -> None:
        if self.pooling not in get_args(Pooling):
            raise HeedfulError(f"pooling is one of {', '.join(get_args(Pooling))}, got {self.pooling!r}.")
        if self.pooling == "idf" and self.idf is None:
            raise HeedfulError(
                "Pooling by idf needs documents to count in how many a token stands; name a file of them."
            )
        if self.pooling == "cls" and self.reader.causal:
            raise HeedfulError(
                "The first token of this model has seen no other: it reads from left to right. Take the pooling "
                "mean or last."
            )
        if not 1 <= self.window <= self.reader.longest:
            raise HeedfulError(
                f"A window is 1 to {self.reader.longest} tokens for this model, got {self.window}."
            )


def load(
    path: str | Path,
    layer: str | None = None,
    pooling: Pooling | None = None,
    idf: Iterable[str] | None = None,
    window: int | None = None,
    device: str = "auto",
) -> Embedder:
    """Load a model folder, or the model of a run, ready to embed.

    layer, pooling: those that the model was trained for when left out, which are "-1" and "mean" where it was for none
    idf: documents in which tokens are counted, for that pooling

    Raises ModelFolderError for a folder that cannot be read or has no Transformer layers that read text, and
    HeedfulError as `Embedder` does.
    """
    reader = readers.read(path, device)
    counted = None if idf is None else inverse_document_frequencies(reader.tokenizer, idf)
    return Embedder(reader, layer, pooling, counted, window)


def parse_layer(text: str, layers: int) -> tuple[dict[int, float], ...]:
    """Read a layer: for each of the vectors that stand beside each other, layer -> weight, which add up to 1.

    layers: how many the model has; there is layer 0 too

    Raises HeedfulError for what is no layer, or none of the model's.

    >>> parse_layer("0+-1,3", 4)
    ({0: 0.5, 4: 0.5}, {3: 1.0})
    >>> parse_layer("0.5*1+1.5*2", 4)
    ({1: 0.25, 2: 0.75},)
    """
    mixtures: list[dict[int, float]] = []
    for mixture in text.replace(" ", "").split(","):
        weights: Counter[int] = Counter()
        for term in mixture.split("+"):
            found = _TERM.fullmatch(term)
            if found is None:
                raise HeedfulError(
                    f"{text!r} is no layer: give a number such as 8 or -1, several with commas to have them beside "
                    "each other, or a sum such as 5+6 or 0.2*4+0.8*8 to mix them."
                )
            number = int(found["layer"])
            if not -layers - 1 <= number <= layers:
                raise HeedfulError(f"There is no layer {number}: this model has layers 0 to {layers}.")
            weights[number % (layers + 1)] += float(found["weight"] or 1)  # pyright: ignore[reportArgumentType]
        total = sum(weights.values())
        if not total > 0:
            raise HeedfulError(f"The weights of the mixture {mixture!r} are all 0.")
        mixtures.append({layer: weight / total for layer, weight in weights.items()})
    return tuple(mixtures)


def mixed(layers: Sequence[Tensor], mixtures: Sequence[dict[int, float]]) -> Tensor:
    """Mix layers, each (..., d_model), and put the mixtures beside each other: (..., width)."""
    mixes = [
        torch.stack([weight * layers[layer] for layer, weight in one.items()]).sum(0) for one in mixtures
    ]
    return torch.cat(mixes, -1)


def inverse_document_frequencies(tokenizer: Tokenizer, documents: Iterable[str]) -> list[float]:
    """Count in how many documents each token stands: ln((1 + N) / (1 + n)) + 1 for each entry of the vocabulary."""
    counts: Counter[int] = Counter()
    number, lines = 0, iter(documents)
    while together := list(islice(lines, _TOGETHER)):
        number += len(together)
        for tokens in tokenizer.encode_batch(together):
            counts.update(set(tokens))
    return [math.log((1 + number) / (1 + counts[token])) + 1 for token in range(len(tokenizer))]


def windows(tokens: Sequence[int], longest: int) -> list[Sequence[int]]:
    """Cut tokens into as few parts as possible, none longer than `longest`, their sizes as equal as can be.

    >>> windows([1, 2, 3, 4, 5, 6, 7], 3)
    [[1, 2, 3], [4, 5], [6, 7]]
    """
    count = math.ceil(len(tokens) / longest)
    least, longer = divmod(len(tokens), max(count, 1))
    ends = [number * least + min(number, longer) for number in range(count + 1)]
    return [tokens[start:end] for start, end in pairwise(ends)]


def batches(cut: Sequence[tuple[int, Sequence[int]]]) -> Iterator[list[tuple[int, Sequence[int]]]]:
    """Put windows of like length together, each with what it belongs to, in batches of bounded size."""
    batch: list[tuple[int, Sequence[int]]] = []
    for one in sorted(cut, key=lambda one: len(one[1])):
        # Sorted by length: the last is the longest, and decides what padding costs.
        if batch and (len(batch) + 1) * len(one[1]) > _TOKENS:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _padded(rows: Sequence[Sequence[float]], padding: float) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])
