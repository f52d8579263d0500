import hashlib
from pathlib import Path

import pytest

from heedful.data import algorithmic
from heedful.errors import DataError

NAMES = ("train", "validation", "test")


def read(path: Path) -> list[tuple[list[str], list[str]]]:
    rows = [row.split("\t") for row in path.read_text("utf-8").splitlines()]
    return [(source.split(" "), target.split(" ")) for source, target in rows]


@pytest.mark.parametrize(
    ("task", "symbols", "train", "longest"),
    [("copy", range(1, 11), 32_000, 10), ("reverse", range(50), 50_000, 25)],
)
def test_the_files(task: str, symbols: range, train: int, longest: int, tmp_path: Path) -> None:
    algorithmic.write(tmp_path, task)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.tsv", "train.tsv", "validation.tsv"]
    pairs = {name: read(tmp_path / f"{name}.tsv") for name in NAMES}
    assert {name: len(rows) for name, rows in pairs.items()} == {
        "train": train,
        "validation": 1_000,
        "test": 1_000,
    }
    for rows in pairs.values():
        for source, target in rows:
            assert target == (source if task == "copy" else source[::-1])
        assert {symbol for source, _ in rows for symbol in source} == set(map(str, symbols))
    assert {len(source) for source, _ in pairs["train"]} == set(range(1, longest + 1))

    seen = {name: {tuple(source) for source, _ in rows} for name, rows in pairs.items()}
    assert len(seen["validation"]) == len(seen["test"]) == 1_000, "held-out sequences are all different"
    assert not seen["train"] & (seen["validation"] | seen["test"])
    assert not seen["validation"] & seen["test"]


def test_held_out_reversals_go_beyond_the_lengths_learnt() -> None:
    sources = algorithmic.sequences("reverse")
    for name in ("validation", "test"):
        lengths = [len(source) for source in sources[name]]
        assert (min(lengths), max(lengths)) == (3, 30)
        # Five of the 28 lengths; 1,000 even draws stay within five standard deviations.
        assert sum(length > 25 for length in lengths) / 1_000 == pytest.approx(5 / 28, abs=0.06)


@pytest.mark.parametrize(
    ("task", "digest"),
    [
        ("copy", "b2507af0550315722a5c9f6f0e4cf54e0d1dd0164c2168fff9903bc7f68b25a7"),
        ("reverse", "6ba122fd88dd802b6c9d2758657782c9235190e32df7be28ce695fa2f675138c"),
    ],
)
def test_files_are_the_same_everywhere(task: str, digest: str, tmp_path: Path) -> None:
    # Where the generator is changed on purpose, VERSION must be counted up along with these.
    assert algorithmic.VERSION == 1
    algorithmic.write(tmp_path, task)
    content = b"".join((tmp_path / f"{name}.tsv").read_bytes() for name in NAMES)
    assert hashlib.sha256(content).hexdigest() == digest


def test_an_unknown_task_is_named_beside_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no task named 'sort'; there are copy and reverse"):
        algorithmic.write(tmp_path, "sort")
    assert not list(tmp_path.iterdir())
