"""Translation as a task: from raw parallel text to batches, and from a model to scores.

`prepare` checks the corpora, learns the tokenizers and writes the tokens to a memory-mapped store, all in the run's
folder and all deterministic; it does nothing where that has been done already. Any job that reads one sequence and
writes another is this task: dates, reversing, transliteration.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from heedful.data.batching import Batch, Batches, BatchSettings, Side
from heedful.data.check import CheckSettings, Report, add_unknown_rate, checked_pairs
from heedful.data.corpus import CorpusSettings, read_pairs
from heedful.data.named import resolve
from heedful.data.named_or_own import tests_have_names_of_their_own
from heedful.data.store import PairStore
from heedful.decoding import SearchSettings
from heedful.durable import write_text
from heedful.errors import DataError
from heedful.evaluation import Score, corpus_score, evaluate, metric_kind
from heedful.evaluation.metrics import make_scorer
from heedful.models import ModelSettings, TransformerSettings, build
from heedful.models.face import SequenceToSequence
from heedful.objectives import Loss, sequence_loss
from heedful.settings import Settings
from heedful.tasks import translation_folder
from heedful.tasks.beginning import BegunSettings
from heedful.tasks.face import Listener, Objective, Task
from heedful.tasks.model_folder import opened
from heedful.tasks.translator import Translator, load
from heedful.text.settings import SidesSettings
from heedful.text.tokenizer import VARIANTS, Tokenizer

_WINDOW = 8192  # pairs that are encoded together


class DataSettings(Settings):
    """Which text is learnt from: a named data set, or files of one's own."""

    name: str | None = Field(default=None, description="a named data set, see `heedful data`; or give train")
    train: tuple[CorpusSettings, ...] = Field(
        default=(), description="corpora to train on, each with its weight"
    )
    validation: CorpusSettings | None = Field(
        default=None, description="held-out pairs to choose the best model by"
    )
    tests: dict[str, CorpusSettings] = Field(default={}, description="held-out pairs for the last evaluation")
    source_language: str | None = Field(
        default=None, description="such as 'en'; Moses rules and BLEU depend on it"
    )
    target_language: str | None = Field(default=None, description="such as 'de'")
    check: CheckSettings = Field(default=CheckSettings(), description="what is wrong with a pair")
    batches: BatchSettings = Field(default=BatchSettings(), description="how pairs become batches")

    @model_validator(mode="before")
    @classmethod
    def _one_corpus_is_a_list_of_one(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("train"), dict):
            values = {**values, "train": [values["train"]]}
        return values

    @model_validator(mode="after")
    def _named_or_own(self) -> "DataSettings":
        if self.name is None and not self.train:
            raise ValueError("no training data: give data.name, or data.train.source and data.train.target")
        if self.name is not None and self.train:
            raise ValueError("data.name and data.train are both given; leave one out")
        if self.name is None and self.validation is None:
            raise ValueError("no validation data: give data.validation.source and data.validation.target")
        tests_have_names_of_their_own(self.tests)
        return self


class TranslationSettings(BegunSettings):
    """What the task needs of a recipe."""

    task: Literal["translation"] = Field(default="translation", description="what the model is for")
    data: DataSettings
    tokenizer: SidesSettings = SidesSettings()
    model: ModelSettings = TransformerSettings()
    search: SearchSettings = SearchSettings()
    metrics: tuple[str, ...] = ("bleu", "chrf", "ter")

    @classmethod
    def beginning(cls, init: Path) -> tuple[ModelSettings, SidesSettings]:
        """See `BegunSettings`."""
        config, tokenizers = _start(init)
        source, target = (one.settings for one in tokenizers)
        own = None if source.joint or target == source else target
        return config.model, SidesSettings(**source.model_dump(), target=own)

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        model = self.model
        if getattr(model, "tied", None) == "all" and not self.tokenizer.joint:
            raise ValueError(
                "model.tied is all, but with tokenizer.joint = false there are two vocabularies: set model.tied to "
                "target, or tokenizer.joint to true"
            )
        if self.data.batches.maximum_length >= model.maximum_length:
            raise ValueError(
                f"data.batches.maximum_length ({self.data.batches.maximum_length}) must be below model.maximum_length "
                f"({model.maximum_length}), which counts the end of the sentence too"
            )
        dropouts = [value for name, value in model.model_dump().items() if name.endswith("dropout")]
        if objective.r_drop and not any(dropouts):
            raise ValueError(
                "training.r_drop compares two draws of dropout, but model.dropout is 0: set it to 0.1 to 0.3, or "
                "training.r_drop to 0"
            )

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        return metric_kind(metric).lower_is_better


class Translation(Task):
    """The corpora, tokenizers and model of one run."""

    unit = "pair"

    def __init__(self, settings: TranslationSettings, folder: Path, listener: Listener) -> None:
        super().__init__(settings, folder, listener)
        data = settings.data
        self.train, self.validation, self.tests = data.train, data.validation, dict(data.tests)
        self.languages = (data.source_language, data.target_language)
        if data.name is not None:
            named = resolve(data.name)
            self.train, self.validation = named.train, data.validation or named.validation
            self.tests = {**named.tests, **data.tests}
            self.languages = (
                data.source_language or named.source_language,
                data.target_language or named.target_language,
            )
            for name, reason in named.unavailable.items():
                listener.say(f"The test set {name} is left out: {reason}")
        if settings.init is not None:
            _, config = opened(settings.init, translation_folder.TranslationConfig)
            source, target = self.languages
            self.languages = source or config.source_language, target or config.target_language
        self.tokenizers: tuple[Tokenizer, Tokenizer]
        self._told: set[str] = set()

    def prepare(self) -> None:
        """Check, learn the tokenizers, tokenise: once for a run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        report_file = self.folder / "check.json"
        if not report_file.exists():
            report = self._check()
            self.tokenizers = self._learn()
            self._save_tokenizers()
            add_unknown_rate(report, "validation", self._held_out(), *self.tokenizers)
            self._tokenise()
            self.listener.say(report.table())
            # Last, because its presence says that all of this is done.
            write_text(report_file, json.dumps(report.to_dict(), ensure_ascii=False, indent=1))
        self.tokenizers = self._load_tokenizers()
        self._stores = [PairStore.open(self._store(number)) for number in range(len(self.train))]

    def build(self) -> SequenceToSequence:
        """A model with the weights of `init`, or from PyTorch's random generator."""
        source, target = self.tokenizers
        return self.settings.begun(lambda: build(self.settings.model, len(source), len(target)))

    def batches(self, seed: int) -> Batches:
        """The training batches."""
        weighted = [(store, corpus.weight) for store, corpus in zip(self._stores, self.train, strict=True)]
        expand = None
        if self.settings.tokenizer.sampling:
            words = json.loads(self._words().read_text(encoding="utf-8"))
            expand = partial(_sampled, self.tokenizers, words)
        return Batches(weighted, self.settings.data.batches, seed, expand=expand)

    def validation_batches(self) -> Iterator[Batch]:
        """The validation pairs, once; but those that the model cannot read in one piece, which are told once."""
        store = PairStore.open(self.folder / "validation.arrow")
        settings = BatchSettings(
            tokens=self.settings.data.batches.tokens,
            shapes="exact",
            maximum_length=self.settings.model.maximum_length - 1,  # the end of the sentence counts too
        )
        batches = Batches([(store, 1.0)], settings, seed=0)
        for batch in batches:
            if batch.epoch:
                break
            yield batch
        for reason, left in batches.left_out.items():
            if reason not in self._told:
                self._told.add(reason)
                self.listener.say(
                    f"The validation loss is without {left.count:,} of {len(store):,} pairs: {reason} (of the model, "
                    "or data.batches.tokens). They are translated all the same."
                )

    def loss(self, model: SequenceToSequence, batch: Batch, objective: Objective) -> Loss:
        """The cross-entropy of every target token."""
        return sequence_loss(
            model,
            batch.source,
            batch.target_input,
            batch.target_output,
            objective.label_smoothing,
            objective.r_drop,
        )

    def translator(self, model: SequenceToSequence) -> Translator:
        """The model with its tokenizers, ready to translate."""
        return Translator(model, *self.tokenizers, languages=self.languages, search=self.settings.search)

    def save(self, model: SequenceToSequence, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder: what is shared and loaded."""
        translation_folder.save(
            folder,
            model,
            self.settings.model,
            *self.tokenizers,
            languages=self.languages,
            search=self.settings.search,
            trained={**self.facts(), **trained},
        )

    def validate(self, model: SequenceToSequence, metric: str) -> float:
        """Score the translations of the validation sources, found with the recipe's own search."""
        sources, references = self._sides(self._held_out())
        hypotheses = self.translator(model).translate(sources)
        return corpus_score(metric, hypotheses, references, language=self.languages[1])

    def check_metrics(self, names: Iterable[str]) -> None:
        """See `Task`."""
        for name in names:
            make_scorer(name, self.languages[1])

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the translations of every test set."""
        if self.tests:
            self.listener.say(f"Translating the test sets: {', '.join(self.tests)}.")
        translator, scores = load(folder, device=device), {}
        for name, corpus in self.tests.items():
            sources, references = self._sides(corpus)
            scores[name] = evaluate(
                translator.translate(sources), references, self.settings.metrics, language=self.languages[1]
            )
        return scores

    def facts(self) -> dict[str, Any]:
        """What a model folder says about the data."""
        files = [str(file) for corpus in self.train for file in corpus.files]
        pairs = sum(len(store) for store in self._stores)
        return {"data": self.settings.data.name or files, "pairs": pairs} | self.settings.facts()

    def locate(self, batches: Batches, pair: int) -> str:
        """Say where a training pair stands, for people."""
        store, index = batches.locate(pair)
        return f"pair {index + 1} of {self.train[store]}"

    def _held_out(self) -> CorpusSettings:
        if self.validation is None:
            raise DataError("no validation data: give data.validation.source and data.validation.target")
        return self.validation

    def _sides(self, corpus: CorpusSettings) -> tuple[list[str], list[str]]:
        pairs = list(read_pairs(corpus))
        return [source for source, _ in pairs], [target for _, target in pairs]

    def _check(self) -> Report:
        report = Report(self.settings.data.check)
        for part, corpus in {"validation": self._held_out(), **self.tests}.items():
            for _ in checked_pairs(corpus, report, part):
                pass
        for corpus in self.train:
            for _ in checked_pairs(corpus, report):
                pass
        if not any(section.kept for section in report.sections if section.part == "train"):
            raise DataError("No training pair is left after the check; see data.check for what is left out.")
        return report

    def _kept(self) -> Iterator[Iterator[tuple[str, str]]]:
        """The pairs that are trained on, those that the check lets through, of one corpus after the other.

        Each is to be read to its end before the next: what it has is a duplicate there.
        """
        report = Report(self.settings.data.check)
        if {"pair_overlap", "source_overlap"} & set(self.settings.data.check.leave_out):
            for part, corpus in {"validation": self._held_out(), **self.tests}.items():
                for _ in checked_pairs(corpus, report, part):
                    pass
        for corpus in self.train:
            yield checked_pairs(corpus, report)

    def _learn(self) -> tuple[Tokenizer, Tokenizer]:
        if self.settings.init is not None:
            return _start(self.settings.init)[1]
        (source, target), (settings, of_target) = self.languages, self.settings.tokenizer.sides

        def side(number: int) -> Iterator[str]:
            return (pair[number] for pairs in self._kept() for pair in pairs)

        if not settings.joint:
            return Tokenizer.train(side(0), settings, source), Tokenizer.train(side(1), of_target, target)
        if source is None or target is None or source == target:
            both = (text for pairs in self._kept() for pair in pairs for text in pair)
            tokenizer = Tokenizer.train(both, settings, source or target)
            return tokenizer, tokenizer
        tokenizer = Tokenizer.train({source: side(0), target: side(1)}, settings)
        return tokenizer, tokenizer.for_language(target)

    def _save_tokenizers(self) -> None:
        for side, tokenizer in zip(("source", "target"), self.tokenizers, strict=True):
            tokenizer.save(self.folder / f"tokenizer.{side}.json")

    def _load_tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        source, target = (
            Tokenizer.load(self.folder / f"tokenizer.{side}.json") for side in ("source", "target")
        )
        return source, target

    def _store(self, number: int) -> Path:
        return self.folder / f"train.{number}.arrow"

    def _words(self) -> Path:
        return self.folder / "words.json"

    def _tokenise(self) -> None:
        """Write the ids of every pair; with subword sampling the ids of its words, segmented anew in each epoch."""
        words: tuple[dict[str, int], dict[str, int]] = ({}, {})

        def encode(texts: Sequence[str], side: int) -> list[list[int]]:
            tokenizer = self.tokenizers[side]
            if not self.settings.tokenizer.sampling:
                return tokenizer.encode_batch(texts)
            known = words[side]
            return [[known.setdefault(word, len(known)) for word in tokenizer.words(text)] for text in texts]

        for number, pairs in enumerate(self._kept()):
            PairStore.write(self._store(number), _windows(pairs, encode))
        write_text(self._words(), json.dumps([list(known) for known in words], ensure_ascii=False))
        plain = [tokenizer.encode_batch for tokenizer in self.tokenizers]
        PairStore.write(
            self.folder / "validation.arrow",
            _windows(read_pairs(self._held_out()), lambda texts, side: plain[side](texts)),
        )


def _start(init: Path) -> tuple[translation_folder.TranslationConfig, tuple[Tokenizer, Tokenizer]]:
    folder, config = opened(init, translation_folder.TranslationConfig)
    return config, translation_folder.read_tokenizers(folder, config)


def _windows(
    pairs: Iterator[tuple[str, str]], encode: Callable[[Sequence[str], int], list[list[int]]]
) -> Iterator[tuple[list[int], list[int]]]:
    while window := list(islice(pairs, _WINDOW)):
        sources, targets = zip(*window, strict=True)
        yield from zip(encode(sources, 0), encode(targets, 1), strict=True)


def _sampled(
    tokenizers: tuple[Tokenizer, Tokenizer],
    words: list[list[str]],
    ids: np.ndarray,
    side: Side,
    key: tuple[int, int, int],
) -> list[int]:
    """Segment the words of one side of a pair at random: another way in each epoch, the same way in each process."""
    number = 0 if side == "source" else 1
    tokenizer, table = tokenizers[number], words[number]
    variants = np.random.default_rng((*key, number)).integers(VARIANTS, size=len(ids))
    tokens: list[int] = []
    for word, variant in zip(ids.tolist(), variants.tolist(), strict=True):
        tokens += tokenizer.sample(table[word], variant)
    return tokens
