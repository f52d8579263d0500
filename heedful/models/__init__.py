"""Every architecture, one file each, and the registry that makes a model of its settings."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from heedful.models.bytenet import ByteNet, ByteNetSettings
from heedful.models.convs2s import ConvS2S, ConvS2SSettings
from heedful.models.decoder_only import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer
from heedful.models.face import SequenceToSequence, State
from heedful.models.luong import Luong, LuongSettings
from heedful.models.rnnsearch import RNNsearch, RNNsearchSettings
from heedful.models.transformer import Transformer, TransformerSettings

__all__ = [
    "ByteNet",
    "ByteNetSettings",
    "ConvS2S",
    "ConvS2SSettings",
    "DecoderOnlySettings",
    "DecoderOnlyTransformer",
    "EncoderOnlySettings",
    "EncoderOnlyTransformer",
    "Luong",
    "LuongSettings",
    "ModelSettings",
    "RNNsearch",
    "RNNsearchSettings",
    "SequenceToSequence",
    "State",
    "Transformer",
    "TransformerSettings",
    "build",
]


def _architecture(settings: Any) -> Any:
    """Which architecture settings are of: the Transformer where they do not say."""
    if isinstance(settings, dict):
        return settings.get("architecture", "transformer")
    return getattr(settings, "architecture", None)


# Called with settings and the sizes of the source and target vocabularies.
_ARCHITECTURES: dict[str, Callable[[Any, int, int], SequenceToSequence]] = {
    "transformer": Transformer,
    "decoder-only": DecoderOnlyTransformer,
    "rnnsearch": RNNsearch,
    "luong": Luong,
    "convs2s": ConvS2S,
    "bytenet": ByteNet,
}

# Of the models that read one sequence and write another.
ModelSettings = Annotated[
    Annotated[TransformerSettings, Tag("transformer")]
    | Annotated[DecoderOnlySettings, Tag("decoder-only")]
    | Annotated[RNNsearchSettings, Tag("rnnsearch")]
    | Annotated[LuongSettings, Tag("luong")]
    | Annotated[ConvS2SSettings, Tag("convs2s")]
    | Annotated[ByteNetSettings, Tag("bytenet")],
    Discriminator(
        _architecture,
        custom_error_type="architecture",
        custom_error_message=f"architecture must be one of {', '.join(map(repr, _ARCHITECTURES))}",
    ),
]


def build(settings: ModelSettings, source_vocabulary: int, target_vocabulary: int) -> SequenceToSequence:
    """Give a new model with random weights; the vocabularies are counted in entries.

    Raises ValueError where the settings and the vocabularies exclude each other.
    """
    return _ARCHITECTURES[settings.architecture](settings, source_vocabulary, target_vocabulary)
