"""What an output draws from which input, through all layers, without the queries x keys product of any of them.

    A' = (r I + (1 - r) A) / rows of that        one layer: the residual connection keeps a share r, attention moves
    R  = A'_L ... A'_2 A'_1                      all layers: R_ij is how much output i draws from input j

(Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3; r = 1/2.) R is never made. A row of it
is a vector multiplied through the layers from the last to the first, a column one from the first to the last; the
weights of each layer go by in blocks, so that memory stays linear at any length.

`Rollout` sums over all paths through the layers, of each the product of its weights. `WidestPath` takes one path, the
one that carries most, and of it the least weight: of the paper's attention flow, the maximum flow that needs all
weights at once, it is the part that a single path carries, and so never more than that.

    rollout = Rollout([seen[f"encoder.layers.{n}.self_attention"] for n in range(6)])
    rollout.rows([17])["tokens"]          # (batch, 1, inputs): what output 17 draws from
    rollout.columns([0])                  # (batch, outputs, 1): what input 0 feeds
    rollout = Rollout(decoder_steps(own, cross, encoder))
    rollout.rows([5])["source"]           # of the sixth target word; together with ["target"] it sums to one

Neither sees what values and feed-forward layers do with what is attended to: what is told is where it may come from.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from heedful.attention.record import ROWS, Record, plainly

Places = int | slice | Sequence[int]

# Of one head alone take `record.head(number)`.
Heads = Literal["mean", "maximum"]

# How many rows of weights are compared with a path at a time.
COMPARED = 64


@dataclass(frozen=True, eq=False)
class Step:
    """One attention, with the residual connection around it: it reads one stream of vectors and adds to another.

    reads, writes: the streams of its keys and of its queries, by name; in self-attention they are the same
    """

    record: Record
    reads: str = "tokens"
    writes: str = "tokens"


def decoder_steps(
    self_attention: Sequence[Record], cross_attention: Sequence[Record], encoder: Sequence[Record] = ()
) -> list[Step]:
    """Give the steps of a decoder that attends to itself ("target") and to an encoder ("source"), layer by layer.

    encoder: the encoder's self-attention; left out, "source" is what the encoder gives. Raises ValueError unless each
    layer of the decoder has both kinds.
    """
    if len(self_attention) != len(cross_attention):
        raise ValueError(
            f"Each decoder layer has a self-attention and a cross-attention, got {len(self_attention)} and "
            f"{len(cross_attention)}."
        )
    steps = [Step(record, "source", "source") for record in encoder]
    for own, cross in zip(self_attention, cross_attention, strict=True):
        steps += [Step(own, "target", "target"), Step(cross, "source", "target")]
    return steps


class Influence(ABC):
    """Rows and columns of outputs x inputs, through layers of attention.

    steps: the first layer first; a record alone is self-attention. Outputs are those of the last.
    residual: the share of each vector that goes past the attention, 0 <= residual < 1. A query that sees nothing keeps
        all.
    heads: what of the heads is one layer's weight: their mean or their greatest

    Raises ValueError for steps that do not fit together.
    """

    def __init__(self, steps: Sequence[Record | Step], residual: float = 0.5, heads: Heads = "mean") -> None:
        self.steps = [step if isinstance(step, Step) else Step(step) for step in steps]
        if not self.steps:
            raise ValueError("Influence goes through at least one layer of attention, got none.")
        if not 0 <= residual < 1:
            raise ValueError(f"The residual share is at least 0 and less than 1, got {residual}.")
        if heads not in ("mean", "maximum"):
            raise ValueError(f"Heads are taken together by their mean or their maximum, got {heads!r}.")
        self.residual, self.heads = residual, heads
        self.lengths: dict[str, int] = {}
        for number, step in enumerate(self.steps):
            _, _, queries, keys = step.record.shape
            for name, length in ((step.writes, queries), (step.reads, keys)):
                if self.lengths.setdefault(name, length) != length:
                    raise ValueError(
                        f"The stream {name!r} has {self.lengths[name]} vectors, but step {number} has {queries} "
                        f"queries and {keys} keys: take the records of one whole pass (steps of decoding joined)."
                    )
        self.output = self.steps[-1].writes
        matrix = self.steps[-1].record.matrix
        self._batch, self._dtype, self._device = matrix.shape[0], matrix.dtype, matrix.device

    def rows(self, outputs: Places) -> dict[str, Tensor]:
        """Give what some outputs draw from: for each stream (batch, those outputs, its inputs).

        Raises IndexError for an output that is not there.
        """
        return self._draw(self._chosen(outputs, self.output))

    def columns(self, inputs: Places, of: str | None = None) -> Tensor:
        """Give what some inputs feed: (batch, all outputs, those inputs).

        of: the stream of the inputs; that of the first step's keys when None

        Raises IndexError for an input that is not there, and ValueError for a stream that is not there.
        """
        of = self.steps[0].reads if of is None else of
        if of not in self.lengths:
            raise ValueError(f"There is no stream {of!r}; there are {', '.join(self.lengths)}.")
        chosen = self._chosen(inputs, of).mT
        streams = {
            name: chosen if name == of else chosen.new_zeros(self._batch, length, chosen.shape[-1])
            for name, length in self.lengths.items()
        }
        with plainly(self.steps[0].record.matrix):
            for step in self.steps:
                streams[step.writes] = self._fed(step, streams[step.writes], streams[step.reads])
        return streams[self.output]

    def _draw(self, vectors: Tensor) -> dict[str, Tensor]:
        """Take (batch, some, outputs) down through the steps."""
        streams = {
            name: vectors.new_zeros(*vectors.shape[:2], length) for name, length in self.lengths.items()
        }
        streams[self.output] = vectors
        with plainly(self.steps[0].record.matrix):
            for step in reversed(self.steps):
                kept, drawn = self._drawn(step, streams[step.writes])
                streams[step.writes] = kept
                streams[step.reads] = self._together(streams[step.reads], drawn)
        return streams

    @abstractmethod
    def _drawn(self, step: Step, written: Tensor) -> tuple[Tensor, Tensor]:
        """Of what flows out of a step, (batch, some, queries), give what went past it and what came from its keys."""

    @abstractmethod
    def _fed(self, step: Step, written: Tensor, read: Tensor) -> Tensor:
        """Give what a step makes of its stream (batch, queries, some) and of what it reads (batch, keys, some)."""

    @abstractmethod
    def _together(self, one: Tensor, other: Tensor) -> Tensor:
        """Give what two ways between the same places are together."""

    def _chosen(self, places: Places, stream: str) -> Tensor:
        """Give a vector for each of the places, (batch, some, length), with a one there."""
        length = self.lengths[stream]
        if not isinstance(places, slice):
            places = [places] if isinstance(places, int) else list(places)
            if wrong := [place for place in places if not -length <= place < length]:
                raise IndexError(f"There is no position {wrong[0]}: {stream!r} has {length}, counted from 0.")
        numbers = torch.arange(length, device=self._device)[places]
        vectors = torch.zeros(len(numbers), length, dtype=self._dtype, device=self._device)
        return vectors.scatter_(1, numbers.unsqueeze(1), 1.0).expand(self._batch, -1, -1)

    def _layer(self, step: Step) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
        """Give A' block by block: rows, keys, moved (batch, rows, keys) and, kept by the residual, (batch, rows)."""
        for rows, blocks in groupby(step.record.blocks(), lambda block: block.rows):
            weights, count, keys = None, 0, slice(0, 0)
            for block in blocks:  # the heads, some at a time
                keys, count = block.keys, count + block.weights.shape[1]
                if self.heads == "mean":
                    part = block.weights.sum(1)
                    weights = part if weights is None else weights.add_(part)
                else:
                    part = block.weights.amax(1)
                    weights = part if weights is None else torch.maximum(weights, part)
            if weights is None:
                continue
            if self.heads == "mean":
                weights = weights.div_(count)
            moved = weights.mul_(1 - self.residual)
            total = moved.sum(-1) + self.residual
            total.masked_fill_(total == 0, 1.0)
            yield rows, keys, moved.div_(total.unsqueeze(-1)), self.residual / total


class Rollout(Influence):
    """All paths: of each the product of its weights. What an output draws from all inputs sums to one."""

    def received(self, outputs: Tensor | None = None, by_receptive_field: bool = False) -> dict[str, Tensor]:
        """Give how much all outputs together draw from each input: for each stream (batch, inputs).

        outputs: which count, bool (outputs,) or (batch, outputs): those that are no padding, say; all when None
        by_receptive_field: divide by the number of these outputs that may see the input in one layer. In a decoder the
            first of n inputs is seen by n outputs, and the last by one. Through several layers no more outputs see it,
            unless masks leave out what lies between, as windows do.
        """
        length = self.lengths[self.output]
        chosen = torch.ones(1, length, dtype=torch.bool) if outputs is None else outputs.reshape(-1, length)
        vector = chosen.to(self._device, self._dtype).expand(self._batch, -1)
        found = {name: of.squeeze(1) for name, of in self._draw(vector.unsqueeze(1)).items()}
        if by_receptive_field:
            found = {name: of / self._field(name, vector).clamp_min(1) for name, of in found.items()}
        return found

    def _field(self, stream: str, outputs: Tensor) -> Tensor:
        """Give how many of the outputs, (batch, outputs) of ones and zeros, may see each input, (batch, inputs)."""
        readers = [step for step in self.steps if step.reads == stream and step.writes == self.output]
        if not readers:
            raise ValueError(f"The outputs, {self.output!r}, do not attend to {stream!r} themselves.")
        record = readers[-1].record
        count = outputs.new_zeros(self._batch, self.lengths[stream])
        for start in range(0, record.shape[2], ROWS):
            rows = slice(start, min(start + ROWS, record.shape[2]))
            allowed = record.allowed(rows)
            any_head = allowed.any(-3) if allowed.ndim > 2 else allowed
            size = rows.stop - rows.start
            seen = any_head.expand(self._batch, size, count.shape[-1]).clone()
            if readers[-1].reads == readers[-1].writes:  # the residual connection
                seen.diagonal(start, 1, 2).fill_(True)
            count += (outputs[:, None, rows] @ seen.to(outputs.dtype)).squeeze(1)
        return count

    def _drawn(self, step: Step, written: Tensor) -> tuple[Tensor, Tensor]:
        kept = written * (self.residual > 0)
        drawn = written.new_zeros(*written.shape[:2], step.record.shape[3])
        for rows, keys, moved, stays in self._layer(step):
            kept[..., rows] *= stays.unsqueeze(1)
            drawn[..., keys] += written[..., rows] @ moved
        return kept, drawn

    def _fed(self, step: Step, written: Tensor, read: Tensor) -> Tensor:
        found = written * (self.residual > 0)
        for rows, keys, moved, stays in self._layer(step):
            found[:, rows] = written[:, rows] * stays.unsqueeze(-1) + moved @ read[:, keys]
        return found

    def _together(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


class WidestPath(Influence):
    """One path: of those between an output and an input the one whose least weight is greatest, and that weight."""

    def _drawn(self, step: Step, written: Tensor) -> tuple[Tensor, Tensor]:
        kept = written * (self.residual > 0)
        drawn = written.new_zeros(*written.shape[:2], step.record.shape[3])
        for rows, keys, moved, stays in self._narrow(step):
            kept[..., rows] = written[..., rows].minimum(stays.unsqueeze(1))
            for number in range(written.shape[1]):
                carried = moved.minimum(written[:, number, rows, None]).amax(1)
                drawn[:, number, keys] = drawn[:, number, keys].maximum(carried)
        return kept, drawn

    def _fed(self, step: Step, written: Tensor, read: Tensor) -> Tensor:
        found = written * (self.residual > 0)
        for rows, keys, moved, stays in self._narrow(step):
            found[:, rows] = written[:, rows].minimum(stays.unsqueeze(-1))
            for number in range(read.shape[2] if moved.shape[-1] else 0):
                carried = moved.minimum(read[:, None, keys, number]).amax(-1)
                found[:, rows, number] = found[:, rows, number].maximum(carried)
        return found

    def _together(self, one: Tensor, other: Tensor) -> Tensor:
        return one.maximum(other)

    def _narrow(self, step: Step) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
        """Give A' as `_layer` does, a few rows at a time; what is kept has attention to oneself added."""
        for rows, keys, moved, stays in self._layer(step):
            if step.reads == step.writes:
                first = max(rows.start, keys.start)
                itself = slice(first, max(first, min(rows.stop, keys.stop)))
                diagonal = moved[:, :, itself.start - keys.start :].diagonal(rows.start - itself.start, 1, 2)
                count = itself.stop - itself.start
                stays[:, itself.start - rows.start :][:, :count] += diagonal[:, :count]
            for start in range(rows.start, rows.stop, COMPARED):
                here = slice(start, min(start + COMPARED, rows.stop))
                own = slice(here.start - rows.start, here.stop - rows.start)
                yield here, keys, moved[:, own], stays[:, own]
