"""The page's modules as one script: a saved page cannot fetch them, and names of files mean nothing in it.

Each module becomes a function of its own, so that their names stay apart; they run in the order in which they need each
other, and what one exports the others take. Only what the page's modules use is understood: named imports of files
beside each other, and exports of functions, classes, constants and lists of names. Anything else is refused.
"""

import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"\./([\w.-]+)";[ \t]*$', re.MULTILINE)
_DECLARED = re.compile(r"^export\s+((?:async\s+)?function\*?|class|const)\s+([A-Za-z_$][\w$]*)", re.MULTILINE)
_LISTED = re.compile(r"^export\s*\{([^}]*)\};[ \t]*$", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)


def bundle(modules: Mapping[str, str], start: str) -> str:
    """Give one module that does what `start` does, with all that it imports, from files by name.

    Raises ValueError for a module that is missing, imports itself by a detour, or is written in other ways.
    """
    order: list[str] = []
    _visit(start, modules, (), order)
    parts = [_function(name, modules[name]) for name in order]
    script = "const modules = {};\n" + "".join(parts)
    # Neither may stand in a script of an HTML file; in JavaScript they stand in texts only, where this is the same.
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _visit(name: str, modules: Mapping[str, str], above: tuple[str, ...], order: list[str]) -> None:
    if name in above:
        raise ValueError(f"Modules import each other in a circle: {' -> '.join((*above, name))}.")
    if name in order:
        return
    if name not in modules:
        raise ValueError(f"{above[-1] if above else 'The page'} imports {name}, which is not there.")
    for found in _IMPORT.finditer(modules[name]):
        _visit(found[2], modules, (*above, name), order)
    order.append(name)


def _function(name: str, source: str) -> str:
    exported: dict[str, str] = {}

    def take(found: re.Match[str]) -> str:
        pairs = ", ".join(": ".join(pair) for pair in _pairs(found[1]))
        return f'const {{ {pairs} }} = modules["{found[2]}"];'

    def declare(found: re.Match[str]) -> str:
        exported[found[2]] = found[2]
        return f"{found[1]} {found[2]}"

    def listed(found: re.Match[str]) -> str:
        exported.update((outside, inside) for inside, outside in _pairs(found[1]))
        return ""

    body = _LISTED.sub(listed, _DECLARED.sub(declare, _IMPORT.sub(take, source)))
    if left := _LEFT.search(body):
        raise ValueError(f"{name} has an import or export that cannot be bundled: {left[0]}")
    given = ", ".join(f"{outside}: {inside}" for outside, inside in exported.items())
    return f'\n// {name}\nmodules["{name}"] = await (async () => {{\n{body.rstrip()}\nreturn {{ {given} }};\n}})();\n'


def _pairs(names: str) -> list[tuple[str, str]]:
    """Give what "a, b as c" names: [("a", "a"), ("b", "c")]."""
    found = []
    for each in filter(None, (name.strip() for name in names.split(","))):
        one, _, other = each.partition(" as ")
        found.append((one.strip(), other.strip() or one.strip()))
    return found
