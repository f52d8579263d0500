"""How people name heads, and which they mean.

    decoder.3.cross      cross-attention of the third decoder layer, the mean of its heads
    decoder.3.cross:2    its second head
    encoder.1:all        every head of the first encoder layer
    decoder.layers.2.cross_attention:2     the second head of a module, by its name in the model

Layers and heads are counted from 1, as the page counts them; in the name of a module the model's own numbers stand.
`self` may be said or left out; `memory.2`, or `hop.2`, is the second hop of a memory network.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from heedful.errors import HeedfulError
from heedful.viewing.scene import AttentionMap, Group, Scene

Head = int | Literal["mean"]

_GROUPS: dict[tuple[str, str], Group] = {
    ("encoder", ""): "encoder",
    ("encoder", "self"): "encoder",
    ("decoder", ""): "decoder",
    ("decoder", "self"): "decoder",
    ("decoder", "cross"): "cross",
    ("cross", ""): "cross",
    ("memory", ""): "memory",
    ("hop", ""): "memory",
}
_PLACE = re.compile(r"(encoder|decoder|cross|memory|hop)\.(\d{1,6})(?:\.(self|cross))?")
_SUFFIX = re.compile(r"\d{1,6}|mean|all")


class Chosen(NamedTuple):
    """A head of a map; heads counted from 0."""

    map: AttentionMap
    head: Head

    @property
    def title(self) -> str:
        """As the page calls it."""
        place = name_of(self.map).replace(".", " ").replace("memory", "hop")
        if self.map.heads == 1:
            return place
        return f"{place} · " + (
            f"mean of {self.map.heads} heads" if self.head == "mean" else f"head {self.head + 1}"
        )


def name_of(one: AttentionMap) -> str:
    """Give the short name of a map: `decoder.3.cross`."""
    layer = one.layer + 1
    return f"decoder.{layer}.cross" if one.group == "cross" else f"{one.group}.{layer}"


def find(scene: Scene, name: str) -> list[Chosen]:
    """Give what a name means: one head or the mean of all, or with `:all` each of a map.

    Raises HeedfulError for a name that means nothing here, naming what there is.
    """
    place, colon, suffix = name.strip().partition(":")
    if colon and not _SUFFIX.fullmatch(suffix):
        raise HeedfulError(
            f"After the colon of {name!r} stands the number of a head from 1, or mean, or all."
        )
    one = _map(scene, place)
    if suffix == "all":
        return [Chosen(one, head) for head in range(one.heads)]
    if suffix.isdecimal():
        if not 1 <= int(suffix) <= one.heads:
            has = f"heads 1 to {one.heads}" if one.heads > 1 else "one head"
            raise HeedfulError(f"There is no head {suffix} in {place}: it has {has}.")
        return [Chosen(one, int(suffix) - 1)]
    return [Chosen(one, 0 if one.heads == 1 else "mean")]


def of_group(scene: Scene, group: str) -> list[AttentionMap]:
    """Give the maps of a group, its layers in order. Raises HeedfulError, naming the groups, where there are none."""
    found = [one for one in scene.maps if one.group == group]
    if not found:
        there = dict.fromkeys(one.group for one in scene.maps)
        raise HeedfulError(f"This model has no attention of the kind {group!r}; it has {', '.join(there)}.")
    return found


def _map(scene: Scene, place: str) -> AttentionMap:
    for one in scene.maps:
        if one.name == place:
            return one
    match = _PLACE.fullmatch(place.lower())
    group = _GROUPS.get((match[1], match[3] or "")) if match else None
    for one in scene.maps:
        if match and one.group == group and one.layer + 1 == int(match[2]):
            return one
    names = [*map(name_of, scene.maps), *(one.name for one in scene.maps)]
    near = difflib.get_close_matches(place, names, n=1)
    hint = f"; the nearest is {near[0]}" if near else ""
    raise HeedfulError(
        f"There is no attention {place!r} in this model{hint}. There are: {', '.join(_listed(scene))}."
    )


def _listed(scene: Scene) -> Iterator[str]:
    """Give the short names, a group as a range: `decoder.1.cross to decoder.4.cross (4 heads)`."""
    for group in dict.fromkeys(one.group for one in scene.maps):
        own = [one for one in scene.maps if one.group == group]
        heads = f"{own[0].heads} heads each" if own[0].heads > 1 else "one head each"
        last = f" to {name_of(own[-1])}" if len(own) > 1 else ""
        yield f"{name_of(own[0])}{last} ({heads})"
