"""Tagging: a tag for every token of a sentence, and thereby spans with a type, such as named entities.

    tagged = heedful.load(folder).predict("Pretty bad storm at the Empire State Building.")
    print(tagged.spans)                 # [Found(type="location", text="Empire State Building", ...)]

The model is an encoder with a layer on top (heedful.models.tagger); it reads the pieces of a sentence, and a word's
first piece carries its tag (Devlin et al. 2019, section 5.3). Of the spaces between tokens nothing is known in CoNLL's
format: they are guessed from the looks of the tokens, so that an encoder sees text as it learnt to read it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator

from heedful.data.conll import (
    Tagged,
    check_tagged,
    folds,
    read_conll,
    tagged_table,
    to_lines,
)
from heedful.data.documents import TextSettings
from heedful.data.entities import WITHOUT_SPLIT, tagged_set
from heedful.data.named_or_own import named_or_own
from heedful.data.rows import like_lengths
from heedful.durable import write_text
from heedful.errors import DataError
from heedful.evaluation import Score
from heedful.evaluation.spans import METRICS, span_scores, span_value, types_of
from heedful.models.encoder import Encoder, longest
from heedful.models.tagger import Tagger
from heedful.objectives import Loss
from heedful.objectives.cross_entropy import smoothed_cross_entropy
from heedful.settings import Settings
from heedful.tasks.face import Listener, Objective, Task, require_metric
from heedful.tasks.fine_tuning import FineTuningSettings
from heedful.tasks.model_folder import TOKENIZER
from heedful.tasks.shuffled import ShuffledBatches
from heedful.tasks.tagged_words import TaggingBatch, batch, encode
from heedful.text.places import Pieces, likely_spaced
from heedful.text.tags import labels
from heedful.text.tokenizer import Tokenizer

_TOGETHER = 64  # windows that are read at once where nothing is learnt


class ConllSettings(Settings):
    """Where tagged sentences are."""

    conll: tuple[Path, ...] = Field(
        min_length=1,
        description="files in CoNLL's format, or patterns of files: a token and its tag a line; plain, .gz or .zst",
    )

    def read(self) -> list[list[Tagged]]:
        """The sentences of each file. Raises DataError."""
        return [read_conll(path) for path in TextSettings(text=self.conll).files()]


class TaggingData(Settings):
    """Which sentences are learnt from: those of a named data set, or of files of one's own."""

    name: Literal["wnut17", "wikigold", "broad_twitter"] | None = Field(
        default=None, description="the named data set; or give train"
    )
    train: ConllSettings | None = Field(default=None, description="sentences to train on")
    validation: ConllSettings | None = Field(
        default=None, description="sentences to choose the best model by; unset: a fold of train"
    )
    tests: dict[str, Path] = Field(default={}, description="files for the last evaluation, by name")
    folds: int = Field(
        default=5, ge=3, description="of data without a split: into how many runs of neighbours it is cut"
    )
    fold: int = Field(
        default=0,
        ge=0,
        description="of data without a split: the test; the next fold is the validation",
    )
    # Devlin et al. 2019, appendix A.3: 16 or 32.
    batch: int = Field(default=32, ge=1, description="sentences of a batch")

    @model_validator(mode="after")
    def _named_or_own(self) -> "TaggingData":
        named_or_own(self, "data.train.conll")
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}; of {self.folds} folds the last is {self.folds - 1}")
        return self


class TaggerHead(Settings):
    """What stands on the encoder."""

    crf: bool = Field(
        default=False, description="score sequences of tags (Lample et al. 2016), not each by itself"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on the vectors that are tagged")
    word_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="pieces of a sentence that are not seen in training, as a share"
    )
    word_features: bool = Field(
        default=False,
        description="score tags also by what is known of a word without any network: its letters, its shape, the words "
        "beside it",
    )
    feature_dropout: float = Field(
        default=0.5, ge=0, lt=1, description="word features that are not seen in training, as a share"
    )

    def tagger(self, encoder: Encoder, labels: Sequence[str]) -> Tagger:
        """A new tagger with this head."""
        return Tagger(encoder, labels, self.crf, self.dropout, self.word_features, self.feature_dropout)


class TaggingSettings(FineTuningSettings):
    """What the task needs of a recipe."""

    task: Literal["tagging"] = Field(default="tagging", description="what the model is for")
    data: TaggingData
    head: TaggerHead = Field(default=TaggerHead(), description="what stands on the encoder")
    metrics: tuple[str, ...] = ("f1", "precision", "recall")

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        if self.head.crf and (objective.label_smoothing or objective.r_drop):
            raise ValueError(
                "training.label_smoothing and training.r_drop are for tags that are scored each by itself, and with "
                "head.crf they are not: set both to 0"
            )

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        require_metric(metric, METRICS, "tags")
        return False


class Tagging(Task):
    """The sentences, tokenizer, tags and model of one run."""

    unit = "sentence"

    def __init__(self, settings: TaggingSettings, folder: Path, listener: Listener) -> None:
        super().__init__(settings, folder, listener)
        self._tests: dict[str, list[Tagged]] | None = None

    def prepare(self) -> None:
        """Check, learn or take over the tokenizer, keep the sentences of train and validation: once for a run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self.folder / "check.json"
        if not report.exists():
            parts = self._parts()
            sections = check_tagged(parts)
            self.listener.say(tagged_table(sections))
            found = labels(types_of([sentence.tags for sentence in parts["train"]]))
            if len(found) == 1:
                raise DataError("No token of the training data has a tag but O: there is nothing to learn.")
            write_text(self.folder / "labels.json", json.dumps(found, ensure_ascii=False))
            self.settings.tokenizer_of(map(written, parts["train"])).save(self.folder / TOKENIZER)
            for name in ("train", "validation"):
                write_text(self.folder / f"{name}.conll", "".join(map(to_lines, parts[name])))
            # Last, because its presence says that all of this is done.
            told = [section.to_dict() for section in sections]
            write_text(report, json.dumps(told, ensure_ascii=False, indent=1))
        self.labels: list[str] = json.loads((self.folder / "labels.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.load(self.folder / TOKENIZER)
        self.pieces = Pieces(self.tokenizer)
        self.sentences = {name: read_conll(self.folder / f"{name}.conll") for name in ("train", "validation")}
        room = longest(self.settings.model)
        self.rows = {
            name: encode(sentences, self.pieces, room, self.labels, self.settings.head.word_features)
            for name, sentences in self.sentences.items()
        }

    def build(self) -> Tagger:
        """A new model: its encoder that of `init`, or, as the head always, from PyTorch's random generator."""
        head: TaggerHead = self.settings.head
        encoder = self.settings.encoder(len(self.tokenizer), head.word_dropout)
        model = head.tagger(encoder, self.labels)
        self.settings.begin(model)
        return model

    def batches(self, seed: int) -> ShuffledBatches[TaggingBatch]:
        """The training batches."""
        rows, sentences = self.rows["train"], self.sentences["train"]
        return ShuffledBatches(
            [len(row.tokens) for row in rows],
            self.settings.data.batch,
            seed,
            lambda chosen, epoch: batch([rows[place] for place in chosen], sentences, epoch),
        )

    def validation_batches(self) -> Iterator[TaggingBatch]:
        """The validation sentences, once."""
        rows = self.rows["validation"]
        for chosen in like_lengths([len(row.tokens) for row in rows], _TOGETHER):
            yield batch([rows[place] for place in chosen], self.sentences["validation"])

    def loss(self, model: Tagger, batch: TaggingBatch, objective: Objective) -> Loss:
        """The cross-entropy of every word's tag; with a CRF that of every sentence's."""
        return tagging_loss(model, batch, objective)

    def validate(self, model: Tagger, metric: str) -> float:
        """Score the model on the validation sentences."""
        from heedful.tasks.tagging_folder import tag_all

        sentences = self.sentences["validation"]
        predicted = tag_all(model, self.pieces, sentences)
        return span_value(metric, [sentence.tags for sentence in sentences], predicted)

    def save(self, model: Tagger, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder."""
        from heedful.tasks import tagging_folder

        data = self.settings.data
        facts: dict[str, Any] = {"data": data.name or [str(path) for path in data.train.conll]}
        if data.name in WITHOUT_SPLIT:
            facts["fold"] = f"{data.fold} of {data.folds}"
        facts |= {"sentences": len(self.sentences["train"])} | self.settings.facts()
        tagging_folder.save(folder, model, self.tokenizer, self.settings.head, {**facts, **trained})

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the tags of every test set, of all types together and of each."""
        from heedful.tasks.tagging_folder import load

        tagger = load(folder, device=device)
        return {
            name: span_scores(
                [sentence.tags for sentence in sentences],
                tagger.tag([sentence.tokens for sentence in sentences]),
                self.settings.metrics,
            )
            for name, sentences in self._test_sets().items()
        }

    def _parts(self) -> dict[str, list[Tagged]]:
        """Train, validation and test sets."""
        data: TaggingData = self.settings.data
        if data.name is not None:
            train, validation, _ = tagged_set(data.name, data.fold, data.folds)
        else:
            files = data.train.read() if data.train is not None else []
            train = [sentence for sentences in files for sentence in sentences]
            if data.validation is not None:
                validation = [sentence for sentences in data.validation.read() for sentence in sentences]
            else:
                cut = folds(files, data.fold, data.folds)
                # Only a validation is held out of one's own files: tests are named.
                train, validation = [*cut.train, *cut.validation], cut.test
                if not train or not validation:
                    raise DataError(
                        f"There are too few sentences in data.train to cut them into {data.folds} folds; give "
                        "data.validation.conll."
                    )
        return {"train": train, "validation": validation, **self._test_sets()}

    def _test_sets(self) -> dict[str, list[Tagged]]:
        if self._tests is None:
            data = self.settings.data
            named = {} if data.name is None else {"test": tagged_set(data.name, data.fold, data.folds).test}
            self._tests = named | {name: read_conll(path) for name, path in data.tests.items()}
        return self._tests


def written(sentence: Tagged) -> str:
    """A tokenised sentence as it may have been written."""
    spaced = likely_spaced(sentence.tokens)
    pairs = zip(spaced, sentence.tokens, strict=True)
    return "".join(f" {token}" if space else token for space, token in pairs).lstrip()


def tagging_loss(model: Tagger, batch: TaggingBatch, objective: Objective) -> Loss:
    """The loss of a batch, over words."""
    words = batch.firsts >= 0
    count = int(words.sum())
    if model.crf.transition is not None:
        likelihood = -model.crf.likelihood(model(*batch.inputs), batch.labels, words).sum()
        return Loss(likelihood, likelihood.detach(), count)
    passes = 2 if objective.r_drop else 1
    scores = torch.cat([model(*batch.inputs)[words] for _ in range(passes)])
    smoothed, likelihood = smoothed_cross_entropy(
        scores,
        torch.eye(len(model.labels), device=scores.device),  # they are what an output layer gave
        None,
        batch.labels[words].repeat(passes),
        objective.label_smoothing,
        objective.r_drop,
        ignore=None,
    )
    return Loss(smoothed / passes, likelihood / passes, count)
