"""Learning-rate schedules: the rate as a function of the step, which counts from 1.

noam:          factor * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5)      (Vaswani et al. 2017, equation 3)
inverse-sqrt:  rate * min(step / warmup, sqrt(warmup / step))                  (fairseq; the same curve by its peak)
cosine:        linear to `rate`, then half a cosine down to `final` at the last step
linear:        linear to `rate`, then a line down to `final` at the last step
               (both with `cooldown` below one: `rate` until that share of the steps is left, then the fall;
               "trapezoidal" or "warmup-stable-decay", Hu et al. 2024, MiniCPM)
constant:      linear to `rate`, then `rate`
staircase:     linear to `rate`; multiplied by `decay` after every `every` steps from there on  (Sukhbaatar et al. 2015)
plateau:       linear to `rate`; multiplied by `decay` whenever validation did not improve `plateau_patience` times
"""

import math
from typing import Literal

from pydantic import Field

from heedful.settings import Settings


class ScheduleSettings(Settings):
    """Which curve the learning rate follows."""

    kind: Literal["noam", "inverse-sqrt", "cosine", "linear", "constant", "staircase", "plateau"] = Field(
        default="noam", description="the curve"
    )
    rate: float = Field(default=1e-3, gt=0, description="peak learning rate; not used by noam")
    factor: float = Field(default=1.0, gt=0, description="noam only: what its rate is multiplied by")
    warmup: int = Field(default=4000, ge=0, description="steps of linear growth (4,000 in the paper)")
    final: float = Field(default=0.0, ge=0, description="cosine and linear: the rate at the last step")
    cooldown: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="cosine and linear: the share of the steps after warm-up over which the rate falls",
    )
    decay: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="plateau: the factor when validation stops improving; staircase: that of each stair",
    )
    every: int = Field(default=1000, ge=1, description="staircase: how many steps one stair is long")
    plateau_patience: int = Field(
        default=3, ge=1, description="plateau: validations without improvement before the rate falls"
    )


class Schedule:
    """The learning rate of each step; only `plateau` has anything to remember."""

    def __init__(self, settings: ScheduleSettings, d_model: int | None, steps: int) -> None:
        self.settings, self.d_model, self.steps = settings, d_model, steps
        self.decays = 0
        self.waited = 0

    def rate(self, step: int) -> float:
        """Give the learning rate of `step`, counted from 1."""
        settings, warmup = self.settings, self.settings.warmup
        if settings.kind == "noam":
            grow = step * warmup**-1.5 if warmup else math.inf
            if self.d_model is None:
                raise ValueError("the schedule noam needs a model with a d_model")
            return settings.factor * self.d_model**-0.5 * min(step**-0.5, grow)
        if step <= warmup:
            return settings.rate * step / warmup
        if settings.kind == "inverse-sqrt":
            return settings.rate * math.sqrt(max(warmup, 1) / step)
        if settings.kind in ("cosine", "linear"):
            fall = max((self.steps - warmup) * settings.cooldown, 1)
            done = min(max(1 - (self.steps - step) / fall, 0.0), 1.0)
            left = (1 + math.cos(math.pi * done)) / 2 if settings.kind == "cosine" else 1 - done
            return settings.rate - (settings.rate - settings.final) * (1 - left)
        stairs = (step - warmup - 1) // settings.every if settings.kind == "staircase" else self.decays
        return settings.rate * settings.decay**stairs

    def validated(self, improved: bool) -> None:
        """Take note of a validation (plateau only)."""
        self.waited = 0 if improved else self.waited + 1
        if self.settings.kind == "plateau" and self.waited >= self.settings.plateau_patience:
            self.decays, self.waited = self.decays + 1, 0

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"decays": self.decays, "waited": self.waited}

    def restore(self, state: dict[str, int]) -> None:
        """Go on from a checkpoint."""
        self.decays, self.waited = state["decays"], state["waited"]
