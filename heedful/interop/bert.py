"""BERT as `transformers` stores it, as heedful's encoder-only Transformer, and back.

    model = bert.load("bert-base-uncased")           # a folder; any BERT with learned positions
    model.logits(model(tokens, segments))            # those of BertForPreTraining, to rounding
    bert.save(model, "mine-for-transformers")

Token ids stay what they are in the folder's own tokenizer; 0 must be padding, as it is in every published BERT.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heedful.errors import ModelFolderError
from heedful.interop import hf_folder
from heedful.interop.hf_folder import ACTIVATIONS, THEIR_ACTIVATIONS, Part, pair
from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer, bert_settings

_TRANSFORM, _FOLLOWS, _POOLER = "cls.predictions.transform", "cls.seq_relationship", "bert.pooler.dense"
_BIAS, _DECODER = "cls.predictions.bias", "cls.predictions.decoder"


def load(folder: str | Path) -> EncoderOnlyTransformer:
    """Read a BERT: BertForPreTraining, BertForMaskedLM, BertModel, or another whose head is then left away.

    What the folder lacks of the heads is left away too, or says nothing: the output of a bare BertModel has no bias,
    and its `follows` is always undecided. The model is in evaluation mode.

    Raises ModelFolderError for what is missing or damaged, and for a model that is no BERT.
    """
    config, weights = hf_folder.read(folder)
    return from_weights(config, weights, str(folder))


def from_weights(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], where: str = "the model"
) -> EncoderOnlyTransformer:
    """Make a model of what `config.to_dict()` and `state_dict()` of a BERT give; see `load`."""
    hf_folder.check(
        config,
        {
            "model_type": ("bert",),
            "hidden_act": tuple(ACTIVATIONS),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
            "pad_token_id": (0, None),
        },
        where,
    )
    weights = {_current(name): tensor for name, tensor in weights.items()}
    try:
        settings = bert_settings(
            d_model=config["hidden_size"],
            d_ff=config["intermediate_size"],
            heads=config["num_attention_heads"],
            layers=config["num_hidden_layers"],
            norm_epsilon=config.get("layer_norm_eps", 1e-12),
            activation=ACTIVATIONS[config.get("hidden_act", "gelu")],
            dropout=config.get("hidden_dropout_prob", 0.1),
            attention_dropout=config.get("attention_probs_dropout_prob", 0.1),
            maximum_length=config["max_position_embeddings"],
            segments=config.get("type_vocab_size", 2),
            tied="all" if config.get("tie_word_embeddings", True) else "none",
            transform=f"{_TRANSFORM}.dense.weight" in weights,
            next_sentence=f"{_POOLER}.weight" in weights,
        )
        vocabulary = config["vocab_size"]
    except KeyError as error:
        raise ModelFolderError(f"{where}: {hf_folder.CONFIG} lacks {error}, which every BERT has.") from error
    if settings.tied == "none" and not settings.transform:
        settings = settings.model_copy(
            update={"tied": "all"}
        )  # there is no output that it could be untied from
    # What a bare BertModel lacks.
    weights.setdefault(_BIAS, torch.zeros(vocabulary))
    weights.setdefault(f"{_DECODER}.bias", weights[_BIAS])
    weights.setdefault(f"{_FOLLOWS}.weight", torch.zeros(2, settings.d_model))
    weights.setdefault(f"{_FOLLOWS}.bias", torch.zeros(2))
    return hf_folder.filled(
        lambda: EncoderOnlyTransformer(settings, vocabulary), _parts(settings), weights, where
    )


def save(model: EncoderOnlyTransformer, folder: str | Path) -> Path:
    """Write a folder that `from_pretrained` loads: as BertForPreTraining, or what there is of it; give its path.

    Raises ModelFolderError for a model that is no BERT, with the settings that keep it from being one, and for a folder
    that cannot be written.
    """
    return hf_folder.write(folder, *to_weights(model))


def to_weights(model: EncoderOnlyTransformer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Give the configuration and the weights of a BERT; raises as `save`."""
    settings = model.settings
    hf_folder.check_ours(settings, "BERT", norm="post", embedding_norm=True)
    weights = hf_folder.give(model, _parts(settings))
    if not settings.segments:
        weights["bert.embeddings.token_type_embeddings.weight"] = torch.zeros(2, settings.d_model)
    if not settings.transform:
        # Without the transformation the output has no counterpart there.
        for name in (_BIAS, f"{_DECODER}.weight", f"{_DECODER}.bias"):
            weights.pop(name, None)
    architecture = {
        (True, True): "BertForPreTraining",
        (True, False): "BertForMaskedLM",
        (False, True): "BertForNextSentencePrediction",
        (False, False): "BertModel",
    }[settings.transform, settings.next_sentence]
    if architecture == "BertModel":
        weights = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    config = {
        "architectures": [architecture],
        "model_type": "bert",
        "vocab_size": model.output.out_features,
        "hidden_size": settings.d_model,
        "intermediate_size": settings.d_ff,
        "num_attention_heads": settings.heads,
        "num_hidden_layers": settings.layers,
        "layer_norm_eps": settings.norm_epsilon,
        "hidden_act": THEIR_ACTIVATIONS[settings.activation],
        "hidden_dropout_prob": settings.dropout,
        "attention_probs_dropout_prob": settings.attention_dropout,
        "max_position_embeddings": settings.maximum_length,
        "type_vocab_size": settings.segments or 2,
        "initializer_range": settings.deviation or 0.02,
        "tie_word_embeddings": settings.tied == "all" or not settings.transform,
        "pad_token_id": 0,
    }
    return config, weights


def _current(name: str) -> str:
    """A weight's name as BertForPreTraining has it: of a bare BertModel, or of the first checkpoints."""
    if not name.startswith(("bert.", "cls.")) and name.startswith(("embeddings.", "encoder.", "pooler.")):
        name = f"bert.{name}"
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _parts(settings: EncoderOnlySettings) -> list[Part]:
    table = "bert.embeddings.word_embeddings.weight"
    parts = [
        Part("embedding.table.weight", (table,)),
        Part("embedding.learned.weight", ("bert.embeddings.position_embeddings.weight",)),
        *pair("embedding.norm", "bert.embeddings.LayerNorm"),
        # Untied, the two are tensors of their own, and this is the one that is added.
        Part("output.bias", (_BIAS if settings.tied == "all" else f"{_DECODER}.bias",)),
    ]
    if settings.segments:
        parts.append(Part("embedding.segments.weight", ("bert.embeddings.token_type_embeddings.weight",)))
    for number in range(settings.layers):
        ours, theirs = f"encoder.layers.{number}", f"bert.encoder.layer.{number}"
        read = [f"{theirs}.attention.self.{each}" for each in ("query", "key", "value")]
        parts += [
            Part(f"{ours}.self_attention.in_weight", tuple(f"{each}.weight" for each in read)),
            Part(f"{ours}.self_attention.in_bias", tuple(f"{each}.bias" for each in read)),
            *pair(f"{ours}.self_attention.out", f"{theirs}.attention.output.dense"),
            *pair(f"{ours}.self_norm", f"{theirs}.attention.output.LayerNorm"),
            *pair(f"{ours}.feed_forward.inner", f"{theirs}.intermediate.dense"),
            *pair(f"{ours}.feed_forward.outer", f"{theirs}.output.dense"),
            *pair(f"{ours}.feed_forward_norm", f"{theirs}.output.LayerNorm"),
        ]
    if settings.transform:
        parts += pair("transform.0", f"{_TRANSFORM}.dense") + pair("transform.2", f"{_TRANSFORM}.LayerNorm")
    if settings.tied == "none":
        parts.append(Part("output.weight", (f"{_DECODER}.weight",)))
    if settings.next_sentence:
        parts += pair("pooler", _POOLER) + pair("next_sentence", _FOLLOWS)
    return parts
