"""Colours of the page: even steps, told apart by everyone, read on their ground; colors.js gives those of the file."""

import json
import re
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest

from tests.viewing.page_files import FILES, needs_node, run

COLORS = json.loads(FILES["colors.json"])


def linear(colours: Any) -> np.ndarray:
    """sRGB (..., 3) of 0 to 255 -> light (IEC 61966-2-1)."""
    part = np.asarray(colours, dtype=np.float64) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """Light (..., 3) -> CIELAB of white D65."""
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    part = light @ to_xyz.T / [0.95047, 1.0, 1.08883]
    f = np.where(part > 216 / 24389, np.cbrt(part), (24389 / 27 * part + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def contrast(one: list[int], other: list[int]) -> float:
    """The ratio of WCAG 2."""
    dark, light = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


# Machado, Oliveira and Fernandes (2009), severity 1.0.
SEEN_BY = {
    "all three kinds of cones": np.eye(3),
    "protanopes": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopes": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def seen(colours: Any, eye: str) -> np.ndarray:
    return lab((linear(colours) @ SEEN_BY[eye].T).clip(0, 1))


def test_both_themes_have_the_same_scales():
    assert set(COLORS) == {"light", "dark"}
    for theme in COLORS.values():
        assert {name: len(stops) for name, stops in theme.items()} == {
            "weights": 9,
            "difference": 9,
            "categories": 8,
        }
        assert all(
            len(stop) == 3 and all(0 <= part <= 255 for part in stop)
            for stops in theme.values()
            for stop in stops
        )


@pytest.mark.parametrize("theme", COLORS)
def test_the_scale_of_weights_changes_its_lightness_evenly(theme: str):
    lightness = lab(linear(COLORS[theme]["weights"]))[:, 0]
    steps = np.diff(lightness) * (1 if theme == "dark" else -1)
    assert steps.min() > 0
    assert steps.max() - steps.min() < 0.5  # of a hundred
    assert abs(lightness[-1] - lightness[0]) > 80


@pytest.mark.parametrize("eye", SEEN_BY)
@pytest.mark.parametrize("theme", COLORS)
def test_signs_of_a_difference_can_be_told_apart(theme: str, eye: str):
    stops = seen(COLORS[theme]["difference"], eye)
    toward = np.diff(stops[:, 0])
    sign = 1 if theme == "light" else -1
    assert (sign * toward[:4] > 0).all()
    assert (sign * toward[4:] < 0).all()
    # The same amount below and above zero: 2.3 is just noticed.
    for i in range(4):
        assert np.linalg.norm(stops[i] - stops[8 - i]) > 25
    # The middle has no colour.
    assert np.linalg.norm(stops[4, 1:]) < 6


@pytest.mark.parametrize("eye", SEEN_BY)
@pytest.mark.parametrize("theme", COLORS)
def test_categories_can_be_told_apart_by_everyone(theme: str, eye: str):
    colours = seen(COLORS[theme]["categories"], eye)
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(colours, 2)) > 20


@pytest.mark.parametrize("theme", COLORS)
def test_categories_and_words_stand_out_from_the_ground(theme: str):
    style = FILES["style.css"]
    block = style.split(':root[data-theme="dark"]')[theme == "dark"]

    def of(name: str) -> list[int]:
        found = re.search(rf"{name}: #([0-9a-f]{{6}})", block)
        assert found is not None
        return list(bytes.fromhex(found[1]))

    ground = of("--ground")
    assert ground == COLORS[theme]["weights"][0]  # a weight of 0 is paper
    for name in ("--ink", "--muted", "--faint", "--accent", "--danger"):
        assert contrast(of(name), ground) > 4.5, name
    assert contrast(of("--on-accent"), of("--accent")) > 4.5
    for colour in COLORS[theme]["categories"]:
        assert contrast(colour, ground) > 3


@needs_node
def test_scales_go_straight_from_stop_to_stop():
    found = run("""
    import { css, ink, lookup, scale, setTheme } from "PAGE/colors.js";
    const told = {};
    for (const theme of ["light", "dark"]) {
      setTheme(theme);
      const values = Array.from({ length: 65 }, (_, i) => i / 64);
      told[theme] = {
        stops: values.map(scale("weights")), outside: [scale("weights")(-1), scale("weights")(2)],
        table: Array.from(lookup("weights")), css: css("difference", 0.5),
        ink: values.map((value) => ink("weights", value)),
      };
    }
    console.log(JSON.stringify(told));
    """)
    for theme, told in found.items():
        stops = np.array(COLORS[theme]["weights"], dtype=np.float64)
        wanted = np.stack([np.interp(np.arange(65) / 8, range(9), stops[:, part]) for part in range(3)], 1)
        assert np.abs(np.array(told["stops"]) - wanted).max() <= 0.5
        assert told["outside"] == [COLORS[theme]["weights"][0], COLORS[theme]["weights"][-1]]
        table = np.array(told["table"]).reshape(256, 4)
        assert (table[:, 3] == 255).all()
        assert table[[0, 255], :3].tolist() == told["outside"]
        assert told["css"] == "rgb({} {} {})".format(*COLORS[theme]["difference"][4])
        # Numbers in cells can be read on each of them.
        for ink, below in zip(told["ink"], told["stops"], strict=True):
            assert contrast(list(bytes.fromhex(ink[1:])), below) > 4.5


def test_lightness_of_pairs_is_measured_as_the_standard_says():
    # White is 100, black 0, and pure blue 32.30 (CIE 15:2004 with sRGB's primaries).
    lightness = lab(linear([[255, 255, 255], [0, 0, 0], [0, 0, 255]]))[:, 0]
    assert lightness == pytest.approx([100, 0, 32.30], abs=0.01)
    assert all(one > other for one, other in pairwise(lab(linear([[200] * 3, [100] * 3, [50] * 3]))[:, 0]))
