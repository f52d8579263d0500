"""The model folder of a masked language model, and the model that fills in words.

    tokenizer.json         what it reads; has an entry for the mask

Beside what every model folder has.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from heedful.errors import DataError, ModelFolderError
from heedful.machine import resolve_device
from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer
from heedful.tasks.model_folder import CONFIG, TOKENIZER, ModelConfig, opened, read_model, write
from heedful.text import Tokenizer
from heedful.text.special import END, MASK, START, UNKNOWN
from heedful.text.words import SPACE

HOLE = "[MASK]"
"""How people write a word to be filled in."""

# Stands for a hole while the text around it is normalised and split: a character that no text has (Unicode 23.7).
_STAND_IN = "\ufdd0"


class MaskedConfig(ModelConfig):
    """What config.json holds of a masked language model."""

    files = (TOKENIZER,)
    use = """    heedful fill-mask PATH "The [MASK] sat on the mat."

To train it further for a task: `init = "PATH"` in a recipe for classification, tagging or answering. In Python:

    import heedful
    model = heedful.load("PATH")
    print(model.fill("The [MASK] sat on the mat."))
"""

    task: Literal["masked-language-modelling"] = Field(
        default="masked-language-modelling", description="what the model does"
    )
    model: EncoderOnlySettings = Field(description="architecture and dimensions")
    vocabulary: int = Field(ge=6, description="entries of the vocabulary")

    def title(self) -> str:
        """What the model is for, for its card."""
        return "a masked language model"

    def facts(self) -> dict[str, Any]:
        """What its card says beside its settings."""
        return {"vocabulary": self.vocabulary}


@dataclass(frozen=True)
class Filling:
    """What may stand in a hole.

    piece: the entry of the vocabulary; ▁ is the space before it, and without it the entry goes on with the word before
    probability: its own, of all entries
    text: the whole text with it, and with the likeliest in all other holes
    """

    piece: str
    probability: float
    text: str


@dataclass(frozen=True)
class Filled:
    """A text with holes, and what may stand in them.

    asked: the text with the holes
    text: with the likeliest piece in each
    masks: of each hole the likeliest fillings, each by itself: holes are independent of each other
    unknown: tokens of the text that are not in the vocabulary; `text` is without them
    """

    asked: str
    text: str
    masks: tuple[tuple[Filling, ...], ...]
    unknown: int = 0

    def __str__(self) -> str:
        return self.text

    @property
    def line(self) -> str:
        """The text with the likeliest pieces."""
        return self.text

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold."""
        return asdict(self)


class MaskFiller:
    """A masked language model with its tokenizer, ready to fill in words."""

    def __init__(self, model: EncoderOnlyTransformer, tokenizer: Tokenizer, device: str = "cpu") -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device
        self._special = len(tokenizer.settings.special_tokens)

    def fill(self, text: str, best: int = 5) -> Filled:
        """Fill the holes of a text, each of them one piece.

        text: with `[MASK]` for each hole
        best: how many fillings of each to give

        Raises DataError for a text without a hole, or longer than the model can read.
        """
        return self._fill(text, best, "The text")

    def stream(self, lines: Iterable[str], best: int = 5) -> Iterator[Filled]:
        """Fill the holes of lines as they come. Raises DataError, with the number of the line, as `fill`."""
        for number, line in enumerate(lines, start=1):
            yield self._fill(line, best, f"Line {number:,}")

    @torch.inference_mode()
    def follows(self, first: str, second: str) -> float:
        """Give the probability that the second text follows the first.

        Raises DataError for texts too long, or a model that was not trained for it (data.masking.next_sentence).
        """
        if self.model.next_sentence is None:
            raise DataError(
                "This model was not trained to tell which text follows: data.masking.next_sentence."
            )
        one, other = self.encode(first), self.encode(second)
        ids = [START, *one, END, *other, END]
        self._check_length(ids, "The pair")
        segments = [0] * (len(one) + 2) + [1] * (len(other) + 1)
        vectors = self.model(*(torch.tensor([each], device=self.device) for each in (ids, segments)))
        return float(self.model.follows(vectors)[0].float().softmax(-1)[0])

    def encode(self, text: str) -> list[int]:
        """Give the tokens of a text in which holes are MASK; a hole takes the space before it with it."""
        if self.tokenizer.settings.apart:
            parts = self.tokenizer.encode_batch(text.split(HOLE))
            return [token for part in parts for token in (MASK, *part)][1:]
        ids: list[int] = []
        for word in self.tokenizer.words(text.replace(HOLE, _STAND_IN)):
            parts = word.split(_STAND_IN)
            for number, part in enumerate(parts):
                if number:
                    ids.append(MASK)
                if part and not (part == SPACE and number + 1 < len(parts)):
                    ids += self.tokenizer.segment(part)
        return ids

    @torch.inference_mode()
    def _fill(self, text: str, best: int, what: str) -> Filled:
        ids = [START, *self.encode(text), END]
        holes = [place for place, token in enumerate(ids) if token == MASK]
        if not holes:
            raise DataError(f"{what} has no {HOLE} to fill in: {text!r}.")
        self._check_length(ids, what)
        vectors = self.model(torch.tensor([ids], device=self.device))[0, holes]
        probabilities = self.model.logits(vectors).float().softmax(-1)
        found = probabilities[:, self._special :].topk(min(best, len(self.tokenizer) - self._special))
        pieces = (found.indices + self._special).tolist()
        likeliest = self._with(ids, {hole: own[0] for hole, own in zip(holes, pieces, strict=True)})
        return Filled(
            text,
            self.tokenizer.decode(likeliest),
            tuple(
                tuple(
                    Filling(
                        self.tokenizer.vocabulary.pieces[piece],
                        probability,
                        self.tokenizer.decode(self._with(likeliest, {hole: piece})),
                    )
                    for piece, probability in zip(own, likely, strict=True)
                )
                for hole, own, likely in zip(holes, pieces, found.values.tolist(), strict=True)
            ),
            ids.count(UNKNOWN),
        )

    def _with(self, ids: list[int], at: Mapping[int, int]) -> list[int]:
        return [at.get(place, token) for place, token in enumerate(ids)]

    def _check_length(self, ids: list[int], what: str) -> None:
        if len(ids) > self.model.maximum_length:
            raise DataError(
                f"{what} has {len(ids)} tokens with its ends; this model reads at most {self.model.maximum_length}: "
                "cut it."
            )


def save(
    folder: str | Path,
    model: EncoderOnlyTransformer,
    tokenizer: Tokenizer,
    trained: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder, in place of one that is there; give its path. Raises ModelFolderError."""
    config = MaskedConfig(model=model.settings, vocabulary=len(tokenizer), trained=dict(trained or {}))
    return write(folder, config, model, tokenizer)


def load(path: str | Path, device: str = "auto") -> MaskFiller:
    """Read a model folder, or that of a run folder.

    device: "cpu", "cuda", "cuda:1", ...; "auto" is the GPU where there is one

    Raises ModelFolderError for everything that is missing, damaged, of another format, or does not belong together.
    """
    folder, config = opened(path, MaskedConfig)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if len(tokenizer) != config.vocabulary or not tokenizer.settings.mask:
        raise ModelFolderError(
            f"{folder / CONFIG}: vocabulary is {config.vocabulary} with a mask, but {TOKENIZER} has {len(tokenizer)} "
            "entries, or none for the mask: it does not belong to this model."
        )
    model = read_model(folder, lambda: EncoderOnlyTransformer(config.model, config.vocabulary))
    return MaskFiller(model, tokenizer, resolve_device(device))
