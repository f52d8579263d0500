"""How good vectors are, and how they lie in their space: neighbours, probes, and the measures of contextuality.

    predicted = vote(labels, *nearest(train, queries, 10))   # by the labels of the ten nearest
    predicted = LinearProbe.fit(train, labels)(queries)      # by a linear map
    whiten = Whitening.fit(train)                            # then nearest(whiten(train), whiten(queries), 10)
    measures = contextuality(contexts, sentences)            # of one layer (Ethayarajh 2019)

Vectors are rows, (number, width); nearness is the cosine, and that of the vector of zeros with any other is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating]

_AT_ONCE = 512  # queries that are compared with all vectors at the same time
# Of each feature's variance, from hardly any shrinking to much.
_SHRINKING = 10.0 ** np.arange(-4, 4.5, 0.5)


def unit(vectors: Vectors) -> Vectors:
    """Give vectors of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def nearest(vectors: Vectors, queries: Vectors, count: int) -> tuple[NDArray[np.int64], Vectors]:
    """Find of each query (queries, width) the nearest vectors, the nearest first, among equals the earlier.

    Gives their places and cosines, (queries, count); fewer where there are fewer vectors.
    """
    count = min(count, len(vectors))
    directions = unit(vectors)
    places = np.zeros((len(queries), count), np.int64)
    cosines = np.zeros((len(queries), count), directions.dtype)
    for start in range(0, len(queries), _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        likeness = unit(queries[here]) @ directions.T
        places[here] = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
        cosines[here] = np.take_along_axis(likeness, places[here], 1)
    return places, cosines


def vote(labels: Sequence[str], places: NDArray[np.int64], cosines: Vectors) -> list[str]:
    """Label queries as most of their neighbours are (k-NN); where two labels have as many, as the nearer ones.

    labels: of all vectors; places and cosines (queries, neighbours): as `nearest` gives them
    """
    found: list[str] = []
    for near, likeness in zip(places.tolist(), cosines.tolist(), strict=True):
        votes: dict[str, tuple[int, float]] = {}
        for label, cosine in zip((labels[int(place)] for place in near), likeness, strict=True):
            number, total = votes.get(label, (0, 0.0))
            votes[label] = number + 1, total + cosine
        found.append(max(votes, key=votes.__getitem__))
    return found


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on vectors: ridge regression to 1 for the label and 0 for the others, highest value wins.

    names: of the labels; weights (width, labels) and offsets (labels,)
    shrinking: what was chosen, by the squared error of leaving one example out (Golub, Heath and Wahba 1979)
    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    shrinking: float

    @classmethod
    def fit(cls, vectors: Vectors, labels: Sequence[str]) -> "LinearProbe":
        """Fit a probe to vectors (examples, width), each feature first brought to variance 1."""
        names = tuple(sorted(set(labels)))
        wanted = np.array([[label == name for name in names] for label in labels], np.float64)
        middle, mean = vectors.mean(0, dtype=np.float64), wanted.mean(0)
        spread = vectors.std(0, dtype=np.float64)
        spread = np.where(spread > 1e-12, spread, 1)
        x, y = (vectors - middle) / spread, wanted - mean
        # x = U S V': with U all shrinkings cost one decomposition.
        squares, v = np.linalg.eigh(x.T @ x)
        kept = squares > squares.max(initial=0) * 1e-10
        squares, v = squares[kept], v[:, kept]
        u = (x @ v) / np.sqrt(squares)
        along = u.T @ y
        best: tuple[float, float] | None = None
        for shrinking in _SHRINKING * len(x):
            shares = squares / (squares + shrinking)
            leverage = (u**2) @ shares + 1 / len(x)
            residuals = (y - u @ (shares[:, None] * along)) / np.maximum(1 - leverage, 1e-9)[:, None]
            error = float((residuals**2).sum())
            if best is None or error < best[0]:
                best = error, float(shrinking)
        assert best is not None  # noqa: S101 -- there are several shrinkings
        shares = np.sqrt(squares) / (squares + best[1])
        weights = (v @ (shares[:, None] * along)) / spread[:, None]
        return cls(names, weights, mean - middle @ weights, best[1])

    def __call__(self, queries: Vectors) -> list[str]:
        """Label each query (queries, width)."""
        return [self.names[place] for place in (queries @ self.weights + self.offsets).argmax(1)]


@dataclass(frozen=True)
class Whitening:
    """A map after which vectors point everywhere alike, so that their cosines tell more (Su et al. 2021).

    y = (x - m) V D^(-s/2), with m the mean of vectors and V D V' their covariance. Strength s = 1 gives all directions
    the variance 1, which is whitening; 0 takes the mean off only; between, what varies much keeps some of its weight.

    middle (width,), matrix (width, width)
    """

    middle: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def fit(cls, vectors: Vectors, strength: float = 0.75) -> "Whitening":
        """Fit the map to vectors (number, width).

        Raises ValueError for no more vectors than they have numbers, with a strength above 0: each would then have a
        direction of its own.
        """
        number, width = vectors.shape
        if strength and number <= width:
            raise ValueError(
                f"to whiten vectors of {width} numbers takes more than {width} of them, got {number}"
            )
        middle = vectors.mean(0, dtype=np.float64)
        variances, directions = np.linalg.eigh(np.cov(vectors - middle, rowvar=False, bias=True))
        # What never varies must not become infinite.
        variances = np.maximum(variances, variances.max() * 1e-6)
        return cls(middle, directions * variances ** (-strength / 2) if variances.max() > 0 else directions)

    def __call__(self, vectors: Vectors) -> Vectors:
        """Map vectors (number, width); those of length 0, which mean nothing, stay."""
        return np.where(vectors.any(-1, keepdims=True), (vectors - self.middle) @ self.matrix, vectors)


def self_similarity(vectors: Vectors) -> float:
    """The mean cosine of two of the vectors: of one word in several contexts, its SelfSim (Ethayarajh 2019, eq. 1).

    Of words drawn at random it is the anisotropy of the space: 0 where no direction is preferred.
    """
    number = len(vectors)
    if number < 2:
        raise ValueError(f"Likeness is between two vectors at least, got {number}.")
    directions = unit(vectors.astype(np.float64))
    total = directions.sum(0)
    return float((total @ total - (directions**2).sum()) / (number * (number - 1)))


def intra_sentence_similarity(vectors: Vectors) -> float:
    """The mean cosine of the words of a sentence with their mean, IntraSim (Ethayarajh 2019, eq. 2)."""
    vectors = vectors.astype(np.float64)
    return float((unit(vectors) @ unit(vectors.mean(0))).mean())


def explainable_variance(vectors: Vectors) -> float:
    """The share of the vectors' squared length that lies along one direction at most, MEV (Ethayarajh 2019, eq. 3).

    How well one static vector could stand for all of them: 1 where they lie on one line.
    """
    short = vectors.astype(np.float64)
    # The smaller of the two products has the same squares of singular values.
    squares = np.linalg.eigvalsh(short @ short.T if len(short) < short.shape[1] else short.T @ short)
    return float(squares[-1] / squares.sum()) if squares.sum() > 0 else 0.0


@dataclass(frozen=True)
class Contextuality:
    """How contextual the vectors of one layer are; each measure as it is, and what words drawn at random have of it.

    anisotropy: the baseline of self-similarity and intra-sentence similarity
    random_variance: the baseline of the explainable variance
    """

    self_similarity: float
    intra_sentence_similarity: float
    explainable_variance: float
    anisotropy: float
    random_variance: float

    def adjusted(self) -> dict[str, float]:
        """The measures less their baselines (Ethayarajh 2019, section 3.4): 0 is what chance gives."""
        return {
            "self_similarity": self.self_similarity - self.anisotropy,
            "intra_sentence_similarity": self.intra_sentence_similarity - self.anisotropy,
            "explainable_variance": self.explainable_variance - self.random_variance,
        }


def contextuality(
    contexts: Sequence[Vectors], sentences: Sequence[Vectors], sample: int = 1000, seed: int = 12345
) -> Contextuality:
    """Measure one layer.

    contexts: of each word its vectors in several contexts, (contexts, width), two at least
    sentences: the vectors of the words of each, (words, width)
    sample: how many sentences lend one word each to the baselines, at most; drawn with `seed`

    Raises ValueError where there is no word or are not two sentences to measure.
    """
    filled = [sentence for sentence in sentences if len(sentence)]
    if not contexts or len(filled) < 2:
        raise ValueError(
            f"Contextuality needs a word with two contexts and two sentences, got {len(contexts)} words and "
            f"{len(filled)} sentences."
        )
    random = np.random.default_rng(seed)
    # One word a sentence: words of the same context are alike for another reason.
    drawn = random.permutation(len(filled))[:sample]
    words = np.stack([filled[place][random.integers(len(filled[place]))] for place in drawn])
    return Contextuality(
        self_similarity=float(np.mean([self_similarity(vectors) for vectors in contexts])),
        intra_sentence_similarity=float(np.mean([intra_sentence_similarity(one) for one in filled])),
        explainable_variance=float(np.mean([explainable_variance(vectors) for vectors in contexts])),
        anisotropy=self_similarity(words),
        random_variance=explainable_variance(words),
    )
