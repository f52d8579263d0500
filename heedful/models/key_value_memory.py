"""The key-value memory network: a fact is found by its key, and what it tells is its value.

    q_1 = A x
    p_i = softmax_i(q_j . A k_i),   o = sum_i p_i A v_i           (Miller et al. 2016, section 3.1)
    q_(j+1) = R_j (q_j + o)                                       (each hop)
    answer = softmax(q_(H+1) . B y)                               over every entry y

A hop is attention with one query whose keys and values come from different texts: a question "what did Harper Lee
write" meets the key "Harper Lee wrote" and gets the value "To Kill a Mockingbird". Without keys of their own, as in a
story, facts are their own keys, and this is a memory network with one table for all hops. `heedful.observe` sees each
hop as `hops.0`, `hops.1`, ...

Which facts are looked at at all (key hashing, section 3.1) is the task's affair: heedful/tasks/recalling.py.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.attention import Attention, Dot
from heedful.layers.sentences import Encoding, sentence_vectors
from heedful.models.memories import Memories, MemoryModel, MemorySettings


class KeyValueMemorySettings(MemorySettings):
    """The dimensions and choices of a key-value memory network; texts are bags of words, as in the paper."""

    architecture: Literal["key-value-memory"] = "key-value-memory"
    # Miller et al. 2016, section 5.1: two hops and 500 for WikiMovies.
    d_model: int = Field(default=500, ge=1, description="width of the vectors of texts")
    hops: int = Field(default=2, ge=1, description="how often the memories are looked at")
    memories: int = Field(default=1000, ge=1, description="how many facts are remembered, the last ones")
    encoding: Encoding = Field(
        default="bag", description="how words become a text: position (their order counts) or bag"
    )
    rare: int | None = Field(
        default=1000,
        ge=1,
        description="look only at facts that share with the question a word that fewer facts have; unset: at all",
    )


class KeyValueMemory(MemoryModel):
    """A key-value memory network.

    settings: dimensions and choices
    vocabulary: entries, words and answers; entry PAD is no word and has no vector
    """

    def __init__(self, settings: KeyValueMemorySettings, vocabulary: int) -> None:
        super().__init__()
        self.settings, starts, width = settings, settings.starts, settings.d_model
        self.words = nn.Parameter(torch.empty(starts, vocabulary, width))  # A
        self.answers = nn.Parameter(torch.empty(starts, vocabulary, width))  # B
        for table in (self.words, self.answers):
            nn.init.normal_(table, std=0.1)
        # R_j begins as the identity: a hop then adds what it read, as in MemN2N.
        self.maps = nn.Parameter(torch.eye(width).repeat(starts, settings.hops, 1, 1))
        self.hops = nn.ModuleList(Attention(Dot()) for _ in range(settings.hops))

    @property
    def output_weight(self) -> Tensor:
        """B, (starts, vocabulary, d_model)."""
        return self.answers

    def features(self, memories: Memories) -> Tensor:
        """Give q after the last hop, (starts, batch, d_model)."""
        starts, width, keys = self.settings.starts, self.settings.d_model, memories.keys
        sentences = sentence_vectors(
            memories.sentences, self.words, self.settings.encoding, width, self.settings.longest
        )

        def facts(of: Tensor) -> Tensor:
            return sentences.index_select(1, of.clamp(min=0).flatten()).view(-1, keys.shape[1], width)

        key = facts(keys)
        value = key if memories.values is None else facts(memories.values)
        real = (keys >= 0).unsqueeze(1).repeat(starts, 1, 1)
        q = sentences.index_select(1, memories.questions)
        for number, hop in enumerate(self.hops):
            read = hop(q.reshape(-1, 1, width), key, values=value, mask=real)
            q = (q + read.view(q.shape)) @ self.maps[:, number].mT
        return q
