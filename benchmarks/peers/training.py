"""Sides of the training benchmarks: heedful's own step, and the Transformers of other libraries in a plain loop.

All have the same dimensions, one matrix for both embeddings and the output, dropout 0.1, label smoothing 0.1 and Adam.
What a library does by itself is left to it: post-norm or pre-norm, its attention kernel, its initialisation. The plain
loop is what people write: logits, `cross_entropy`, `backward`, `Adam`.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from heedful.data.batching import Batch
from heedful.models import TransformerSettings, build
from heedful.objectives import Loss, sequence_loss
from heedful.text.special import PAD, START
from heedful.training.settings import TrainingSettings
from heedful.training.step import Stepper, Totals

DROPOUT, SMOOTHING = 0.1, 0.1
BETAS, EPSILON = (0.9, 0.98), 1e-9


@dataclass(frozen=True)
class Size:
    """The dimensions of a Transformer with as many layers in the encoder as in the decoder."""

    layers: int
    d_model: int
    d_ff: int
    heads: int

    def operations(self, source: int, target: int, vocabulary: int) -> float:
        """FLOP of one step over so many source and target tokens: 6 for each multiplying weight and token.

        Attention's scores and softmax, which depend on lengths, are left out, as are the embeddings.
        """
        square, network = self.d_model**2, 2 * self.d_model * self.d_ff
        read = (
            self.layers * (4 * square + network) + self.layers * 2 * square
        )  # and the memory's keys and values
        written = self.layers * (6 * square + network) + vocabulary * self.d_model
        return 6.0 * (source * read + target * written)


SIZES = {"tiny": Size(4, 128, 256, 4), "small": Size(3, 256, 1024, 4), "base": Size(6, 512, 2048, 8)}


class Side(Protocol):
    """Something that makes one update after the other."""

    model: nn.Module

    def step(self, number: int, rate: float, batch: Batch) -> float:
        """Make update `number`, and give the sum of the smoothed loss over the batch's target tokens."""
        ...


class Heedful:
    """The step that `heedful train` makes."""

    def __init__(self, size: Size, vocabulary: int, length: int, bfloat16: bool) -> None:
        settings = TransformerSettings(
            encoder_layers=size.layers,
            decoder_layers=size.layers,
            d_model=size.d_model,
            d_ff=size.d_ff,
            heads=size.heads,
            dropout=DROPOUT,
            maximum_length=length,
        )
        model = build(settings, vocabulary, vocabulary)
        self.model: nn.Module = model
        training = TrainingSettings(
            label_smoothing=SMOOTHING, beta1=BETAS[0], beta2=BETAS[1], epsilon=EPSILON
        )

        def loss(batch: Any) -> Loss:
            return sequence_loss(
                model, batch.source, batch.target_input, batch.target_output, training.label_smoothing
            )

        self.stepper = Stepper(model, loss, training, "cpu", "bfloat16" if bfloat16 else "float32")

    def step(self, number: int, rate: float, batch: Batch) -> float:
        totals = Totals()
        self.stepper.step(number, rate, [batch], totals)
        return totals.smoothed


class Plain:
    """A model that gives logits, trained by the loop that people write first."""

    def __init__(self, model: nn.Module, bfloat16: bool) -> None:
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), betas=BETAS, eps=EPSILON)
        self.autocast = torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext()

    def step(self, number: int, rate: float, batch: Batch) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.autocast:
            logits = self.model(batch.source, batch.target_input)
            loss = cross_entropy(
                logits.flatten(0, 1),
                batch.target_output.flatten(),
                ignore_index=PAD,
                label_smoothing=SMOOTHING,
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item() * batch.tokens


class HuggingFace(nn.Module):
    """MarianMTModel of `transformers`, which by default attends through PyTorch's fused kernel."""

    def __init__(self, size: Size, vocabulary: int, length: int, attention: str = "sdpa") -> None:
        super().__init__()
        from transformers import MarianConfig, MarianMTModel

        config = MarianConfig(
            vocab_size=vocabulary,
            d_model=size.d_model,
            encoder_layers=size.layers,
            decoder_layers=size.layers,
            encoder_attention_heads=size.heads,
            decoder_attention_heads=size.heads,
            encoder_ffn_dim=size.d_ff,
            decoder_ffn_dim=size.d_ff,
            max_position_embeddings=length,
            activation_function="relu",
            scale_embedding=True,
            dropout=DROPOUT,
            attention_dropout=0.0,
            activation_dropout=0.0,
            pad_token_id=PAD,
            decoder_start_token_id=START,
            use_cache=False,
            attn_implementation=attention,  # pyright: ignore[reportCallIssue] -- of all configurations
        )
        self.model = MarianMTModel(config)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.model(input_ids=source, attention_mask=source != PAD, decoder_input_ids=target).logits


class Torch(nn.Module):
    """nn.Transformer, with embeddings and output around it."""

    def __init__(self, size: Size, vocabulary: int, length: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, size.d_model)
        nn.init.normal_(self.table.weight, std=size.d_model**-0.5)
        self.positions = nn.Embedding(length, size.d_model)
        self.dropout = nn.Dropout(DROPOUT)
        self.transformer = nn.Transformer(
            size.d_model, size.heads, size.layers, size.layers, size.d_ff, DROPOUT, batch_first=True
        )
        self.scale = size.d_model**0.5

    def embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.table(tokens) * self.scale + self.positions.weight[: tokens.shape[1]])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        length = target.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        padding = source == PAD
        vectors = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=later,
            tgt_is_causal=True,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return nn.functional.linear(vectors, self.table.weight)


class XTransformers(nn.Module):
    """Encoder and decoder of `x-transformers`, which has dropout inside the feed-forward networks."""

    def __init__(self, size: Size, vocabulary: int, length: int) -> None:
        super().__init__()
        from x_transformers import Decoder, Encoder, TransformerWrapper

        layers = {
            "dim": size.d_model,
            "depth": size.layers,
            "heads": size.heads,
            "attn_dim_head": size.d_model // size.heads,
            "ff_mult": size.d_ff / size.d_model,
            "ff_dropout": DROPOUT,
        }
        around = {"num_tokens": vocabulary, "max_seq_len": length, "emb_dropout": DROPOUT}
        self.encoder = TransformerWrapper(attn_layers=Encoder(**layers), return_only_embed=True, **around)
        self.decoder = TransformerWrapper(
            attn_layers=Decoder(cross_attend=True, **layers), tie_embedding=True, **around
        )
        self.decoder.token_emb = self.encoder.token_emb

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        real = source != PAD
        return self.decoder(target, context=self.encoder(source, mask=real), context_mask=real)


MODELS = {
    "huggingface": HuggingFace,
    "torch": Torch,
    "x-transformers": XTransformers,
    "huggingface-eager": partial(HuggingFace, attention="eager"),  # with the weights written out
}


def make(library: str, size: Size, vocabulary: int, length: int, bfloat16: bool) -> Side:
    """The side named, its weights from PyTorch's random generator; `length` is the longest sequence."""
    if library == "heedful":
        return Heedful(size, vocabulary, length, bfloat16)
    return Plain(MODELS[library](size, vocabulary, length).train(), bfloat16)
