"""What is wrong with settings, in a sentence for each mistake: where, which field, which value, what is expected."""

import difflib
import json
from collections.abc import Callable
from typing import Any, get_args

from pydantic import ValidationError

from heedful.training.fields import Place, at, child, dotted, expected, members, nearest, tables

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}
# Messages that heedful gives itself.
_OWN = ("architecture",)


def complaints(error: ValidationError, root: Any, where: Callable[[Place], str]) -> list[str]:
    """A sentence for each field that pydantic found wrong.

    root: the class of settings that was validated; where: names the place of a setting, such as "my.toml, line 3",
    "" where nothing is to be said.
    """
    found: dict[Place, str] = {}
    for detail in error.errors(include_url=False):
        place = _place(root, detail["loc"])
        # The members of a union complain one by one; one sentence says what the field admits.
        found.setdefault(place, _sentence(root, place, detail))
    return [f"{here}: {said}" if (here := where(place)) else said for place, said in found.items()]


def unknown(root: Any, place: Place) -> str:
    """That a setting does not exist, and which one does."""
    near = nearest(root, place)
    return f"there is no setting {dotted(place)}" + (f"; did you mean {near}?" if near else ".")


def _of_another(root: Any, place: Place, location: Place) -> str | None:
    """Where one of several tables was chosen, by its architecture, and only others have the setting: what it has."""
    chosen = [key for key in location if key not in place]
    beside = tables(at(root, place[:-1]))
    if not chosen or not any(place[-1] in settings.model_fields for settings in beside):
        return None
    own = [
        name
        for settings in beside
        if any(chosen[-1] in get_args(field.annotation) for field in settings.model_fields.values())
        for name, field in settings.model_fields.items()
        if chosen[-1] not in get_args(field.annotation)
    ]
    if not own:
        return None
    near = difflib.get_close_matches(str(place[-1]), own, n=1)
    has = f"did you mean {dotted((*place[:-1], near[0]))}?" if near else f"it has {', '.join(own)}."
    return f"{chosen[-1]} has no setting {dotted(place)}; {has}"


def _place(root: Any, location: Place) -> Place:
    """The field that is meant: pydantic adds which member of a union it tried."""
    place: Place = ()
    annotation, tagged = root, False
    for key in location:
        below = None if annotation is None else child(annotation, key)
        if below is None and len(members(annotation)) > 1 and not tagged:
            tagged = True
        else:
            place, annotation, tagged = (*place, key), below, False
    return place


def _sentence(root: Any, place: Place, detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _of_another(root, place, detail["loc"]) or unknown(root, place)
    if kind == "missing":
        return f"{dotted(place)} is missing; it must be {expected(at(root, place))}."
    if kind == "value_error":
        told = str(context["error"])
        if place and not told.startswith(dotted(place)) and f"{dotted(place)}." not in told:
            told = f"{dotted(place)}: {told}"
        return told if told.endswith((".", "!", "?")) else told + "."
    if kind in _OWN:
        return f"{dotted(place)}: {detail['msg']}."
    value = _shown(detail["input"])
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return f"{dotted(place)} is {value}, but must be {word} {context[bound]}."
    if kind == "finite_number":
        return f"{dotted(place)} is {value}, but must be finite."
    if kind in ("too_short", "too_long"):
        return f"{dotted(place)} is {value}: {detail['msg'][0].lower()}{detail['msg'][1:]}."
    return f"{dotted(place)} is {value}, but must be {expected(at(root, place))}."


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else shown[:57] + "..."
