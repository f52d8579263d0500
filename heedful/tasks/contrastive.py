"""Contrastive training: to give texts that belong together vectors that are near, and the others vectors that are not.

    heedful train contrastive --init runs/bert-mlm --data.train.text corpus.txt    # a text with itself, through dropout
    heedful train contrastive --init runs/bert-mlm --data.pairs.pairs pairs.tsv    # a text with another that fits it

The others of a batch are what a text is to be far from, so a batch is never split, and large ones teach more. Texts
longer than `data.window` tokens are trained on by their beginning (`heedful embed` reads all of them).

Validation asks for partners: of pairs, whether the first finds its second among all of them; of plain texts, whether a
text's first half finds its second half.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from heedful.data.corpus import CorpusSettings, read_pairs
from heedful.data.documents import TextSettings, read_documents
from heedful.data.rows import padded
from heedful.durable import write_text
from heedful.errors import DataError
from heedful.evaluation import Score
from heedful.evaluation.confidence import RESAMPLES, SEED, bootstrap_values, interval
from heedful.evaluation.vectors import nearest
from heedful.models.sentence_encoder import SentenceEncoder, TextPooling
from heedful.objectives import Loss
from heedful.objectives.contrastive import alignment, contrastive_loss, uniformity
from heedful.settings import Settings
from heedful.tasks.contrastive_folder import load, save
from heedful.tasks.embedding import Embedder
from heedful.tasks.face import Listener, Objective, Task, require_metric
from heedful.tasks.fine_tuning import FineTuningSettings
from heedful.tasks.model_folder import TOKENIZER
from heedful.tasks.readers import of_encoder
from heedful.tasks.shuffled import ShuffledBatches
from heedful.text.special import END, PAD, START
from heedful.text.tokenizer import Tokenizer

Pair = tuple[str, str]
_Held = TypeVar("_Held")
# Whether a lower value is better.
METRICS = {"accuracy": False, "alignment": True, "uniformity": True}
_FROM_TRAIN = 500  # texts that are held out where there are no validation data, at most


class OwnPartners(TextSettings):
    """Texts of which each is its own partner."""

    documents: Literal["file", "paragraph", "line"] = Field(
        default="line", description="a text is a line, what stands between blank lines, or a file"
    )


class ContrastiveData(Settings):
    """Which texts belong together: each with itself, or pairs."""

    train: OwnPartners | None = Field(default=None, description="texts, each of which is its own partner")
    pairs: CorpusSettings | None = Field(default=None, description="pairs of texts instead")
    validation: CorpusSettings | None = Field(
        default=None, description="pairs to choose the best model by; unset: a part of the training data"
    )
    tests: dict[str, CorpusSettings] = Field(default={}, description="pairs for the last evaluation")
    # Gao et al. 2021, appendix A: 64 texts without supervision, 512 pairs with it.
    batch: int = Field(default=64, ge=2, description="texts, or pairs, of a batch")
    window: int = Field(default=64, ge=4, description="tokens of a text in training, at most")

    @model_validator(mode="after")
    def _texts_or_pairs(self) -> Self:
        if (self.train is None) == (self.pairs is None):
            raise ValueError("give data.train.text (each text with itself), or data.pairs; one of the two")
        return self


class ContrastiveSettings(FineTuningSettings):
    """What the task needs of a recipe."""

    has_validation_loss = False
    task: Literal["contrastive"] = Field(default="contrastive", description="what the model is for")
    data: ContrastiveData
    pooling: TextPooling = Field(default="mean", description="mean of all tokens, cls (the first), last")
    # Gao et al. 2021: better with it for cls without supervision.
    projection: bool = Field(default=False, description="a tanh layer on top while training")
    temperature: float = Field(default=0.05, gt=0, description="tau, what cosines are divided by")
    metrics: tuple[str, ...] = ("accuracy", "alignment", "uniformity")

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        if objective.r_drop or objective.label_smoothing:
            raise ValueError(
                "training.r_drop and training.label_smoothing are not for contrastive: set them to 0"
            )
        if self.data.train is not None and self.model.dropout == 0:
            raise ValueError(
                "a text is its own partner under another draw of dropout, but model.dropout is 0"
            )
        if self.model.architecture == "decoder-only" and self.pooling == "cls":
            raise ValueError(
                "the first token of a decoder-only model has seen no other: set pooling to last or mean"
            )

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        require_metric(metric, METRICS, "contrastive training")
        return METRICS[metric]


@dataclass(frozen=True)
class PairBatch:
    """Texts that belong together: row i of both, tokens (texts, length)."""

    anchors: Tensor
    partners: Tensor
    numbers: tuple[int, ...]
    epoch: int

    @property
    def tokens(self) -> int:
        """What the loss is divided by: a prediction for each anchor."""
        return len(self)

    def __len__(self) -> int:
        return len(self.anchors)

    def to(self, device: str) -> Self:
        """The same batch on a device."""
        return replace(self, anchors=self.anchors.to(device), partners=self.partners.to(device))

    def split(self, parts: int) -> list[Self]:
        """Itself: every text is compared with all others."""
        return [self]

    def first(self, count: int) -> str:
        """Name its first examples, for messages."""
        return "texts " + ", ".join(str(number + 1) for number in self.numbers[:count])


class Contrastive(Task):
    """The texts and the model of one run."""

    unit = "text"

    def __init__(self, settings: ContrastiveSettings, folder: Path, listener: Listener) -> None:
        super().__init__(settings, folder, listener)
        self.settings: ContrastiveSettings = settings
        self.tokenizer: Tokenizer
        self.validation: list[Pair]

    def prepare(self) -> None:
        """Read the texts, learn the tokenizer, and keep both: once for a run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self.folder / "check.json"
        if not report.exists():
            self._prepare(report)
        self.tokenizer = Tokenizer.load(self.folder / TOKENIZER)
        self.validation = self._read("validation.jsonl")
        pairs = self._read("train.jsonl")
        room = self.settings.data.window - 2
        self._train = [
            [[START, *tokens[:room], END] for tokens in self.tokenizer.encode_batch(side)]
            for side in ([first for first, _ in pairs], [second for _, second in pairs])
        ]

    def build(self) -> SentenceEncoder:
        """A new model, with the weights of `init` or from PyTorch's random generator."""
        settings = self.settings
        encoder = settings.encoder(len(self.tokenizer))
        model = SentenceEncoder(encoder, settings.pooling, settings.projection)
        settings.begin(model)
        return model

    def batches(self, seed: int) -> ShuffledBatches[PairBatch]:
        """The training batches."""
        lengths = [len(first) + len(second) for first, second in zip(*self._train, strict=True)]
        size = min(self.settings.data.batch, len(lengths))
        return ShuffledBatches(lengths, size, seed, self._batch)

    def validation_batches(self) -> Iterator[PairBatch]:
        """Nothing: without dropout a text and itself are one, which says nothing."""
        return iter(())

    def loss(self, model: SentenceEncoder, batch: PairBatch, objective: Objective) -> Loss:
        """The contrastive loss. Anchors and partners pass the model as one batch, under draws of their own."""
        longest = max(batch.anchors.shape[1], batch.partners.shape[1])
        both = torch.cat(
            [
                torch.nn.functional.pad(side, (0, longest - side.shape[1]), value=PAD)
                for side in (batch.anchors, batch.partners)
            ]
        )
        anchors, partners = model(both).chunk(2)
        return contrastive_loss(anchors, partners, self.settings.temperature)

    def validate(self, model: SentenceEncoder, metric: str) -> float:
        """Score the model on the validation pairs."""
        embedder = Embedder(of_encoder(model.encoder, self.tokenizer), pooling=self.settings.pooling)
        return value(metric, *embedded(embedder, self.validation))

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the model of a folder on every test set of pairs."""
        embedder = load(folder, device)
        return {
            name: scores(self.settings.metrics, *embedded(embedder, list(read_pairs(corpus))))
            for name, corpus in self.settings.data.tests.items()
        }

    def save(self, model: SentenceEncoder, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder."""
        data = self.settings.data
        facts: dict[str, Any] = {"data": str(data.train or data.pairs), "texts": len(self._train[0])}
        facts |= self.settings.facts()
        save(folder, model, self.settings.model, self.tokenizer, {**facts, **trained})

    def _batch(self, rows: np.ndarray, epoch: int) -> PairBatch:
        anchors, partners = (
            torch.from_numpy(padded([side[row] for row in rows], PAD)) for side in self._train
        )
        return PairBatch(anchors, partners, tuple(rows.tolist()), epoch)

    def _prepare(self, report: Path) -> None:
        data = self.settings.data
        if data.train is not None:
            found = [document.text.replace("\n", " ") for document in read_documents(data.train)]
            texts = list(dict.fromkeys(found))  # a text that comes twice would be its own negative
            halves = {text: cut for text in texts if (cut := _halves(text)) is not None}
            out = set() if data.validation is not None else set(_held_out(list(halves)))
            train = [(text, text) for text in texts if text not in out]
            held = [cut for text, cut in halves.items() if text in out]
            repeated, empty = len(found) - len(texts), 0
        else:
            assert data.pairs is not None  # noqa: S101 -- one of the two
            read = list(read_pairs(data.pairs))
            found = [pair for pair in read if pair[0].strip() and pair[1].strip()]
            distinct = list(dict.fromkeys(found))
            repeated, empty = len(found) - len(distinct), len(read) - len(found)
            held = [] if data.validation is not None else _held_out(distinct)
            out = set(held)
            train = [pair for pair in distinct if pair not in out]
        validation = held if data.validation is None else list(read_pairs(data.validation))
        if len(train) < 2 or len(validation) < 2:
            raise DataError(
                f"There are {len(train)} texts to train on and {len(validation)} pairs to validate with; two of both "
                "are the least that can be told apart."
            )
        told = {"texts": len(train), "validation": len(validation), "repeated": repeated, "empty": empty}
        self.listener.say(
            f"{len(train):,} texts to train on, {len(validation):,} pairs to validate with; left out are "
            f"{repeated:,} that were there already and {empty:,} pairs with an empty side."
        )
        self.settings.tokenizer_of(text for pair in train for text in pair).save(self.folder / TOKENIZER)
        for name, pairs in (("train", train), ("validation", validation)):
            lines = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
            write_text(self.folder / f"{name}.jsonl", lines)
        # Last, because its presence says that all of this is done.
        write_text(report, json.dumps(told))

    def _read(self, file: str) -> list[Pair]:
        with (self.folder / file).open(encoding="utf-8", newline="\n") as lines:
            return [(first, second) for first, second in map(json.loads, lines)]


def embedded(embedder: Embedder, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of both sides of pairs, (pairs, width) each."""
    first, second = zip(*pairs, strict=True)
    return embedder.embed(first), embedder.embed(second)


def value(metric: str, anchors: np.ndarray, partners: np.ndarray) -> float:
    """Score vectors that belong together.

    accuracy: how many of a hundred anchors have their partner as the nearest of all; alignment, uniformity: see
    `heedful.objectives.contrastive`
    """
    if metric == "accuracy":
        return 100 * float(_right(anchors, partners).mean())
    if metric == "alignment":
        return alignment(torch.from_numpy(anchors), torch.from_numpy(partners))
    return uniformity(torch.from_numpy(anchors))


def scores(metrics: Sequence[str], anchors: np.ndarray, partners: np.ndarray) -> list[Score]:
    """Score vectors that belong together by several metrics; the accuracy with its 95% interval."""
    pairs = len(anchors)
    right = _right(anchors, partners).astype(np.float64)[:, None]
    draws = bootstrap_values(right, lambda total: 100 * float(total[0]) / pairs, RESAMPLES, SEED)
    found: list[Score] = []
    for metric in metrics:
        signature, label, bounds = f"pairs:{pairs}", "Wang and Isola 2020", (None, None)
        if metric == "accuracy":
            bounds = interval(draws)
            signature, label = f"{signature}|bs:{RESAMPLES}|seed:{SEED}", "partners that are the nearest"
        found.append(Score(metric, value(metric, anchors, partners), *bounds, signature, label))
    return found


def _right(anchors: np.ndarray, partners: np.ndarray) -> np.ndarray:
    places, _ = nearest(partners, anchors, 1)
    return places[:, 0] == np.arange(len(anchors))


def _held_out(examples: Sequence[_Held]) -> list[_Held]:
    """A tenth of them, the same one always."""
    order = np.random.default_rng(SEED).permutation(len(examples))
    return [examples[row] for row in sorted(order[: min(_FROM_TRAIN, len(examples) // 10)].tolist())]


def _halves(text: str) -> Pair | None:
    """A text cut at the space nearest to its middle."""
    text = text.strip()
    spaces = [place for place, character in enumerate(text) if character == " "]
    if not spaces:
        return None
    middle = min(spaces, key=lambda place: abs(2 * place - len(text)))
    return text[:middle], text[middle + 1 :]
