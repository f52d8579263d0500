"""Language modelling: a decoder-only Transformer learns from plain text what comes next.

    model = heedful.load("runs/char-gpt")
    print(model.generate("To be", tokens=200, seed=1)[0].text)

    P(x) = prod_t P(x_t | x_<t);   what is minimised is the mean of -ln P(x_t | x_<t)    (Radford et al. 2018, eq. 1)

Documents are packed end to end and cut into windows (heedful.data.packing); by a mask no token attends to another
document than its own, and positions count from its beginning, so that a packed document is learnt as if it were alone
(Krell et al. 2021).
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch.nn.functional import cross_entropy

from heedful.data.packing import TrainingWindows, WindowBatch, evaluation_windows
from heedful.evaluation import Score
from heedful.evaluation.perplexity import METRICS, language_scores, metric_value
from heedful.models.decoder_only import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.objectives import Loss, smoothed_cross_entropy
from heedful.tasks.beginning import BegunSettings
from heedful.tasks.face import Objective, require_metric
from heedful.tasks.text_streams import TextData, TextTask
from heedful.text import TokenizerSettings
from heedful.text.special import PAD


class LanguageData(TextData):
    """Which text is learnt from, and in which windows."""

    document_mask: bool = Field(
        default=True, description="no token attends to another document than its own; false: to all before it"
    )
    strides: tuple[int, ...] = Field(
        default=(),
        description="how far apart the windows of the last evaluation begin, each a row of scores; short ones give "
        "each token more to see, and take longer; unset: a window",
    )

    @model_validator(mode="after")
    def _strides_fit(self) -> Self:
        for stride in self.strides:
            if not 1 <= stride <= self.window:
                raise ValueError(
                    f"strides has {stride}, but a stride is between 1 and the window ({self.window}): "
                    "set data.strides too"
                )
        return self


class LanguageSettings(BegunSettings):
    """What the task needs of a recipe."""

    task: Literal["language-modelling"] = Field(
        default="language-modelling", description="what the model is for"
    )
    data: LanguageData
    tokenizer: TokenizerSettings = Field(
        default=TokenizerSettings(), description="how text is segmented; with init, that of init"
    )
    model: DecoderOnlySettings = Field(
        default=DecoderOnlySettings(), description="the model; with init, that of init but for the dropouts"
    )
    metrics: tuple[str, ...] = ("perplexity", "bits-per-character")

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        if self.data.window > 2 * self.model.maximum_length:
            raise ValueError(
                f"data.window ({self.data.window}) is more than the model's positions, twice model.maximum_length "
                f"({self.model.maximum_length}): raise the latter, or take a shorter window"
            )
        if "moses" in self.tokenizer.normalization:
            raise ValueError(
                "moses normalisation is of single sentences and loses line ends: leave it out here"
            )
        if self.tokenizer.dropout:
            raise ValueError("text is segmented once, before the training: set tokenizer.dropout to 0")

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        require_metric(metric, METRICS, "text")
        return True


class LanguageModelling(TextTask):
    """The text, tokenizer and model of one run."""

    settings: LanguageSettings

    def prepare(self) -> None:
        """See `TextTask`; says how much is held out where no validation text is given."""
        fresh = not (self.folder / "check.json").exists()
        super().prepare()
        if fresh and "validation" not in self.texts:
            kept, held = (len(self.streams[name]) for name in ("train", "validation"))
            self.listener.say(f"Of {kept + held:,} tokens {held:,} are held out, for the validation.")

    def build(self) -> DecoderOnlyTransformer:
        """A model with the weights of `init`, or from PyTorch's random generator."""
        entries = len(self.tokenizer)
        return self.settings.begun(lambda: DecoderOnlyTransformer(self.settings.model, entries, entries))

    def batches(self, seed: int) -> TrainingWindows:
        """The training windows."""
        data = self.settings.data
        return TrainingWindows(self.streams["train"], data.window, data.batch, seed, data.document_mask)

    def validation_batches(self) -> Iterator[WindowBatch]:
        """The validation text, once, in windows that do not overlap."""
        return self._windows("validation", self.settings.data.window)

    def loss(self, model: DecoderOnlyTransformer, batch: WindowBatch, objective: Objective) -> Loss:
        """The cross-entropy of every token."""
        inputs, reference, documents = batch.inputs, batch.reference, batch.documents
        passes = 2 if objective.r_drop else 1
        if objective.r_drop:
            inputs = inputs.repeat(2, 1)
            documents = None if documents is None else documents.repeat(2, 1)
        smoothed, likelihood = smoothed_cross_entropy(
            model.text_features(inputs, documents).flatten(0, 1),
            model.output.weight,
            model.output.bias,
            reference.flatten().repeat(passes),
            objective.label_smoothing,
            objective.r_drop,
        )
        return Loss(smoothed / passes, likelihood / passes, int((reference != PAD).sum()))

    def validate(self, model: DecoderOnlyTransformer, metric: str) -> float:
        """Score the model on the validation text, in windows that do not overlap."""
        nats, tokens = surprise(model, self.validation_batches())
        amount = asdict(self.streams["validation"].amount)
        return metric_value(metric, float(nats.sum()), float(tokens.sum()), amount)

    def save(self, model: DecoderOnlyTransformer, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder."""
        from heedful.tasks import language_modelling_folder

        window, several = self.settings.data.window, self.streams["train"].amount.documents > 1
        facts = {**self.facts(), **trained}
        language_modelling_folder.save(folder, model, self.tokenizer, window, several, facts)

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the model on every test text, or on the validation text where there is none, with every stride."""
        from heedful.tasks.language_modelling_folder import load

        model, data = load(folder, device=device).model, self.settings.data
        scores: dict[str, list[Score]] = {}
        for name in self.settings.data.tests or ("validation",):
            for stride in data.strides or (data.window,):
                nats, tokens = surprise(model, self._windows(name, stride))
                signature = f"tokens:{tokens.sum()}|window:{data.window}|stride:{stride}"
                amount = asdict(self.streams[name].amount)
                title = name if len(data.strides) < 2 else f"{name}, stride {stride}"
                scores[title] = language_scores(nats, tokens, amount, self.settings.metrics, signature)
        return scores

    def _windows(self, name: str, stride: int) -> Iterator[WindowBatch]:
        data = self.settings.data
        return evaluation_windows(self.streams[name], data.window, stride, data.batch, data.document_mask)


@torch.no_grad()
def surprise(
    model: DecoderOnlyTransformer, batches: Iterator[WindowBatch]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the negative log-likelihood in nats of each window, and how many predictions it has: (windows,) each."""
    nats: list[float] = []
    tokens: list[int] = []
    device = model.output.weight.device
    for batch in batches:
        batch = batch.to(str(device))
        features = model.text_features(batch.inputs, batch.documents)
        # A window at a time: the logits of many would be the largest tensor there is.
        for vectors, reference in zip(features, batch.reference, strict=True):
            logits = model.output(vectors).float()
            nats.append(float(cross_entropy(logits, reference, ignore_index=PAD, reduction="sum")))
            tokens.append(int((reference != PAD).sum()))
    return np.array(nats), np.array(tokens)
