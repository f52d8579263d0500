"""GPT-2 as `transformers` stores it, as heedful's decoder-only Transformer, and back.

    model = gpt2.load("gpt2")                        # a folder
    model.language(tokens)                           # the logits of GPT2LMHeadModel, to rounding
    gpt2.save(model, "mine-for-transformers")

Token ids stay what they are in the folder's own tokenizer; a text begins with its first token, or with the end of a
text before it. `heedful import` and `heedful export` convert tokenizers as well (heedful.interop.folders).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from heedful.errors import ModelFolderError
from heedful.interop import hf_folder
from heedful.interop.hf_folder import ACTIVATIONS, THEIR_ACTIVATIONS, Part, pair
from heedful.models.decoder_only import DecoderOnlySettings, DecoderOnlyTransformer, gpt2_settings


def load(folder: str | Path) -> DecoderOnlyTransformer:
    """Read a GPT-2, with a language model's head or bare. The model is in evaluation mode.

    Raises ModelFolderError for what is missing or damaged, and for a model that is no GPT-2.
    """
    config, weights = hf_folder.read(folder)
    return from_weights(config, weights, str(folder))


def from_weights(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], where: str = "the model"
) -> DecoderOnlyTransformer:
    """Make a model of what `config.to_dict()` and `state_dict()` of a GPT-2 give; see `load`."""
    hf_folder.check(
        config,
        {
            "model_type": ("gpt2",),
            "activation_function": ("gelu_new", *ACTIVATIONS),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        where,
    )
    weights = {
        name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}": tensor
        for name, tensor in weights.items()
    }
    try:
        width, length, vocabulary = config["n_embd"], config["n_positions"], config["vocab_size"]
        if length % 2:
            raise ModelFolderError(f"{where}: n_positions is {length}; heedful's model needs an even number.")
        settings = gpt2_settings(
            d_model=width,
            d_ff=config.get("n_inner") or 4 * width,
            heads=config["n_head"],
            layers=config["n_layer"],
            norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
            activation=ACTIVATIONS[config.get("activation_function", "gelu_new")],
            dropout=config.get("resid_pdrop", 0.1),
            attention_dropout=config.get("attn_pdrop", 0.1),
            maximum_length=length // 2,
            output_bias="lm_head.bias" in weights,
            tied="all" if config.get("tie_word_embeddings", True) else "none",
        )
    except KeyError as error:
        raise ModelFolderError(
            f"{where}: {hf_folder.CONFIG} lacks {error}, which every GPT-2 has."
        ) from error
    return hf_folder.filled(
        lambda: DecoderOnlyTransformer(settings, vocabulary, vocabulary), _parts(settings), weights, where
    )


def save(model: DecoderOnlyTransformer, folder: str | Path) -> Path:
    """Write a folder that `GPT2LMHeadModel.from_pretrained` loads; give its path.

    Raises ModelFolderError for a model that is no GPT-2, with the settings that keep it from being one, and for a
    folder that cannot be written.
    """
    return hf_folder.write(folder, *to_weights(model))


def to_weights(model: DecoderOnlyTransformer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Give the configuration and the weights of a GPT-2; raises as `save`."""
    settings = model.settings
    hf_folder.check_ours(settings, "GPT-2", norm="pre", output_bias=False)
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": model.output.out_features,
        "n_embd": settings.d_model,
        "n_inner": settings.d_ff,
        "n_head": settings.heads,
        "n_layer": settings.layers,
        "n_positions": 2 * settings.maximum_length,
        "layer_norm_epsilon": settings.norm_epsilon,
        "activation_function": THEIR_ACTIVATIONS[settings.activation],
        "resid_pdrop": settings.dropout,
        "embd_pdrop": settings.dropout,
        "attn_pdrop": settings.attention_dropout,
        "initializer_range": settings.deviation or 0.02,
        "tie_word_embeddings": settings.tied == "all",
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return config, hf_folder.give(model, _parts(settings))


def _parts(settings: DecoderOnlySettings) -> list[Part]:
    parts = [
        Part("embedding.table.weight", ("transformer.wte.weight",)),
        Part("embedding.learned.weight", ("transformer.wpe.weight",)),
        *pair("decoder.norm", "transformer.ln_f"),
    ]
    for number in range(settings.layers):
        ours, theirs = f"decoder.layers.{number}", f"transformer.h.{number}"
        parts += [
            Part(f"{ours}.self_attention.in_weight", (f"{theirs}.attn.c_attn.weight",), transposed=True),
            Part(f"{ours}.self_attention.in_bias", (f"{theirs}.attn.c_attn.bias",)),
            *pair(f"{ours}.self_attention.out", f"{theirs}.attn.c_proj", transposed=True),
            *pair(f"{ours}.self_norm", f"{theirs}.ln_1"),
            *pair(f"{ours}.feed_forward.inner", f"{theirs}.mlp.c_fc", transposed=True),
            *pair(f"{ours}.feed_forward.outer", f"{theirs}.mlp.c_proj", transposed=True),
            *pair(f"{ours}.feed_forward_norm", f"{theirs}.ln_2"),
        ]
    if settings.tied == "none":
        parts.append(Part("output.weight", ("lm_head.weight",)))
    if settings.output_bias:
        parts.append(Part("output.bias", ("lm_head.bias",)))
    return parts
