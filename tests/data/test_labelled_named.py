"""The named sets of texts with labels, from the mirror: their published sizes."""

from collections import Counter

import pytest

from heedful.data.labelled_named import labelled_named


@pytest.fixture(autouse=True)
def _mirror(mirror, monkeypatch):
    monkeypatch.setenv("HEEDFUL_DATA", str(mirror))


@pytest.mark.parametrize(
    ("name", "train", "validation", "test", "most"),
    [
        ("trec", 5452, None, 500, 27.6),
        ("sst2", 6920, 872, 1821, 50.1),
        ("sst5", 8544, 1101, 2210, 28.6),
        ("subj", 9000, None, 1000, None),
        ("mr", 9595, None, 1067, None),
        ("movie_reviews", 1800, None, 200, 50.0),
    ],
)
def test_sizes_are_the_published_ones(name, train, validation, test, most):
    splits = labelled_named(name)
    (found,) = splits.tests.values()
    assert (len(splits.train), len(found)) == (train, test)
    assert (splits.validation and len(splits.validation)) == validation
    if most is not None:  # the share of the most frequent label, counted in the mirror's README
        counts = Counter(example.label for example in found)
        assert round(100 * max(counts.values()) / test, 1) == most


def test_labels_have_names():
    train = {example.text: example.label for example in labelled_named("trec").train}
    assert train["When was Ozzy Osbourne born ?"] == "number"
    assert train["What is the highest waterfall in the United States ?"] == "location"
    assert train["What is the full form of .com ?"] == "abbreviation"
    assert train["What are liver enzymes ?"] == "description"


def test_folds_are_disjoint_and_complete():
    tests = [
        {example.place for found in labelled_named("mr", fold).tests.values() for example in found}
        for fold in range(1, 11)
    ]
    assert sum(map(len, tests)) == len(set.union(*tests)) == 10662
    whole = labelled_named("movie_reviews", 10)
    assert {example.place.split("/")[-1][:3] for found in whole.tests.values() for example in found} == {
        "cv9"
    }
