"""Texts with labels on disk: a line each in a .tsv, .jsonl or plain file, or a file each in folders named by label.

    reviews.tsv        What a film.<tab>positive                 columns by number from 0, or by name in a first line
    reviews.jsonl      {"text": "What a film.", "label": "positive"}
    TREC.txt           HUM Who wrote Hamlet ?                    a label, a space and a text
    reviews/           positive/1.txt, negative/1.txt            also as a .zip

Plain, .gz or .zst (folders: as they are). A text may come with a second one, such as a premise with its hypothesis.
Every mistake is named by file and line; nothing is skipped: an example that cannot be used is an error.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from heedful.data.corpus import checked_text, read_lines
from heedful.errors import DataError
from heedful.settings import Settings

_KINDS = ("tsv", "jsonl", "lines", "folder")
_NAMES = {
    "text": ("text", "sentence"),
    "label": ("label", "class"),
}  # what columns and keys are called by default


class LabelledSettings(Settings):
    """Where texts with labels are: one of `tsv`, `jsonl`, `lines`, `folder`."""

    tsv: Path | None = Field(default=None, description="columns between tabs; .tsv, also with .gz or .zst")
    jsonl: Path | None = Field(default=None, description="an object of JSON a line")
    lines: Path | None = Field(default=None, description="a label, a space and a text a line, as in TREC")
    folder: Path | None = Field(
        default=None, description="a folder or .zip with a folder of text files for each label"
    )
    text: int | str | None = Field(
        default=None,
        description="where the text is: a column from 0 (.tsv: 0) or its name in a first line, a key (.jsonl: 'text')",
    )
    second: int | str | None = Field(
        default=None, description="where the second text of a pair is; unset: there is none"
    )
    label: int | str | None = Field(
        default=None, description="where the label is (.tsv: column 1, after the texts; .jsonl: 'label')"
    )

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Self:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of {', '.join(_KINDS)}" + (f"; {' and '.join(given)} are given" if given else "")
            )
        fields = [name for name in ("text", "second", "label") if getattr(self, name) is not None]
        if fields and given[0] in ("lines", "folder"):
            raise ValueError(f"`{fields[0]}` names a column or a key, which `{given[0]}` has not")
        if given[0] == "jsonl" and any(isinstance(getattr(self, name), int) for name in fields):
            raise ValueError("in .jsonl a field is a key (text), not a number")
        columns = [getattr(self, name) for name in fields]
        if given[0] == "tsv" and len({isinstance(column, int) for column in columns}) > 1:
            raise ValueError("columns are given by number, or by name in a first line; not both ways")
        if any(isinstance(column, int) and column < 0 for column in columns):
            raise ValueError("columns are counted from 0")
        if len(set(columns)) < len(columns):
            raise ValueError(f"{' and '.join(fields)} are in one place, {columns[0]!r}")
        return self

    @property
    def path(self) -> Path:
        """The file or folder that is read."""
        return next(path for kind in _KINDS if (path := getattr(self, kind)) is not None)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Labelled:
    """A text with its label.

    second: the second text of a pair
    place: file and line, for messages
    """

    text: str
    second: str | None
    label: str
    place: str

    def to_json(self) -> str:
        """As one line, which `from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(line))


def read_labelled(settings: LabelledSettings) -> Iterator[Labelled]:
    """The examples of a file or folder, in its order.

    Raises DataError, when the place is reached, for what cannot be read as text (`read_lines`), a line without one of
    its columns or keys, an empty text or label, and for a file without any example.
    """
    if settings.tsv is not None:
        found = _columns(settings, settings.tsv)
    elif settings.jsonl is not None:
        found = _objects(settings, settings.jsonl)
    elif settings.lines is not None:
        found = _lines(settings.lines)
    else:
        found = _folders(settings.path)
    empty = True
    for example in found:
        empty = False
        for what, value in (
            ("text", example.text),
            ("second text", example.second),
            ("label", example.label),
        ):
            if value is not None and not value.strip():
                raise DataError(f"{example.place}: the {what} is empty; remove the example, or fill it in.")
        yield example
    if empty:
        raise DataError(f"{settings} is empty: there is no example in it.")


def _columns(settings: LabelledSettings, path: Path) -> Iterator[Labelled]:
    places: dict[str, int] | None = None
    needed = 0
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        columns = line.split("\t")
        if places is None:
            places, header = _places(settings, columns, path)
            needed = max(places.values()) + 1
            if header:
                continue
        if len(columns) < needed:
            raise DataError(
                f"{path}, line {number} has {len(columns)} column(s) separated by tabs; {needed} are needed "
                f"({', '.join(f'{name} in column {place}' for name, place in places.items())}, counted from 0)."
            )
        second = columns[places["second"]] if "second" in places else None
        yield Labelled(
            columns[places["text"]], second, columns[places["label"]].strip(), f"{path}, line {number}"
        )


def _places(settings: LabelledSettings, first: list[str], path: Path) -> tuple[dict[str, int], bool]:
    """The column of each field, and whether the first line names them."""
    asked = {name: getattr(settings, name) for name in ("text", "second", "label")}
    given = {name: field for name, field in asked.items() if field is not None}
    names = [column.strip() for column in first]
    if not given:
        lower = [name.lower() for name in names]
        found = {
            field: lower.index(name)
            for field, usual in _NAMES.items()
            for name in usual[::-1]
            if name in lower
        }
        if len(found) == len(_NAMES):
            return found, True
        return {"text": 0, "label": 1}, False
    if any(isinstance(field, str) and not field.isdecimal() for field in given.values()):
        usual = {field: next((name for name in _NAMES[field] if name in names), field) for field in _NAMES}
        wanted = {**usual, **{name: str(field) for name, field in given.items()}}
        for name, column in wanted.items():
            if column not in names:
                raise DataError(
                    f"{path}, line 1 names no column {column!r} for the {name}; its columns are: "
                    f"{', '.join(map(repr, names[:8]))}."
                )
        return {name: names.index(column) for name, column in wanted.items()}, True
    places = {name: int(field) for name, field in given.items()}
    for name in ("text", "label"):
        if name not in places:
            places[name] = next(place for place in range(3) if place not in places.values())
    return places, False


def _objects(settings: LabelledSettings, path: Path) -> Iterator[Labelled]:
    keys = {"text": settings.text or "text", "label": settings.label or "label"}
    if settings.second is not None:
        keys["second"] = settings.second
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place} is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise DataError(f"{place} is not a JSON object ({{...}}) but a {type(row).__name__}.")
        values = {name: _value(row, str(key), name, place) for name, key in keys.items()}
        label = values["label"].strip()
        if len(label.splitlines()) > 1 or "\t" in label:
            raise DataError(
                f"{place}: the label {label!r} has a line end or a tab in it; answers are a line each."
            )
        yield Labelled(values["text"], values.get("second"), label, place)


def _value(row: dict[str, Any], key: str, field: str, place: str) -> str:
    if key not in row:
        there = ", ".join(repr(name) for name in list(row)[:8]) or "none"
        raise DataError(f"{place} has no key {key!r} for the {field}; its keys are: {there}.")
    value = row[key]
    # Labels are often numbers or truth values.
    if field == "label" and isinstance(value, int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        raise DataError(f"{place}: the value of {key!r} must be text, not {json.dumps(value)[:40]}.")
    return checked_text(value, f"{place}: {key!r}")


def _lines(path: Path) -> Iterator[Labelled]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        label, _, text = line.strip().partition(" ")
        yield Labelled(text.strip(), None, label, f"{path}, line {number}")


def _folders(path: Path) -> Iterator[Labelled]:
    for label, name, content in _texts(path):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, {name} is not UTF-8 (byte {error.start + 1}); convert it first, for example: "
                "iconv -f ISO-8859-1 -t UTF-8."
            ) from error
        if "\0" in text:
            raise DataError(f"{path}, {name} holds a zero byte; it is no text.")
        yield Labelled(text, None, label, f"{path}, {name}")


def _texts(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Label, name and content of every text file, in order; what macOS adds to archives and hidden files are none."""
    try:
        if path.is_dir():
            for name in _of_texts(file.relative_to(path).as_posix() for file in path.rglob("*.txt")):
                if len(parts := Path(name).parts) > 1:
                    yield parts[0], name, (path / name).read_bytes()
            return
        with zipfile.ZipFile(path) as archive:
            names = _of_texts(archive.namelist())
            # An archive's outermost folders, which all have in common, are no labels.
            parts = [Path(name).parts for name in names]
            while len({each[0] for each in parts}) == 1 and any(len(each) > 2 for each in parts):
                parts = [each[1:] for each in parts]
            for name, each in zip(names, parts, strict=True):
                if len(each) > 1:
                    yield each[0], name, archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a folder or a .zip of texts: {error}.") from error


def _of_texts(names: Iterable[str]) -> list[str]:
    return sorted(
        name
        for name in names
        if name.endswith(".txt")
        and not any(part.startswith(".") or part == "__MACOSX" for part in Path(name).parts)
    )
