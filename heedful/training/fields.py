"""The settings of a recipe as a tree: which there are, what each admits, and which one was probably meant.

A place in the tree is a tuple of keys and list indices, `("data", "train", 0, "source")`, written
`data.train.0.source`.
"""

import difflib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from heedful.settings import Settings

Place = tuple[str | int, ...]

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "the path of a file",
}
_KEYS = 5  # of a table that are named


def dotted(place: Place) -> str:
    """The place as people write it."""
    return ".".join(map(str, place))


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that a union admits; of any other type, itself."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for one in get_args(annotation) for member in members(one))
    return (annotation,)


def tables(annotation: Any) -> tuple[type[Settings], ...]:
    """The classes of settings that a type admits."""
    return tuple(
        member for member in members(annotation) if isinstance(member, type) and issubclass(member, Settings)
    )


def list_of(annotation: Any) -> Any:
    """The type of the items of a list; None if the type admits no list."""
    return next((get_args(member)[0] for member in members(annotation) if get_origin(member) is tuple), None)


def dict_of(annotation: Any) -> Any:
    """The type of what stands under free names; None if the type has none."""
    return next((get_args(member)[1] for member in members(annotation) if get_origin(member) is dict), None)


def child(annotation: Any, key: str | int) -> Any:
    """The type of what stands under `key`; None where there is no such setting."""
    if isinstance(key, int):
        return list_of(annotation)
    # Architectures may have settings of one name: what any of them admits is admitted here, and pydantic decides.
    found = [
        settings.model_fields[key].annotation
        for settings in tables(annotation)
        if key in settings.model_fields
    ]
    return Union[tuple(found)] if found else dict_of(annotation)  # noqa: UP007 -- of as many as there are


def at(annotation: Any, place: Place) -> Any:
    """The type of what stands at `place`; None where there is no such setting."""
    for key in place:
        annotation = child(annotation, key)
    return annotation


def only_text(annotation: Any) -> bool:
    """Whether nothing but text is admitted (or nothing at all, with None)."""
    return all(
        member in (str, Path, types.NoneType)
        or (get_origin(member) is Literal and all(isinstance(value, str) for value in get_args(member)))
        for member in members(annotation)
    )


def optional(annotation: Any) -> bool:
    """Whether the text "none" means None here; where a file may be named, it is the name of a file."""
    return types.NoneType in members(annotation) and Path not in members(annotation)


def expected(annotation: Any) -> str:
    """What a type admits, in words."""
    said: list[str] = []
    for member in members(annotation):
        if get_origin(member) is Literal:
            said += [str(value) for value in get_args(member)]
        elif list_of(member) is not None:
            said.append(f"a list, each item {expected(list_of(member))}")
        elif tables(member) or dict_of(member) is not None:
            keys = [name for settings in tables(member) for name in settings.model_fields]
            more = ", ..." if len(keys) > _KEYS else ""
            said.append(f"a table ({', '.join(keys[:_KEYS])}{more})" if keys else "a table")
        elif member is not types.NoneType:
            said.append(_WORDS.get(member, getattr(member, "__name__", str(member))))
    if optional(annotation):
        said.append("none")
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} or {said[-1]}"


def places(annotation: Any, start: Place = ()) -> Iterator[Place]:
    """Every setting below, tables before what is in them; of a list, its first item."""
    item = list_of(annotation)
    if item is not None and tables(item):
        yield from places(item, start)
    for settings in tables(annotation):
        for name, field in settings.model_fields.items():
            yield (*start, name)
            yield from places(field.annotation, (*start, name))


def nearest(root: Any, place: Place) -> str | None:
    """The setting that was probably meant by a place that does not exist.

    >>> from heedful.training.settings import TrainingSettings
    >>> nearest(TrainingSettings, ("shedule", "rate")), nearest(TrainingSettings, ("warmup",))
    ('schedule.rate', 'schedule.warmup')
    """
    there = {dotted(known): known for known in places(root) if known != place}
    # The right name in the wrong table, then a slip of the pen in the name, then one anywhere.
    same_name = [name for name, known in there.items() if known[-1] == place[-1]]
    siblings = [
        dotted((*place[:-1], name))
        for beside in tables(at(root, place[:-1]))
        for name in beside.model_fields
        if name != place[-1]
    ]
    for candidates in (same_name, siblings, list(there)):
        cutoff = 0.0 if candidates is same_name else 0.6
        if near := difflib.get_close_matches(dotted(place), candidates, n=1, cutoff=cutoff):
            return near[0]
    return None
