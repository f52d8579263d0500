"""The position-wise feed-forward network.

    FFN(x) = max(0, x W_1 + b_1) W_2 + b_2                      (Vaswani et al. 2017, equation 2)
    FFN(x) = (SiLU(x W_gate) * x W_up) W_down                   (SwiGLU, Shazeer 2020, equation 6; no biases)

With GELU (Hendrycks and Gimpel 2016) it is the first formula with that function in place of max(0, .): x Phi(x), or
("gelu-tanh") the paper's approximation 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), which GPT-2 computes.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import gelu, relu, silu

from heedful.layers.dropout import Dropout
from heedful.layers.gelu import gelu_tanh

Activation = Literal["relu", "gelu", "gelu-tanh", "swiglu"]


class FeedForward(nn.Module):
    """Two linear maps with an activation between them, the same at every position."""

    def __init__(
        self, d_model: int, d_ff: int, activation: Activation = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.activation = activation
        gated = activation == "swiglu"
        self.inner = nn.Linear(d_model, 2 * d_ff if gated else d_ff, bias=not gated)
        self.outer = nn.Linear(d_ff, d_model, bias=not gated)
        self.dropout = Dropout(dropout)
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model)."""
        inner = self.inner(x)
        if self.activation == "relu":
            inner = relu(inner)
        elif self.activation == "gelu":
            inner = gelu(inner)
        elif self.activation == "gelu-tanh":
            inner = gelu_tanh(inner)
        else:
            gate, up = inner.chunk(2, -1)
            inner = silu(gate) * up
        return self.outer(self.dropout(inner))
