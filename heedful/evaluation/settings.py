"""Which metrics a recipe asks for, and how sure of them one wants to be."""

from pydantic import Field, field_validator

from heedful.errors import RecipeError
from heedful.evaluation.confidence import RESAMPLES, SEED
from heedful.evaluation.metrics import metric_kind
from heedful.settings import Settings


class MetricSettings(Settings):
    """Arguments of `evaluate` as a table of a recipe: `evaluate(..., **settings.model_dump())`."""

    # the three classical ones of sacreBLEU, on raw text
    metrics: tuple[str, ...] = Field(
        default=("bleu", "chrf", "ter"), min_length=1, description="metrics, by name"
    )
    # an interval costs seconds and says whether a difference means anything
    confidence: bool = Field(default=True, description="add 95% bootstrap confidence intervals")
    resamples: int = Field(default=RESAMPLES, ge=100, description="bootstrap resamples")  # as sacreBLEU
    seed: int = Field(default=SEED, ge=0, description="random seed of the bootstrap")  # as sacreBLEU

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for name in metrics:
                metric_kind(name)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        return metrics
