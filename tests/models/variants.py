"""Small models of every architecture and variant, in float64, for the facts that hold for all of them."""

import torch
from pydantic import TypeAdapter
from torch import nn

from heedful.models import ModelSettings, SequenceToSequence, build

read_settings = TypeAdapter(ModelSettings).validate_python

VOCABULARY = 11
SMALL = {"d_model": 16, "d_ff": 24, "heads": 4, "maximum_length": 12}
SIZES = {
    "transformer": {"encoder_layers": 2, "decoder_layers": 2},
    "decoder-only": {"layers": 2, "source_attention": "full"},
    "decoder-only, causal source": {"layers": 2, "source_attention": "causal"},
}
CHOICES = {
    "the paper's": {},
    "pre-norm": {"norm": "pre"},
    "post-norm": {"norm": "post"},
    "RMSNorm": {"norm": "pre", "norm_kind": "rms"},
    "concatenated sinusoids": {"positions": "sinusoidal-concatenated"},
    "learned positions": {"positions": "learned"},
    "rotary positions": {"positions": "rotary"},
    "relative positions": {"positions": "relative"},
    "no positions": {"positions": "none"},
    "GELU": {"activation": "gelu"},
    "SwiGLU": {"activation": "swiglu"},
    "grouped queries": {"kv_heads": 2},
    "one key head, rotary": {"kv_heads": 1, "positions": "rotary"},
    "wide heads with biases": {"d_head": 6, "attention_bias": True},
    "untied": {"tied": "none"},
    "all that is newer": {
        "norm": "pre",
        "norm_kind": "rms",
        "positions": "rotary",
        "activation": "swiglu",
        "kv_heads": 2,
    },
}
VARIANTS = {
    f"{architecture}: {choice}": (architecture.split(",")[0], {**sizes, **choices})
    for architecture, sizes in SIZES.items()
    for choice, choices in CHOICES.items()
}
VARIANTS["transformer: tied target"] = ("transformer", {**SIZES["transformer"], "tied": "target"})


def small(variant: str) -> SequenceToSequence:
    """The variant in evaluation mode, with no parameter at a value (zero, one) that would hide a mistake."""
    architecture, choices = VARIANTS[variant]
    settings = read_settings({"architecture": architecture, **SMALL, **choices})
    model = build(settings, VOCABULARY, VOCABULARY).double().eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name or "relative" in name:
            nn.init.normal_(parameter, mean=1.0 if "norm.weight" in name else 0.0, std=0.5)
    return model


# Ids that end in END, padded; targets that begin with START.
SOURCE = torch.tensor([[4, 9, 5, 6, 2], [7, 2, 0, 0, 0], [8, 8, 3, 2, 0]])
TARGET = torch.tensor([[1, 8, 9, 4], [1, 4, 10, 3], [1, 5, 5, 0]])
