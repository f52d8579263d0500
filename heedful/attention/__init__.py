"""What attention is: one function, its scores, masks, positions and kernels, and a way to look inside."""

from heedful.attention import alignment, approximations, masks, positions, scores
from heedful.attention.attend import Explanation, attend, explain_kernel
from heedful.attention.attending import Attending
from heedful.attention.influence import Rollout, Step, WidestPath, decoder_steps
from heedful.attention.modifiers import (
    ALiBi,
    Bias,
    Gaussian,
    Modifier,
    PredictedPosition,
    RelativeBuckets,
    RelativePositions,
    SoftCap,
)
from heedful.attention.multihead import KeyValue, MultiHeadAttention, RelativeBias
from heedful.attention.observe import Record, Seen, observe
from heedful.attention.score import Score
from heedful.attention.scores import (
    Additive,
    AdditiveScore,
    Concat,
    Cosine,
    Dot,
    DotScore,
    General,
    Location,
    LocationAware,
    Rotary,
    ScaledDot,
)
from heedful.attention.single import Attention

__all__ = [
    "ALiBi",
    "Additive",
    "AdditiveScore",
    "Attending",
    "Attention",
    "Bias",
    "Concat",
    "Cosine",
    "Dot",
    "DotScore",
    "Explanation",
    "Gaussian",
    "General",
    "KeyValue",
    "Location",
    "LocationAware",
    "Modifier",
    "MultiHeadAttention",
    "PredictedPosition",
    "Record",
    "RelativeBias",
    "RelativeBuckets",
    "RelativePositions",
    "Rollout",
    "Rotary",
    "ScaledDot",
    "Score",
    "Seen",
    "SoftCap",
    "Step",
    "WidestPath",
    "alignment",
    "approximations",
    "attend",
    "decoder_steps",
    "explain_kernel",
    "masks",
    "observe",
    "positions",
    "scores",
]
