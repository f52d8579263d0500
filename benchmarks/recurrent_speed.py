"""Claim: recurrent models train no slower here than written plainly in PyTorch, with the same equations and weights.

    python benchmarks/recurrent_speed.py [--d 256 512] [--batch 64] [--length 30] [--rounds 5] [--threads 1] [--quick]

A step is forward, loss, backward and AdamW (PyTorch's fused one on both sides), on random tokens of full length. Two
models: RNNsearch with PyTorch's GRU, and Luong's with two LSTM layers, global attention by `general` and input feeding.
The plain side is written as is usual: `nn.GRU` and `nn.LSTM` read the source, `nn.GRUCell` and `nn.LSTMCell` the
target in a loop; keys are projected once; embeddings, readout and output are outside of the loop; the loss is
`cross_entropy`. The weights of one side are copied to the other, and the losses of the first step must agree.

Three ways alternate in one process: plain, in float32 as PyTorch comes; ours alike; and ours as `heedful train` has it,
in bfloat16 where that is native and else float32, by the library for products that is fast here. All have the allocator
that `heedful train` sets. Printed are the median seconds of a step (with one thread, of the processor's time) and the
ratios within each round: median, lowest and highest.
"""

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from heedful.machine import native_bfloat16, prepare
from heedful.models import Luong, LuongSettings, RNNsearch, RNNsearchSettings, SequenceToSequence
from heedful.objectives import smoothed_cross_entropy

VOCABULARY = 8000
SMOOTHING = 0.1


class PlainRNNsearch(nn.Module):
    def __init__(self, model: RNNsearch) -> None:
        super().__init__()
        settings = model.settings
        e, n = settings.d_embedding, settings.d_hidden
        self.source, self.target = nn.Embedding(VOCABULARY, e), nn.Embedding(VOCABULARY, e)
        self.encoder = nn.GRU(e, n, bidirectional=True, batch_first=True)
        self.begin = nn.Linear(n, n)
        self.query, self.key = nn.Linear(n, n), nn.Linear(2 * n, n, bias=False)
        self.energy = nn.Linear(n, 1, bias=False)
        self.cell = nn.GRUCell(e + 2 * n, n)
        self.readout = nn.Linear(3 * n + e, 2 * settings.d_readout)
        self.output = nn.Linear(settings.d_readout, VOCABULARY)
        self._copy(model)

    @torch.no_grad()
    def _copy(self, model: Any) -> None:
        score = model.attention.score
        self.source.weight.copy_(model.source_words.table.weight)
        self.target.weight.copy_(model.target_words.table.weight)
        for cell, end in ((model.forwards, "l0"), (model.backwards, "l0_reverse")):
            _copy_gru(self.encoder, end, cell.input.weight, cell)
        self.begin.load_state_dict(model.begin.state_dict())
        self.query.weight.copy_(score.query_weight)
        self.query.bias.copy_(score.bias)
        self.key.weight.copy_(score.key_weight)
        self.energy.weight.copy_(score.v[None])
        entering = torch.cat((model.cell.input.weight, model.context.weight), 1)
        _copy_gru(self.cell, "", entering, model.cell)
        self.readout.load_state_dict(model.readout.state_dict())
        self.output.load_state_dict(model.output.state_dict())

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, last = self.encoder(self.source(source))
        keys, words = self.key(memory), self.target(target)
        state = torch.tanh(self.begin(last[1]))
        shown, contexts = [], []
        for position in range(target.shape[1]):
            scores = self.energy(torch.tanh(self.query(state).unsqueeze(1) + keys)).squeeze(2)
            scores = scores.masked_fill(source == 0, -torch.inf)
            context = (scores.softmax(1).unsqueeze(1) @ memory).squeeze(1)
            shown.append(state)
            contexts.append(context)
            state = self.cell(torch.cat((words[:, position], context), 1), state)
        made = self.readout(torch.cat((torch.stack(shown, 1), words, torch.stack(contexts, 1)), 2))
        return self.output(made.unflatten(2, (-1, 2)).amax(3))


class PlainLuong(nn.Module):
    def __init__(self, model: Luong) -> None:
        super().__init__()
        n, layers = model.settings.d_hidden, model.settings.layers
        self.source, self.target = nn.Embedding(VOCABULARY, n), nn.Embedding(VOCABULARY, n)
        self.encoder = nn.LSTM(n, n, layers, batch_first=True)
        self.cells = nn.ModuleList(nn.LSTMCell(n if number else 2 * n, n) for number in range(layers))
        self.key = nn.Linear(n, n, bias=False)
        self.combine = nn.Linear(2 * n, n, bias=False)
        self.output = nn.Linear(n, VOCABULARY, bias=False)
        self._copy(model)

    @torch.no_grad()
    def _copy(self, model: Any) -> None:
        score = model.attention.score
        self.source.weight.copy_(model.source_words.table.weight)
        self.target.weight.copy_(model.target_words.table.weight)
        for number, cell in enumerate(self.cells):
            ours = model.decoder[number]
            entering = ours.input.weight if number else torch.cat((ours.input.weight, model.feed.weight), 1)
            _copy_lstm(cell, "", entering, ours)
            reader = model.encoder[number][0]
            _copy_lstm(self.encoder, f"l{number}", reader.input.weight, reader)
        self.key.weight.copy_(score.weight)
        self.combine.load_state_dict(model.combine.state_dict())
        self.output.load_state_dict(model.output.state_dict())

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, (h, c) = self.encoder(self.source(source.flip(1)))  # all rows are of one length
        memory = memory.flip(1)
        keys, words = self.key(memory), self.target(target)
        states = list(zip(h, c, strict=True))
        fed, made = torch.zeros_like(h[0]), []
        for position in range(target.shape[1]):
            x = torch.cat((words[:, position], fed), 1)
            for number, cell in enumerate(self.cells):
                states[number] = cell(x, states[number])
                x = states[number][0]
            scores = (keys @ x.unsqueeze(2)).squeeze(2).masked_fill(source == 0, -torch.inf)
            context = (scores.softmax(1).unsqueeze(1) @ memory).squeeze(1)
            fed = torch.tanh(self.combine(torch.cat((context, x), 1)))
            made.append(fed)
        return self.output(torch.stack(made, 1))


def _copy_gru(theirs: nn.Module, end: str, entering: Tensor, ours: Any) -> None:
    _copy_lstm(theirs, end, entering, ours)
    name = f"bias_hh_{end}" if end else "bias_hh"
    getattr(theirs, name)[2 * ours.d_hidden :] = ours.candidate_bias


def _copy_lstm(theirs: nn.Module, end: str, entering: Tensor, ours: Any) -> None:
    end = f"_{end}" if end else ""
    getattr(theirs, f"weight_ih{end}").copy_(entering)
    getattr(theirs, f"weight_hh{end}").copy_(ours.recurrent)
    getattr(theirs, f"bias_ih{end}").copy_(ours.input.bias)
    getattr(theirs, f"bias_hh{end}").zero_()


def pair(name: str, d: int) -> tuple[SequenceToSequence, nn.Module]:
    """The same model as it is here and as it is written plainly."""
    torch.manual_seed(1)
    if name == "rnnsearch":
        ours = RNNsearch(
            RNNsearchSettings(
                cell="gru-reset-after", d_embedding=d, d_hidden=d, d_attention=d, d_readout=d, start="glorot"
            ),
            VOCABULARY,
            VOCABULARY,
        )
        return ours, PlainRNNsearch(ours)
    ours = Luong(
        LuongSettings(d_embedding=d, d_hidden=d, layers=2, attention="global", dropout=0.0),
        VOCABULARY,
        VOCABULARY,
    )
    return ours, PlainLuong(ours)


def our_loss(model: SequenceToSequence, source: Tensor, target: Tensor, reference: Tensor) -> Tensor:
    features = model.features(source, target).flatten(0, 1)
    output = model.output
    loss, _ = smoothed_cross_entropy(features, output.weight, output.bias, reference.flatten(), SMOOTHING)
    return loss / reference.numel()


def plain_loss(model: nn.Module, source: Tensor, target: Tensor, reference: Tensor) -> Tensor:
    logits = model(source, target).flatten(0, 1)
    # PyTorch spreads the smoothing over all classes, the reference among them.
    spread = SMOOTHING * VOCABULARY / (VOCABULARY - 1)
    return cross_entropy(logits, reference.flatten(), ignore_index=0, label_smoothing=spread)


def stepper(
    model: nn.Module,
    loss: Callable[..., Tensor],
    batch: tuple[Tensor, ...],
    products: str = "highest",
    narrow: bool = False,
) -> Callable[[], float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> float:
        torch.set_float32_matmul_precision(products)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            found = loss(model, *batch)
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(found.detach())

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--d", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two rounds at d = 32, to see that it runs")
    choice = parser.parse_args()
    if choice.quick:
        choice.d, choice.rounds = [32], 2
    prepare(choice.threads)
    products, narrow = torch.get_float32_matmul_precision(), native_bfloat16("cpu")
    clock = time.process_time if choice.threads == 1 else time.perf_counter
    print(
        f"PyTorch {torch.__version__}, {platform.processor() or platform.machine()}, {choice.threads} threads; "
        f"heedful train: {'bfloat16' if narrow else 'float32'}"
    )
    torch.manual_seed(0)
    shape = (choice.batch, choice.length)
    batch = tuple(torch.randint(4, VOCABULARY, shape) for _ in range(3))
    for name in ("rnnsearch", "luong"):
        for d in choice.d:
            ours, plain = pair(name, d)
            ways = {
                "plain PyTorch": stepper(plain, plain_loss, batch),
                "heedful, alike": stepper(ours, our_loss, batch),
                "heedful train": stepper(copy.deepcopy(ours), our_loss, batch, products, narrow),
            }
            first = [step() for step in ways.values()]
            for loss, allowed in zip(first[1:], (1e-4, 1e-2), strict=True):
                if abs(loss - first[0]) > allowed * abs(first[0]):
                    raise SystemExit(f"{name}: the sides do not compute the same: {first}")
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(choice.rounds):
                for way, step in ways.items():
                    begun = clock()
                    step()
                    seconds[way].append(clock() - begun)
            theirs = seconds["plain PyTorch"]
            for way, taken in seconds.items():
                ratios = [other / own for own, other in zip(taken, theirs, strict=True)]
                print(
                    f"{name:10} d {d:4}  {way:14} {statistics.median(taken):6.3f} s a step, "
                    f"{statistics.median(ratios):5.2f} x ({min(ratios):.2f} to {max(ratios):.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
