"""The tokens of all documents end to end, on disk, read through a memory map: what a language model learns from.

    START  To be or not to be  END  START  That is the question  END

START stands where a document begins, so that no table of beginnings is needed. The file is NumPy's own format (.npy)
with ids of two bytes where the vocabulary has room in them, else of four; any NumPy opens it. It is written once, in
bounded memory, and never changed. Reading copies nothing: slices are views of the map.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy

from heedful.data.documents import Piece
from heedful.durable import replacing, write_text
from heedful.errors import DataError
from heedful.text import Tokenizer
from heedful.text.special import END, START

_AT_ONCE = 256  # pieces that are tokenised together, on all cores
_COUNTED = 2**20  # tokens that are compared together, in as many bytes


@dataclass(frozen=True)
class Amount:
    """How much text a stream holds: its documents, and their characters, UTF-8 bytes and words without white space."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0
    words: int = 0

    def of(self, piece: Piece) -> Self:
        """Give the amount with a piece more."""
        return type(self)(
            self.documents + piece.first,
            self.characters + len(piece.text),
            self.bytes + len(piece.text.encode()),
            self.words + len(piece.text.split()),
        )


@dataclass(frozen=True)
class TokenStream:
    """Tokens (count,) of documents end to end, and how much text they are."""

    tokens: np.ndarray
    amount: Amount

    @classmethod
    def write(cls, path: Path, pieces: Iterable[Piece], tokenizer: Tokenizer) -> Self:
        """Write the documents that the pieces make up, and open the stream.

        Beside `path` (.npy) stands what `Amount` says, as .json; written last, its presence says that all is there.
        Raises DataError if the files cannot be written, and what reading the pieces raises.
        """
        kind = np.dtype("<u2") if len(tokenizer) <= 2**16 else np.dtype("<u4")
        amount, count = Amount(), 0
        try:
            with replacing(path) as writing, writing.open("wb") as file:
                _write_header(file, kind, count)
                for together in _chunks(pieces):
                    for piece in together:
                        amount = amount.of(piece)
                    ids = np.fromiter(encoded(together, tokenizer, begun=count > 0), dtype=kind)
                    ids.tofile(file)
                    count += len(ids)
                np.array([END], dtype=kind).tofile(file)
                # NumPy leaves room in the header for any count, for just this.
                file.seek(0)
                _write_header(file, kind, count + 1)
            write_text(_beside(path), json.dumps(asdict(amount)))
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the stream at `path`. Raises DataError where it is missing, damaged or cut short."""
        try:
            amount = Amount(**json.loads(_beside(path).read_text(encoding="utf-8")))
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{path} is not a complete stream of tokens ({error}); delete the folder {path.parent} and prepare "
                "the data again."
            ) from error
        return cls(tokens, amount)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether a stream has been written there to its end."""
        return _beside(path).exists()

    def __len__(self) -> int:
        return len(self.tokens)

    def count(self, token: int) -> int:
        """How often a token stands in it."""
        parts = range(0, len(self), _COUNTED)
        return sum(int(np.count_nonzero(self.tokens[first : first + _COUNTED] == token)) for first in parts)

    def split(self, share: float, tokenizer: Tokenizer) -> tuple["TokenStream", "TokenStream"]:
        """Cut off the last `share` of the tokens: where a document begins, if one does so before the end of that part.

        Raises DataError where one side would have less than two tokens.
        """
        cut = round(len(self) * (1 - share))
        begins = np.flatnonzero(self.tokens[cut:] == START)
        cut += int(begins[0]) if len(begins) else 0
        if min(cut, len(self) - cut) < 2:
            raise DataError("There is too little text to hold some of it out; give data.validation.")
        first, second = self.tokens[:cut], self.tokens[cut:]
        return TokenStream(first, _amount(first, tokenizer)), TokenStream(second, _amount(second, tokenizer))


def encoded(pieces: Iterable[Piece], tokenizer: Tokenizer, begun: bool = False) -> Iterator[int]:
    """Give the tokens of pieces, START before each document and END after it, but for the last one's.

    begun: whether pieces came before, so that END stands before the first START
    """
    pieces = list(pieces)
    for piece, ids in zip(pieces, tokenizer.encode_batch([piece.text for piece in pieces]), strict=True):
        if piece.first:
            if begun:
                yield END
            yield START
            yield from ids
        else:
            # The tokenizer put a space in front, as before any text: a word of its own, since a line feed follows.
            yield from ids[tokenizer.leading :]
        begun = True


def _amount(tokens: np.ndarray, tokenizer: Tokenizer) -> Amount:
    """How much text tokens are; a document that begins before them counts as well."""
    amount = Amount()
    for number, part in enumerate(np.split(tokens, np.flatnonzero(tokens == START))):
        if len(part):
            text = tokenizer.decode(part.tolist())
            amount = amount.of(Piece(text, Path(), number, first=True))
    return amount


def _chunks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Pieces together, so many or of so many characters that memory is bounded."""
    together: list[Piece] = []
    size = 0
    for piece in pieces:
        together.append(piece)
        size += len(piece.text)
        if len(together) == _AT_ONCE or size >= 2**22:
            yield together
            together, size = [], 0
    if together:
        yield together


def _write_header(file: Any, kind: np.dtype[Any], count: int) -> None:
    npy.write_array_header_1_0(
        file, {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": (count,)}
    )


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")
