"""How a model is trained: steps, optimizer, schedule, precision, averaging, validation, checkpoints."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from heedful.machine import Precision
from heedful.settings import Settings
from heedful.training.schedule import ScheduleSettings


class TrainingSettings(Settings):
    """The training of a recipe. A step is one update of the weights."""

    seed: int = Field(
        default=1, ge=0, lt=2**63, description="of weights, batches, dropout and subword sampling"
    )
    # 100,000 in Vaswani et al. 2017, section 5.2, on eight GPUs.
    steps: int = Field(default=100_000, ge=1, description="updates in all, counted from the start of the run")
    schedule: ScheduleSettings = Field(default=ScheduleSettings(), description="the learning rate")
    optimizer: Literal["adamw", "muon", "sgd"] = Field(
        default="adamw", description="muon: for the matrices between hidden vectors, and AdamW for the rest"
    )
    # Jordan et al. 2024.
    momentum: float = Field(
        default=0.95, ge=0, lt=1, description="Muon, SGD (Nesterov): decay of the mean of gradients"
    )
    # Vaswani et al. 2017, section 5.3.
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam: decay of the mean of gradients")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="Adam: decay of the mean of squared gradients")
    epsilon: float = Field(default=1e-9, gt=0, description="Adam: added to the root of that mean")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled (AdamW, Muon); none in the paper")
    # Howard and Ruder 2018, section 3.2 (discriminative fine-tuning, there 1 / 2.6); 0.8 to 0.95 since.
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="fine-tuning: the learning rate of each layer as a share of that above it; 1: one rate for all",
    )
    # Vaswani et al. 2017, section 5.4; on the reference 1 - eps, on each other token eps / (V - 1).
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="eps of label smoothing")
    # Liang et al. 2021, section 3.2, take 5 for translation. Each batch passes the model twice.
    r_drop: float = Field(
        default=0.0, ge=0, description="alpha of R-Drop: two draws of dropout shall agree; 0: one pass"
    )
    clip: float | None = Field(
        default=None, gt=0, description="largest norm of the gradient; none in the paper"
    )
    accumulate: int = Field(default=1, ge=1, description="batches for one update")
    precision: Precision = Field(
        default="auto", description="bfloat16 where the processor computes it natively, float32 elsewhere"
    )
    device: str = Field(default="auto", description="auto, cpu or cuda")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; all cores when unset")
    # Normalisation over a batch sees a worker's part; a batch that its task cannot split is the work of one.
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default=1,
        description="CPU processes that share each batch, and the threads; auto: one a thread, 4 at most",
    )
    # Averaging weights takes the noise of the last steps out; the paper averages the last 5 or 20 checkpoints.
    averaging: Literal["none", "ema", "checkpoints"] = Field(
        default="none",
        description="validate and keep the weights as they are, their moving average, or a mean",
    )
    ema_decay: float = Field(
        default=0.999, gt=0, lt=1, description="ema: how much of the average each step keeps"
    )
    average_last: int = Field(
        default=5, ge=2, description="checkpoints: how many validations' weights are averaged"
    )
    validate_every: int = Field(default=1000, ge=1, description="steps between validations")
    checkpoint_every: int = Field(default=1000, ge=1, description="steps between checkpoints")
    keep: int = Field(
        default=2, ge=1, description="checkpoints kept, beside what averaging needs and the best model"
    )
    tensorboard: bool = Field(
        default=False,
        description="write curves for TensorBoard too, into the run's folder (extra: tensorboard)",
    )
    log_every: int = Field(default=100, ge=1, description="steps between lines of log.jsonl")
    metric: str = Field(default="bleu", description="what is best: loss, bleu, chrf, exact-match, ...")
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many validations without improvement; unset: never"
    )

    @model_validator(mode="after")
    def _fits(self) -> "TrainingSettings":
        if self.schedule.warmup > self.steps:
            raise ValueError(
                f"warmup ({self.schedule.warmup}) is longer than the training ({self.steps} steps)"
            )
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            raise ValueError(f"device is 'auto', 'cpu' or 'cuda', got {self.device!r}")
        return self
