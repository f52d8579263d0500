"""The figure of scores by length."""

import sys
import xml.etree.ElementTree

import pytest

from heedful.errors import HeedfulError
from heedful.evaluation.by_length import LengthScore, by_length
from heedful.viewing.lengths import lengths_figure

LINES = [f"{number % 5} {number % 3} x" for number in range(60)]


def buckets(metric: str = "bleu") -> list[LengthScore]:
    changed = [line if number % 4 else "y y y" for number, line in enumerate(LINES)]
    return by_length(changed, LINES, list(range(60)), (20, 40), metric, "en", resamples=100)


def test_the_figure_names_its_systems_and_axes_and_is_the_same_each_time():
    pytest.importorskip("matplotlib")
    systems = {"RNNsearch": buckets(), "5 $ or 6 $": buckets()}  # the signs begin no formula
    found = lengths_figure(systems, "words", "Multi30k")
    texts = {element.text for element in xml.etree.ElementTree.fromstring(found).iter() if element.text}
    assert {"RNNsearch", "5 $ or 6 $", "source length (words)", "bleu", "Multi30k"} <= texts
    assert lengths_figure(systems, "words", "Multi30k") == found


def test_two_metrics_are_two_figures():
    with pytest.raises(ValueError, match=r"one metric, not 2: \['bleu', 'chrf'\]"):
        lengths_figure({"a": buckets("bleu"), "b": buckets("chrf")})


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(HeedfulError, match="pip install matplotlib"):
        lengths_figure({"a": buckets()})
