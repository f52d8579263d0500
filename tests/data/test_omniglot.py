"""Omniglot where a mirror has it: the counts that are published."""

import os
from pathlib import Path

import numpy as np
import pytest

from heedful.data import images, omniglot
from heedful.data.fetch import Remote
from heedful.errors import DataError


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get("HEEDFUL_DATA", "/nowhere")) / "omniglot" / "images_background.zip").exists(),
    reason="no mirror of Omniglot",
)
def test_the_splits_have_the_published_numbers_of_characters_and_share_none():
    classes, found = {}, {}
    for part, source in omniglot.splits().items():
        classes[part], found[part] = images.read(source, part, 20)
    images.compare(found, classes)
    assert {part: len(of.names) for part, of in classes.items()} == {
        "train": 1028,
        "validation": 172,
        "test": 423,
    }
    assert all(bool(np.all(of.counts == 20)) for of in classes.values())
    for part in found.values():
        assert not any("class of" in finding for finding in part.findings)


def test_a_mirror_with_another_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "omniglot").mkdir()
    (tmp_path / "omniglot" / "images_background.zip").write_bytes(b"something else")
    monkeypatch.setenv("HEEDFUL_DATA", str(tmp_path))
    with pytest.raises(DataError, match="is not the expected file"):
        omniglot.splits(progress=False)


def test_without_a_mirror_the_official_archives_are_asked_for(tmp_path, monkeypatch):
    asked = []

    def fetch(remote: Remote, progress):
        asked.append(remote)
        raise DataError("no network")

    monkeypatch.delenv("HEEDFUL_DATA", raising=False)
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path))
    monkeypatch.setattr(omniglot, "fetch", fetch)
    with pytest.raises(DataError, match="no network"):
        omniglot.splits(progress=False)
    assert asked[0].path == "omniglot/official/images_background.zip"
    assert asked[0].url.endswith("/python/images_background.zip")
