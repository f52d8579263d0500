"""Which way the steps of a search are computed: plainly, by the model in PyTorch, or by its lean layout."""

import threading
from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import nn

from heedful.attention.tap import LISTENERS
from heedful.errors import HeedfulError
from heedful.inference import LeanText, LeanTransformer, Precision, refusal, text_refusal
from heedful.models.decoder_only import DecoderOnlyTransformer
from heedful.models.face import Decodable, SequenceToSequence
from heedful.models.transformer import Transformer

EngineKind = Literal["auto", "plain", "lean"]

_LARGE = 8_000_000  # weights


class Engine:
    """Gives for a model what a search shall ask.

    kind: "plain" is the model itself; "lean" its layout for inference on a CPU (heedful.inference); "auto" the lean one
        where it can be had, but never for someone who looks on: attention is observed in the model itself
    precision: of the lean layout; "int8" is faster, and rounds

    Raises HeedfulError for int8 without the lean engine.
    """

    def __init__(self, kind: EngineKind = "auto", precision: Precision = "float32") -> None:
        if kind == "plain" and precision != "float32":
            raise HeedfulError(f"The plain engine does not compute in {precision}; leave out one of the two.")
        self.kind: EngineKind = kind
        self.precision: Precision = precision
        self._lean: LeanTransformer | LeanText | None = None
        self._made_of: tuple[tuple[int, int], ...] = ()
        self._lock = threading.Lock()

    def of(self, model: SequenceToSequence, watched: bool = False) -> tuple[Decodable, int]:
        """Give what to ask in place of the model, and how many threads may ask it at once.

        watched: whether the attention of the model's own steps is needed

        Raises HeedfulError where the lean engine, or a precision that only it has, is asked for and cannot be had.
        """
        reason = "the search needs the attention of each step" if watched else refusal(model)
        if not self._may_be_lean(reason):
            return model, 1
        lean = self._laid_out(model, lambda: LeanTransformer(cast(Transformer, model), self.precision))
        return cast(LeanTransformer, lean), torch.get_num_threads()

    def of_texts(self, model: DecoderOnlyTransformer) -> DecoderOnlyTransformer | LeanText:
        """Give what to ask in place of a language model, which writes on one thread where it is lean.

        "auto" leaves large models plain where there are several threads. Raises HeedfulError as `of`.
        """
        if self.kind == "auto" and self.precision == "float32" and _shared_out(model):
            return model
        if not self._may_be_lean(text_refusal(model)):
            return model
        return cast(LeanText, self._laid_out(model, lambda: LeanText(model, self.precision)))

    def _may_be_lean(self, reason: str | None) -> bool:
        """Whether to take the lean layout. `reason`: why it cannot be had, if so; raises HeedfulError where it must."""
        if self.kind == "plain":
            return False
        if reason is None and LISTENERS.get():
            reason = "the attention is being observed"
        if reason is not None and (self.kind == "lean" or self.precision != "float32"):
            asked = "The lean engine" if self.precision == "float32" else f"Precision {self.precision}"
            raise HeedfulError(f"{asked} cannot be had here: {reason}. Use the plain engine, in float32.")
        return reason is None

    def _laid_out(
        self, model: nn.Module, lay_out: Callable[[], LeanTransformer | LeanText]
    ) -> LeanTransformer | LeanText:
        """Give the layout of the model as it is now: made anew when a weight has changed since."""
        weights = tuple((weight.data_ptr(), weight._version) for weight in model.parameters())
        with self._lock:
            if self._lean is None or weights != self._made_of:
                self._lean, self._made_of = lay_out(), weights
            return self._lean


def _shared_out(model: DecoderOnlyTransformer) -> bool:
    """Whether the products of a step are so large that PyTorch, on several threads, is faster than one lean thread."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    return torch.get_num_threads() > 1 and weights > _LARGE
