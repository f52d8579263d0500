"""The alignment error rate of hand-made cases and of the gold alignments that are published."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.attention.alignment import from_pharaoh, swapped
from heedful.errors import DataError
from heedful.evaluation.alignment_error import GoldAlignment, alignment_error, read_gold

some_links = st.frozensets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12)
FOLDER = "word_alignment"


def _gold(sure: str, possible: str = "") -> GoldAlignment:
    return GoldAlignment(from_pharaoh(sure), from_pharaoh(f"{sure} {possible}"))


def test_rates_of_a_case_worked_out_by_hand():
    gold = [_gold("0-0 1-1 2-2", "2-3"), _gold("0-1")]
    found = [from_pharaoh("0-0 2-3 3-3"), from_pharaoh("0-1 1-0")]
    error = alignment_error(found, gold)
    # A = 5, S = 4, A & S = 2, A & P = 3
    assert error.precision == pytest.approx(3 / 5)
    assert error.recall == pytest.approx(2 / 4)
    assert error.rate == pytest.approx(1 - (2 + 3) / (5 + 4))
    assert str(error) == "AER 44.4, precision 60.0, recall 50.0 (5 links, 4 sure)"


@given(some_links, some_links, some_links)
def test_laws(found, sure, more):
    gold = GoldAlignment(sure, sure | more)
    error = alignment_error([found], [gold])
    assert 0 <= error.rate <= 1
    assert alignment_error([sure], [gold]).rate == 0
    assert (
        alignment_error([sure | more], [gold]).rate == 0
    )  # the possible cost nothing, and need not be found
    assert alignment_error([swapped(found)], [gold.swapped]) == error
    exact = alignment_error([found], [GoldAlignment(sure, sure)])
    # Where all are sure it is one minus the F1 measure.
    if found and sure and exact.precision + exact.recall:
        f1 = 2 * exact.precision * exact.recall / (exact.precision + exact.recall)
        assert exact.rate == pytest.approx(1 - f1)


def test_counts_are_of_the_corpus_and_not_means_of_sentences():
    gold = [_gold("0-0"), _gold("0-0 1-1 2-2")]
    error = alignment_error([frozenset(), gold[1].sure], gold)
    assert error.rate == pytest.approx(1 - 6 / 7)  # not (1 + 0) / 2


@pytest.mark.parametrize(
    ("name", "pairs", "sure", "possible", "outside"),
    [
        ("enfr", 447, 4038, 13400, 0),
        ("roen", 248, 6198, 0, 0),
        ("jaen", 582, 13562, 0, 6),
        ("zhen", 450, 11238, 178, 0),
    ],
)
def test_published_alignments_are_read_as_their_notes_count_them(
    mirror: Path, name: str, pairs: int, sure: int, possible: int, outside: int
):
    gold = read_gold(mirror / FOLDER / f"{name}.gold.gz")
    text = gzip.decompress((mirror / FOLDER / f"{name}.src-tgt.gz").read_bytes()).decode().splitlines()
    lengths = [tuple(len(side.split()) for side in line.split("|||")) for line in text]
    assert len(gold) == len(lengths) == pairs
    assert sum(len(one.sure) for one in gold) == sure
    assert sum(len(one.possible - one.sure) for one in gold) == possible
    inside = [one.within(*both) for one, both in zip(gold, lengths, strict=True)]
    assert (
        sum(len(one.possible) - len(other.possible) for one, other in zip(gold, inside, strict=True))
        == outside
    )
    assert alignment_error([one.sure for one in inside], inside).rate == 0


def test_words_may_be_counted_from_zero_and_files_be_plain(tmp_path: Path):
    file = tmp_path / "gold"
    file.write_text("0-1 2p3\n\n")
    assert read_gold(file, first=0) == [
        GoldAlignment(frozenset({(0, 1)}), frozenset({(0, 1), (2, 3)})),
        GoldAlignment(frozenset(), frozenset()),
    ]
    with pytest.raises(DataError, match=r"line 1: a link is written .* counted from 1, got '0-1'"):
        read_gold(file)
    for wrong in ("1:2", "1-2-3", "1-", "x"):
        file.write_text(f"1-1\n{wrong}\n")
        with pytest.raises(DataError, match=f"line 2: .* got '{wrong}'"):
            read_gold(file)


def test_files_that_cannot_be_read_and_unequal_numbers_are_told(tmp_path: Path):
    with pytest.raises(DataError, match="cannot be read as alignments"):
        read_gold(tmp_path / "nothing")
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"1-1")[:-4])
    with pytest.raises(DataError, match="cannot be read as alignments"):
        read_gold(tmp_path / "broken.gz")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read as alignments"):
        read_gold(tmp_path / "binary")
    with pytest.raises(DataError, match="Alignments of 1 pairs of sentences, but 0 made by people"):
        alignment_error([frozenset()], [])
