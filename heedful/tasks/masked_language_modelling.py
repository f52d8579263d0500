"""Masked language modelling: an encoder-only Transformer learns from plain text to guess words that are hidden.

    model = heedful.load("runs/bert-mlm")
    model.fill("The [MASK] sat on the mat.").masks[0][0].piece          # the likeliest filling

    loss = - mean over guessed tokens of ln P(x_t | masked x)  [ - mean over windows of ln P(B follows A or not) ]
                                                                                            (Devlin et al. 2019)

What is hidden is told in heedful.tasks.masking. Only the places that are to be guessed go through the output layer:
with a large vocabulary it costs more than a layer of the stack, and six of seven tokens are not asked for.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from heedful.data.packing import TrainingWindows, evaluation_windows
from heedful.evaluation import Score
from heedful.evaluation.confidence import RESAMPLES, SEED, bootstrap_values, interval
from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer
from heedful.objectives import Loss, smoothed_cross_entropy
from heedful.tasks.beginning import BegunSettings
from heedful.tasks.face import Objective, require_metric
from heedful.tasks.masking import MaskedBatch, MaskedBatches, Masking, MaskingSettings, masked
from heedful.tasks.text_streams import TextData, TextTask
from heedful.text.settings import TokenizerSettings
from heedful.text.special import PAD

METRICS = {
    "perplexity": "e to the negative log-likelihood of a guessed token in nats",
    "cross-entropy": "negative log-likelihood of a guessed token, in nats",
    "accuracy": "percentage of tokens guessed right",
    "next-sentence": "percentage of windows of which it is told rightly whether the second part follows",
}
_HIGHER_IS_BETTER = ("accuracy", "next-sentence")


class MaskedData(TextData):
    """Which text is learnt from, in which windows, and what of it is hidden."""

    # Devlin et al. 2019, appendix A.2: 128 for nine tenths of the steps, as attention is quadratic in it.
    window: int = Field(default=128, ge=8, description="tokens that are read together: the longest context")
    masking: MaskingSettings = Field(default=MaskingSettings(), description="what is to be guessed")


class MaskedSettings(BegunSettings):
    """What the task needs of a recipe."""

    task: Literal["masked-language-modelling"] = Field(
        default="masked-language-modelling", description="what the model is for"
    )
    data: MaskedData
    # Devlin et al. 2019, section 3.
    tokenizer: TokenizerSettings = Field(
        default=TokenizerSettings(kind="wordpiece", vocabulary_size=30_000, mask=True),
        description="how text is segmented; with a mask; with init, that of init",
    )
    model: EncoderOnlySettings = Field(
        default=EncoderOnlySettings(), description="the model; with init, that of init but for the dropouts"
    )
    metrics: tuple[str, ...] = ("perplexity", "accuracy")

    def check(self, objective: Objective) -> None:
        """See `TaskSettings`."""
        pairs = self.data.masking.next_sentence
        if self.data.window > self.model.maximum_length:
            raise ValueError(
                f"data.window ({self.data.window}) is more than model.maximum_length ({self.model.maximum_length})"
            )
        if not self.tokenizer.mask:
            raise ValueError("the vocabulary needs an entry for words to guess: set tokenizer.mask to true")
        if pairs != self.model.next_sentence:
            raise ValueError(
                "data.masking.next_sentence and model.next_sentence are of one objective: set both, or none"
            )
        if pairs and self.model.segments == 1:
            raise ValueError("two parts of a window are two segments: set model.segments to 2, or 0 for none")
        if "next-sentence" in self.metrics and not pairs:
            raise ValueError("metrics has next-sentence, which data.masking.next_sentence does not train")
        if "moses" in self.tokenizer.normalization:
            raise ValueError(
                "moses normalisation is of single sentences and loses line ends: leave it out here"
            )
        if self.tokenizer.dropout:
            raise ValueError("text is segmented once, before the training: set tokenizer.dropout to 0")
        if objective.r_drop:
            raise ValueError("training.r_drop is not for masked language modelling: set it to 0")

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        """See `TaskSettings`."""
        require_metric(metric, METRICS, "guessed words")
        return metric not in _HIGHER_IS_BETTER


class MaskedLanguageModelling(TextTask):
    """The text, tokenizer and model of one run."""

    settings: MaskedSettings

    def build(self) -> EncoderOnlyTransformer:
        """A model with the weights of `init`, or from PyTorch's random generator."""
        return self.settings.begun(lambda: EncoderOnlyTransformer(self.settings.model, len(self.tokenizer)))

    def batches(self, seed: int) -> MaskedBatches:
        """The training windows."""
        data, stream = self.settings.data, self.streams["train"]
        windows = TrainingWindows(stream, data.window, data.batch, seed, data.document_mask)
        return MaskedBatches(windows, Masking(data.masking, stream, self.tokenizer, seed))

    def validation_batches(self) -> Iterator[MaskedBatch]:
        """The validation text, once; each time with the same words hidden."""
        return self._masked("validation")

    def loss(self, model: EncoderOnlyTransformer, batch: MaskedBatch, objective: Objective) -> Loss:
        """The cross-entropy of the words to guess, and to what is minimised that of the next sentences."""
        vectors = model(batch.inputs, batch.segments, batch.documents)
        chosen = batch.reference != PAD
        guessed = batch.reference[chosen]
        smoothed, likelihood = smoothed_cross_entropy(
            model.transformed(vectors[chosen]),
            model.output.weight,
            model.output.bias,
            guessed,
            objective.label_smoothing,
        )
        if batch.follows is not None:
            # The sum of both means, in sums over guesses.
            both = cross_entropy(model.follows(vectors).float(), batch.follows, reduction="sum")
            smoothed = smoothed + both * (batch.tokens / batch.windows)
        return Loss(smoothed, likelihood, len(guessed))

    def validate(self, model: EncoderOnlyTransformer, metric: str) -> float:
        """Score the model on the validation text."""
        return metric_value(metric, guesses(model, self.validation_batches()).sum(0))

    def save(self, model: EncoderOnlyTransformer, folder: Path, trained: Mapping[str, Any]) -> None:
        """Write the model folder."""
        from heedful.tasks import masked_language_modelling_folder

        facts = {**self.facts(), "masking": self.settings.data.masking.model_dump(), **trained}
        masked_language_modelling_folder.save(folder, model, self.tokenizer, facts)

    def evaluate(self, folder: Path, device: str) -> dict[str, list[Score]]:
        """Score the model on every test text, or on the validation text where there is none."""
        from heedful.tasks.masked_language_modelling_folder import load

        model, masking = load(folder, device=device).model, self.settings.data.masking
        signature = f"window:{self.settings.data.window}|share:{masking.share:g}|hidden:{masking.hidden:g}"
        if masking.whole_words:
            signature += "|whole-words"
        return {
            name: masked_scores(guesses(model, self._masked(name)), self.settings.metrics, signature)
            for name in self.settings.data.tests or ("validation",)
        }

    def _masked(self, name: str) -> Iterator[MaskedBatch]:
        data, stream = self.settings.data, self.streams[name]
        windows = evaluation_windows(stream, data.window, data.window, data.batch, data.document_mask)
        return masked(windows, Masking(data.masking, stream, self.tokenizer, SEED))


@torch.no_grad()
def guesses(model: EncoderOnlyTransformer, batches: Iterator[MaskedBatch]) -> NDArray[np.float64]:
    """Give of each window its sum of nats, of right guesses and of guesses, whether it was told rightly that its second
    part follows, and 1: (windows, 5)."""
    rows: list[Tensor] = []
    device = str(model.output.weight.device)
    for batch in batches:
        batch = batch.to(device)
        vectors = model(batch.inputs, batch.segments, batch.documents)
        row, place = (batch.reference != PAD).nonzero(as_tuple=True)
        found = torch.zeros(len(batch), 5, dtype=torch.float64, device=device)
        found[:, 4] = 1
        # Some at a time: the logits of many would be the largest tensor there is.
        for rows_of, places in zip(row.split(512), place.split(512), strict=True):
            logits, right = model.logits(vectors[rows_of, places]).float(), batch.reference[rows_of, places]
            nats = cross_entropy(logits, right, reduction="none")
            each = torch.stack((nats, logits.argmax(-1) == right, torch.ones_like(nats)), 1).double()
            found[:, :3].index_add_(0, rows_of, each)
        if batch.follows is not None:
            found[:, 3] = (model.follows(vectors).argmax(-1) == batch.follows).double()
        rows.append(found.cpu())
    return torch.cat(rows).numpy()


def metric_value(name: str, sums: NDArray[np.float64]) -> float:
    """Give a metric of METRICS of the sums over what `guesses` gives."""
    nats, right, count, told, windows = map(float, sums)
    if name == "next-sentence":
        return 100 * told / windows
    if name == "accuracy":
        return 100 * right / max(count, 1)
    each = nats / max(count, 1)
    return float(np.exp(min(each, 700.0))) if name == "perplexity" else each  # 700: what a float holds


def masked_scores(found: NDArray[np.float64], metrics: tuple[str, ...], signature: str) -> list[Score]:
    """Score a text by what `guesses` gives; the 95% intervals are of a bootstrap over windows."""
    total = found.sum(0)
    signature = f"guesses:{int(total[2])}|{signature}|bs:{RESAMPLES}|seed:{SEED}"
    scores: list[Score] = []
    for name in metrics:
        drawn = bootstrap_values(found, lambda sums, name=name: metric_value(name, sums), RESAMPLES, SEED)
        low, high = interval(drawn)
        scores.append(Score(name, metric_value(name, total), low, high, signature, METRICS[name]))
    return scores
