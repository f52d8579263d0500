"""Neighbours, votes, probes and the measures of contextuality against their definitions written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heedful.evaluation.vectors import (
    LinearProbe,
    Whitening,
    contextuality,
    explainable_variance,
    intra_sentence_similarity,
    nearest,
    self_similarity,
    vote,
)

numbers = st.floats(-4, 4).filter(lambda number: abs(number) > 1e-3)


def cosine(x, y) -> float:
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, (6, 3), elements=numbers))
def test_the_measures_are_ethayarajhs(vectors):
    pairs = [cosine(vectors[i], vectors[j]) for i in range(6) for j in range(6) if i != j]
    assert self_similarity(vectors) == pytest.approx(sum(pairs) / (6 * 5), abs=1e-9)
    middle = vectors.mean(0)
    if np.linalg.norm(middle) > 1e-6:
        with_mean = sum(cosine(vector, middle) for vector in vectors) / 6
        assert intra_sentence_similarity(vectors) == pytest.approx(with_mean, abs=1e-9)
    singular = np.linalg.svd(vectors, compute_uv=False)
    share = singular[0] ** 2 / (singular**2).sum()
    assert explainable_variance(vectors) == pytest.approx(share, abs=1e-9)
    assert explainable_variance(vectors.T) == pytest.approx(share, abs=1e-9)


def test_static_vectors_explain_all_and_random_words_nothing():
    draw = np.random.default_rng(0)
    table = draw.normal(size=(40, 64))
    sentences = [table[draw.integers(40, size=9)] for _ in range(300)]
    measured = contextuality([np.repeat(table[:1], 7, 0), np.repeat(table[1:2], 5, 0)], sentences)
    assert measured.self_similarity == pytest.approx(1)
    assert measured.explainable_variance == pytest.approx(1)
    # A fortieth of the pairs are of the same word.
    assert measured.anisotropy == pytest.approx(1 / 40, abs=0.02)
    assert measured.adjusted()["explainable_variance"] == pytest.approx(1 - measured.random_variance)
    with pytest.raises(ValueError, match="got 0 words and 300 sentences"):
        contextuality([], sentences)
    with pytest.raises(ValueError, match="two vectors at least, got 1"):
        self_similarity(table[:1])


def test_the_nearest_come_first_and_zeros_are_like_nothing():
    vectors = np.array([[1.0, 0], [0, 2], [3, 3], [0, 0], [5, 0]])
    places, cosines = nearest(vectors, np.array([[2.0, 0], [0, 0]]), 9)
    assert places.tolist() == [[0, 4, 2, 1, 3], [0, 1, 2, 3, 4]]
    assert cosines[0] == pytest.approx([1, 1, 0.5**0.5, 0, 0])
    assert not cosines[1].any()


def test_whitening_gives_all_directions_one_variance_and_its_strength_is_how_much_of_it():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(400, 6)) @ draw.normal(size=(6, 6)) + 3
    plain = vectors - vectors.mean(0)
    whole = Whitening.fit(vectors, 1.0)(vectors)
    assert np.cov(whole, rowvar=False, bias=True) == pytest.approx(np.eye(6), abs=1e-9)
    assert whole.mean(0) == pytest.approx(np.zeros(6), abs=1e-9)
    none = Whitening.fit(vectors, 0.0)(vectors)
    assert none @ none.T == pytest.approx(plain @ plain.T)  # the same but for a rotation
    half = np.linalg.eigvalsh(np.cov(Whitening.fit(vectors, 0.5)(vectors), rowvar=False, bias=True))
    assert half == pytest.approx(np.linalg.eigvalsh(np.cov(plain, rowvar=False, bias=True)) ** 0.5)


def test_whitening_leaves_zeros_and_does_not_blow_up_what_never_varies():
    vectors = np.random.default_rng(0).normal(size=(50, 3)) * (1, 1, 0)
    vectors[7] = 0
    white = Whitening.fit(vectors, 1.0)(vectors)
    assert not white[7].any()
    assert np.abs(white).max() < 10
    with pytest.raises(ValueError, match="vectors of 3 numbers takes more than 3 of them, got 3"):
        Whitening.fit(vectors[:3])
    assert np.isfinite(Whitening.fit(vectors[:1], 0.0)(vectors)).all()


def test_a_vote_is_of_most_and_a_tie_of_the_nearer():
    vectors = np.array([[1.0, 0.1], [1, 0.3], [0.2, 1], [0.1, 1]])
    labels = ["right", "right", "up", "up"]
    assert vote(labels, *nearest(vectors, np.array([[1.0, 0], [0, 1]]), 3)) == ["right", "up"]
    assert vote(labels, *nearest(vectors, np.array([[1.0, 0.8]]), 4)) == ["right"]


def test_a_probe_is_the_ridge_regression_that_leaves_one_out_best():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(60, 5)) * [1, 10, 1, 0.1, 1]
    labels = ["abc"[place] for place in (x[:, :3] * [1, 0.1, 1]).argmax(1)]
    probe = LinearProbe.fit(x, labels)
    assert np.mean([one == other for one, other in zip(probe(x), labels, strict=True)]) > 0.8
    wanted = np.array([[label == name for name in probe.names] for label in labels], float)
    scaled = (x - x.mean(0)) / x.std(0)

    def fitted(rows, shrinking):
        one = np.c_[scaled[rows], np.ones(len(rows))]
        return np.linalg.solve(one.T @ one + shrinking * np.diag([1.0] * 5 + [0]), one.T @ wanted[rows])

    every = list(range(60))
    weights = fitted(every, probe.shrinking)
    assert np.c_[scaled, np.ones(60)] @ weights == pytest.approx(x @ probe.weights + probe.offsets)

    def left_out(shrinking):
        rest = [np.r_[scaled[i], 1] @ fitted([j for j in every if j != i], shrinking) for i in every]
        return ((np.array(rest) - wanted) ** 2).sum()

    assert left_out(probe.shrinking) <= min(left_out(probe.shrinking * factor) for factor in (0.1, 10))
    # A feature that never changes says nothing, and breaks nothing.
    constant = LinearProbe.fit(np.c_[x, np.full(60, 7.0)], labels)
    assert constant(np.c_[x, np.full(60, 7.0)]) == probe(x)
