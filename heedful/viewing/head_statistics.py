"""What is told of each head in a number: where it looks, how decided it is, and whether it aligns.

    names, of_maps = head_statistics(scene)
    of_maps[3][names.index("entropy")]        # of each head of the fourth map

Each number is a mean over the queries that see anything. What each is, for people, stands in `EXPLAINED`. A number that
a map cannot have is NaN: what stands beside a token, where queries and keys are of different texts, and an alignment
where nothing is crossed. Of maps too large for a pass over all of their weights, the mean is that of a sample of
queries, with all of their keys (`is_sampled`).
"""

import torch
from torch import Tensor

from heedful.attention import Record
from heedful.viewing.sample import sample, spread
from heedful.viewing.scene import AttentionMap, Scene

EXPLAINED = {
    "entropy": "How undecided the queries are, in nats: 0 is one key alone, log(n) is n keys alike.",
    "maximum": "The largest weight of a query: near 1 where it looks at one place.",
    "distance": "How many places away from its own a query looks, to either side.",
    "spread": "How widely a query looks around its mean place, in places.",
    "first": "The share of attention that rests on the first key, where many heads put what they do not need.",
    "special": "The share that goes to special tokens: the begin, the end, separators.",
    "previous": "The share that goes to the token before the query's own.",
    "itself": "The share that goes to the query's own token.",
    "next": "The share that goes to the token after the query's own.",
    "received": "The share of all attention that the most attended key gets.",
    "alignment": (
        "The share that goes to the source token that all cross-attention heads together look at most: how far a head "
        "agrees with the model's own alignment, which need not be the right one."
    ),
}
"""What each statistic is, in a sentence for people."""

NAMES = tuple(EXPLAINED)

# Weights of a map, all heads, that a pass takes in a few seconds; of more, so many queries are looked at.
MOST = 2**27
SAMPLED = 128

_BESIDE = ("previous", "itself", "next")


def head_statistics(scene: Scene) -> tuple[list[str], list[Tensor]]:
    """Give the names of the statistics, and for each map their values (statistics, heads), float32 on the CPU."""
    consensus = _consensus(scene)
    found: list[Tensor] = []
    for one in scene.maps:
        aligned = consensus.get((one.queries, one.keys)) if one.group == "cross" else None
        if is_sampled(one):
            places = spread(one.record.shape[2], SAMPLED)
            # Head by head, so that no more than the weights of one are in memory.
            heads = (sample(one.record, places, slice(head, head + 1)) for head in range(one.heads))
            values = torch.cat([_values(scene, one, record, None) for record in heads], 1)
        else:
            values = _values(scene, one, one.record, aligned)
        found.append(values.float().cpu())
    return list(NAMES), found


def _values(scene: Scene, one: AttentionMap, record: Record, aligned: tuple[Tensor, Tensor] | None) -> Tensor:
    """Give the statistics (statistics, heads) of a record of the map."""
    values = record.summary()
    received = record.received()
    values["received"] = received.amax(-1) / received.sum(-1).clamp_min(1e-30)
    values["special"] = _mean(record, record.mass(_special(scene, one)))
    missing = torch.full_like(values["entropy"], torch.nan)
    if not _same_text(scene, one):
        values |= dict.fromkeys(_BESIDE, missing)
    values["alignment"] = missing if aligned is None else _on(record, *aligned)
    return torch.stack([values[name][0] for name in NAMES])


def is_sampled(one: AttentionMap) -> bool:
    """Whether a map is so large that its statistics are those of a sample of queries."""
    _, heads, queries, keys = one.record.shape
    return heads * queries * keys > MOST and queries > SAMPLED


def _consensus(scene: Scene) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """Give for each pair of axes that is crossed the key that all heads together look at most, and whose queries count.

    Special tokens align with nothing. Gives (queries,) of keys, and bool (queries,).
    """
    crossed: dict[tuple[str, str], list[AttentionMap]] = {}
    for one in scene.maps:
        # A record of fewer queries is a sample, and nobody knows here of which tokens.
        whole = one.record.shape[2] == len(scene.axes[one.queries].tokens)
        if one.group == "cross" and whole and not is_sampled(one):
            crossed.setdefault((one.queries, one.keys), []).append(one)
    found: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
    for (queries, keys), group in crossed.items():
        ordinary = torch.tensor([not token.special for token in scene.axes[keys].tokens])
        counted = torch.tensor([not token.special for token in scene.axes[queries].tokens])
        # One head alone agrees with itself.
        if not (ordinary.any() and counted.any()) or sum(one.heads for one in group) < 2:
            continue
        mean = torch.stack([one.record.weights()[0].mean(0) for one in group]).mean(0).cpu()
        found[queries, keys] = mean.masked_fill(~ordinary, -1.0).argmax(-1), counted
    return found


def _on(record: Record, keys: Tensor, counted: Tensor) -> Tensor:
    """Give the mean weight (1, heads) of one key for each query, over those that count."""
    weights = record.weights()
    on = weights.gather(-1, keys.to(weights.device)[None, None, :, None].expand(*weights.shape[:3], 1))
    return on.squeeze(-1)[..., counted.to(weights.device)].mean(-1)


def _special(scene: Scene, one: AttentionMap) -> Tensor:
    return torch.tensor([token.special for token in scene.axes[one.keys].tokens])


def _same_text(scene: Scene, one: AttentionMap) -> bool:
    """Whether queries and keys are the same places: also of a decoder, whose rows are called by what they predict."""
    return one.group in ("encoder", "decoder") and len(scene.axes[one.queries].tokens) == len(
        scene.axes[one.keys].tokens
    )


def _mean(record: Record, values: Tensor) -> Tensor:
    """Give the mean of (batch, heads, queries) over the queries that see anything."""
    counts = record.log_sum_exp() > -torch.inf
    return (values * counts).sum(-1) / counts.sum(-1).clamp_min(1)
