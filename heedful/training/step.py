"""One update of the weights: forward, backward, clip, optimizer; and what to do when memory or numbers fail."""

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from heedful.errors import TrainingError
from heedful.objectives import Loss
from heedful.tasks.face import Batch
from heedful.training.gradients import Sums, compute_gradients
from heedful.training.optimizer import make_optimizer
from heedful.training.settings import TrainingSettings
from heedful.training.workers import Workers

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
    """Updates a model's weights, a group of batches at a time.

    loss: what a batch costs
    unit: what the smallest part of a batch is called in messages
    workers: processes that each compute a part of every gradient, if there are any
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Batch], Loss],
        settings: TrainingSettings,
        device: str,
        precision: str,
        unit: str = "example",
        workers: Workers | None = None,
    ) -> None:
        self.model, self.loss, self.settings, self.device, self.unit = model, loss, settings, device, unit
        self.workers = workers
        self.autocast = precision == "bfloat16"
        self.optimizer = make_optimizer(model, settings, precision)

    def step(self, number: int, rate: float, batches: Sequence[Batch], totals: Totals) -> None:
        """Make update `number` with learning rate `rate` from the batches, and add to the totals."""
        parts = 1
        while True:
            try:
                smoothed, likelihood = self._gradients(number, batches, parts)
                break
            except (RuntimeError, MemoryError) as error:
                if not isinstance(error, MemoryError) and not any(
                    words in str(error).lower() for words in _NO_MEMORY
                ):
                    raise
                failure = str(error).splitlines()[0] if str(error) else "out of memory"
            # Outside of the handler, so that the frames that hold the failed step's tensors are gone.
            self._make_room()
            if parts >= max(map(len, batches)):
                raise TrainingError(
                    f"Step {number} does not fit in memory even one {self.unit} at a time: {failure}. "
                    "Leave out what is longest (data.batches.maximum_length), or take a smaller model."
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
        totals.tokens += sum(batch.tokens for batch in batches)

    def _gradients(self, number: int, batches: Sequence[Batch], parts: int) -> Sums:
        """Leave the gradient of the mean loss in place; give the sums of losses."""
        tokens = sum(batch.tokens for batch in batches)

        def own(batches: Sequence[Batch]) -> Sums:
            return compute_gradients(self.loss, batches, tokens, parts, self.device, self.autocast)

        return own(batches) if self.workers is None else self.workers.gradients(number, batches, parts, own)

    def _make_room(self) -> None:
        self.optimizer.zero_grad()
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _check(self, number: int, value: float, batches: Sequence[Batch]) -> None:
        if math.isfinite(value):
            return
        raise TrainingError(
            f"The loss of step {number} is not finite (epoch {batches[0].epoch}, {batches[0].first(5)}, ...). "
            "Try a lower learning rate or a longer warm-up (training.schedule), training.clip = 1.0, or "
            "training.precision = 'float32', in a new run (--run)."
        )

    def state(self) -> dict[str, torch.Tensor]:
        """What the optimizer remembers, by the names of the parameters."""
        return self.optimizer.state()

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Go on with what `state` gave."""
        self.optimizer.restore(tensors)
