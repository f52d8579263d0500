"""A scene: one pass of a model over texts, with everything in it that attended, ready to be looked at.

    scene = look(load("runs/multi30k-en-de"), "A man rides a horse.")      # heedful.viewing.looking
    scene.maps[3].record.weights(...)                                      # (1, heads, queries, keys)
    scene.axes["source"].tokens[0].text

Whatever the model, a scene has the same parts: axes of tokens (or words, facts, images: what is attended from and to),
and maps, each an observed attention between two axes. What shows scenes knows no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from heedful.attention import Record, Step

Group = Literal["encoder", "decoder", "cross", "memory"]
"""Self-attention of an encoder, of a decoder, attention of one to the other, and to stored facts."""


@dataclass(frozen=True)
class Token:
    """One place of an axis.

    text: as people read it, without the tokenizer's marks
    word: the number of the word that it is a part of, from 0; None outside every word
    special: <s>, </s>, a separator, padding: what a reader may want to take out of a picture
    """

    text: str
    word: int | None = None
    special: bool = False


@dataclass(frozen=True)
class Axis:
    """What is attended from or to, in order.

    title: for people, "source" or "facts"
    """

    name: str
    title: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """One attention of the model: of which axis it asks, to which it looks.

    name: of the module, as `observe` knows it
    layer: its number within the group, from 0
    queries, keys: names of axes, as long as the record has queries and keys
    record: of a batch of one
    module: what attends, where it is one module: in one call, or step by step
    """

    name: str
    group: Group
    layer: int
    queries: str
    keys: str
    record: Record
    module: nn.Module | None = None

    @property
    def heads(self) -> int:
        """How many attend side by side."""
        return self.record.shape[1]


class Run(Protocol):
    """The pass of a scene once more, with gradients if they are on."""

    def __call__(self, rows: slice = slice(None)) -> Tensor:
        """Give the scores before softmax of some outputs, (rows, vocabulary); those of a long text are large."""
        ...


@dataclass(frozen=True, eq=False)
class Scene:
    """One pass of a model.

    model: its title, for people
    texts: what was asked for, by name: "source" and "target" of a translation, "text" of others
    axes: by name
    maps: in the order of the model; groups together, layers from the first
    steps: of the attention, for `Rollout` and its kin: what each reads and writes, by name of axis; none where layers
        cannot be followed through the model
    run: passes once more, with gradients if they are on: scores before softmax (outputs, vocabulary); None where there
        are none
    inputs: for axes whose vectors come out of a module, that module: its output is (1, tokens of the axis, d_model), or
        of recurrent models (tokens of the axis, 1, d_model)
    outputs: the axis whose next tokens `run` scores, and for each the token that was taken (the label that was given):
        its number among what is scored
    answer: what the model said, for people: a translation, labels with probabilities
    facts: what else is known, by name; "taken": the tokens of `outputs`, for people
    """

    model: str
    texts: Mapping[str, str]
    axes: Mapping[str, Axis]
    maps: Sequence[AttentionMap]
    steps: Sequence[Step] = ()
    run: Run | None = None
    inputs: Mapping[str, nn.Module] = field(default_factory=dict)
    outputs: tuple[str, Sequence[int]] | None = None
    answer: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def taken(self) -> Sequence[str]:
        """The tokens of `outputs`, as people read them."""
        return self.facts.get("taken", ())
