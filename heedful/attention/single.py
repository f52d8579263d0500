"""Attention with one head and any score: the classical form, in which a decoder reads its source.

    attended = attention(state, memory, mask=masks.padding(lengths))

    alpha_j = softmax_j(score(q, m_j)),   c = sum_j alpha_j m_j          (Bahdanau et al. 2014, equations 5 and 6)

Nothing is projected beyond what the score projects, and nothing is remembered: what a decoder needs at every step is
made once by `project` and passed in. Several heads with projections of their own are `MultiHeadAttention`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention import tap
from heedful.attention.attend import attend, make_call
from heedful.attention.attending import Attending
from heedful.attention.grid import Grid
from heedful.attention.kernels import reference
from heedful.attention.masks import Mask
from heedful.attention.multihead import KeyValue
from heedful.attention.score import Score


class Attention(Attending):
    """Attention of one head.

    score: how well memories answer queries; its parameters, and those of its modifiers, are this module's
    dropout: on the attention weights, in training
    """

    def __init__(self, score: Score, dropout: float = 0.0) -> None:
        super().__init__()
        self.score, self.dropout = score, dropout
        # A score keeps its modifiers in a tuple, in which torch does not look for parameters.
        self.modifiers = nn.ModuleList(part for part in score.modifiers if isinstance(part, nn.Module))

    def forward(
        self,
        query: Tensor,
        memory: Tensor | KeyValue,
        *,
        values: Tensor | None = None,
        mask: Mask | Tensor | None = None,
        score: Score | None = None,
        query_positions: Tensor | None = None,
        key_positions: Tensor | None = None,
    ) -> Tensor:
        """Attend from each query to a memory.

        query: (batch, queries, d_query)
        memory: what is attended to, (batch, keys, d_key), or what `project` made of it
        values: what is averaged, (batch, keys, d_value); the memory itself when None
        mask: of `heedful.attention.masks`, or bool that broadcasts to (batch, queries, keys); True = may attend
        score: one made of this module's, for this call: `attention.score.after(weights)`, or `.then(...)`
        query_positions, key_positions: as in `attend`

        Gives (batch, queries, d_value). Raises ValueError for shapes that do not fit together.
        """
        arguments = self._arguments(query, memory, values, mask, score, query_positions, key_positions)
        return attend(**arguments, dropout=self.dropout if self.training else 0.0).squeeze(1)

    def with_weights(
        self,
        query: Tensor,
        memory: Tensor | KeyValue,
        *,
        values: Tensor | None = None,
        mask: Mask | Tensor | None = None,
        score: Score | None = None,
        query_positions: Tensor | None = None,
        key_positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend as `forward` does, and give the weights (batch, queries, keys) too, as they were before dropout.

        For models that use them further, with gradients: coverage, pointers, location-aware scores. They are written
        out; to look at them, `heedful.observe` does without.
        """
        call = make_call(
            **self._arguments(query, memory, values, mask, score, query_positions, key_positions)
        )
        weights = reference.weights(call)
        attended = torch.nn.functional.dropout(weights, self.dropout, self.training) @ call.value
        tap.report(call, self)
        return attended.squeeze(1), weights.squeeze(1)

    def project(
        self, memory: Tensor, values: Tensor | None = None, key_positions: Tensor | None = None
    ) -> KeyValue:
        """Do what the score does once for each key of a memory (batch, keys, d_key), however often it is attended to.

        This is the U h_j of Bahdanau et al. 2014 (appendix A.1.2), computed before the first step of the decoder.
        """
        key, value = self._pair(memory, values)
        grid = Grid(0, key.shape[2], key.device, None, key_positions)
        return KeyValue(self.score.prepare_key(key, grid), value)

    def _arguments(
        self,
        query: Tensor,
        memory: Tensor | KeyValue,
        values: Tensor | None,
        mask: Mask | Tensor | None,
        score: Score | None,
        query_positions: Tensor | None,
        key_positions: Tensor | None,
    ) -> dict[str, Any]:
        score = score or self.score
        if query.ndim != 3:
            raise ValueError(f"Attention takes queries (batch, queries, d_query), got {tuple(query.shape)}.")
        if isinstance(memory, KeyValue):
            if values is not None:
                raise ValueError("A projected memory has its values; give them to `project`.")
            key, value, score = memory.key, memory.value, score.for_prepared_keys()
        else:
            key, value = self._pair(memory, values)
        if isinstance(mask, Tensor) and mask.ndim == 3:
            mask = mask.unsqueeze(1)
        return {
            "query": query.unsqueeze(1),
            "key": key,
            "value": value,
            "score": score,
            "mask": mask,
            "query_positions": query_positions,
            "key_positions": key_positions,
        }

    def _pair(self, memory: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor]:
        values = memory if values is None else values
        if memory.ndim != 3 or values.ndim != 3:
            raise ValueError(
                "Attention takes a memory (batch, keys, d_key) and values (batch, keys, d_value), got "
                f"{tuple(memory.shape)} and {tuple(values.shape)}."
            )
        return memory.unsqueeze(1), values.unsqueeze(1)
