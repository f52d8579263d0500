"""One update of the weights: forward, backward, clip, optimizer; and what to do when memory or numbers fail."""

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from heedful.data.batching import Batch
from heedful.errors import TrainingError
from heedful.models.face import SequenceToSequence
from heedful.training import objective
from heedful.training.optimizer import make_optimizer
from heedful.training.settings import TrainingSettings

_NO_MEMORY = ("not enough memory", "out of memory", "can't allocate memory")


@dataclass
class Totals:
    """Sums over target tokens since the last line of the log."""

    smoothed: float = 0.0
    likelihood: float = 0.0
    tokens: int = 0
    splits: int = 0

    def means(self) -> dict[str, float]:
        """Loss and negative log-likelihood a token, in nats."""
        return {"loss": self.smoothed / self.tokens, "nll": self.likelihood / self.tokens}


class Stepper:
    """Updates a model's weights, a group of batches at a time."""

    def __init__(
        self, model: SequenceToSequence, settings: TrainingSettings, device: str, precision: str
    ) -> None:
        self.model, self.settings, self.device = model, settings, device
        self.autocast = precision == "bfloat16"
        self.optimizer = make_optimizer(model, settings, precision)

    def step(self, number: int, rate: float, batches: Sequence[Batch], totals: Totals) -> None:
        """Make update `number` with learning rate `rate` from the batches, and add to the totals."""
        parts = 1
        while True:
            try:
                smoothed, likelihood, tokens = self._gradients(batches, parts)
                break
            except (RuntimeError, MemoryError) as error:
                if not isinstance(error, MemoryError) and not any(
                    words in str(error).lower() for words in _NO_MEMORY
                ):
                    raise
                failure = str(error).splitlines()[0] if str(error) else "out of memory"
            # Outside of the handler, so that the frames that hold the failed step's tensors are gone.
            self._make_room()
            rows, width = max(
                (batch.source.shape for batch in batches), key=lambda shape: shape[0] * shape[1]
            )
            if parts >= rows:
                raise TrainingError(
                    f"Step {number} does not fit in memory even one pair at a time (width {width}): {failure}. "
                    "Lower data.batches.maximum_length, or the size of the model."
                )
            parts *= 2
            totals.splits += 1
        self._check(number, smoothed, batches)
        if self.settings.clip is not None:
            norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip))
            self._check(number, norm, batches)
        self.optimizer.step(rate)
        self.optimizer.zero_grad()
        totals.smoothed += smoothed
        totals.likelihood += likelihood
        totals.tokens += tokens

    def _gradients(self, batches: Sequence[Batch], parts: int) -> tuple[float, float, int]:
        """Give the sums of loss, negative log-likelihood and tokens, and leave the mean loss's gradient in place."""
        tokens = sum(batch.tokens for batch in batches)
        smoothed = likelihood = 0.0
        for batch in batches:
            for piece in split(batch, parts):
                piece = piece.to(self.device)
                with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.autocast):
                    loss = objective.loss(
                        self.model,
                        piece.source,
                        piece.target_input,
                        piece.target_output,
                        self.settings.label_smoothing,
                        self.settings.r_drop,
                    )
                (loss.smoothed / tokens).backward()
                smoothed += float(loss.smoothed.detach())
                likelihood += float(loss.likelihood)
        return smoothed, likelihood, tokens

    def _make_room(self) -> None:
        self.optimizer.zero_grad()
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _check(self, number: int, value: float, batches: Sequence[Batch]) -> None:
        if math.isfinite(value):
            return
        pairs = [int(pair) for batch in batches for pair in batch.pairs[:5]]
        raise TrainingError(
            f"The loss of step {number} is not finite (epoch {batches[0].epoch}, training pairs {pairs}, ...). "
            "Try a lower learning rate or a longer warm-up (training.schedule), training.clip = 1.0, or "
            "training.precision = 'float32'; then start again from the last checkpoint, or anew."
        )

    def state(self) -> dict[str, torch.Tensor]:
        """What the optimizer remembers, by the names of the parameters."""
        return self.optimizer.state()

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Go on with what `state` gave."""
        self.optimizer.restore(tensors)


def split(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch into at most `parts` of about equally many rows."""
    if parts == 1:
        return [batch]
    pieces = []
    for rows in torch.arange(len(batch.source)).tensor_split(min(parts, len(batch.source))):
        here = slice(int(rows[0]), int(rows[-1]) + 1)
        pieces.append(
            replace(
                batch,
                source=batch.source[here],
                target_input=batch.target_input[here],
                target_output=batch.target_output[here],
                pairs=batch.pairs[here],
            )
        )
    return pieces
