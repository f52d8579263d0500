"""Which source word a target word goes with, read off weights: links, and how two directions of them are made one.

    weights = record.weights().mean(1)[0]            # (target_length + 1, source_length): of START and of all words
    links = strongest(reading(weights))              # {(source, target), ...}, counted from 0
    both = symmetrise(links, swapped(links_of_the_other_direction), "grow-diag-final")
    to_pharaoh(both)                                 # "0-0 1-2"

Links are pairs (source, target) whichever direction the model translates. What belongs to tokens and words of a
tokenizer is in `heedful.tasks.alignment`; how far links are from those that people made, in
`heedful.evaluation.alignment_error`.
"""

from collections.abc import Iterable, Set
from typing import Literal

from torch import Tensor

Link = tuple[int, int]
Links = frozenset[Link]
Symmetrisation = Literal["intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"]

# Around a link (target, source): first beside it, then across the corners.
NEIGHBOURS = (-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)


def predicting(weights: Tensor) -> Tensor:
    """Give of each target word the row that predicts it (NAIVE-ATT of Chen et al. 2020).

    weights: (..., target_length + 1, source_length), of a decoder that reads START and the target's words

    Gives (..., target_length, source_length).
    """
    return weights[..., :-1, :]


def reading(weights: Tensor) -> Tensor:
    """Give of each target word the row that reads it, one later than the one that predicts it.

    SHIFT-ATT: Chen et al. 2020, "Accurate Word Alignment Induction from Neural Machine Translation", section 3.
    Shapes are those of `predicting`.
    """
    return weights[..., 1:, :]


def strongest(weights: Tensor, least: float = 0.0) -> Links:
    """Link each target word with the source word that it attends to most; of equal weights the first.

    weights: (target_length, source_length)
    least: a target word whose greatest weight is not more than this is linked with none

    Raises ValueError for weights that are not one matrix.
    """
    _check(weights)
    if not weights.numel():
        return frozenset()
    greatest, places = weights.max(-1)
    pairs = zip(places.tolist(), greatest.tolist(), strict=True)
    return frozenset((source, target) for target, (source, weight) in enumerate(pairs) if weight > least)


def stronger(weights: Tensor, least: float) -> Links:
    """Link all words between which the weight is more than `least`: of a target word none, one or several.

    weights: (target_length, source_length)

    Raises ValueError for weights that are not one matrix.
    """
    _check(weights)
    return frozenset((source, target) for target, source in (weights > least).nonzero().tolist())


def swapped(links: Iterable[Link]) -> Links:
    """Give links (target, source) for links (source, target): those of a model of the other direction."""
    return frozenset((target, source) for source, target in links)


def symmetrise(forward: Set[Link], backward: Set[Link], method: Symmetrisation) -> Links:
    """Make one alignment of those of two directions, both given as (source, target).

    intersection: links of both; few, and mostly right
    union: links of either
    grow-diag: the intersection, and step by step links of either that touch one had, also at a corner, if one of the
        words has no link yet
    grow-diag-final: then also links of either that touch none, if one of the words has no link yet
    grow-diag-final-and: the same, if both words have no link yet

    (Och and Ney 2003, section 5; Koehn, Och and Marcu 2003; in the order of Koehn et al. 2005, "Edinburgh System
    Description for the 2005 IWSLT Speech Translation Evaluation", with the target as its English.)

    Raises ValueError for another method.
    """
    if method == "intersection":
        return frozenset(forward & backward)
    if method == "union":
        return frozenset(forward | backward)
    if method not in ("grow-diag", "grow-diag-final", "grow-diag-final-and"):
        raise ValueError(
            f"Alignments are symmetrised by intersection, union, grow-diag, grow-diag-final or grow-diag-final-and, "
            f"got {method!r}."
        )
    found = set(forward & backward)
    sources, targets = {source for source, _ in found}, {target for _, target in found}

    def add(link: Link) -> None:
        found.add(link)
        sources.add(link[0])
        targets.add(link[1])

    either = sorted(forward | backward, key=_by_target)
    grown = True
    while grown:
        grown = False
        for source, target in either:
            if (source, target) not in found:
                continue
            for down, right in NEIGHBOURS:
                link = source + right, target + down
                free = link[0] not in sources or link[1] not in targets
                if free and (link in forward or link in backward):
                    add(link)
                    grown = True
    for links in (forward, backward) if method != "grow-diag" else ():
        for link in sorted(links, key=_by_target):
            free = link[0] not in sources, link[1] not in targets
            if all(free) or (any(free) and method == "grow-diag-final"):
                add(link)
    return frozenset(found)


def to_pharaoh(links: Iterable[Link]) -> str:
    """Write links as Pharaoh did, "0-0 1-2": source and target word, counted from 0, in order.

    >>> to_pharaoh({(1, 2), (0, 0)})
    '0-0 1-2'
    """
    return " ".join(f"{source}-{target}" for source, target in sorted(links))


def from_pharaoh(line: str, first: int = 0) -> Links:
    """Read links as Pharaoh wrote them; `first` is the number of the first word. Raises ValueError for what is no link.

    >>> sorted(from_pharaoh("0-0 1-2"))
    [(0, 0), (1, 2)]
    """
    links = set[Link]()
    for word in line.split():
        source, dash, target = word.partition("-")
        if not (dash and source.isdecimal() and target.isdecimal()) or min(int(source), int(target)) < first:
            raise ValueError(
                f"A link is two numbers from {first} with a dash between, as in 3-4, got {word!r}."
            )
        links.add((int(source) - first, int(target) - first))
    return frozenset(links)


def _by_target(link: Link) -> Link:
    return link[1], link[0]


def _check(weights: Tensor) -> None:
    if weights.ndim != 2:
        raise ValueError(
            f"Links are read off one matrix (target_length, source_length), got {tuple(weights.shape)}: take one "
            "sentence, and one head or the mean of several."
        )
