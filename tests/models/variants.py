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
    "ALiBi": {"positions": "alibi"},
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
    f"{architecture}: {choice}": (architecture.split(",")[0], {**SMALL, **sizes, **choices})
    for architecture, sizes in SIZES.items()
    for choice, choices in CHOICES.items()
}
VARIANTS["transformer: tied target"] = ("transformer", {**SMALL, **SIZES["transformer"], "tied": "target"})

# Recurrent models. Weights as small as those of the papers would hide that something is read at all.
RNNSEARCH = {
    "d_embedding": 6,
    "d_hidden": 8,
    "d_attention": 7,
    "d_readout": 6,
    "start": "glorot",
    "maximum_length": 12,
}
RNNSEARCH_CHOICES = {
    "the paper's": {},
    "PyTorch's GRU": {"cell": "gru-reset-after"},
    "LSTM": {"cell": "lstm"},
    "no attention": {"attention": "none"},
    "no attention, LSTM": {"attention": "none", "cell": "lstm"},
    "conditional": {
        "decoder": "conditional",
        "readout": "tanh",
        "readout_state": "after",
        "layer_norm": True,
    },
    "conditional, LSTM": {"decoder": "conditional", "cell": "lstm"},
    "tied": {"tied": "all", "readout_state": "after"},
    "tied target": {"tied": "target", "layer_norm": True},
}
LUONG = {"d_embedding": 8, "d_hidden": 8, "layers": 2, "window": 1, "start": "glorot", "maximum_length": 12}
LUONG_CHOICES = {
    f"{attention}, {score}, {feeding}": {
        "attention": attention,
        "score": score,
        "input_feeding": feeding == "fed",
    }
    for attention, score, feeding in (
        ("global", "dot", "fed"),
        ("global", "general", "unfed"),
        ("global", "concat", "fed"),
        ("global", "location", "unfed"),
        ("local-m", "general", "unfed"),
        ("local-m", "location", "fed"),
        ("local-p", "concat", "unfed"),
        ("local-p", "general", "fed"),
    )
} | {
    "concat as in the experiments": {"score": "concat", "concat_key": "identity"},
    "no attention": {"attention": "none"},
    "source as it stands": {"reverse_source": False, "layers": 1},
    "bidirectional": {"encoder": "bidirectional"},
    "tied": {"tied": "all"},
    "tied target": {"tied": "target"},
}
CONVS2S = {
    "d_model": 10,
    "encoder_blocks": [{"layers": 2, "width": 8, "kernel": 3}, {"width": 12, "kernel": 2}],
    "decoder_blocks": [{"layers": 2, "width": 8, "kernel": 3}, {"width": 12, "kernel": 1}],
    "maximum_length": 12,
}
CONVS2S_CHOICES = {"the paper's": {}, "tied target": {"tied": "target"}, "tied": {"tied": "all"}}
BYTENET = {"d_model": 8, "sets": 2, "dilations": [1, 2], "maximum_length": 12}
BYTENET_CHOICES = {
    "the paper's": {},
    "tied": {"tied": "all"},
    "wider windows, once": {"kernel": 4, "sets": 1},
    "no longer than its source": {"unfold_factor": 0.0},
    "two longer than its source": {"unfold_factor": 1.0, "unfold_add": 2.0},
}
for name, sizes, found in (
    ("rnnsearch", RNNSEARCH, RNNSEARCH_CHOICES),
    ("luong", LUONG, LUONG_CHOICES),
    ("convs2s", CONVS2S, CONVS2S_CHOICES),
    ("bytenet", BYTENET, BYTENET_CHOICES),
):
    VARIANTS |= {
        f"{name}: {choice}": (name, {**sizes, "tied": "none", **choices}) for choice, choices in found.items()
    }


def small(variant: str) -> SequenceToSequence:
    """The variant in evaluation mode, with no parameter at a value (zero, one) that would hide a mistake."""
    architecture, choices = VARIANTS[variant]
    settings = read_settings({"architecture": architecture, **choices})
    model = build(settings, VOCABULARY, VOCABULARY).double().eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name or "relative" in name:
            nn.init.normal_(parameter, mean=1.0 if "norm.weight" in name else 0.0, std=0.5)
    return model


# Ids that end in END, padded; targets that begin with START.
SOURCE = torch.tensor([[4, 9, 5, 6, 2], [7, 2, 0, 0, 0], [8, 8, 3, 2, 0]])
TARGET = torch.tensor([[1, 8, 9, 4], [1, 4, 10, 3], [1, 5, 5, 0]])
