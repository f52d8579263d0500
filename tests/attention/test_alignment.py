"""Links read off weights, made of two directions one, written and read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedful.attention.alignment import (
    from_pharaoh,
    predicting,
    reading,
    stronger,
    strongest,
    swapped,
    symmetrise,
    to_pharaoh,
)

some_links = st.frozensets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=14)
WEIGHTS = torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.2, 0.4], [0.0, 0.0, 0.0], [0.1, 0.1, 0.8]])


def test_the_strongest_links_are_the_largest_weights_of_the_targets():
    assert strongest(WEIGHTS) == {(0, 0), (0, 1), (2, 3)}
    assert strongest(WEIGHTS, least=0.5) == {(0, 0), (2, 3)}
    assert strongest(torch.zeros(0, 3)) == strongest(torch.zeros(3, 0)) == frozenset()


def test_links_above_a_threshold_may_be_several_or_none():
    assert stronger(WEIGHTS, 0.25) == {(0, 0), (1, 0), (0, 1), (2, 1), (2, 3)}
    assert stronger(WEIGHTS, 0.9) == frozenset()
    assert stronger(WEIGHTS, 0.0) >= strongest(WEIGHTS)


def test_a_decoder_that_copies_one_step_late_aligns_by_reading_and_not_by_predicting():
    # It looks at word t when it has just read word t: the row of START looks anywhere.
    weights = torch.cat([torch.tensor([[0.1, 0.1, 0.8]]), torch.eye(3)])
    diagonal = {(0, 0), (1, 1), (2, 2)}
    assert strongest(reading(weights)) == diagonal
    assert strongest(predicting(weights)) == {(2, 0), (0, 1), (1, 2)}
    assert strongest(predicting(torch.cat([torch.eye(3), weights[:1]]))) == diagonal
    assert reading(weights.expand(2, 4, -1, -1)).shape == (2, 4, 3, 3)


@given(some_links, some_links)
def test_symmetrisations_lie_between_intersection_and_union(forward, backward):
    both, either = forward & backward, forward | backward
    assert symmetrise(forward, backward, "intersection") == both
    assert symmetrise(forward, backward, "union") == either
    grown = symmetrise(forward, backward, "grow-diag")
    final = symmetrise(forward, backward, "grow-diag-final")
    strict = symmetrise(forward, backward, "grow-diag-final-and")
    assert both <= grown <= strict <= either
    assert grown <= final <= either
    # What is left out is left out because both its words have links.
    for source, target in either - final:
        assert any(link[0] == source for link in final)
        assert any(link[1] == target for link in final)
    for source, target in either - strict:
        assert any(link[0] == source or link[1] == target for link in strict)
    assert symmetrise(forward, forward, "grow-diag-final") == forward


@given(some_links, some_links)
def test_grown_links_are_those_of_the_published_program(forward, backward):
    # Koehn et al. 2005, figure 1, word for word: e is the target, f the source.
    found = set(forward & backward)
    size = range(7)
    before = None
    while before != found:
        before = set(found)
        for e in size:
            for f in size:
                if (f, e) not in found:
                    continue
                for de, df in ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                    new = f + df, e + de
                    aligned = any(a == new[0] for a, _ in found), any(b == new[1] for _, b in found)
                    if not all(aligned) and new in forward | backward:
                        found.add(new)
    assert symmetrise(forward, backward, "grow-diag") == found
    for direction in (forward, backward):
        for e in size:
            for f in size:
                aligned = any(a == f for a, _ in found), any(b == e for _, b in found)
                if not all(aligned) and (f, e) in direction:
                    found.add((f, e))
    assert symmetrise(forward, backward, "grow-diag-final") == found


def test_growing_goes_along_diagonals_and_final_takes_what_lies_apart():
    forward = {(0, 0), (1, 1), (4, 2)}
    backward = {(0, 0), (2, 2), (1, 1), (5, 5)}
    assert symmetrise(forward, backward, "grow-diag") == {(0, 0), (1, 1), (2, 2)}
    assert symmetrise(forward, backward, "grow-diag-final") == {(0, 0), (1, 1), (2, 2), (4, 2), (5, 5)}
    assert symmetrise(forward, backward, "grow-diag-final-and") == {(0, 0), (1, 1), (2, 2), (5, 5)}
    with pytest.raises(ValueError, match="got 'median'"):
        symmetrise(forward, backward, "median")  # pyright: ignore[reportArgumentType]


@given(some_links)
def test_links_are_read_as_they_were_written(links):
    line = to_pharaoh(links)
    assert from_pharaoh(line) == links
    assert line == " ".join(sorted(line.split(), key=lambda word: tuple(map(int, word.split("-")))))
    assert swapped(swapped(links)) == links
    assert from_pharaoh("1-1 2-4", first=1) == {(0, 0), (1, 3)}


@pytest.mark.parametrize("line", ["0-0 1", "a-b", "1-2-3", "0-1 0p1", "-1-2", "0--1"])
def test_what_is_no_link_is_refused(line):
    with pytest.raises(ValueError, match=r"A link is two numbers from 0 .* got '"):
        from_pharaoh(line)
    with pytest.raises(ValueError, match=r"from 1 .* got '0-1'"):
        from_pharaoh("0-1", first=1)
    with pytest.raises(ValueError, match=r"one matrix .* got \(1, 4, 3\)"):
        strongest(WEIGHTS.unsqueeze(0))
