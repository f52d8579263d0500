"""A trained language model with its weights laid out once, for a CPU: the same texts from less work.

    lean = LeanText(model)
    state = lean.read_text(prompt)                       # prompt (texts, length)
    choices = lean.best(state, 50, banned=())            # the 50 likeliest next tokens, exactly
    state = lean.read_text(new, state)                   # new (texts, 1)

As heedful.inference.lean for models without a source: a step is one call of the loops of `lean.cpp`, keys and values
stay where they were written, and of all logits only the best few are kept where no more is asked for.
"""

import ctypes
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from heedful.inference import library
from heedful.inference.layout import Layout, Precision, unfit, within
from heedful.layers.transformer_layer import TransformerLayer
from heedful.models.decoder_only import DecoderOnlyTransformer

_LEAST = 64  # tokens that there is room for from the beginning


@dataclass(frozen=True)
class LeanTextState:
    """What was read of texts, all of one length. It can be gone on from once: what is read is written beside it.

    numbers: of each text its keys and values, (layers, 2 * d * capacity)
    first, kept: which of the tokens there are seen
    length: how many tokens were read
    vectors: what the output makes the next token of, (texts, d_model)
    """

    numbers: tuple[Tensor, ...]
    capacity: int
    first: int
    kept: int
    length: int
    vectors: Tensor

    @property
    def seen(self) -> int:
        """How many of the tokens are remembered."""
        return self.kept - self.first

    def select(self, rows: Tensor) -> "LeanTextState":
        """Keep, reorder or repeat texts."""
        chosen = rows.tolist()
        numbers = tuple(
            self.numbers[row].clone() if row in chosen[:place] else self.numbers[row]
            for place, row in enumerate(chosen)
        )
        return LeanTextState(numbers, self.capacity, self.first, self.kept, self.length, self.vectors[rows])

    def last(self, count: int) -> "LeanTextState":
        """Forget all but the last tokens: for positions that are relative."""
        first = max(self.first, self.kept - count)
        return LeanTextState(self.numbers, self.capacity, first, self.kept, self.length, self.vectors)


class LeanText(Layout):
    """A language model's face for writing.

    precision: "int8" multiplies whole numbers; faster, and as good as the rounding of 8 bits allows

    Raises ValueError for a model that `text_refusal` refuses.
    """

    def __init__(self, model: DecoderOnlyTransformer, precision: Precision = "float32") -> None:
        loops = None if (reason := text_refusal(model)) is not None else library.load()
        if loops is None:
            raise ValueError(f"This model cannot be laid out for inference: {reason or library.refusal()}.")
        super().__init__(loops, precision, 2 * model.maximum_length)
        self.settings = model.settings
        self.vocabulary, self.d_model = model.output.weight.shape
        self.layers = len(model.decoder.layers)
        self.attention = cast(TransformerLayer, model.decoder.layers[0]).self_attention
        self.kv_width = self.attention.kv_heads * self.attention.d_head
        self.absolute = model.embedding.learned is not None or model.embedding.encoding is not None
        self.turned = self.places  # positions that there are turns for
        self.described = library.TextModel(
            self.embedding(model.embedding),
            self.stack(model.decoder, model.settings),
            self.projection(model.output.weight, model.output.bias),
            self.precision,
            model.settings.norm_epsilon,
        )
        self.output = self.described.output

    def read_text(self, tokens: Tensor, past: LeanTextState | None = None) -> LeanTextState:
        """Read more of texts: tokens (texts, length), after `past`, or from their beginning.

        Raises ValueError for no tokens, for one that is not in the vocabulary, and for texts that are longer than the
        positions that there are, or, where positions are relative, see more than that.
        """
        tokens = within(tokens, self.vocabulary)
        texts, count = tokens.shape
        if not count:
            raise ValueError("There are no tokens to read: give one for each text at least.")
        if past is None:
            room = _room(count)
            numbers = tuple(torch.empty(self.layers, 2 * self.kv_width * room) for _ in range(texts))
            past = LeanTextState(numbers, room, 0, 0, 0, torch.empty(0))
        if (past.length if self.absolute else past.seen) + count > self.places:
            raise ValueError(f"The model reads at most {self.places} tokens.")
        if past.kept + count > past.capacity:
            past = self._moved(past, count)
        self._turn_to(past.length + count)
        vectors = torch.empty(texts, self.d_model)
        addresses = np.array([each.data_ptr() for each in past.numbers])
        described = library.Texts(addresses.ctypes.data, past.capacity, past.first, past.kept, past.length)
        self.loops.read_texts(
            ctypes.addressof(self.described),
            tokens.data_ptr(),
            texts,
            count,
            ctypes.addressof(described),
            vectors.data_ptr(),
        )
        return LeanTextState(
            past.numbers, past.capacity, past.first, past.kept + count, past.length + count, vectors
        )

    def logits(self, state: LeanTextState) -> Tensor:
        """Of the next token of each text, (texts, vocabulary)."""
        logits = torch.empty(len(state.vectors), self.vocabulary)
        self.loops.outputs(
            ctypes.addressof(self.output),
            self.precision,
            state.vectors.data_ptr(),
            len(logits),
            logits.data_ptr(),
        )
        return logits

    def best(self, state: LeanTextState, count: int, banned: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Give the log-probabilities and ids of the `count` likeliest next tokens of each text, (texts, count) each.

        Ids in `banned` are not chosen, but have their share of the probability. Where fewer than `count` can be
        chosen, values of -inf fill the rest; where a logit is not finite, all values are NaN.
        """
        value = torch.empty(len(state.vectors), count)
        token = torch.empty(len(state.vectors), count, dtype=torch.long)
        self.choose(state.vectors, count, banned, value.data_ptr(), token.data_ptr())
        return value, token

    def _moved(self, past: LeanTextState, count: int) -> LeanTextState:
        """What is still seen, in a larger place."""
        room = _room(past.seen + count)
        parts = [(self.kv_width, past.capacity), (past.capacity, self.kv_width)]
        numbers: list[Tensor] = []
        for old in past.numbers:
            new = torch.empty(self.layers, 2, self.kv_width * room)
            keys, values = (
                part.view(self.layers, *shape) for part, shape in zip(old.chunk(2, 1), parts, strict=True)
            )
            new[:, 0].view(self.layers, self.kv_width, room)[..., : past.seen] = keys[
                ..., past.first : past.kept
            ]
            new[:, 1].view(self.layers, room, self.kv_width)[:, : past.seen] = values[
                :, past.first : past.kept
            ]
            numbers.append(new.flatten(1))
        return LeanTextState(tuple(numbers), room, 0, past.seen, past.length, past.vectors)

    def _turn_to(self, length: int) -> None:
        """Have turns for so many positions: where they are relative, a text may go on for ever."""
        if length > self.turned and self.attention.rotary:
            # The old ones are kept, as another thread may be reading them.
            self.described.stack.turns = self.turns(self.attention, 2 * length)
            self.turned = 2 * length


def _room(tokens: int) -> int:
    """How many tokens to have a place for where so many are seen: a multiple of lean.cpp's longest vectors."""
    return max(_LEAST, -(-2 * tokens // 16) * 16)


def text_refusal(model: torch.nn.Module) -> str | None:
    """Say why a language model cannot be laid out here, or None."""
    if not isinstance(model, DecoderOnlyTransformer):
        return f"it is for decoder-only Transformers, not for {type(model).__name__}"
    return unfit(model.settings, model.output.weight)
