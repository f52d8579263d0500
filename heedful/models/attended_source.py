"""The source as a decoder attends to it: projected once, and shared by the hypotheses of a sentence."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.attention import KeyValue, masks
from heedful.attention.masks import Mask


@dataclass(frozen=True)
class AttendedSource:
    """Keys and values of the source, a row for `sharing` hypotheses beside each other.

    memory: what `Attention.project` made of the annotations
    lengths: of the sources, (sources,)
    mask: who is no padding
    """

    memory: KeyValue
    lengths: Tensor
    mask: Mask
    sharing: int = 1

    @classmethod
    def of(cls, memory: KeyValue, lengths: Tensor) -> "AttendedSource":
        """Give that of new sentences, one hypothesis each."""
        return cls(memory, lengths, masks.padding(lengths))

    def select(self, rows: Tensor) -> "AttendedSource":
        """Keep, reorder or repeat hypotheses. Those of one source share its row if each source has as many."""
        sources, sharing = kept_sources(rows, self.sharing)
        if torch.equal(sources, torch.arange(len(self.lengths), device=rows.device)):
            return replace(self, sharing=sharing)
        lengths = self.lengths.index_select(0, sources)
        return AttendedSource(self.memory.select(sources), lengths, masks.padding(lengths), sharing)

    def queries(self, states: Tensor) -> Tensor:
        """One query for each hypothesis, (hypotheses, width) -> (sources, sharing, width)."""
        return states.unflatten(0, (-1, self.sharing))


def kept_sources(rows: Tensor, sharing: int) -> tuple[Tensor, int]:
    """Give the sources of hypotheses `rows`, of which `sharing` had one in common, and how many have one now.

    Hypotheses beside each other share a source if each source has as many of them; else each has its own.
    """
    sources, counts = (rows // sharing).unique_consecutive(return_counts=True)
    together = int(counts.max()) if len(rows) else 1
    return (sources, together) if len(rows) == together * len(sources) else (rows // sharing, 1)
