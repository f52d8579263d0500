"""The model folder of a classifier, and the model that answers.

    tokenizer.json         what it reads

Beside what every model folder has; the labels are in config.json.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from heedful.data.rows import like_lengths
from heedful.errors import DataError, ModelFolderError
from heedful.machine import resolve_device
from heedful.models.classifier import Classifier, HeadSettings
from heedful.models.encoder import Encoder, EncoderSettings
from heedful.settings import Settings
from heedful.tasks.model_folder import TOKENIZER, ModelConfig, opened, read_model, write
from heedful.tasks.several import several
from heedful.tasks.windows import Reading, Texts
from heedful.text.tokenizer import Tokenizer

_TOGETHER = 64  # texts that are classified at once
_READ = 1024  # of which those of nearly one length are put together


class Scale(Settings):
    """Mean and standard deviation of the numbers that were learnt: the model gives (number - mean) / deviation."""

    mean: float = Field(description="of the numbers of the training texts")
    deviation: float = Field(gt=0, description="their standard deviation")

    def apply(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers as the model gives them."""
        return (numbers - self.mean) / self.deviation

    def undo(self, numbers: NDArray[Any]) -> NDArray[np.float64]:
        """What the model gives, as numbers."""
        return numbers.astype(np.float64) * self.deviation + self.mean


class ClassificationConfig(ModelConfig):
    """What config.json holds of a classifier."""

    files = (TOKENIZER,)
    use = """    heedful predict PATH < texts.txt
    heedful predict PATH --json < texts.txt

with a text a line, or the two texts of a pair with a tab between them; or with lines of JSON, {"text": "...",
"second": "..."}. In Python:

    import heedful
    model = heedful.load("PATH")
    model.predict(["What a film."])
"""

    task: Literal["classification"] = Field(default="classification", description="what the model does")
    model: EncoderSettings = Field(description="architecture and dimensions of the encoder")
    head: HeadSettings = Field(description="from the encoder's vectors to the labels")
    labels: tuple[str, ...] = Field(description="in the order of the outputs; none where it gives a number")
    scale: Scale | None = Field(default=None, description="of the numbers that it gives")
    pairs: bool = Field(description="whether it reads pairs of texts")
    window: int = Field(ge=4, description="tokens that are read at once")
    overlap: int = Field(ge=0, description="tokens that a window shares with that before it")

    def title(self) -> str:
        """What the model is for, for its card."""
        return "numbers for texts" if self.scale is not None else "labels of texts"

    def facts(self) -> dict[str, Any]:
        """The head and the labels."""
        facts: dict[str, Any] = {"head": self.head.model_dump(mode="json"), "window": self.window}
        return facts | ({"labels": list(self.labels)} if self.labels else {})


@dataclass(frozen=True)
class Classified:
    """What is said of a text.

    text, second: what was read
    label: the likeliest; of a model that gives numbers None
    probability: its own; probabilities: of every label
    number: what a model that gives numbers says
    """

    text: str
    second: str | None
    label: str
    probability: float | None
    probabilities: Mapping[str, float]
    number: float | None = None

    def __str__(self) -> str:
        return self.label

    @property
    def line(self) -> str:
        """The label and its probability with a tab between them; or the number."""
        return self.label if self.probability is None else f"{self.label}\t{self.probability:.4f}"

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold; what there is not is left out."""
        told = asdict(self) | {"probabilities": dict(self.probabilities)}
        if self.number is not None:
            told = {"text": self.text, "second": self.second, "number": self.number}
        return {key: value for key, value in told.items() if value is not None}


class TextClassifier:
    """A classifier with its tokenizer, ready to answer."""

    def __init__(
        self, model: Classifier, config: ClassificationConfig, tokenizer: Tokenizer, device: str = "cpu"
    ) -> None:
        self.model, self.config, self.device = model.to(device).eval(), config, device
        self.tokenizer = tokenizer
        self.reading = Reading(tokenizer, config.window, config.overlap)

    def predict(self, texts: Sequence[str | tuple[str, str | None]]) -> list[Classified]:
        """Say of each text, or of each pair of texts, what it is.

        Raises DataError for a text that is empty, a pair where the model reads single texts, and the other way round.
        """
        several(texts, "predict")
        pairs = [(text, None) if isinstance(text, str) else text for text in texts]
        for number, (first, second) in enumerate(pairs, start=1):
            self._check(first, second, f"Text {number}")
        return self._classify(pairs)

    def stream(self, lines: Iterable[str]) -> Iterator[Classified]:
        """Say of each line what it is: a text, a pair with a tab between, or an object of JSON.

        To an empty line the answer is empty. Raises DataError, with the number of the line.
        """
        numbered = enumerate(lines, start=1)
        while chunk := list(islice(numbered, _READ)):
            texts = [self._parsed(line, f"line {number}") for number, line in chunk if line.strip()]
            answers = iter(self._classify(texts))
            yield from (
                next(answers) if line.strip() else Classified("", None, "", None, {}) for _, line in chunk
            )

    def _parsed(self, line: str, where: str) -> tuple[str, str | None]:
        line = line.rstrip("\r\n")
        if line.lstrip().startswith("{"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None  # a text that begins with a brace
            if isinstance(row, dict):
                if not isinstance(row.get("text"), str):
                    keys = ", ".join(map(repr, row)) or "none"
                    raise DataError(
                        f"{where} is an object of JSON without a text under 'text'; its keys are: {keys}."
                    )
                second = row.get("second")
                self._check(row["text"], second if isinstance(second, str) else None, where)
                return row["text"], second if isinstance(second, str) else None
        first, tab, second = line.partition("\t") if self.config.pairs else (line, "", "")
        self._check(first, second if tab else None, where)
        return first, second if tab else None

    def _check(self, first: str, second: str | None, where: str) -> None:
        if not first.strip() or (second is not None and not second.strip()):
            raise DataError(f"{where} is empty: there is nothing to classify.")
        if self.config.pairs != (second is not None):
            reads = "pairs of texts, with a tab between them" if self.config.pairs else "single texts"
            raise DataError(
                f"{where} is {'one text' if second is None else 'a pair'}; this model reads {reads}."
            )

    @torch.inference_mode()
    def _classify(self, texts: Sequence[tuple[str, str | None]]) -> list[Classified]:
        read = Texts(texts, self.reading)
        answers: dict[int, Classified] = {}
        for rows in like_lengths(read.size, _TOGETHER):
            tokens, segments, of = read.tensors(rows)
            moved = None if segments is None else segments.to(self.device)
            logits = self.model(tokens.to(self.device), moved, of.to(self.device)).double().cpu()
            for row, given in zip(rows.tolist(), logits, strict=True):
                first, second = texts[row]
                answers[row] = self._answer(first, second, given)
        return [answers[row] for row in range(len(texts))]

    def _answer(self, first: str, second: str | None, logits: torch.Tensor) -> Classified:
        if self.config.scale is not None:
            number = float(self.config.scale.undo(logits.numpy())[0])
            return Classified(first, second, f"{number:.4g}", None, {}, number)
        shares = logits.softmax(-1).tolist()
        probabilities = dict(zip(self.config.labels, shares, strict=True))
        label = max(probabilities, key=probabilities.__getitem__)
        return Classified(first, second, label, probabilities[label], probabilities)


def save(folder: str | Path, model: Classifier, config: ClassificationConfig, tokenizer: Tokenizer) -> Path:
    """Write a model folder, in place of one that is there; give its path. Raises ModelFolderError."""
    return write(folder, config, model, tokenizer)


def load(path: str | Path, device: str = "auto") -> TextClassifier:
    """Read a model folder, or that of a run folder.

    device: "cpu", "cuda", "cuda:1", ...; "auto" is the GPU where there is one

    Raises ModelFolderError for everything that is missing, damaged, of another format, or does not belong together.
    """
    folder, config = opened(path, ClassificationConfig)
    if bool(config.labels) == (config.scale is not None):
        raise ModelFolderError(f"{folder}: a classifier has labels, or a scale of numbers; one of the two.")
    tokenizer = Tokenizer.load(folder / TOKENIZER)

    def make() -> Classifier:
        encoder = Encoder(config.model, len(tokenizer))
        return Classifier(encoder, len(config.labels) or 1, config.head)

    return TextClassifier(read_model(folder, make), config, tokenizer, resolve_device(device))
