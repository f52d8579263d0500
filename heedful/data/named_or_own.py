"""What a recipe is trained on: a named data set, or files of one's own."""

from typing import Any


def named_or_own(data: Any, give: str) -> None:
    """Raise ValueError where a table with `name`, `train` and `validation` names neither, or both.

    give: the settings that name files, for the message
    """
    if data.name is None and not data.train:
        raise ValueError(f"no training data: give data.name, or {give}")
    if data.name is not None and (data.train or data.validation):
        raise ValueError("data.name and files of one's own are both given; leave one out")
