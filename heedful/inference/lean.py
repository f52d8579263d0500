"""A trained Transformer with its weights laid out once, for a CPU: the same answers from less work.

    lean = LeanTransformer(model, "int8")
    search(lean, source, SearchSettings(beam=4))

What is saved, beside a plain step in PyTorch: the calls of some hundred small operations (the loops of `lean.cpp` do a
step in one); the search for layouts in each product (weights are packed once, matrix.hpp); padding (sentences lie one
after the other); copies of keys and values when hypotheses are reordered (each remembers where its past lies); and all
logits that are not among the best (they are looked at as they are made, with the sum of their exponentials).

Each call computes on the thread that makes it, without Python's lock: several threads may share one LeanTransformer,
each with batches of its own, which is how a machine's cores are best used.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heedful.inference import library
from heedful.inference.layout import PRECISIONS, Layout, Precision, unfit, within
from heedful.layers.transformer_layer import TransformerLayer
from heedful.models.face import Choices
from heedful.models.transformer import Transformer
from heedful.text.special import END, PAD, START


@dataclass(frozen=True)
class Memory:
    """Keys and values that the decoder's layers attend to: `numbers` (layers, all numbers of a layer).

    starts, lengths: (sentences,), where those of a sentence begin, and how many tokens it has
    """

    numbers: Tensor
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @cached_property
    def described(self) -> library.Memory:
        """As lean.cpp takes it."""
        return library.Memory(
            self.numbers.data_ptr(), self.numbers.shape[1], self.starts.ctypes.data, self.lengths.ctypes.data
        )


@dataclass(frozen=True)
class LeanState:
    """What hypotheses said and what of: nothing of it is ever copied or changed, only looked up.

    sentence: (hypotheses,) int32, what each translates
    blocks: of each step the keys and values of the hypotheses of its time, (layers, hypotheses, 2, d)
    ancestors: (hypotheses, steps) int32, in which row of each block the past of each lies
    """

    memory: Memory
    sentence: NDArray[np.int32]
    blocks: tuple[Tensor, ...]
    ancestors: NDArray[np.int32]

    def select(self, rows: Tensor) -> "LeanState":
        """Keep, reorder or repeat hypotheses."""
        chosen = rows.numpy()
        return replace(self, sentence=self.sentence[chosen], ancestors=self.ancestors[chosen])


class LeanTransformer(Layout):
    """A Transformer's face for a search: encode, start, step, select; and `best`, for which it is made.

    precision: "int8" multiplies whole numbers, weights with a scale for each output and vectors with one for each
        position; faster, and as good as the rounding of 8 bits allows

    Raises ValueError for a model that `refusal` refuses.
    """

    training = False

    def __init__(self, model: Transformer, precision: Precision = "float32") -> None:
        loops = None if (reason := refusal(model)) is not None else library.load()
        if loops is None:
            raise ValueError(f"This model cannot be laid out for inference: {reason or library.refusal()}.")
        super().__init__(loops, precision, model.maximum_length)
        self.maximum_length = model.maximum_length
        self.vocabulary, self.d_model = model.output.weight.shape
        self.source_vocabulary = model.source_embedding.table.num_embeddings
        self.layers = len(model.decoder.layers)
        attention = cast(TransformerLayer, model.decoder.layers[0]).self_attention
        self.kv_width = attention.kv_heads * attention.d_head
        self.output_weight = self.keep(model.output.weight)
        self.described = library.Model(
            self.embedding(model.source_embedding),
            self.embedding(model.target_embedding),
            self.stack(model.encoder, model.settings),
            self.stack(model.decoder, model.settings),
            self.projection(model.output.weight, model.output.bias),
            self.precision,
            model.settings.norm_epsilon,
        )
        self.output = self.described.output

    def encode(self, source: Tensor) -> Memory:
        """source (batch, source_length) -> what the decoder's layers attend to.

        Raises ValueError for a token that is not in the vocabulary, and for a sentence that is too long.
        """
        real = source != PAD
        lengths = real.sum(1).numpy()
        if lengths.max(initial=0) > self.maximum_length:
            raise ValueError(f"The model reads at most {self.maximum_length} tokens.")
        tokens = within(source[real], self.source_vocabulary)
        offsets = np.concatenate(([0], lengths.cumsum()))
        lanes = self.loops.lanes()
        sizes = self.kv_width * (lengths + -(-lengths // lanes) * lanes)
        ends = sizes.cumsum()
        memory = Memory(torch.empty(self.layers, int(ends[-1])), ends - sizes, lengths)
        self.loops.encode(
            ctypes.addressof(self.described),
            tokens.data_ptr(),
            offsets.ctypes.data,
            len(source),
            ctypes.addressof(memory.described),
        )
        return memory

    def start(self, memory: Memory) -> LeanState:
        """One hypothesis for each sentence, which said nothing."""
        sentences = len(memory.lengths)
        return LeanState(
            memory, np.arange(sentences, dtype=np.int32), (), np.zeros((sentences, 0), dtype=np.int32)
        )

    def step(self, tokens: Tensor, state: LeanState) -> tuple[Tensor, LeanState]:
        """tokens (hypotheses,) -> logits (hypotheses, vocabulary) and the state after them."""
        vectors, state = self._vectors(tokens, state)
        logits = torch.empty(len(vectors), self.vocabulary)
        self.loops.logits(
            ctypes.addressof(self.described), vectors.data_ptr(), len(vectors), logits.data_ptr()
        )
        return logits, state

    def best(
        self, tokens: Tensor, state: LeanState, count: int, banned: Sequence[int]
    ) -> tuple[Choices, LeanState]:
        """tokens (hypotheses,) -> the best continuations, see `heedful.models.face.Chooses`, and the new state."""
        vectors, state = self._vectors(tokens, state)
        value = np.empty((len(vectors), count), dtype=np.float32)
        token = np.empty((len(vectors), count), dtype=np.int64)
        self._choose(vectors, state, count, tuple(banned), value.ctypes.data, token.ctypes.data)
        return Choices(value, token, value), state

    def greedy(
        self, memory: Memory, limits: NDArray[np.int64], minimum: int, banned: Sequence[int]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Give the whole answer to each sentence, see `heedful.models.face.Chooses`."""
        sentences, longest = len(limits), int(limits.max())
        tokens = np.empty((sentences, longest), dtype=np.int64)
        terms = np.empty((sentences, longest), dtype=np.float32)
        lengths = np.empty(sentences, dtype=np.int64)
        limits = np.ascontiguousarray(limits)
        masks = self.mask(tuple(banned)), self.mask((*banned, END))
        among, early = (self._among(mask) for mask in masks)
        self.loops.greedy(
            ctypes.addressof(self.described),
            among and ctypes.addressof(among.described),
            early and ctypes.addressof(early.described),
            ctypes.addressof(memory.described),
            sentences,
            START,
            END,
            limits.ctypes.data,
            minimum,
            masks[0].ctypes.data,
            masks[1].ctypes.data,
            longest,
            tokens.ctypes.data,
            terms.ctypes.data,
            lengths.ctypes.data,
        )
        return [
            (row[:length], of_row[:length])
            for row, of_row, length in zip(tokens, terms, lengths.tolist(), strict=True)
        ]

    def _among(self, mask: NDArray[np.uint8]) -> "_Among | None":
        """What the mask leaves of each sentence's outputs, where it has some of its own."""
        return None

    def among(self, tokens: Sequence[Tensor]) -> "Narrowed":
        """Give the model that has for each sentence no other outputs than these tokens, sorted ids."""
        return Narrowed(self, tokens)

    def _choose(
        self, vectors: Tensor, state: LeanState, count: int, banned: tuple[int, ...], value: int, token: int
    ) -> None:
        self.choose(vectors, count, banned, value, token)

    def _vectors(self, tokens: Tensor, state: LeanState) -> tuple[Tensor, LeanState]:
        """Give what the output reads, (hypotheses, d_model), and the state after the tokens."""
        rows = len(tokens)
        if len(state.blocks) == self.maximum_length:
            raise ValueError(f"The model writes at most {self.maximum_length} tokens.")
        tokens = within(tokens, self.vocabulary)
        blocks = (*state.blocks, torch.empty(self.layers, rows, 2, self.kv_width))
        addresses = np.array([block.data_ptr() for block in blocks])
        heights = np.array([block.shape[1] for block in blocks])
        ancestors = np.empty((rows, len(blocks)), dtype=np.int32)
        ancestors[:, :-1] = state.ancestors
        ancestors[:, -1] = np.arange(rows)
        past = library.Past(
            addresses.ctypes.data, heights.ctypes.data, ancestors.ctypes.data, len(blocks), len(blocks) - 1
        )
        vectors = torch.empty(rows, self.d_model)
        self.loops.step(
            ctypes.addressof(self.described),
            tokens.data_ptr(),
            rows,
            ctypes.addressof(past),
            state.sentence.ctypes.data,
            ctypes.addressof(state.memory.described),
            vectors.data_ptr(),
        )
        return vectors, LeanState(state.memory, state.sentence, blocks, ancestors)


@dataclass(frozen=True)
class _Among:
    """Outputs of each sentence, for one set of bans, as lean.cpp takes them; and what they have addresses of."""

    described: library.Among
    kept: tuple[Any, ...]


class Narrowed(LeanTransformer):
    """A lean model whose sentences have outputs of their own: a few rows of its output matrix, packed for each.

    They are packed in float32, whatever the precision: so few are multiplied in no time, and rounding takes longer.
    For one batch, on one thread.
    """

    def __init__(self, whole: LeanTransformer, tokens: Sequence[Tensor]) -> None:
        self.__dict__.update(whole.__dict__)
        self.kept = [whole]
        self.ids = [ids.numpy() for ids in tokens]
        self.outputs = (library.Projection * len(tokens))(*(self._rows(ids) for ids in tokens))
        self.addresses = np.array([ids.ctypes.data for ids in self.ids])
        self._latest: tuple[tuple[int, ...], _Among] | None = None

    def _rows(self, ids: Tensor) -> library.Projection:
        precision = PRECISIONS["float32"]
        packed = torch.empty(self.loops.packed_size(len(ids), self.d_model, precision), dtype=torch.uint8)
        self.loops.pack_rows(
            self.output_weight.data_ptr(),
            ids.data_ptr(),
            len(ids),
            self.d_model,
            precision,
            packed.data_ptr(),
        )
        return library.Projection(self.keep(packed).data_ptr(), None, len(ids), self.d_model)

    def _among(self, mask: NDArray[np.uint8]) -> _Among:
        masks = [mask[ids] for ids in self.ids]
        places = np.array([each.ctypes.data for each in masks])
        described = library.Among(self.outputs, self.addresses.ctypes.data, places.ctypes.data)
        return _Among(described, (masks, places))

    def _choose(
        self, vectors: Tensor, state: LeanState, count: int, banned: tuple[int, ...], value: int, token: int
    ) -> None:
        if self._latest is None or self._latest[0] != banned:
            self._latest = banned, self._among(self.mask(banned))
        self.loops.best_among(
            ctypes.addressof(self._latest[1].described),
            PRECISIONS["float32"],
            vectors.data_ptr(),
            len(vectors),
            state.sentence.ctypes.data,
            count,
            value,
            token,
        )


def refusal(model: nn.Module) -> str | None:
    """Say why a model cannot be laid out here, or None."""
    if not isinstance(model, Transformer):
        return f"it is for encoder-decoder Transformers, not for {type(model).__name__}"
    return unfit(model.settings, model.output.weight)
