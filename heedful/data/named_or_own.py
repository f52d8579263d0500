"""What a recipe is trained on: a named data set, or files of one's own."""

from collections.abc import Collection
from typing import Any


def named_or_own(data: Any, give: str) -> None:
    """Raise ValueError where a table with `name`, `train`, `validation` and `tests` names neither, or both.

    A test set with the name of another part is an error too.

    give: the settings that name files, for the message
    """
    if data.name is None and not data.train:
        raise ValueError(f"no training data: give data.name, or {give}")
    if data.name is not None and (data.train or data.validation):
        raise ValueError("data.name and files of one's own are both given; leave one out")
    tests_have_names_of_their_own(data.tests)


def tests_have_names_of_their_own(tests: Collection[str]) -> None:
    """Raise ValueError for a test set that would be taken for another part of the data."""
    if taken := {"train", "validation"} & set(tests):
        raise ValueError(
            f"a test set cannot be called {min(taken)}, which is another part of the data: rename it"
        )
