"""Recurrent cells, and how a sequence is read with them.

    gru              z = sig(W_z x + U_z h)    r = sig(W_r x + U_r h)    h~ = tanh(W x + U (r * h))
                     h' = (1 - z) * h + z * h~                          (Bahdanau et al. 2014, appendix A.1.1)
    gru-reset-after  r, z = sig(W x + b + U h + b')    n = tanh(W_n x + b_n + r * (U_n h + b'_n))
                     h' = (1 - z) * n + z * h                           (PyTorch's and cuDNN's GRU)
    lstm             i, f, o = sig(W x + b + U h)    g = tanh(W_g x + b_g + U_g h)
                     c' = f * c + i * g    h' = o * tanh(c')            (Zaremba et al. 2014; PyTorch's LSTM)

The first is the GRU as it was printed: it forgets before U, so it needs two products a step where the second needs one,
and its z says how much is new, where the second's says how much is old. Weights lie as PyTorch's do: the blocks of
`gru-reset-after` are r, z, n, those of `lstm` i, f, g, o; those of `gru` are z, r and the candidate.

A sequence is time first, (length, batch, width). What does not wait for the step before, W x + b, is one product for
all steps. Rows shorter than the longest need no mask: what a state says after the end of its row is not looked at, and
a row that is read backwards is turned round within its own length (`reversal`).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from heedful.layers.cells import gru_step, loops, lstm_step, plain_gru, plain_lstm
from heedful.layers.repeated import RepeatedLinear

CellKind = Literal["gru", "gru-reset-after", "lstm"]

Hidden = tuple[Tensor, ...]
"""What a cell remembers: h, or h and c, each (batch, d_hidden)."""

Step = Callable[[Tensor, Hidden], Hidden]
"""One step: what came in, W x + b (batch, blocks * d_hidden), and the state before -> the state after."""

_BLOCKS = {"gru": 3, "gru-reset-after": 3, "lstm": 4}


class RecurrentCell(nn.Module):
    """One layer of a recurrent network.

    kind: which equations
    d_input: width of what is read
    """

    def __init__(self, kind: CellKind, d_input: int, d_hidden: int) -> None:
        super().__init__()
        self.kind, self.d_hidden = kind, d_hidden
        self.blocks = _BLOCKS[kind]
        self.parts = 2 if kind == "lstm" else 1
        """How many tensors are remembered."""
        self.input = nn.Linear(d_input, self.blocks * d_hidden)
        self.recurrent = nn.Parameter(torch.empty(self.blocks * d_hidden, d_hidden))
        after = kind == "gru-reset-after"
        self.candidate_bias = nn.Parameter(torch.zeros(d_hidden)) if after else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Each block of U orthogonal, as in Bahdanau et al. 2014, appendix B.1; of W by Glorot's rule; biases 0, but 1
        for the forget gate of an LSTM (Jozefowicz et al. 2015)."""
        for weight, start in (
            (self.recurrent, nn.init.orthogonal_),
            (self.input.weight, nn.init.xavier_uniform_),
        ):
            for block in weight.detach().chunk(self.blocks):
                start(block)
        nn.init.zeros_(self.input.bias)
        if self.candidate_bias is not None:
            nn.init.zeros_(self.candidate_bias)
        if self.kind == "lstm":
            nn.init.ones_(self.input.bias.detach().chunk(4)[1])

    def zeros(self, like: Tensor) -> Hidden:
        """The state before the first step, for a batch as large as that of `like`, (length, batch, ...)."""
        return (like.new_zeros(like.shape[1], self.d_hidden),) * self.parts

    def stepper(self) -> Step:
        """Give the function that makes one step, for all steps of one sequence."""
        if self.kind == "gru":
            return self._gru()
        return self._reset_after() if self.kind == "gru-reset-after" else self._lstm()

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> Hidden:
        """Read x (length, batch, d_input); give the states after each step, each tensor (length, batch, d_hidden)."""
        step, hidden = self.stepper(), hidden or self.zeros(x)
        states: list[Hidden] = []
        for now in self.input(x).unbind(0):
            hidden = step(now, hidden)
            states.append(hidden)
        return tuple(torch.stack(tensors) for tensors in zip(*states, strict=True))

    def _gru(self) -> Step:
        width = self.d_hidden
        gates = RepeatedLinear(self.recurrent[: 2 * width])
        candidate = RepeatedLinear(self.recurrent[2 * width :])

        def step(x: Tensor, hidden: Hidden) -> Hidden:
            (h,) = hidden
            into_gates, into_candidate = x.split((2 * width, width), 1)
            z, r = torch.sigmoid(into_gates + gates(h)).chunk(2, 1)
            return (torch.lerp(h, torch.tanh(into_candidate + candidate(r * h)).to(h.dtype), z.to(h.dtype)),)

        return step

    def _reset_after(self) -> Step:
        recurrent = RepeatedLinear(self.recurrent)
        bias: Tensor = self.candidate_bias  # pyright: ignore[reportAssignmentType]

        def step(x: Tensor, hidden: Hidden) -> Hidden:
            (h,) = hidden
            u = recurrent(h)
            if (library := loops(x, u, h)) is not None:
                return (gru_step(library, x, u, bias, h),)
            return (plain_gru(x, u, bias, h),)

        return step

    def _lstm(self) -> Step:
        recurrent = RepeatedLinear(self.recurrent)

        def step(x: Tensor, hidden: Hidden) -> Hidden:
            h, c = hidden
            u = recurrent(h)
            if (library := loops(x, u, c)) is not None:
                return lstm_step(library, x, u, c)
            return plain_lstm(x, u, c)

        return step


def reversal(lengths: Tensor, longest: int) -> Tensor:
    """Give where each place of a turned row comes from, (longest, batch): the last first, padding where it was.

    lengths: (batch,)
    """
    places = torch.arange(longest, device=lengths.device).unsqueeze(1)
    turned = lengths - 1 - places
    return torch.where(turned >= 0, turned, places)


def pick(x: Tensor, places: Tensor) -> Tensor:
    """Give x[places[i, b], b]: x (length, batch, width), places (n, batch) -> (n, batch, width)."""
    rows = places * x.shape[1] + torch.arange(x.shape[1], device=x.device)
    return x.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, places.shape)


def last(x: Tensor, lengths: Tensor) -> Tensor:
    """Give the end of each row: x (length, batch, width) -> (batch, width); of an empty row the first."""
    return pick(x, (lengths - 1).clamp(min=0).unsqueeze(0)).squeeze(0)
