"""The figure of a word in its contexts: the plane of the points, and what is written beside it."""

import xml.etree.ElementTree

import numpy as np
import pytest

from heedful.tasks.contexts import Occurrence
from heedful.viewing.contexts import contexts_figure, plane


def occurrences(phrase: str, layers: int) -> list[Occurrence]:
    draw = np.random.default_rng(0)
    return [
        Occurrence(phrase, f"It is {phrase} ({number}).", number, 2, draw.normal(size=(layers, 4)))
        for number in range(1, 4)
    ]


def test_points_of_a_plane_keep_their_distances():
    draw = np.random.default_rng(1)
    flat = draw.normal(size=(9, 2)) @ draw.normal(size=(2, 7)) + 5
    points, share = plane(flat)
    apart = np.linalg.norm(flat[:, None] - flat, axis=-1)
    assert np.linalg.norm(points[:, None] - points, axis=-1) == pytest.approx(apart)
    assert share == pytest.approx(1)
    # Of a component and its opposite always the same one.
    assert (points.max(0) == np.abs(points).max(0)).all()
    assert plane(-flat)[0] == pytest.approx(points)


def test_the_share_is_what_the_first_two_components_have_of_the_variance():
    around = np.random.default_rng(2).normal(size=(30, 5))
    variances = np.sort(np.linalg.eigvalsh(np.cov(around.T)))
    assert plane(around)[1] == pytest.approx(variances[-2:].sum() / variances.sum())
    assert plane(np.ones((3, 5)))[1] == 0


def test_words_and_sentences_are_written_as_they_are_and_layers_from_the_first_to_the_last():
    pytest.importorskip("matplotlib")
    drawn = contexts_figure({"5 $ or 6 $": occurrences("5 $ or 6 $", layers=13)})
    texts = [element.text for element in xml.etree.ElementTree.fromstring(drawn).iter() if element.text]
    assert "5 $ or 6 $" in texts  # the signs begin no formula
    assert any("It is 5 $ or 6 $ (3)." in text for text in texts)
    titles = [text.split(":")[0] for text in texts if "layer" in text]
    assert titles == ["what layer 1 reads", "layer 2", "layer 5", "layer 7", "layer 10", "layer 12"]


def test_a_plane_needs_three_points():
    with pytest.raises(ValueError, match="three occurrences at least, got 2"):
        contexts_figure({"a": occurrences("a", layers=2)[:2]})
