"""SNAIL, the simple neural attentive meta-learner (Mishra et al. 2018): a sequence of experience in, an answer out.

    DenseBlock(x)       x and tanh(f) * sigmoid(g);  f, g = causal convolution of x, kernel 2, dilation d
    TCBlock(x)          dense blocks whose dilations double until they span the sequence: far back, but coarsely
    AttentionBlock(x)   x and softmax(q k^T / sqrt(d_k)) v over the past: exactly what is asked for, from anywhere

Every block adds its channels to those it was given (figure 1 of the paper). Nothing is learnt about a new task but what
the sequence tells: a few labelled images, or the rewards of the actions so far.

`Experience` is the stack of blocks; `FewShotSnail` names images after a few examples (section 5.1 and appendix A),
`PolicySnail` chooses actions (section 5.2 and appendix C). The blocks are those of figure 2. Sequences are (batch,
time, channels).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from heedful.attention import Attention, KeyValue, ScaledDot
from heedful.layers.image_embedding import ImageEmbedding
from heedful.settings import Settings

Dilations = Literal["from-two", "from-one"]


class ConvolutionSettings(Settings):
    """A TCBlock of a stack."""

    kind: Literal["convolution"] = "convolution"
    filters: int = Field(ge=1, description="channels that each dense block adds")


class AttentionSettings(Settings):
    """An AttentionBlock of a stack."""

    kind: Literal["attention"] = "attention"
    d_key: int = Field(ge=1, description="width of keys and queries")
    d_value: int = Field(ge=1, description="channels that the block adds")


BlockSettings = Annotated[ConvolutionSettings | AttentionSettings, Field(discriminator="kind")]


def _attention(d_key: int, d_value: int) -> AttentionSettings:
    return AttentionSettings(d_key=d_key, d_value=d_value)


class StackSettings(Settings):
    """What both networks choose."""

    # As printed, 2, 4, 8, ..., a convolution sees only places an even number of steps back; WaveNet's are 1, 2, 4, ...
    dilations: Dilations = Field(
        default="from-two", description="from-two: 2, 4, 8, ... as printed; from-one: 1, 2, 4, ... as WaveNet"
    )


class FewShotSnailSettings(StackSettings):
    """The network that names images; the defaults are the paper's for Omniglot."""

    architecture: Literal["snail"] = "snail"
    blocks: tuple[BlockSettings, ...] = Field(
        default=(
            _attention(64, 32),
            ConvolutionSettings(filters=128),
            _attention(256, 128),
            ConvolutionSettings(filters=128),
            _attention(512, 256),
        ),
        description="the stack",
    )
    filters: int = Field(default=64, ge=1, description="channels of each convolution of the image embedding")
    d_embedding: int = Field(default=64, ge=1, description="width of an embedded image")


class PolicySnailSettings(StackSettings):
    """The network that acts; the defaults are the paper's for bandits and tabular MDPs."""

    architecture: Literal["snail"] = "snail"
    d_input: int = Field(default=32, ge=1, description="channels that observation, action and reward become")
    blocks: tuple[BlockSettings, ...] = Field(
        default=(ConvolutionSettings(filters=32), ConvolutionSettings(filters=32), _attention(32, 32)),
        description="the stack",
    )


@dataclass(frozen=True)
class Recent:
    """What a dense block made of its last inputs for later: W_past x, (batch, 2 filters) each, the oldest first."""

    told: tuple[Tensor, ...] = ()

    def select(self, rows: Tensor) -> "Recent":
        """Keep, reorder or repeat rows of the batch."""
        return Recent(tuple(one.index_select(0, rows) for one in self.told))


class DenseBlock(nn.Module):
    """x -> x and tanh(f) * sigmoid(g), where (f, g)_t = W_past x_(t - dilation) + W_present x_t + b."""

    def __init__(self, channels: int, dilation: int, filters: int) -> None:
        super().__init__()
        self.dilation = dilation
        # The two taps of a kernel of 2; before the beginning there are zeros.
        self.past = nn.Linear(channels, 2 * filters, bias=False)
        self.present = nn.Linear(channels, 2 * filters)
        for tap in (self.past, self.present):
            nn.init.normal_(tap.weight, std=(2 * channels) ** -0.5)
        nn.init.zeros_(self.present.bias)

    def forward(self, x: Tensor, alternatives: int = 0) -> Tensor:
        """x (batch, time + alternatives, channels) -> (batch, time + alternatives, channels + filters)."""
        time = x.shape[1] - alternatives
        # Row `time` is what the next place sees of the past, and so does each of the alternatives for it.
        past = pad(
            self.past(x[:, : max(time + 1 - self.dilation, 0)]), (0, 0, min(self.dilation, time + 1), 0)
        )
        rows = past[:, :time] if not alternatives else past[:, _places(time, alternatives, x.device)]
        return self._gate(x, rows)

    def start(self, batch: int) -> Recent:
        """Give what is remembered before the first step."""
        return Recent()

    def step(self, x: Tensor, cache: Recent) -> tuple[Tensor, Recent]:
        """x (batch, channels) and what the last `dilation` inputs mean for later -> the same of the next place."""
        told = (*cache.told, self.past(x))
        if len(told) <= self.dilation:  # before the beginning there are zeros
            return self._gate(x, torch.zeros_like(told[0])), Recent(told)
        return self._gate(x, told[0]), Recent(told[1:])

    def _gate(self, x: Tensor, past: Tensor) -> Tensor:
        f, g = (past + self.present(x)).chunk(2, -1)
        return torch.cat((x, torch.tanh(f) * torch.sigmoid(g)), -1)


class TCBlock(nn.Module):
    """ceil(log2 length) dense blocks, which together see a whole sequence of `length`."""

    def __init__(self, channels: int, length: int, filters: int, dilations: Dilations = "from-two") -> None:
        super().__init__()
        first = 1 if dilations == "from-two" else 0
        self.blocks = nn.ModuleList(
            DenseBlock(channels + number * filters, 2 ** (number + first), filters)
            for number in range(math.ceil(math.log2(length)))
        )
        self.channels = channels + len(self.blocks) * filters

    def forward(self, x: Tensor, alternatives: int = 0) -> Tensor:
        """x (batch, time + alternatives, channels) -> (batch, time + alternatives, self.channels)."""
        for block in self.blocks:
            x = block(x, alternatives)
        return x


class AttentionBlock(nn.Module):
    """x -> x and what one head of causal attention reads from x."""

    def __init__(self, channels: int, d_key: int, d_value: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(channels, d_key), nn.Linear(channels, d_key)
        self.value = nn.Linear(channels, d_value)
        self.attention = Attention(ScaledDot())
        self.channels = channels + d_value

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, places, channels), mask (places, places) -> (batch, places, self.channels)."""
        read = self.attention(self.query(x), self.key(x), values=self.value(x), mask=mask)
        return torch.cat((x, read), -1)

    def start(self, batch: int) -> KeyValue:
        """Give what is remembered before the first step: no key."""
        nothing = self.key.weight.new_zeros(batch, 1, 0, 1)
        return KeyValue(*(nothing.expand(-1, -1, -1, part.out_features) for part in (self.key, self.value)))

    def step(self, x: Tensor, cache: KeyValue) -> tuple[Tensor, KeyValue]:
        """x (batch, channels) and keys and values so far -> the same of the next place."""
        x = x.unsqueeze(1)
        cache = cache.append(self.attention.project(self.key(x), self.value(x)))
        return torch.cat((x, self.attention(self.query(x), cache)), -1).squeeze(1), cache


@dataclass(frozen=True)
class ExperienceState:
    """What is remembered between steps: of each dense block its last inputs, of attention all keys and values."""

    caches: list[Recent | KeyValue]

    def select(self, rows: Tensor) -> "ExperienceState":
        """Keep, reorder or repeat rows of the batch."""
        return ExperienceState([cache.select(rows) for cache in self.caches])


class Experience(nn.Module):
    """The stack of blocks over a sequence.

    channels: of the input; `self.channels`: of the output
    length: of the longest sequence that the convolutions are to span; longer ones can be read, too
    """

    def __init__(
        self, channels: int, length: int, blocks: tuple[BlockSettings, ...], dilations: Dilations = "from-two"
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for block in blocks:
            if block.kind == "convolution":
                made = TCBlock(channels, length, block.filters, dilations)
            else:
                made = AttentionBlock(channels, block.d_key, block.d_value)
            self.blocks.append(made)
            channels = made.channels
        self.channels = channels

    def forward(self, x: Tensor, alternatives: int = 0) -> Tensor:
        """x (batch, time + alternatives, channels) -> (batch, time + alternatives, self.channels).

        The last `alternatives` inputs all stand at the same place, after `time` others, and do not see each other: each
        gets what it would get alone. So many questions about the same experience cost one reading of it.
        """
        mask = _mask(x.shape[1] - alternatives, alternatives, x.device)
        for block in self.blocks:
            x = block(x, alternatives) if isinstance(block, TCBlock) else block(x, mask)
        return x

    def start(self, batch: int) -> ExperienceState:
        """Give the state before the first step."""
        return ExperienceState([part.start(batch) for part in self._parts()])

    def step(self, x: Tensor, state: ExperienceState) -> tuple[Tensor, ExperienceState]:
        """Read one place: x (batch, channels) -> (batch, self.channels) and the new state."""
        caches: list[Recent | KeyValue] = []
        for part, cache in zip(self._parts(), state.caches, strict=True):
            x, new = part.step(x, cache)
            caches.append(new)
        return x, ExperienceState(caches)

    def _parts(self) -> list[Any]:
        """The blocks that remember: dense blocks and attention blocks, in order."""
        return [
            part
            for block in self.blocks
            for part in (block.blocks if isinstance(block, TCBlock) else [block])
        ]


class FewShotSnail(nn.Module):
    """Names images of classes it has never seen, after a few examples of each (section 5.1, figure 2a).

    The sequence is (image, label) of the examples, and at its end an image without a label.

    ways: how many classes an episode has; the label of one is arbitrary, 0 to ways - 1
    shots: the most examples of a class that the convolutions are to span
    """

    def __init__(self, settings: FewShotSnailSettings, ways: int, shots: int) -> None:
        super().__init__()
        self.settings, self.ways, self.shots = settings, ways, shots
        self.embedding = ImageEmbedding(settings.filters, settings.d_embedding)
        self.experience = Experience(
            settings.d_embedding + ways, ways * shots + 1, settings.blocks, settings.dilations
        )
        self.output = nn.Linear(self.experience.channels, ways)

    def features(self, examples: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """Give the vectors (episodes, queries, channels) that `output` turns into logits; arguments as `forward`."""
        images = torch.cat((examples, queries), 1)
        # (episodes, images, height, width) -> (episodes, images, d_embedding), all in one batch
        embedded = self.embedding(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        known = one_hot(labels, self.ways).to(embedded.dtype)
        # A query has no label: zeros.
        x = torch.cat((embedded, pad(known, (0, 0, 0, queries.shape[1]))), -1)
        return self.experience(x, alternatives=queries.shape[1])[:, labels.shape[1] :]

    def forward(self, examples: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """Give the logits (episodes, queries, ways) of each query, which knows nothing of the other queries.

        examples: (episodes, examples, height, width), ink 1 on paper 0; labels: (episodes, examples), integers;
        queries: (episodes, queries, height, width)
        """
        return self.output(self.features(examples, labels, queries))


class PolicySnail(nn.Module):
    """Chooses actions from all it has seen of an environment so far (section 5.2, figure 2b).

    A place of the sequence is what `heedful.data.environments` tells before an action: observation, last action, last
    reward, and whether an episode has just ended. Policy and value share the stack.

    inputs: channels of a place; actions: how many there are; length: of the longest sequence
    """

    def __init__(self, settings: PolicySnailSettings, inputs: int, actions: int, length: int) -> None:
        super().__init__()
        self.settings = settings
        self.input = nn.Linear(inputs, settings.d_input)
        self.experience = Experience(settings.d_input, length, settings.blocks, settings.dilations)
        self.policy = nn.Linear(self.experience.channels, actions)
        self.value = nn.Linear(self.experience.channels, 1)
        # All actions are equally likely at first.
        nn.init.normal_(self.policy.weight, std=1e-3)
        nn.init.zeros_(self.policy.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, time, inputs) -> logits of the actions (batch, time, actions) and values (batch, time)."""
        return self._heads(self.experience(self.input(x)))

    def start(self, batch: int) -> ExperienceState:
        """Give the state before the first step."""
        return self.experience.start(batch)

    def step(self, x: Tensor, state: ExperienceState) -> tuple[Tensor, Tensor, ExperienceState]:
        """x (batch, inputs) -> logits (batch, actions), value (batch,) and the new state."""
        features, state = self.experience.step(self.input(x), state)
        return *self._heads(features), state

    def _heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy(features), self.value(features).squeeze(-1)


def _places(time: int, alternatives: int, device: torch.device) -> Tensor:
    """Where each input stands: 0, 1, ..., time - 1, and then `time` for every alternative."""
    return torch.arange(time + alternatives, device=device).clamp(max=time)


def _mask(time: int, alternatives: int, device: torch.device) -> Tensor:
    """Who may attend to whom (places, places): the past, and oneself, but no alternative to another."""
    places = _places(time, alternatives, device)
    return (places < places.unsqueeze(1)) | torch.eye(len(places), dtype=torch.bool, device=device)
