"""Pairs of integer sequences on disk, read through a memory map.

A `PairStore` is one Arrow IPC file with two columns of lists, `source` and `target`, so that any Arrow reader opens it:

    {"source": [17, 4, 256], "target": [9, 31]}
    {"source": [], "target": [5]}

It is written once, in record batches, and never changed. Reading copies nothing: `store[i]` gives views of the map, and
the pages that are touched belong to the operating system's file cache, not to this process.

Ids take two bytes each while all of them fit (vocabularies up to 65,536: half the disk and cache of int32), and four
as soon as one does not. The store knows nothing of special tokens, tokenizers or batches.
"""

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from heedful.durable import replacing
from heedful.errors import DataError

FORMAT = "heedful pairs 1"

# A record batch is closed at either bound: the first keeps the number of batches small, the second keeps long
# sequences from filling the memory (and far below the 2**31 values that Arrow's 32-bit offsets can address).
ROWS_PER_RECORD_BATCH = 65_536
IDS_PER_RECORD_BATCH = 8_000_000

NARROW = pa.uint16()
WIDE = pa.uint32()

Pair = tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray]


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, end to end: sequence `i` is `values[starts[i] : starts[i] + lengths[i]]`."""

    values: np.ndarray
    starts: np.ndarray  # (sequences,) int64
    lengths: np.ndarray  # (sequences,) int64

    @staticmethod
    def of(sequences: Iterable[Sequence[int] | np.ndarray]) -> "Ragged":
        """Lay `sequences` end to end.

        >>> ragged = Ragged.of([[5, 6], [], [7]])
        >>> ragged.values.tolist(), ragged.starts.tolist(), ragged.lengths.tolist()
        ([5, 6, 7], [0, 2, 2], [2, 0, 1])
        """
        arrays = [np.asarray(sequence) for sequence in sequences]
        lengths = np.fromiter((len(array) for array in arrays), dtype=np.int64, count=len(arrays))
        # An empty Python list would become float64, so empty sequences stay out of the concatenation.
        filled = [array for array in arrays if len(array)]
        values = np.concatenate(filled) if filled else np.zeros(0, dtype=np.int64)
        return Ragged(values, np.cumsum(lengths) - lengths, lengths)

    @staticmethod
    def join(parts: "Sequence[Ragged]") -> "Ragged":
        """The sequences of all `parts`, in order."""
        if not parts:
            return Ragged.of([])
        shifts = np.cumsum([0] + [len(part.values) for part in parts])
        return Ragged(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.starts + shift for part, shift in zip(parts, shifts, strict=False)]),
            np.concatenate([part.lengths for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def without(self, rows: np.ndarray) -> "Ragged":
        """All sequences but those of `rows`."""
        return Ragged(self.values, np.delete(self.starts, rows), np.delete(self.lengths, rows))

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.starts[index] : self.starts[index] + self.lengths[index]]


@dataclass(frozen=True)
class _Column:
    """One column of one record batch: views of the map."""

    offsets: np.ndarray  # (rows + 1,) int32
    values: np.ndarray

    @staticmethod
    def of(array: pa.Array) -> "_Column":
        return _Column(
            array.offsets.to_numpy(zero_copy_only=True), array.values.to_numpy(zero_copy_only=True)
        )

    def gather(self, rows: np.ndarray) -> Ragged:
        """A copy of `rows`, end to end."""
        begins = self.offsets[rows].astype(np.int64)
        lengths = self.offsets[rows + 1] - begins
        starts = np.cumsum(lengths) - lengths
        # Row r lies at begins[r] here and at starts[r] in the copy, so each of its ids comes from so much further on.
        positions = np.arange(lengths.sum()) + np.repeat(begins - starts, lengths)
        return Ragged(self.values[positions], starts, lengths)


class PairStore:
    """Memory-mapped pairs of integer sequences; see the module's text. Made by `write` or `open`."""

    def __init__(self, path: Path, mapped: mmap.mmap, reader: pa.RecordBatchFileReader) -> None:
        self.path = path
        self._map = mapped
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate()  # sizes only, so that the map need not be read
        self._columns = [(_Column.of(batch.column(0)), _Column.of(batch.column(1))) for batch in batches]
        # Record batch b holds pairs firsts[b] to firsts[b + 1].
        self._firsts = np.cumsum([0] + [batch.num_rows for batch in batches])
        described = reader.schema.metadata or {}
        self.metadata = {key.decode(): value.decode() for key, value in described.items() if key != b"format"}

    @staticmethod
    def write(
        path: str | Path,
        pairs: Iterable[Pair],
        metadata: Mapping[str, str] | None = None,
    ) -> "PairStore":
        """Write `pairs` to `path` and open it. Memory is bounded however many pairs there are.

        The file appears under its name only when it is complete and on the disk; until then, and after any failure,
        what stood there before still does. `metadata` travels in the file (the key `format` is taken).

        Raises `DataError` if the file cannot be written (full disk, no permission), `ValueError` for a negative id.
        """
        path = Path(path)
        try:
            with replacing(path) as writing:
                _write_arrow(writing, pairs, {**(metadata or {}), "format": FORMAT})
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error}.") from error
        return PairStore.open(path)

    @staticmethod
    def open(path: str | Path) -> "PairStore":
        """Map the store at `path`. Raises `DataError` if it is missing, cut short, or not a store of pairs."""
        path = Path(path)
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # what mmap raises for an empty file
            raise DataError(f"{path} is empty; delete it and prepare the data again.") from error
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        try:
            reader = pa.ipc.open_file(pa.py_buffer(mapped))
            described = (reader.schema.metadata or {}).get(b"format", b"").decode(errors="replace")
            if described != FORMAT:
                raise DataError(
                    f"{path} is an Arrow file, but not a store of pairs ({described or 'no format named'}; "
                    f"expected {FORMAT}); prepare the data again."
                )
            store = PairStore(path, mapped, reader)
            store.release()
            return store
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} is not a complete store of pairs (cut short, damaged, or another kind of file); "
                "delete it and prepare the data again."
            ) from error

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and target ids of pair `index`: read-only views of the map, nothing is copied."""
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index} of a store of {len(self)} pairs")
        number = int(np.searchsorted(self._firsts, index, side="right")) - 1
        row = index - int(self._firsts[number])
        source, target = (
            column.values[column.offsets[row] : column.offsets[row + 1]] for column in self._columns[number]
        )
        return source, target

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """The lengths of all sources and all targets, each `(pairs,)` int32."""
        # The empty array at the front is for a store without pairs.
        sources, targets = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int32)]
        for source, target in self._columns:
            sources.append(np.diff(source.offsets))
            targets.append(np.diff(target.offsets))
            self.release()
        return np.concatenate(sources), np.concatenate(targets)

    def gather(self, indices: np.ndarray) -> tuple[Ragged, Ragged]:
        """Copies of the sources and the targets of many pairs at once, in the order of `indices`.

        `indices` must ascend (repeats are fine), so that the map is read from front to back.
        """
        within = not len(indices) or (indices[0] >= 0 and indices[-1] < len(self))
        if not within or np.any(indices[1:] < indices[:-1]):
            raise ValueError(f"indices to gather must ascend and lie in 0 to {len(self) - 1}")
        bounds = np.searchsorted(indices, self._firsts)
        sources: list[Ragged] = []
        targets: list[Ragged] = []
        for number, (source, target) in enumerate(self._columns):
            rows = indices[bounds[number] : bounds[number + 1]] - self._firsts[number]
            if len(rows):
                sources.append(source.gather(rows))
                targets.append(target.gather(rows))
                # After each record batch: the rows of a shuffled pool are spread over the whole file.
                self.release()
        return Ragged.join(sources), Ragged.join(targets)

    def release(self) -> None:
        """Give the mapped pages back to the file cache, so that they stop counting as this process's memory.

        Views stay good: a page comes back when it is touched. `gather` and `lengths` do this themselves.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _write_arrow(path: Path, pairs: Iterable[Pair], metadata: dict[str, str]) -> None:
    """Stream `pairs` into a new file at `path`; an id that is too wide for the narrow type makes it start over."""
    chunks = _chunks(pairs)
    with _writer(path, NARROW, metadata) as writer:
        for chunk in chunks:
            try:
                batch = _record_batch(chunk, NARROW)
            except pa.ArrowInvalid:  # an id above 65,535
                break
            writer.write_batch(batch)
        else:
            return
    narrow = path.rename(path.with_name(f"{path.name}.narrow"))
    with _writer(path, WIDE, metadata) as writer:
        with pa.memory_map(str(narrow)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                writer.write_batch(reader.get_batch(number).cast(_schema(WIDE, metadata)))
        writer.write_batch(_record_batch(chunk, WIDE))
        for chunk in chunks:
            writer.write_batch(_record_batch(chunk, WIDE))


def _schema(id_type: pa.DataType, metadata: dict[str, str] | None = None) -> pa.Schema:
    ids = pa.list_(id_type)
    return pa.schema([("source", ids), ("target", ids)], metadata=metadata)


def _record_batch(chunk: list[Pair], id_type: pa.DataType) -> pa.RecordBatch:
    schema = _schema(id_type)
    try:
        columns = [pa.array([pair[side] for pair in chunk], type=schema.types[side]) for side in (0, 1)]
    except OverflowError as error:
        raise ValueError("an id is negative; the ids of a store of pairs count from 0") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _chunks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    chunk: list[Pair] = []
    ids = 0
    for pair in pairs:
        chunk.append(pair)
        ids += len(pair[0]) + len(pair[1])
        if len(chunk) >= ROWS_PER_RECORD_BATCH or ids >= IDS_PER_RECORD_BATCH:
            yield chunk
            chunk, ids = [], 0
    if chunk:
        yield chunk


@contextmanager
def _writer(path: Path, id_type: pa.DataType, metadata: dict[str, str]) -> Iterator[pa.RecordBatchFileWriter]:
    with path.open("wb") as file, pa.ipc.new_file(file, _schema(id_type, metadata)) as writer:
        yield writer
