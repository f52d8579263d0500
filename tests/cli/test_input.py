"""What a command reads is the same from standard input as from a file."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from heedful.cli import input as given
from heedful.errors import DataError


def test_standard_input_is_read_as_files_are(monkeypatch, tmp_path):
    content = b"\xef\xbb\xbfone\r\ntwo\r\n"  # as some editors write it
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    (tmp_path / "file").write_bytes(content)
    assert list(given.lines(None)) == list(given.lines(tmp_path / "file")) == ["one", "two"]


@pytest.mark.parametrize(
    ("path", "said", "told"),
    [
        (Path("a.txt"), "Line 2 has no hole.", "a.txt, line 2 has no hole."),
        (Path("a.txt"), "line 3: not JSON.", "a.txt, line 3: not JSON."),
        (Path("a.txt"), "The model is damaged.", "The model is damaged."),
        (None, "Line 2 has no hole.", "Line 2 has no hole."),
        (Path("-"), "Line 2 has no hole.", "Line 2 has no hole."),
    ],
)
def test_a_line_that_cannot_be_read_is_told_with_its_file(path, said, told):
    with pytest.raises(DataError) as raised, given.named(path):
        raise DataError(said)
    assert str(raised.value) == told
