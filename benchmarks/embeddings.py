"""What are a model's vectors worth, beside mean vectors of Word2Vec on the same text, and beside TF-IDF?

    python benchmarks/embeddings.py --models runs/bert runs/contrastive --text corpus/*.gz [--layers all]
    python benchmarks/embeddings.py --sets trec --folds 1                          # the baselines alone

Of each text one vector, made without its label; then judges that know the labels of the training part: the ten nearest
vectors by cosine (k-NN), the same of vectors that are whitened with strength 0.75, and a linear map (ridge regression
to one-hot labels). Systems:

    tf-idf          scikit-learn's, words and pairs of words, sublinear; its ridge strength by a held-out tenth
    word2vec        gensim's skip-gram with negative sampling on the training part and on --text; the mean of the words
    word2vec-idf    the same, rare words counting more
    MODEL:LAYER     `heedful embed MODEL --layer LAYER`

Give as --text what the models were trained on, or Word2Vec has read less than they. TREC has a test set; MR and
movie_reviews are ten-fold, and the table has mean and standard deviation over the folds. Nothing is chosen by the test
part: all layers that are asked for are shown. It needs scikit-learn and gensim: pip install 'heedful[bench]'.
"""

import argparse
import json
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from heedful.data.documents import TextSettings, read_documents
from heedful.data.labelled import Labelled
from heedful.data.labelled_named import labelled_named
from heedful.evaluation.vectors import LinearProbe, Whitening, nearest, vote

NEIGHBOURS = 10
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
SETS = {"trec": 1, "mr": 10, "movie_reviews": 10}
Scores = dict[str, float]
# From the training and the test part to the accuracies.
System = Callable[[Sequence[Labelled], Sequence[Labelled]], Scores]


def words(text: str) -> list[str]:
    return text.lower().split()  # the sets are tokenised


def accuracy(found: Sequence[str], test: Sequence[Labelled]) -> float:
    return 100 * fmean(answer == example.label for answer, example in zip(found, test, strict=True))


def judged(
    train: Sequence[Labelled], test: Sequence[Labelled], vectors: np.ndarray, queries: np.ndarray
) -> Scores:
    labels = [example.label for example in train]
    neighbours = vote(labels, *nearest(vectors, queries, NEIGHBOURS))
    whiten = Whitening.fit(vectors)
    whitened = vote(labels, *nearest(whiten(vectors), whiten(queries), NEIGHBOURS))
    probe = LinearProbe.fit(vectors, labels)
    return {
        "k-NN": accuracy(neighbours, test),
        "whitened": accuracy(whitened, test),
        "probe": accuracy(probe(queries), test),
    }


def tf_idf(train: Sequence[Labelled], test: Sequence[Labelled]) -> Scores:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeClassifier

    maker = TfidfVectorizer(analyzer=_one_and_two, sublinear_tf=True, min_df=2)
    vectors: Any = maker.fit_transform([example.text for example in train])
    queries: Any = maker.transform([example.text for example in test])
    labels = [example.label for example in train]
    likeness = (queries @ vectors.T).toarray()
    places = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBOURS]
    neighbours = vote(labels, places, np.take_along_axis(likeness, places, 1))

    order = np.random.default_rng(0).permutation(len(labels))
    held, kept = order[: len(order) // 10], order[len(order) // 10 :]

    def ridge(strength: float, rows: np.ndarray) -> RidgeClassifier:
        return RidgeClassifier(strength, solver="sparse_cg").fit(vectors[rows], [labels[row] for row in rows])

    best = max(
        STRENGTHS,
        key=lambda strength: ridge(strength, kept).score(vectors[held], [labels[row] for row in held]),
    )
    probe = ridge(best, np.arange(len(labels))).predict(queries).tolist()
    return {"k-NN": accuracy(neighbours, test), "probe": accuracy(probe, test)}


def _one_and_two(text: str) -> list[str]:
    one = words(text)
    return one + [" ".join(pair) for pair in pairwise(one)]


def word2vec(width: int, epochs: int, more: Sequence[Path]) -> dict[str, System]:
    """Both ways to take a mean; a fold's vectors are learnt once."""
    from gensim.models import KeyedVectors, Word2Vec

    known_folds: dict[int, KeyedVectors] = {}

    def learnt_from(train: Sequence[Labelled]) -> KeyedVectors:
        if id(train) not in known_folds:
            given = TextSettings(text=tuple(more), documents="line") if more else None
            corpus = [words(example.text) for example in train]
            documents = read_documents(given) if given else ()
            # By lines: gensim reads no more than 10,000 words of a text.
            corpus += [words(line) for document in documents for line in document.text.splitlines()]
            known_folds[id(train)] = Word2Vec(
                corpus,
                vector_size=width,
                window=5,
                min_count=2,
                sg=1,
                negative=5,
                epochs=epochs,
                workers=1,
                seed=1,
            ).wv
        return known_folds[id(train)]

    def system(idf: bool, train: Sequence[Labelled], test: Sequence[Labelled]) -> Scores:
        learnt = learnt_from(train)
        counts = Counter(word for example in train for word in set(words(example.text)))

        def mean(examples: Sequence[Labelled]) -> np.ndarray:
            rows = np.zeros((len(examples), width))
            for row, example in zip(rows, examples, strict=True):
                known = [word for word in words(example.text) if word in learnt]
                if known:
                    weights = [
                        math.log((1 + len(train)) / (1 + counts[word])) + 1 if idf else 1.0 for word in known
                    ]
                    row[:] = np.average([learnt[word] for word in known], 0, weights)
            return rows

        return judged(train, test, mean(train), mean(test))

    return {"word2vec": partial(system, False), "word2vec-idf": partial(system, True)}


def of_model(folder: Path, layer: str, every: Sequence[Labelled]) -> System:
    from heedful.tasks.embedding import load

    vectors = load(folder, layer=layer).embed(example.text.replace("\n", " ") for example in every)
    rows = {example.place: row for row, example in enumerate(every)}

    def system(train: Sequence[Labelled], test: Sequence[Labelled]) -> Scores:
        own = [[rows[example.place] for example in part] for part in (train, test)]
        return judged(train, test, vectors[own[0]], vectors[own[1]])

    return system


def systems(choice: argparse.Namespace, every: Sequence[Labelled]) -> Iterator[tuple[str, System]]:
    if not choice.only_models:
        yield "tf-idf", tf_idf
        yield from word2vec(choice.width, choice.epochs, choice.text).items()
    for folder in choice.models:
        for layer in layers_of(folder) if choice.layers == "all" else choice.layers.split():
            name = folder.parent.name if folder.name == "model" else folder.name
            yield f"{name}:{layer}", of_model(folder, layer, every)


def layers_of(folder: Path) -> list[str]:
    from heedful.tasks import readers

    return [str(layer) for layer in range(readers.read(folder).layers + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", type=Path, default=[], help="model folders or runs")
    parser.add_argument("--layers", default="-1", help="of the models: all, or some with spaces")
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--folds", type=int, default=10, help="of mr and movie_reviews, the first so many")
    parser.add_argument(
        "--text", nargs="*", type=Path, default=[], help="more text for Word2Vec: a text a line, or .jsonl"
    )
    parser.add_argument("--width", type=int, default=256, help="of Word2Vec's vectors")
    parser.add_argument("--epochs", type=int, default=10, help="of Word2Vec")
    parser.add_argument("--only-models", action="store_true", help="leave the baselines out")
    parser.add_argument("--output", type=Path, help="write all scores as JSON too")
    choice = parser.parse_args()
    print(f"{platform.machine()}, {platform.python_version()}; k-NN {NEIGHBOURS}, accuracy in percent")
    told: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name in choice.sets:
        folds = range(1, min(SETS[name], choice.folds) + 1)
        splits = [labelled_named(name, fold) for fold in folds]
        parts = [(split.train, next(iter(split.tests.values()))) for split in splits]
        every = [*parts[0][0], *parts[0][1]]
        print(f"\n{name}: {len(every):,} texts, {len(parts)} fold{'s' * (len(parts) > 1)}", flush=True)
        for system, run in systems(choice, every):
            began = time.monotonic()
            found = [run(train, test) for train, test in parts]
            of = {judge: [one[judge] for one in found] for judge in found[0]}
            told.setdefault(name, {})[system] = of
            cells = "   ".join(
                f"{judge} {fmean(values):5.1f} ±{pstdev(values):4.1f}" for judge, values in of.items()
            )
            print(f"  {system:24} {cells}   {time.monotonic() - began:6.0f} s", flush=True)
    if choice.output:
        choice.output.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
