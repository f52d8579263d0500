"""Where the output of commands goes."""

import pytest

from heedful.cli.output import writing
from heedful.errors import DataError


def test_a_reader_who_leaves_is_not_blamed_on_the_file(tmp_path):
    with pytest.raises(BrokenPipeError), writing(tmp_path / "links"):
        raise BrokenPipeError
    with pytest.raises(DataError, match="links cannot be written: full"), writing(tmp_path / "links"):
        raise OSError(28, "full")
    assert not list(tmp_path.iterdir())  # of neither anything is left
