"""The picture of attention: every block stands in the column of its token, whatever the script."""

import numpy as np
import pytest
from rich.cells import cell_len

from heedful.viewing.terminal import LEGEND, picture

SCRIPTS = {
    "latin": list("3. März 2019"),
    "chinese": list("2019年3月3日"),
    "arabic": list("٣ مارس"),
    "combining": ["e\u0301", "a", "q\u0303"],
}


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_the_darkest_block_stands_below_its_character(source: list[str]):
    target = list("2019-03")[: len(source)]
    weights = np.eye(len(target), len(source))
    header, *rows = picture(weights, source, target, width=200).splitlines()
    assert len(rows) == len(target)
    for number, row in enumerate(rows):
        before = row[: row.index("██")]
        assert cell_len(before) == 2 + 2 * number
    assert cell_len(header.rstrip()) <= 2 + 2 * len(source)


def test_columns_of_a_header_are_two_cells_wide_in_every_script():
    for source in SCRIPTS.values():
        header = picture(np.zeros((1, len(source) + 1)), [*source, "|"], ["x"], width=200).splitlines()[0]
        assert cell_len(header) == 2 + 2 * len(source) + 1


def test_blocks_get_denser_with_the_weight():
    row = picture([[0.0, 0.09, 0.1, 0.25, 0.5, 0.75, 1.0]], list("abcdefg"), ["x"]).splitlines()[1]
    assert row == "x · · ░░▒▒▓▓████"
    assert LEGEND == "░░ 10% or more   ▒▒ 25% or more   ▓▓ 50% or more   ██ 75% or more"


def test_pieces_of_several_characters_are_written_downwards_and_end_in_one_line():
    drawn = picture([[1, 0, 0]], ["▁ab", "▁", "</s>"], ["▁xyz"]).splitlines()
    assert drawn == ["    a", "    b ␣ ⏎", "xyz ██· ·"]


def test_a_source_too_long_for_a_line_is_continued_below():
    drawn = picture(np.eye(1, 6, 4), list("abcdef"), ["x"], width=10)
    assert drawn == "  a b c d\nx · · · ·\n\n  e f\nx ██·"
    assert all(cell_len(line) <= 10 for line in drawn.splitlines())


def test_marks_of_direction_keep_arabic_in_its_columns():
    header = picture(np.zeros((1, 2)), ["م", "ا"], ["x"]).splitlines()[0]
    assert header == "  \u200eم\u200e \u200eا\u200e"


def test_nothing_to_draw_is_drawn():
    assert picture(np.zeros((0, 2)), ["a", "b"], []) == " a b"


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2\), but there are 1 target and 3 source tokens"):
        picture([[0.5, 0.5]], list("abc"), ["x"])
