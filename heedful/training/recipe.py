"""A recipe: all that decides what a training gives, as one TOML file.

    recipe = read("multi30k-en-de", [("training.steps", "500")])       # a shipped one, with a field overridden
    recipe = read("my.toml")

The keys of its tables are the settings of the parts of heedful, each declared beside its part. Paths in a recipe are
relative to the folder that the command runs in, not to the file. "none" unsets what can be unset.
"""

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, create_model, model_validator

from heedful.errors import RecipeError
from heedful.tasks.face import TaskSettings
from heedful.tasks.registry import TASKS, settings_of
from heedful.training.complaints import complaints, unknown
from heedful.training.fields import (
    Place,
    at,
    child,
    dict_of,
    dotted,
    list_of,
    members,
    only_text,
    optional,
    tables,
)
from heedful.training.settings import TrainingSettings
from heedful.training.shipped import locate, shipped
from heedful.training.toml import lines

Override = tuple[str, str]
"""A dotted name, such as "training.steps", and the value as text."""


class Recipe(TaskSettings):
    """What is trained, on what, and how; `recipe_of` gives the class for a task, with all of its settings."""

    description: str = Field(default="", description="what this recipe is for, and how long it takes")
    training: TrainingSettings = Field(
        default=TrainingSettings(), description="steps, optimizer, checkpoints"
    )

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        try:
            for name in self.needed_metrics():
                self.lower_is_better(name)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        if self.training.metric == "loss" and not self.has_validation_loss:
            raise ValueError(
                f"training.metric is loss, and {self.task} has none in validation: choose a metric, such as "
                f"{self.metrics[0]}"
            )
        if self.training.schedule.kind == "noam" and not hasattr(self.model, "d_model"):
            raise ValueError(
                "training.schedule.kind is noam, which goes by model.d_model, but this model has none: choose another, "
                "such as inverse-sqrt, and its training.schedule.rate"
            )
        self.check(self.training)
        return self

    def needed_metrics(self) -> list[str]:
        """What the model is scored with, in validation and at the end; the loss is no metric."""
        return sorted({*self.metrics} | ({self.training.metric} - {"loss"}))

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, between processes of one training: the class is made from the name of the task."""
        return _restored, (self.task, self.model_dump())


@cache
def recipe_of(task: str) -> type[Recipe]:
    """The class of the recipes of a task."""
    settings = settings_of(task)
    kind: Any = create_model(
        f"{settings.__name__.removesuffix('Settings')}Recipe", __base__=(settings, Recipe)
    )
    return kind


def _restored(task: str, settings: dict[str, Any]) -> Recipe:
    return recipe_of(task).model_validate(settings)


def read(name: str | Path, overrides: Sequence[Override] = ()) -> Recipe:
    """Read a shipped recipe by its name, or any by the path of its file, with some fields overridden.

    A value overridden is TOML where it parses as TOML, a list or table of JSON, and otherwise text; a list may be given
    with commas, and of one item as that item.
    `data.train.source` means the first of the corpora, `data.train.0.source`. Training data that an override names, as
    `data.name` or as `data.train`, take the place of the recipe's, whichever way it names them.

    Raises RecipeError, with a line for each mistake: the file and line, or the option; the field, its value, what is
    expected; for an unknown name, the nearest.
    """
    path = locate(name)
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}, line {line} is not UTF-8; a recipe is a TOML file in UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(_syntax(path, str(error))) from error
    name_of_task = dict(overrides).get("task", document.get("task", "translation"))
    if name_of_task not in TASKS:
        raise RecipeError(f"{path}: there is no task {name_of_task!r}; the tasks are {', '.join(TASKS)}.")
    kind = recipe_of(name_of_task)
    given = _override(kind, document, overrides)
    _instead(document, given)
    there, label = lines(text), f"recipe {name}" if str(name) in shipped() else str(path)

    def where(place: Place) -> str:
        """The options that are at fault, or the line of the file."""
        options = [
            f"--{name}"
            for setting, name in given.items()
            if place and (setting[: len(place)] == place or place[: len(setting)] == setting)
        ]
        if options:
            return ", ".join(options)
        # What a file says of the one corpus in data.train stands there without a number.
        plain = tuple(key for key in place if not isinstance(key, int))
        for written in (place, plain):
            for end in range(len(written), 0, -1):
                if written[:end] in there:
                    return f"{label}, line {there[written[:end]]}"
        return label

    try:
        return kind.model_validate(_typed(document, kind), strict=True)
    except ValidationError as error:
        raise RecipeError("\n".join(complaints(error, kind, where))) from error


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """The settings in which two recipes differ, by dotted name; descriptions aside."""
    first, second = (dict(_leaves(recipe.model_dump(mode="json"), ())) for recipe in (one, other))
    names = [place for place in {**first, **second} if place != ("description",)]
    return {
        dotted(place): (first.get(place), second.get(place))
        for place in names
        if first.get(place) != second.get(place)
    }


def _leaves(value: Any, place: Place) -> list[tuple[Place, Any]]:
    if isinstance(value, dict):
        return [leaf for key, entry in value.items() for leaf in _leaves(entry, (*place, key))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [leaf for key, entry in enumerate(value) for leaf in _leaves(entry, (*place, key))]
    return [(place, value)]


def _syntax(path: Path, message: str) -> str:
    """tomllib's message, with file and line in front."""
    if match := re.fullmatch(r"(.*?) \(at line (\d+), column (\d+)\)", message):
        return f"{path}, line {match[2]}, column {match[3]}: {match[1]}; this is not TOML."
    return f"{path}: {message}; this is not TOML."


def _override(
    kind: type[Recipe], document: dict[str, Any], overrides: Sequence[Override]
) -> dict[Place, str]:
    """Put the values into the document; give the places and their names."""
    given: dict[Place, str] = {}
    wrong: list[str] = []
    for name, text in overrides:
        place = _place(kind, name)
        annotation = at(kind, place)
        if annotation is None:
            wrong.append(f"--{name}: {unknown(kind, place)}")
            continue
        if problem := _put(document, place, _parsed(text, annotation)):
            wrong.append(f"--{name}: {problem}")
        given[place] = name
    if wrong:
        raise RecipeError("\n".join(wrong))
    return given


def _instead(document: dict[str, Any], given: Collection[Place]) -> None:
    """Take out what the recipe says of its own data where overrides name others: a data set, or files."""
    data = document.get("data")
    if not isinstance(data, dict):
        return
    named = {key for key in ("name", "train") if any(place[:2] == ("data", key) for place in given)}
    if named == {"train"} and data["train"] != "none":
        data.pop("name", None)
    if named == {"name"} and data["name"] != "none":
        for key in ("train", "validation"):
            if not any(place[:2] == ("data", key) for place in given):
                data.pop(key, None)


def _place(kind: type[Recipe], name: str) -> Place:
    """`data.train.source` -> ("data", "train", 0, "source")."""
    place: Place = ()
    for key in name.split("."):
        item = list_of(at(kind, place))
        if item is not None and key.isdecimal():
            place = (*place, int(key))
        elif item is not None and tables(item):
            place = (*place, 0, key)
        else:
            place = (*place, key)
    return place


def _put(document: dict[str, Any], place: Place, value: Any) -> str | None:
    """Set what stands at `place`, making the tables on the way; give what hinders it, or None."""
    container: Any = document
    for depth, key in enumerate(place):
        last = depth == len(place) - 1
        fresh = value if last else [] if isinstance(place[depth + 1], int) else {}
        if isinstance(key, int):
            if key > len(container):
                return f"there is no {dotted(place[:depth])}.{len(container)} yet, so there can be no .{key}."
            if key == len(container):
                container.append(fresh)
        elif not isinstance(container, dict):
            return f"{dotted(place[:depth])} is not a table."
        elif last:
            container[key] = value
        else:
            container.setdefault(key, fresh)
        if last and isinstance(key, int):
            container[key] = value
        if not last and isinstance(fresh, list) and isinstance(container[key], dict):
            container[key] = [container[key]]  # the one corpus of data.train, written as a table
        container = container[key]
    return None


def _parsed(text: str, annotation: Any) -> Any:
    """The value that an option's text stands for, where this type is wanted: in TOML's spelling, or in JSON's."""
    if only_text(annotation):
        return text
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        found = {}
    value = found["value"] if len(found) == 1 and "\n" not in text else _of_json(text)
    item = list_of(annotation)
    if item is None or tables(item):
        return value
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    entries = value if isinstance(value, list) else [value]
    return [_parsed(entry, item) if isinstance(entry, str) else entry for entry in entries]


def _of_json(text: str) -> Any:
    """A list or a table as JSON spells it, whose tables are not TOML's; any other text as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, list | dict) else text


def _typed(value: Any, annotation: Any) -> Any:
    """A value as TOML gives it, with the types that a strict check wants: tuples, paths, None.

    Strict, because else `steps = true` would be one step and `clip = "1"` a number.
    """
    if value == "none" and optional(annotation):
        return None
    item = list_of(annotation)
    if item is not None and isinstance(value, dict) and tables(item):
        value = [value]
    if item is not None and isinstance(value, list):
        return tuple(_typed(entry, item) for entry in value)
    if isinstance(value, str) and Path in members(annotation):
        return Path(value)
    if isinstance(value, Mapping):
        if not tables(annotation) and dict_of(annotation) is None:
            return value
        return {key: _typed(entry, child(annotation, key)) for key, entry in value.items()}
    return value
