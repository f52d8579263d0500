"""Stores of pairs: what is written is what is read, and a file is whole or it is not there."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful.data import store as store_module
from heedful.data.store import PairStore
from heedful.errors import DataError

PAIRS = [([17, 4, 256], [9, 31]), ([], [5]), ([3], []), ([65_535], [0])]

ids = st.one_of(st.integers(0, 100), st.integers(0, 2**32 - 1))
sequences = st.lists(ids, max_size=6)
pair_lists = st.lists(st.tuples(sequences, sequences), max_size=12)


def listed(store: PairStore) -> list[tuple[list[int], list[int]]]:
    return [(source.tolist(), target.tolist()) for source, target in store]


@pytest.fixture(autouse=True)
def _small_record_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ROWS_PER_RECORD_BATCH", 3)
    monkeypatch.setattr(store_module, "IDS_PER_RECORD_BATCH", 20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(pairs=pair_lists, data=st.data())
def test_what_is_written_is_what_is_read(
    pairs: list[tuple[list[int], list[int]]], data: st.DataObject, tmp_path: Path
) -> None:
    store = PairStore.write(tmp_path / "pairs.arrow", pairs)
    assert len(store) == len(pairs)
    assert listed(store) == pairs
    # Ids take two bytes until one needs four.
    largest = max((id for pair in pairs for side in pair for id in side), default=0)
    id_type = np.uint16 if largest < 2**16 else np.uint32
    assert all(ids.dtype == id_type for pair in store for ids in pair)
    sources, targets = store.lengths()
    assert sources.dtype == targets.dtype == np.int32
    assert sources.tolist() == [len(source) for source, _ in pairs]
    assert targets.tolist() == [len(target) for _, target in pairs]
    indices = sorted(data.draw(st.lists(st.integers(0, len(pairs) - 1)))) if pairs else []
    gathered = store.gather(np.array(indices, dtype=np.int64))
    for side, ragged in enumerate(gathered):
        assert [ragged[row].tolist() for row in range(len(ragged))] == [
            pairs[index][side] for index in indices
        ]


def test_arrays_are_taken_as_lists_are(tmp_path: Path) -> None:
    pairs = [
        (np.array(source, dtype=np.int64), np.array(target, dtype=np.uint16)) for source, target in PAIRS
    ]
    assert listed(PairStore.write(tmp_path / "pairs.arrow", pairs)) == PAIRS


def test_reading_copies_nothing_and_cannot_write(tmp_path: Path) -> None:
    store = PairStore.write(tmp_path / "pairs.arrow", PAIRS)
    first, again = store[0][0], store[0][0]
    assert np.shares_memory(first, again)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_any_arrow_reader_opens_it(tmp_path: Path) -> None:
    PairStore.write(tmp_path / "pairs.arrow", PAIRS, {"tokenizer": "abc"})
    table = pa.ipc.open_file(tmp_path / "pairs.arrow").read_all()
    assert table.to_pylist() == [{"source": source, "target": target} for source, target in PAIRS]
    assert table.schema.metadata[b"tokenizer"] == b"abc"


@pytest.mark.parametrize("largest", [9, 99_999])
def test_metadata_travels(tmp_path: Path, largest: int) -> None:
    metadata = {"tokenizer": "sha256:abc", "language": "Čeština"}
    assert PairStore.write(tmp_path / "pairs.arrow", [([largest], [1])], metadata).metadata == metadata
    assert PairStore.open(tmp_path / "pairs.arrow").metadata == metadata


def test_release_keeps_the_content(tmp_path: Path) -> None:
    store = PairStore.write(tmp_path / "pairs.arrow", PAIRS)
    view = store[0][0]
    store.release()
    assert view.tolist() == PAIRS[0][0]
    assert listed(store) == PAIRS


def test_memory_of_writing_does_not_grow_with_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ROWS_PER_RECORD_BATCH", 500)
    monkeypatch.setattr(store_module, "IDS_PER_RECORD_BATCH", 1_000_000)

    def peak(pairs: int) -> int:
        tracemalloc.start()
        PairStore.write(tmp_path / "pairs.arrow", (([row] * 20, [row] * 20) for row in range(pairs)))
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    peak(1_000)
    assert peak(10_000) < 1.2 * peak(2_000)


def test_long_sequences_close_a_record_batch_early(tmp_path: Path) -> None:
    PairStore.write(tmp_path / "pairs.arrow", [([1] * 15, [2] * 15)] * 4)
    assert pa.ipc.open_file(tmp_path / "pairs.arrow").num_record_batches == 4


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "pairs.arrow"

    def failing() -> Iterator[tuple[list[int], list[int]]]:
        yield from PAIRS * 3
        raise DataError("line 13 is not UTF-8")

    with pytest.raises(DataError, match="line 13"):
        PairStore.write(path, failing())
    assert list(tmp_path.iterdir()) == []
    PairStore.write(path, PAIRS)
    with pytest.raises(DataError, match="line 13"):
        PairStore.write(path, failing())
    assert list(tmp_path.iterdir()) == [path]
    assert listed(PairStore.open(path)) == PAIRS


def test_an_open_store_survives_being_replaced(tmp_path: Path) -> None:
    store = PairStore.write(tmp_path / "pairs.arrow", PAIRS)
    PairStore.write(tmp_path / "pairs.arrow", [([1], [2])])
    assert listed(store) == PAIRS


@pytest.mark.parametrize("large", [1, 70_000])
def test_a_negative_id_is_refused(tmp_path: Path, large: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        PairStore.write(tmp_path / "pairs.arrow", [([large], [2]), ([1], [-1])])


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.arrow"
    PairStore.write(path, PAIRS)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), *range(len(whole) - 40, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"pairs\.arrow"):
            PairStore.open(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "corpus.en"
    text.write_text("A man rides a horse.\n" * 100)
    with pytest.raises(DataError, match=r"corpus\.en is not a complete store of pairs"):
        PairStore.open(text)
    table = pa.table({"source": [[1]], "target": [[2]]})
    with (
        pa.OSFile(str(tmp_path / "other.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
    with pytest.raises(DataError, match=r"other\.arrow is an Arrow file, but not a store of pairs"):
        PairStore.open(tmp_path / "other.arrow")
    with pytest.raises(DataError, match="No such file"):
        PairStore.open(tmp_path / "missing.arrow")
    with pytest.raises(DataError, match="directory"):
        PairStore.open(tmp_path)
    (tmp_path / "empty.arrow").touch()
    with pytest.raises(DataError, match=r"empty\.arrow is empty"):
        PairStore.open(tmp_path / "empty.arrow")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"pairs\.arrow cannot be written"):
        PairStore.write(tmp_path / "file" / "pairs.arrow", PAIRS)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    script = """
import resource, sys
from heedful.data.store import PairStore
from heedful.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    PairStore.write(sys.argv[1], (([1] * 50, [2] * 50) for _ in range(100_000)))
except DataError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "pairs.arrow")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pairs.arrow cannot be written" in result.stdout
    assert "File too large" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_indices_out_of_place_are_refused(tmp_path: Path) -> None:
    store = PairStore.write(tmp_path / "pairs.arrow", PAIRS)
    for index in (-1, len(PAIRS)):
        with pytest.raises(IndexError, match="of a store of 4 pairs"):
            store[index]
        with pytest.raises(ValueError, match="ascend"):
            store.gather(np.array([index]))
    with pytest.raises(ValueError, match="ascend"):
        store.gather(np.array([2, 1]))
