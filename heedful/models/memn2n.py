"""The end-to-end memory network: it answers a question by looking at remembered sentences several times (hops).

    m_i = A x_i + T_A(i),   c_i = C x_i + T_C(i),   u = B q       (Sukhbaatar et al. 2015, sections 2.1 and 4.1)
    p_i = softmax_i(u . m_i),   o = sum_i p_i c_i,   u <- u + o   (each hop; section 2.2)
    answer = softmax(W u)

A hop is attention with one query, u, whose keys are m and whose values are c; `heedful.observe` sees each as `hops.0`,
`hops.1`, ... A x_i stands for the sum over the words of sentence i, by position or as a bag (layers/sentences.py), and
T(i) for how long ago it was told, counted back from the question. In training empty memories are put between those of
a story, so that no time is always that of one sentence: they only shift times.

Memories that hold no sentence are zeros. With `places` they can be attended to, which adds nothing to u: so a network
can look away, as the softmax over facts alone does not let it. The paper does not say so, but the authors' code does
it, and questions to be answered by yes or no are hardly learnt without.

    adjacent    A^1 = B,  A^(k+1) = C^k,  W = C^K                 (section 2.2)
    layer-wise  A and C are one for all hops,  u <- H u + o

While the buffer `linear` is not 0, hops do without softmax, p_i = u . m_i (linear start, section 4.2), which is no
attention and is not observed. It ends when validation stops getting better (`validated`), which on a hundred questions
it may do for a moment at once: so a least number of validations comes before.

Not here: the non-linearity of the language model in section 5.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from heedful.attention import Attention, Dot
from heedful.layers.sentences import sentence_vectors
from heedful.models.memories import Memories, MemoryModel, MemorySettings


class MemN2NSettings(MemorySettings):
    """The dimensions and choices of an end-to-end memory network; defaults are the paper's for one task of bAbI."""

    architecture: Literal["memn2n"] = "memn2n"
    # Sukhbaatar et al. 2015, section 4.2: 20 for one task, 50 for all tasks at once.
    d_model: int = Field(default=20, ge=1, description="width of the vectors of sentences")
    hops: int = Field(default=3, ge=1, description="how often the memories are looked at")
    memories: int = Field(
        default=50, ge=1, description="how many facts of a story are remembered, the last ones"
    )
    places: int | Literal["data"] | None = Field(
        default=None,
        description="memories that can be attended to, those that hold nothing too, as in the authors' code (data: as "
        "many as the longest story to learn from has); unset: those that hold a fact",
    )
    temporal: bool = Field(default=True, description="whether a memory knows how long ago it was told")
    tied: Literal["adjacent", "layer-wise"] = Field(
        default="adjacent", description="which matrices the hops share"
    )
    noise: float = Field(
        default=0.1, ge=0, le=1, description="most empty memories put into a story in training, by its length"
    )
    linear_start: int = Field(
        default=4,
        ge=0,
        description="how many validations the hops do without softmax at least, until one is no better; 0: none",
    )


class MemN2N(MemoryModel):
    """An end-to-end memory network.

    settings: dimensions and choices
    vocabulary: entries, words and answers; entry PAD is no word and has no vector
    """

    linear: Tensor
    least: Tensor

    def __init__(self, settings: MemN2NSettings, vocabulary: int) -> None:
        super().__init__()
        self.settings, starts, width = settings, settings.starts, settings.d_model
        adjacent = settings.tied == "adjacent"
        # Tables side by side, so that a sentence is read once for all of them. Adjacent tying: B = A^1, C^1 = A^2, ...,
        # C^K = W; layer-wise tying: B, A, C, W. Facts are read by those of A and C, and so are their times.
        tables = settings.hops + 1 if adjacent else 4
        first, last = (0, tables) if adjacent else (1, 3)
        self.read = slice(first * width, last * width)
        self.words = nn.Parameter(torch.empty(starts, vocabulary, tables * width))
        ago = torch.empty(starts, settings.memories, (last - first) * width)
        self.times = nn.Parameter(ago) if settings.temporal else None
        self.map = None if adjacent else nn.Parameter(torch.empty(starts, width, width))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)
        self.hops = nn.ModuleList(Attention(Dot()) for _ in range(settings.hops))
        # Buffers, so that a training that is gone on with goes on as it would have.
        self.register_buffer("linear", torch.tensor(float(settings.linear_start)))
        self.register_buffer("least", torch.tensor(torch.inf))

    @property
    def output_weight(self) -> Tensor:
        """W, (starts, vocabulary, d_model)."""
        return self.words[..., -self.settings.d_model :]

    def validated(self, loss: float) -> bool:
        """Take note of a validation: whether linear start ends now, as the loss is no less than it was."""
        left = float(self.linear)
        ends = left == 1.0 and not loss < self.least
        if ends or left > 1.0:
            self.linear.fill_(left - 1.0)
        self.least.fill_(min(loss, float(self.least)))
        return ends

    def features(self, memories: Memories) -> Tensor:
        """Give u after the last hop, (starts, batch, d_model)."""
        settings, keys = self.settings, memories.keys
        places = settings.places if isinstance(settings.places, int) else 0
        keys = pad(keys, (0, max(0, places - keys.shape[1])), value=-1)
        (batch, facts), starts, width = keys.shape, settings.starts, settings.d_model
        sentences = sentence_vectors(
            memories.sentences, self.words, settings.encoding, width, settings.longest
        )
        real = keys >= 0
        # What is taken where there is no fact does not matter: nobody may look there, or it is made zero.
        told = sentences[..., self.read].index_select(1, keys.clamp(min=0).flatten())
        if self.times is not None:
            told = told + self.times.index_select(1, self._times(real).flatten())
        if places:
            told = told.view(starts, batch, facts, -1) * real.unsqueeze(-1)
        tables = told.view(starts * batch, facts, -1).split(width, dim=-1)
        u = sentences[..., :width].index_select(1, memories.questions).view(starts * batch, 1, width)
        may = real | (torch.arange(facts, device=keys.device) < places)
        real, may = (each.unsqueeze(1).repeat(starts, 1, 1) for each in (real, may))
        for number, hop in enumerate(self.hops):
            key, value = tables[number : number + 2] if self.map is None else tables
            o = ((u @ key.mT) * real) @ value if self.linear else hop(u, key, values=value, mask=may)
            u = o + (u if self.map is None else (u.view(starts, batch, width) @ self.map.mT).view(u.shape))
        return u.view(starts, batch, width)

    def _times(self, real: Tensor) -> Tensor:
        """How long ago each fact was told, (batch, facts): 0 for the last before the question."""
        told = real.sum(1, keepdim=True)
        ago = (told - 1 - torch.arange(real.shape[1], device=real.device)).clamp(min=0)
        if self.training and self.settings.noise:
            ago = shifted(ago, told, self.settings.noise)
        return ago.clamp(max=self.settings.memories - 1)


def shifted(ago: Tensor, told: Tensor, noise: float) -> Tensor:
    """Give times (batch, facts), from 0, as they are when empty memories stand between the facts.

    told: how many facts a story has, (batch, 1)
    noise: a story gets 0 to ceil(noise * told) empty memories, each number as likely, at any places

    The draws are of PyTorch's generator.
    """
    most = (told * noise).ceil().long()
    empty = (torch.rand(told.shape, device=ago.device) * (most + 1)).long()
    places = torch.arange(ago.shape[1] + int(most.max()), device=ago.device)
    draws = torch.rand(len(ago), len(places), device=ago.device).masked_fill(places >= told + empty, 2.0)
    taken = draws.argsort(1).argsort(1) < empty
    # The places that are left to the facts, in their order.
    return taken.to(torch.uint8).argsort(dim=1, stable=True).gather(1, ago)
