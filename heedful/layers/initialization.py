"""First values of weights, where a model wants others than those of its parts."""

from torch import nn

# What a residual sum adds up: the last map of each sublayer.
_ADDED = ("attention.out.weight", "feed_forward.outer.weight")


def draw_normal(model: nn.Module, deviation: float, layers: int | None = None) -> None:
    """Draw every matrix and table of a model from N(0, deviation^2): BERT and GPT-2 have 0.02.

    layers: given, the weights whose products are added up over layers are drawn from N(0, deviation^2 / (2 layers)), so
        that the sum does not grow with depth (Radford et al. 2019, section 2.3)

    Biases are set to 0; norms stay as they are.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            sums = 2 * layers if layers is not None and name.endswith(_ADDED) else 1
            nn.init.normal_(parameter, std=deviation / sums**0.5)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
