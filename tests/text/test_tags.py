"""Tags are read as conlleval reads them, and written as IOB2."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from heedful.text.tags import Span, follows, labels, scheme, spans, tags

TAGS = ["O", *(f"{place}-{kind}" for place in "BIES" for kind in ("PER", "creative-work"))]


def conlleval(sequence):
    """The chunks of conlleval.pl, its startOfChunk and endOfChunk written out for B, I, E, O; and seqeval's for S."""
    found, start = [], None
    split = (
        [("O", "")]
        + [tuple(tag.split("-", 1)) if "-" in tag else ("O", "") for tag in sequence]
        + [("O", "")]
    )
    for place in range(1, len(split)):
        (before, before_type), (now, now_type) = split[place - 1], split[place]
        ends = (
            (before, now) in {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O"), ("B", "S"), ("I", "S")}
            or before in ("E", "S")
            or (before != "O" and before_type != now_type)
        )
        starts = (
            now in ("B", "S")
            or (before, now) in {("E", "E"), ("E", "I"), ("S", "E"), ("S", "I"), ("O", "E"), ("O", "I")}
            or (now != "O" and before_type != now_type)
        )
        if ends and start is not None:
            found.append((before_type, start, place - 1))
            start = None
        if starts:
            start = place - 1
    return found


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        (["O", "I-PER", "I-PER"], [("PER", 1, 3)]),  # I- after O begins
        (["B-PER", "I-LOC"], [("PER", 0, 1), ("LOC", 1, 2)]),  # another type begins
        (["I-PER", "B-PER"], [("PER", 0, 1), ("PER", 1, 2)]),  # IOB1: two that meet
        (["B-PER", "B-PER"], [("PER", 0, 1), ("PER", 1, 2)]),
        (["B-PER", "E-PER", "I-PER"], [("PER", 0, 2), ("PER", 2, 3)]),
        (["S-PER", "E-PER"], [("PER", 0, 1), ("PER", 1, 2)]),
        (["B-PER", "L-PER", "U-LOC"], [("PER", 0, 2), ("LOC", 2, 3)]),  # BILOU
        (["B-creative-work", "I-creative-work"], [("creative-work", 0, 2)]),
        ([], []),
    ],
)
def test_corner_cases(sequence, expected):
    assert spans(sequence) == [Span(*each) for each in expected]


@given(some.lists(some.sampled_from(TAGS), max_size=12))
def test_every_sequence_is_read_as_by_conlleval(sequence):
    assert [tuple(span) for span in spans(sequence)] == conlleval(sequence)


@given(some.lists(some.sampled_from(TAGS), max_size=12))
def test_what_is_written_is_valid_and_means_the_same(sequence):
    found = spans(sequence)
    written = tags(found, len(sequence))
    assert spans(written) == found
    assert all(follows(tag, before) for tag, before in zip(written, [None, *written], strict=False))
    assert scheme([written]) == "IOB2"


def test_schemes_are_told_apart():
    assert scheme([["I-PER", "I-PER", "O"]]) == "IOB1"
    assert scheme([["I-PER", "B-PER", "O", "I-LOC"]]) == "IOB1"
    assert scheme([["B-PER", "O"], ["I-PER"]]) == "mixed"
    assert scheme([["B-PER", "E-PER"]]) == "IOBES"
    assert scheme([["B-PER", "L-PER"]]) == scheme([["U-PER"]]) == "IOBES"


def test_what_is_no_tag_is_refused():
    with pytest.raises(ValueError, match=r"tag 1, 'PER'"):
        spans(["O", "PER"])


def test_labels_of_types():
    assert labels(["b", "a", "b"]) == ["O", "B-a", "I-a", "B-b", "I-b"]
