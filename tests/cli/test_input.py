"""What a command reads is the same from standard input as from a file."""

import io
import sys
from types import SimpleNamespace

from heedful.cli import input as given


def test_standard_input_is_read_as_files_are(monkeypatch, tmp_path):
    content = b"\xef\xbb\xbfone\r\ntwo\r\n"  # as some editors write it
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    (tmp_path / "file").write_bytes(content)
    assert list(given.lines(None)) == list(given.lines(tmp_path / "file")) == ["one", "two"]
