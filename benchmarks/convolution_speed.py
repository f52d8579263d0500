"""Claim: ConvS2S and ByteNet train faster on a CPU than the same models in plain PyTorch.

    python benchmarks/convolution_speed.py [--rounds 5] [--threads 1] [--quick]

Layers: forward and backward of one causal convolution with kernel 3, ours (windows written out for one product)
beside `torch.nn.functional.conv1d` on tensors (batch, width, length), as implementations in plain PyTorch keep them.

Models: one training step (forward, cross-entropy, backward, AdamW; dropout as in the recipes) over 2,048 tokens a side.
The plain models are what one writes from the papers with `nn.Conv1d`, `torch.nn.utils.parametrizations.weight_norm`,
`nn.Dropout`, `nn.LayerNorm`, softmax and matrix products, with the same parameters. Both sides are checked to give the
same logits in evaluation, and both have the allocator and the library for products that `heedful train` sets. They
alternate within one process; printed are the medians over the rounds (one to warm up) and the ratios taken within each
round, with their spread. With one thread the processor's time is taken.
"""

import argparse
import math
import os
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, cross_entropy, glu, pad
from torch.nn.utils.parametrizations import weight_norm

from heedful.layers.convolution import Convolution
from heedful.layers.weight_normalization import WeightNormLinear
from heedful.machine import prepare
from heedful.models import ByteNet, ByteNetSettings, ConvS2S, ConvS2SSettings, SequenceToSequence
from heedful.objectives.cross_entropy import smoothed_cross_entropy
from heedful.text.special import PAD

Step = Callable[[], object]

# Those of the recipes.
CONVS2S = ConvS2SSettings.model_validate(
    {
        "d_model": 192,
        "encoder_blocks": [{"layers": 4, "width": 192}],
        "decoder_blocks": [{"layers": 3, "width": 192}],
        "dropout": 0.2,
        "maximum_length": 512,
    }
)
BYTENET = ByteNetSettings(d_model=256, sets=2, dropout=0.1, unfold_factor=1.0, unfold_add=10.0)
WORDS, LETTERS, TOKENS = 5000, 110, 2048


def normalized(linear: Any) -> Any:
    """PyTorch's own, with the same parameters."""
    copy: Any = weight_norm(nn.Linear(linear.in_features, linear.out_features))
    with torch.no_grad():
        copy.parametrizations.weight.original0.copy_(linear.gain[:, None])
        copy.parametrizations.weight.original1.copy_(linear.direction)
        copy.bias.copy_(linear.bias)
    return copy


def convolution(ours: Convolution) -> Any:
    """A Conv1d without padding, with the same parameters."""
    linear, kernel = ours.linear, ours.kernel
    copy: Any = nn.Conv1d(ours.width, linear.out_features, kernel, dilation=ours.dilation)
    with torch.no_grad():
        copy.weight.copy_(linear.weight.unflatten(1, (kernel, -1)).transpose(1, 2))
        copy.bias.copy_(linear.bias)
    return weight_norm(copy) if isinstance(linear, WeightNormLinear) else copy


class PlainConvS2S(nn.Module):
    """Vectors are (batch, length, width) outside of the convolutions and (batch, width, length) within."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.tables: Any = nn.ModuleList(
            nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=False)
            for side in (ours.source_embedding, ours.target_embedding)
            for table in (side.table, side.learned)
            if table is not None
        )
        self.maps = nn.ModuleList(
            normalized(linear)
            for linear in (ours.encoder.into, ours.encoder.out, ours.decoder.into, ours.decoder.out)
        )
        self.reads = nn.ModuleList(convolution(block.convolution) for block in ours.encoder.blocks)
        self.writes = nn.ModuleList(convolution(block.convolution) for block in ours.decoder.blocks)
        self.asks = nn.ModuleList(normalized(block.ask) for block in ours.decoder.blocks)
        self.answers = nn.ModuleList(normalized(block.answer) for block in ours.decoder.blocks)
        self.output = normalized(ours.output)
        self.dropout = nn.Dropout(ours.settings.dropout)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        half = math.sqrt(0.5)
        real = (source != PAD)[:, None]
        e = self.dropout(self.tables[0](source) + self.tables[1].weight[: source.shape[1]])
        x = self.maps[0](e)
        for read in self.reads:
            h = glu(read(pad((self.dropout(x).mT * real), (1, 1))), 1)
            x = (h.mT + x) * half
        z = self.maps[1](x)
        value = (z + e) * half
        scale = real.sum(2, keepdim=True).sqrt()
        g = self.dropout(self.tables[2](target) + self.tables[3].weight[: target.shape[1]])
        x = self.maps[2](g)
        for write, ask, answer in zip(self.writes, self.asks, self.answers, strict=True):
            h = glu(write(pad(self.dropout(x).mT, (2, 0))), 1).mT
            scores = ((ask(h) + g) * half) @ z.mT
            c = scores.masked_fill(~real, -math.inf).softmax(-1) @ value * scale
            x = ((answer(c) + h) * half + x) * half
        return self.output(self.dropout(self.maps[3](x)))


class PlainByteNet(nn.Module):
    """Vectors are (batch, length, width) outside of the convolutions and (batch, width, length) within."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.tables: Any = nn.ModuleList(
            nn.Embedding.from_pretrained(side.table.weight.detach().clone(), freeze=False)
            for side in (ours.source_embedding, ours.target_embedding)
        )
        self.scale = ours.source_embedding.scale
        self.unfolded: Any = ours.unfolded
        stacks = (*ours.encoder, *ours.decoder)
        self.before = nn.ModuleList(
            nn.Sequential(block.norms[0], nn.ReLU(), block.narrow, block.norms[1], nn.ReLU())
            for block in stacks
        )
        self.convolutions = nn.ModuleList(convolution(block.convolution) for block in stacks)
        dropout = nn.Dropout(ours.settings.dropout)
        self.after = nn.ModuleList(
            nn.Sequential(block.norms[2], nn.ReLU(), block.widen, dropout) for block in stacks
        )
        self.spans: list[int] = [block.convolution.span for block in stacks]
        self.last = nn.Sequential(ours.final_norm, nn.ReLU(), ours.final, nn.ReLU(), ours.output)
        self.dropout = dropout

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        real = source != PAD
        lengths, longest = self.unfolded(real.sum(1)), int(self.unfolded(torch.tensor(source.shape[1])))
        inside = (torch.arange(longest) < lengths[:, None])[:, None]
        x = self.dropout(self.tables[0](source) * self.scale) * real[..., None]
        x = pad(x, (0, 0, 0, longest - source.shape[1]))
        blocks = list(zip(self.before, self.convolutions, self.after, self.spans, strict=True))
        for before, convolve, after, span in blocks[: len(blocks) // 2]:
            x = x + after(convolve(pad(before(x).mT * inside, (span // 2, span // 2))).mT)
        memory, length = (x.mT * inside).mT[:, : target.shape[1]], target.shape[1]
        x = self.dropout(self.tables[1](target) * self.scale)
        x = x + pad(memory, (0, 0, 0, length - memory.shape[1]))
        for before, convolve, after, span in blocks[len(blocks) // 2 :]:
            x = x + after(convolve(pad(before(x).mT, (span, 0))).mT)
        return self.last(x)


def alternate(ways: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name in ways if turn % 2 else reversed(ways):
            begun = clock()
            ways[name]()
            if turn:
                seconds[name].append(clock() - begun)
    return seconds


def layer(batch: int, length: int, width: int, outer: int, dilation: int) -> dict[str, Step]:
    ours = Convolution(nn.Linear(3 * width, outer), 3, dilation)
    theirs = convolution(ours)
    x = torch.randn(batch, length, width, requires_grad=True)
    turned = x.detach().mT.contiguous().requires_grad_()
    upstream = torch.randn(batch, length, outer)
    turned_upstream = upstream.mT.contiguous()

    def run() -> None:
        ours(x).backward(upstream)

    def plain() -> None:
        conv1d(
            pad(turned, (2 * dilation, 0)),
            theirs.weight,
            theirs.bias,
            dilation=dilation,
        ).backward(turned_upstream)

    torch.testing.assert_close(theirs(pad(turned, (2 * dilation, 0))).mT, ours(x), rtol=1e-4, atol=1e-4)
    return {"ours": run, "plain": plain}


def model(ours: SequenceToSequence, plain: nn.Module, vocabulary: int, length: int) -> dict[str, Step]:
    source, target, reference = (torch.randint(4, vocabulary, (TOKENS // length, length)) for _ in range(3))
    source[::2, -length // 8 :] = PAD
    with torch.no_grad():
        logits = ours.eval()(source, target), plain.eval()(source, target)
        torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)
    optimizers = [torch.optim.AdamW(side.train().parameters(), lr=1e-4, fused=True) for side in (ours, plain)]

    def run() -> None:
        features = ours.features(source, target).flatten(0, 1)
        weight, bias = ours.output.weight, ours.output.bias
        loss, _ = smoothed_cross_entropy(features, weight, bias, reference.flatten(), 0.1)
        (loss / TOKENS).backward()
        optimizers[0].step()
        optimizers[0].zero_grad()

    def their() -> None:
        logits = plain(source, target).flatten(0, 1)
        cross_entropy(logits, reference.flatten(), ignore_index=PAD, label_smoothing=0.1).backward()
        optimizers[1].step()
        optimizers[1].zero_grad()

    return {"ours": run, "plain": their}


def convs2s(length: int) -> dict[str, Step]:
    ours = ConvS2S(CONVS2S, WORDS, WORDS)
    return model(ours, PlainConvS2S(ours), WORDS, length)


def bytenet(length: int) -> dict[str, Step]:
    ours = ByteNet(BYTENET, LETTERS, LETTERS)
    # The plain one shares layers that are the same on both sides, so each has a model of its own.
    other = ByteNet(BYTENET, LETTERS, LETTERS)
    other.load_state_dict(ours.state_dict())
    return model(ours, PlainByteNet(other), LETTERS, length)


def line(name: str, seconds: dict[str, list[float]]) -> None:
    ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["ours"], strict=True)]
    ours, plain = (1000 * median(seconds[side]) for side in ("ours", "plain"))
    spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"| {name} | {ours:.1f} | {plain:.1f} | {spread} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one layer and one length each, one round")
    options = parser.parse_args()
    prepare(options.threads)
    torch.manual_seed(0)
    rounds = 1 if options.quick else options.rounds
    print(
        f"torch {torch.__version__}, {options.threads} threads, {platform.platform()}, load {os.getloadavg()[0]:.1f}"
    )
    print("\n| what | ours, ms | plain, ms | plain / ours |")
    print("|---|---|---|---|")
    layers = [(64, 32, 192, 384, 1), (16, 128, 128, 128, 1), (16, 128, 128, 128, 16)]
    for shape in layers[:1] if options.quick else layers:
        batch, length, width, outer, dilation = shape
        name = f"convolution {width} to {outer}, dilation {dilation}, {batch} x {length}"
        line(name, alternate(layer(*shape), 4 * rounds))
    for length in (16,) if options.quick else (16, 32):
        line(f"ConvS2S, step, {TOKENS // length} x {length}", alternate(convs2s(length), rounds))
    for length in (64,) if options.quick else (64, 128):
        line(f"ByteNet, step, {TOKENS // length} x {length}", alternate(bytenet(length), rounds))


if __name__ == "__main__":
    main()
