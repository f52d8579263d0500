"""From what was seen to the maps of a scene: which group and layer a module is of."""

from collections import Counter
from collections.abc import Callable, Iterable

from torch import nn

from heedful.attention import Step
from heedful.attention.observe import Seen
from heedful.errors import HeedfulError
from heedful.viewing.scene import AttentionMap, Group

_ORDER: tuple[Group, ...] = ("encoder", "decoder", "cross", "memory")

Place = tuple[Group, str, str]
"""Group of a module, and the axes that it asks from and looks at."""


def maps_of(network: nn.Module, seen: Seen, place: Callable[[str], Place]) -> list[AttentionMap]:
    """Give a map for each module that was seen, groups together, layers in the order of the model.

    place: of a module, by its name

    Modules that were called step by step have their steps joined. Raises HeedfulError where nothing was seen.
    """
    if not len(seen):
        raise HeedfulError(
            "Nothing in this model attends, so there is nothing to see: it has no attention, or none that has been "
            "switched on."
        )
    modules = dict(network.named_modules())
    order = {name: number for number, name in enumerate(modules)}
    found: list[AttentionMap] = []
    layers = Counter[Group]()
    for name in sorted(seen, key=lambda name: order.get(name, len(order))):
        group, queries, keys = place(name)
        once = len(seen.calls(name)) == 1
        record = seen[name] if once else seen.joined(name)
        found.append(AttentionMap(name, group, layers[group], queries, keys, record, modules.get(name)))
        layers[group] += 1
    return sorted(found, key=lambda one: (_ORDER.index(one.group), one.layer))


def steps_of(maps: Iterable[AttentionMap], stream: Callable[[str], str] = str) -> list[Step]:
    """Give the steps of self-attention and cross-attention, layer by layer, the encoder first.

    stream: of an axis, the name of the vectors that stand there
    """
    encoder = [one for one in maps if one.group == "encoder"]
    others = [one for one in maps if one.group in ("decoder", "cross")]
    # In a layer, the decoder attends to itself first.
    ordered = encoder + sorted(others, key=lambda one: (one.layer, one.group == "cross"))
    return [Step(one.record, stream(one.keys), stream(one.queries)) for one in ordered]
