"""What a masked language model is asked: windows of text in which some words are hidden (Devlin et al. 2019, 3.1).

    stream      ... the dog ▁bark s ▁all ▁night END START it ...
    inputs      START dog [MASK] s ▁all ▁tree END START ... END          a window of a fixed length
    reference   PAD PAD ▁bark PAD PAD ▁night PAD PAD ... PAD             what is to be guessed; PAD counts nothing

Of all tokens 15% are to be guessed: of these 80% are hidden, 10% replaced by a random one, 10% left as they are, so
that the model cannot know which of those that it sees are right. Special tokens and white space are never asked for.

Masks are dynamic (Liu et al. 2019, RoBERTa, section 4.1): whether and how a token is masked is a pure function of the
seed, the epoch and the token's place in the stream, so that nothing is stored and every process finds the same. With
`whole_words` the pieces of a word are asked for together (the authors' later models; Cui et al. 2019).

The first and the last token of a window give their places to START and END, BERT's [CLS] and [SEP]; in another epoch
the windows are cut elsewhere. With the next-sentence objective (task 2 of the paper) a window is START A END B END,
where B is what follows A, or half of the time comes from a random place; the cut is at a word.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from heedful.data.packing import TrainingWindows, WindowBatch
from heedful.data.token_stream import TokenStream
from heedful.settings import Settings
from heedful.text.special import END, MASK, PAD, START
from heedful.text.tokenizer import Tokenizer

# What the draws of one token are for; each has numbers of its own.
_CHOICE, _MANNER, _TOKEN, _FOLLOWS, _ELSEWHERE, _CUT = range(6)


class MaskingSettings(Settings):
    """Which tokens are to be guessed, and what stands in their place."""

    # Devlin et al. 2019, section 3.1; Wettig et al. 2023 find 40% better for large models.
    share: float = Field(default=0.15, gt=0, lt=1, description="of all tokens, those to be guessed")
    hidden: float = Field(default=0.8, ge=0, le=1, description="of these, those replaced by the mask")
    random: float = Field(default=0.1, ge=0, le=1, description="of these, those replaced by a random token")
    whole_words: bool = Field(default=False, description="the pieces of a word are guessed together")
    next_sentence: bool = Field(
        default=False,
        description="also ask whether the second part of a window follows the first; documents then mix",
    )

    @model_validator(mode="after")
    def _shares(self) -> "MaskingSettings":
        if self.hidden + self.random > 1:
            raise ValueError(
                f"hidden ({self.hidden}) and random ({self.random}) are more than all; the rest stays as it is"
            )
        return self


@dataclass(frozen=True)
class MaskedBatch(WindowBatch):
    """Windows with words to guess.

    inputs: tokens (windows, length), some of them hidden
    reference: what is to be guessed, (windows, length), PAD where nothing is
    tokens, windows: how many guesses and windows the whole batch has that this is a part of
    segments: (windows, length), 0 for the first part of a window and 1 for the second; None without next sentences
    follows: (windows,), 0 where the second part follows the first and 1 where it does not; None without next sentences

    documents, starts and epoch are those of the windows.
    """

    windows: int
    segments: Tensor | None
    follows: Tensor | None


class Masking:
    """Masks windows of a stream; what it gives is a function of the seed, the epoch and the place of each token."""

    def __init__(
        self, settings: MaskingSettings, stream: TokenStream, tokenizer: Tokenizer, seed: int
    ) -> None:
        self.settings, self.stream, self.tokenizer, self.seed = settings, stream, tokenizer, seed
        self.ordinary = len(tokenizer.settings.special_tokens)
        # White space is part of the word after it; alone (line ends, say) there is nothing about it to guess.
        self.askable = np.array([bool(tokenizer.decode([index]).strip()) for index in range(len(tokenizer))])

    def of(self, windows: WindowBatch) -> MaskedBatch:
        """Mask windows. Of those for evaluation only what counts there is asked for."""
        inputs, epoch = windows.inputs.numpy().copy(), windows.epoch
        places = windows.starts.numpy()[:, None] + np.arange(inputs.shape[1])
        counts = np.zeros(inputs.shape, dtype=bool)
        # A token counts where its window tells the token before it to predict it.
        counts[:, 1:] = (windows.reference.numpy() != PAD)[:, :-1]
        inputs[:, 0] = START
        inputs[:, -1] = np.where(inputs[:, -1] == PAD, PAD, END)
        documents, segments, follows = windows.documents, None, None
        if self.settings.next_sentence:
            documents = None
            segments, follows = self._pair(inputs, places, counts, epoch)
        masked, reference = self._mask(inputs, places, counts, epoch)
        return MaskedBatch(
            torch.from_numpy(masked),
            torch.from_numpy(reference),
            documents,
            windows.starts,
            max(1, int((reference != PAD).sum())),
            epoch,
            len(inputs),
            segments,
            follows,
        )

    def _mask(
        self, inputs: np.ndarray, places: np.ndarray, counts: np.ndarray, epoch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Hide tokens; give what the model reads and what it is to guess, both (windows, length)."""
        asked = self._uniform(_CHOICE, epoch, places)
        if self.settings.whole_words:
            starts = self.tokenizer.word_starts(inputs.ravel().tolist())
            first = np.maximum.accumulate(np.where(starts, np.arange(inputs.size), 0))
            asked = asked.ravel()[first].reshape(inputs.shape)
        chosen = (asked < self.settings.share) & self.askable[inputs] & counts
        manner = self._uniform(_MANNER, epoch, places)
        hidden = chosen & (manner < self.settings.hidden)
        replaced = chosen & ~hidden & (manner < self.settings.hidden + self.settings.random)
        other = self._below(len(self.tokenizer) - self.ordinary, _TOKEN, epoch, places) + self.ordinary
        masked = np.where(hidden, MASK, np.where(replaced, other, inputs))
        return masked, np.where(chosen, inputs, PAD)

    def _pair(
        self, inputs: np.ndarray, places: np.ndarray, counts: np.ndarray, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Make each window a pair, in place; give segments (windows, length) and follows (windows,)."""
        windows, length = inputs.shape
        beginnings = places[:, 0].copy()
        strange = self._uniform(_FOLLOWS, epoch, beginnings) < 0.5
        elsewhere = self._below(max(1, len(self.stream) - 2 * length), _ELSEWHERE, epoch, beginnings)
        # In the middle half, so that both parts have something to say.
        cuts = length // 4 + self._below(max(1, length // 2), _CUT, epoch, beginnings)
        segments = np.zeros(inputs.shape, dtype=np.int64)
        for row in range(windows):
            starts = np.flatnonzero(self.tokenizer.word_starts(inputs[row].tolist()))
            after = starts[(starts > cuts[row]) & (starts < length - 1)]
            cut = int(after[0]) - 1 if len(after) else int(cuts[row])
            segments[row, cut + 1 :] = 1
            if strange[row]:
                here = slice(cut + 1, length - 1)
                begin = self._word_behind(int(elsewhere[row]), length)
                places[row, here] = begin + np.arange(length - 2 - cut)
                found = self.stream.tokens[begin : begin + length - 2 - cut]
                inputs[row, here][: len(found)] = found
                counts[row, here] = True
            inputs[row, cut] = END
        return torch.from_numpy(segments), torch.from_numpy(strange.astype(np.int64))

    def _word_behind(self, place: int, length: int) -> int:
        """Where the next word begins: as behind a cut, or half a word would give a strange part away."""
        starts = self.tokenizer.word_starts(self.stream.tokens[place : place + length].tolist())
        return place + next((step for step, begins in enumerate(starts) if step and begins), 0)

    def _uniform(self, purpose: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """A number in [0, 1) for each place."""
        return (self._draw(purpose, epoch, places) >> np.uint64(11)) * 2.0**-53

    def _below(self, count: int, purpose: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """A whole number below `count` for each place."""
        return (self._uniform(purpose, epoch, places) * count).astype(np.int64)

    def _draw(self, purpose: int, epoch: int, places: np.ndarray) -> np.ndarray:
        key = np.random.SeedSequence((self.seed, epoch, purpose)).generate_state(1, np.uint64)
        return mixed(key + places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Give 64 random-looking bits for each of 64, the finaliser of SplitMix64 (Steele et al. 2014, figure 15)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


class MaskedBatches:
    """Training windows, each masked as its epoch has it."""

    def __init__(self, windows: TrainingWindows, masking: Masking) -> None:
        self.windows, self.masking = windows, masking

    def __next__(self) -> MaskedBatch:
        return self.masking.of(next(self.windows))

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return self.windows.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.windows.restore(state)


def masked(windows: Iterable[WindowBatch], masking: Masking) -> Iterator[MaskedBatch]:
    """Mask windows as they come."""
    return map(masking.of, windows)
