"""What is written is there whole or not at all."""

import os
import time

import pytest

from heedful.durable import replacing


def test_after_an_error_what_was_there_is_still_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(IsADirectoryError), replacing(path) as writing:
        writing.parent.write_text("a folder takes no text")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_when_it_is_old(tmp_path):
    left, other, new = (
        tmp_path / f".{name}" for name in ("a.txt.abcdefgh", "b.txt.abcdefgh", "a.txt.stuvwxyz")
    )
    for folder in (left, other, new):
        folder.mkdir()
        (folder / "part").write_text("half")
    hours_ago = time.time() - 7200
    for path in (left / "part", left, other / "part", other):
        os.utime(path, (hours_ago, hours_ago))
    with replacing(tmp_path / "a.txt") as writing:
        writing.write_text("whole")
    # Another file's is not its to judge, and one that is written to may be another process's.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.txt.stuvwxyz", ".b.txt.abcdefgh", "a.txt"]


def test_a_folder_whose_file_is_still_written_to_is_no_killed_writers(tmp_path):
    busy = tmp_path / ".a.txt.abcdefgh"
    busy.mkdir()
    (busy / "a.txt").write_text("half")  # a long download: its folder is hours old, its last byte is not
    hours_ago = time.time() - 7200
    os.utime(busy, (hours_ago, hours_ago))
    with replacing(tmp_path / "a.txt") as writing:
        writing.write_text("whole")
    assert (busy / "a.txt").read_text() == "half"
