"""heedful's Transformer as models of the peers.

`to_ctranslate2` keeps the function: the same weights, so the same translations. Of the variants of heedful's
Transformer it takes those that CTranslate2 computes: pre- or post-norm, layer normalisation, ReLU or GELU, sinusoidal
or learned positions, as many heads of keys as of queries.

`marian` makes a MarianMTModel of the same dimensions with random weights. Marian's layers are post-norm only and have
biases in attention (which add next to nothing to the time), so heedful's weights have no place there that would mean
the same; and the time of a forced number of steps does not depend on the weights.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ctranslate2.specs import common_spec, transformer_spec
from torch import Tensor

from heedful.decoding import Shortlist
from heedful.layers import Embedding
from heedful.layers.normalization import EPSILON
from heedful.models import Transformer, TransformerSettings
from heedful.text.special import END, PAD, SPECIAL_TOKENS, START, UNKNOWN

_ACTIVATIONS = {"relu": common_spec.Activation.RELU, "gelu": common_spec.Activation.GELU}


def names(vocabulary: int) -> list[str]:
    """What CTranslate2 calls the tokens, by id: it knows tokens as strings only.

    A name carries its id, so that pieces of a real vocabulary that look alike cannot be confused.
    """
    return [*SPECIAL_TOKENS, *map(str, range(len(SPECIAL_TOKENS), vocabulary))]


def to_ctranslate2(model: Transformer, folder: Path, mapping: Path | None = None) -> None:
    """Write `model` as float32 into `folder`, an empty one; the precision is chosen when it is loaded.

    mapping: a vocabulary mapping of CTranslate2, which is put beside the weights
    """
    settings = model.settings
    _check(settings)
    spec: Any = transformer_spec.TransformerSpec.from_config(
        (settings.encoder_layers, settings.decoder_layers),
        settings.heads,
        pre_norm=settings.norm == "pre",
        activation=_ACTIVATIONS[settings.activation],
    )
    _stack(spec.encoder, model.encoder)
    _stack(spec.decoder, model.decoder)
    _embedding(spec.encoder.embeddings[0], spec.encoder, model.source_embedding)
    _embedding(spec.decoder.embeddings, spec.decoder, model.target_embedding)
    spec.decoder.projection.weight = _array(model.output.weight)
    spec.register_source_vocabulary(names(model.source_embedding.table.num_embeddings))
    spec.register_target_vocabulary(names(model.output.out_features))
    if mapping is not None:
        spec.register_vocabulary_mapping(str(mapping))
    config = spec.config
    config.unk_token, config.eos_token = SPECIAL_TOKENS[UNKNOWN], SPECIAL_TOKENS[END]
    config.bos_token = config.decoder_start_token = SPECIAL_TOKENS[START]
    config.add_source_eos = False  # the sources of heedful end with it
    config.layer_norm_epsilon = EPSILON
    spec.validate()
    spec.save(str(folder))


def marian(settings: TransformerSettings, vocabulary: int) -> Any:
    """Give Hugging Face's MarianMTModel of these dimensions, in evaluation mode."""
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=vocabulary,
        d_model=settings.d_model,
        encoder_layers=settings.encoder_layers,
        decoder_layers=settings.decoder_layers,
        encoder_attention_heads=settings.heads,
        decoder_attention_heads=settings.heads,
        encoder_ffn_dim=settings.d_ff,
        decoder_ffn_dim=settings.d_ff,
        activation_function=settings.activation,
        max_position_embeddings=settings.maximum_length,
        scale_embedding=True,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=START,
        forced_eos_token_id=None,
    )
    return MarianMTModel(config).eval()


def _check(settings: TransformerSettings) -> None:
    """Refuse what CTranslate2 does not compute, or is not converted here."""
    refused = {
        "norm_kind": settings.norm_kind != "layer",
        "activation": settings.activation not in _ACTIVATIONS,
        "kv_heads": settings.kv_heads not in (None, settings.heads),
        "d_head": settings.d_head not in (None, settings.d_model // settings.heads),
        "positions": settings.positions not in ("sinusoidal", "sinusoidal-concatenated", "learned"),
    }
    for name, is_refused in refused.items():
        if is_refused:
            raise SystemExit(f"{name} = {getattr(settings, name)!r} is not converted to CTranslate2")


# The specs declare every weight as None or str, and modules give their parts as Tensor | Module: hence Any.


def _stack(spec: Any, stack: Any) -> None:
    if stack.norm is not None:
        _norm(spec.layer_norm, stack.norm)
    for theirs, layer in zip(spec.layer, stack.layers, strict=True):
        attention = layer.self_attention
        _linear(theirs.self_attention.linear[0], attention.in_weight, attention.in_bias)
        _linear(theirs.self_attention.linear[1], attention.out.weight, attention.out.bias)
        _norm(theirs.self_attention.layer_norm, layer.self_norm)
        if layer.cross_attention is not None:
            attention, queries = layer.cross_attention, layer.cross_attention.split[0]
            bias = attention.in_bias
            of_queries, of_memory = (None, None) if bias is None else (bias[:queries], bias[queries:])
            _linear(theirs.attention.linear[0], attention.in_weight[:queries], of_queries)
            _linear(theirs.attention.linear[1], attention.in_weight[queries:], of_memory)
            _linear(theirs.attention.linear[2], attention.out.weight, attention.out.bias)
            _norm(theirs.attention.layer_norm, layer.cross_norm)
        _linear(theirs.ffn.linear_0, layer.feed_forward.inner.weight, layer.feed_forward.inner.bias)
        _linear(theirs.ffn.linear_1, layer.feed_forward.outer.weight, layer.feed_forward.outer.bias)
        _norm(theirs.ffn.layer_norm, layer.feed_forward_norm)


def _embedding(spec: Any, side: Any, embedding: Embedding) -> None:
    """The table, its scale of sqrt(d_model) and the encodings of positions (positions, d_model)."""
    spec.weight = _array(embedding.table.weight)
    side.scale_embeddings = embedding.scale != 1.0
    positions = embedding.learned.weight if embedding.learned is not None else embedding.encoding
    side.position_encodings.encodings = _array(positions)


def _linear(spec: Any, weight: Tensor, bias: Tensor | None) -> None:
    spec.weight = _array(weight)
    if bias is not None:
        spec.bias = _array(bias)


def _norm(spec: Any, norm: Any) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _array(tensor: Any) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def write_mapping(shortlist: Shortlist, path: Path) -> None:
    """Write a shortlist as CTranslate2 reads it: a source token, a tab, and its target tokens, a line each."""
    known = names(max(shortlist.source_vocabulary, shortlist.target_vocabulary))
    always = set(shortlist.frequent.tolist())
    with path.open("w", encoding="utf-8") as file:
        file.write("\t" + " ".join(known[token] for token in sorted(always)) + "\n")
        for token in range(shortlist.source_vocabulary):
            own = set(shortlist.tokens(torch.tensor([token])).tolist()) - always
            if own:
                file.write(f"{known[token]}\t{' '.join(known[each] for each in sorted(own))}\n")
