"""What reads text in a model folder, whatever the model is for: its stack of layers, and how text comes into it.

    reader = read("runs/bert-mlm")
    with every_layer(reader.stack) as vectors:
        reader.run(tokens)

A masked language model, a language model and what was fine-tuned from one read <s> text </s>; of a translation model it
is the encoder that reads, text </s>, or of a decoder-only one the stack, as it reads a source.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from heedful.errors import ModelFolderError
from heedful.layers import TransformerStack
from heedful.machine import resolve_device
from heedful.models import DecoderOnlyTransformer, Transformer
from heedful.models.encoder import Encoder
from heedful.tasks.model_folder import find, name_of_task, read_config
from heedful.tasks.pretrained import read_pretrained
from heedful.text.special import END, START
from heedful.text.tokenizer import Tokenizer

Pooling = Literal["mean", "idf", "cls", "last"]
"""How the vectors of tokens become one: see `heedful.tasks.embedding`."""


@dataclass(frozen=True)
class Reader:
    """A model as a reader of text.

    model: all of it, in evaluation mode; stack: the part whose layers give vectors
    run: tokens (batch, length), padded with PAD on the right, through the stack
    before, after: special tokens around each text
    longest: tokens of a text that it can read at once, those not counted
    causal: whether a token sees only those before it
    layer, pooling: how the vector of a text is made where nothing else is asked for
    """

    model: nn.Module
    stack: TransformerStack
    run: Callable[[Tensor], Any]
    tokenizer: Tokenizer
    before: tuple[int, ...]
    after: tuple[int, ...]
    longest: int
    causal: bool
    layer: str = "-1"
    pooling: Pooling = "mean"

    @property
    def layers(self) -> int:
        """Layers of the stack: there are vectors of so many, and of layer 0, what the first one reads."""
        return len(self.stack.layers)

    @property
    def width(self) -> int:
        """Numbers in the vector of a token in a layer."""
        return self.model.settings.d_model  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]

    @property
    def device(self) -> str:
        """Where the model is."""
        return str(next(self.model.parameters()).device)

    def around(self, tokens: Sequence[int]) -> list[int]:
        """The tokens of a text with the special ones around them."""
        return [*self.before, *tokens, *self.after]


def read(path: str | Path, device: str = "auto") -> Reader:
    """Read what reads text in a model folder, or in that of a run.

    Raises ModelFolderError for a folder that is missing or damaged, or whose model has no Transformer stack for text.
    """
    folder = find(path)
    if name_of_task(folder) == "translation":
        return _of_translation(folder, resolve_device(device))
    start = read_pretrained(folder)
    encoder = Encoder(start.model, len(start.tokenizer))
    start.load_into(encoder)
    reader = of_encoder(encoder.to(resolve_device(device)).eval(), start.tokenizer)
    if start.task == "contrastive":
        from heedful.tasks.contrastive_folder import ContrastiveConfig

        reader = replace(reader, pooling=read_config(folder, ContrastiveConfig).pooling)
    return reader


def of_encoder(encoder: Encoder, tokenizer: Tokenizer) -> Reader:
    """Give the reader that an encoder is, as it stands."""
    stack = encoder.stack.decoder if encoder.causal else encoder.stack.encoder
    return Reader(
        model=encoder,
        stack=stack,  # pyright: ignore[reportArgumentType]
        run=encoder,
        tokenizer=tokenizer,
        before=(START,),
        after=(END,),
        longest=encoder.maximum_length - 2,
        causal=encoder.causal,
    )


def _of_translation(folder: Path, device: str) -> Reader:
    from heedful.tasks.translation_folder import load_parts

    parts = load_parts(folder)
    model = parts.model
    if not isinstance(model, Transformer | DecoderOnlyTransformer):
        raise ModelFolderError(
            f"{folder} holds a {parts.config.model.architecture} model: only those with Transformer layers "
            "(transformer, decoder-only, encoder-only) give vectors of layers."
        )
    model = model.to(device)
    causal = isinstance(model, DecoderOnlyTransformer)
    return Reader(
        model=model,
        stack=model.decoder if isinstance(model, DecoderOnlyTransformer) else model.encoder,
        run=model.encode,
        tokenizer=parts.source_tokenizer,
        before=(),
        after=(END,),
        longest=model.maximum_length - 1,
        causal=causal and model.settings.source_attention == "causal",
    )
