"""Settings as TOML: written complete, with what each is as a comment; and where in a file a setting stands.

    steps = 8000                       # updates in all, counted from the start of the run

None has no spelling in TOML. A setting that is None by default is left out; one that is None against its default is
written "none", which `recipe_file` reads as None.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from heedful.settings import Settings
from heedful.training.fields import Place

_BARE = r"[A-Za-z0-9_-]+"
_KEY = rf"""(?:{_BARE}|"[^"\n]*"|'[^'\n]*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEYS})\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(rf"\s*({_KEYS})\s*=")


def to_toml(settings: Settings) -> str:
    """All of the settings, so that `tomllib` reads them back."""
    return "\n".join(_table(settings, "")) + "\n"


def lines(text: str) -> dict[Place, int]:
    """The line, from 1, where each table and key of a TOML file stands; what is inside inline tables is not listed.

    >>> lines("[[train]]\\nsource = 'a'\\n[[train]]\\nsource = 'b'\\nextra.weight = 2")[("train", 1, "extra", "weight")]
    5
    """
    found: dict[Place, int] = {}
    table: Place = ()
    counts: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _HEADER.match(line):
            table = _split(match[2])
            if match[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
            found.setdefault(table, number)
            # Every array of tables on the way is at its last item.
            for length in range(len(table), 0, -1):
                if table[:length] in counts:
                    table = (*table[:length], counts[table[:length]], *table[length:])
                    found.setdefault(table, number)
        elif match := _ASSIGNMENT.match(line):
            keys = _split(match[1])
            for length in range(1, len(keys) + 1):
                found.setdefault((*table, *keys[:length]), number)
    return found


def _split(keys: str) -> Place:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, keys))


def _table(settings: Settings, name: str) -> Iterator[str]:
    """Lines: plain values first, then the tables."""
    tables: list[str] = []
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        inner = f"{name}.{key}" if name else key
        if isinstance(value, Settings):
            tables += ["", f"[{inner}]", *_table(value, inner)]
        elif isinstance(value, Mapping):
            plain = [
                f"{_key(free)} = {_value(entry)}" for free, entry in value.items() if not _is_table(entry)
            ]
            tables += ["", f"[{inner}]", *plain] if plain else []
            for free, entry in value.items():
                if _is_table(entry):
                    entry_name = f"{inner}.{_key(free)}"
                    tables += ["", f"[{entry_name}]", *_table(entry, entry_name)]
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            for entry in value:
                tables += ["", f"[[{inner}]]", *_table(entry, inner)]
        elif value is not None or field.default is not None:
            line = f"{key} = {_value(value)}"
            yield f"{line:<34} # {' '.join(field.description.split())}" if field.description else line
    yield from tables


def _is_table(value: Any) -> bool:
    return isinstance(value, Settings)


def _key(name: str) -> str:
    return name if re.fullmatch(_BARE, name) else _string(name)


def _value(value: Any) -> str:
    match value:
        case None:
            return '"none"'
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case str() | Path():
            return _string(str(value))
    raise TypeError(f"settings hold no {type(value).__name__}, got {value!r}")


def _string(text: str) -> str:
    # JSON's escapes are TOML's; only the delete character needs one more.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
