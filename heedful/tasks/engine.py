"""Which way the steps of a search are computed: plainly, by the model in PyTorch, or by its lean layout."""

import threading
from typing import Literal, cast

import torch

from heedful.attention.tap import LISTENERS
from heedful.errors import HeedfulError
from heedful.inference import LeanTransformer, Precision, refusal
from heedful.models.face import Decodable, SequenceToSequence
from heedful.models.transformer import Transformer

EngineKind = Literal["auto", "plain", "lean"]


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
        self._lean: LeanTransformer | None = None
        self._made_of: tuple[tuple[int, int], ...] = ()
        self._lock = threading.Lock()

    def of(self, model: SequenceToSequence, watched: bool = False) -> tuple[Decodable, int]:
        """Give what to ask in place of the model, and how many threads may ask it at once.

        watched: whether the attention of the model's own steps is needed

        Raises HeedfulError where the lean engine, or a precision that only it has, is asked for and cannot be had.
        """
        if self.kind == "plain":
            return model, 1
        reason = "the search needs the attention of each step" if watched else refusal(model)
        if reason is None and LISTENERS.get():
            reason = "the attention is being observed"
        if reason is None:
            return self._laid_out(model), torch.get_num_threads()
        if self.kind == "lean" or self.precision != "float32":
            asked = "The lean engine" if self.precision == "float32" else f"Precision {self.precision}"
            raise HeedfulError(f"{asked} cannot be had here: {reason}. Use the plain engine, in float32.")
        return model, 1

    def _laid_out(self, model: SequenceToSequence) -> LeanTransformer:
        """Give the layout of the model as it is now: made anew when a weight has changed since."""
        weights = tuple((weight.data_ptr(), weight._version) for weight in model.parameters())
        with self._lock:
            if self._lean is None or weights != self._made_of:
                self._lean = LeanTransformer(cast(Transformer, model), self.precision)
                self._made_of = weights
            return self._lean
