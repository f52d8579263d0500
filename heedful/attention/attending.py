"""What all modules that attend have in common: that `observe` looks for them."""

from torch import nn


class Attending(nn.Module):
    """A module whose own part is attention: what `attend` is asked for while it runs is recorded under its name."""
