"""The settings of the search, and which of them exclude each other."""

from typing import Literal, Self

from pydantic import Field, model_validator

from heedful.settings import Settings
from heedful.text.special import END


class SearchSettings(Settings):
    """How an answer is searched for. Every length counts END: the empty answer has length 1."""

    method: Literal["beam", "sample"] = Field(
        default="beam", description="beam search (greedy search when beam is 1), or random sampling"
    )
    # Vaswani et al. 2017, section 6.1
    beam: int = Field(default=4, ge=1, description="hypotheses kept for each sentence; 1 is greedy search")
    n_best: int = Field(default=1, ge=1, description="answers for each sentence; in sampling, samples")

    # GNMT with 0.6: Vaswani et al. 2017, section 6.1
    length_penalty: Literal["gnmt", "average", "none"] = Field(
        default="gnmt", description="divide log P(Y) by: ((5 + |Y|) / 6)^alpha, |Y|^alpha, or 1"
    )
    alpha: float = Field(
        default=0.6, ge=0, allow_inf_nan=False, description="length penalty; larger favours long answers"
    )
    # Off, as in Vaswani et al. 2017; Wu et al. 2016 use 0.2.
    coverage_penalty: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="beta: weight of source words not attended to"
    )
    # The bound loses no answer that the beam would still have found.
    stopping: Literal["bound", "count"] = Field(
        default="bound",
        description="stop when nothing alive can still win (bound), or when `beam` have ended (count)",
    )

    # Source length + 50: Vaswani et al. 2017, section 6.1
    maximum_length_factor: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="longest answer: factor * source length + add"
    )
    maximum_length_add: int = Field(
        default=50, ge=0, description="longest answer: factor * source length + add"
    )
    minimum_length: int = Field(default=1, ge=1, description="shortest answer; 1 allows the empty one")

    # The model's own distribution, whole.
    temperature: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="sampling: divides logits; below 1 is bolder"
    )
    top_k: int = Field(default=0, ge=0, description="sampling: only the k most probable tokens; 0 is all")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="sampling: only the fewest tokens with this much probability"
    )
    seed: int = Field(default=0, description="sampling: decides, with the sentence's number, its samples")

    # Detokenised text cannot show <unk>: producing it would drop a word silently.
    ban_unknown: bool = Field(default=True, description="never produce <unk>")
    # No further constraint, as in the papers on translation.
    banned_tokens: tuple[int, ...] = Field(default=(), description="ids that are never produced")
    banned_sequences: tuple[tuple[int, ...], ...] = Field(
        default=(), description="runs of ids that are never produced"
    )
    no_repeat_ngram: int = Field(
        default=0, ge=0, description="no n-gram of this size occurs twice; 0 is no limit"
    )
    # Off; Keskar et al. 2019 use 1.2 for free text.
    repetition_penalty: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="above 1, makes tokens that occurred rarer"
    )

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.method == "beam":
            if self.n_best > self.beam:
                raise ValueError(
                    f"n_best={self.n_best} answers cannot come from beam={self.beam} hypotheses: "
                    "raise beam, or lower n_best"
                )
            if self.temperature != 1 or self.top_k != 0 or self.top_p != 1:
                raise ValueError(
                    "temperature, top_k and top_p are for sampling: set method='sample', or leave them out"
                )
        if self.maximum_length_factor == 0 and self.maximum_length_add == 0:
            raise ValueError(
                "maximum_length_factor and maximum_length_add are both 0, which leaves no room for an answer"
            )
        for token in self.banned_tokens:
            if token == END:
                raise ValueError(
                    "banned_tokens contains END, so no answer could end: use minimum_length instead"
                )
            if token < 0:
                raise ValueError(f"banned_tokens contains {token}: token ids are not negative")
        for sequence in self.banned_sequences:
            if not sequence or min(sequence) < 0 or sequence == (END,):
                raise ValueError(
                    f"banned_sequences contains {sequence}: a run of ids >= 0 is wanted, and not END alone"
                )
        return self
