"""Look inside: see what every attention module attended to, without slowing it down.

    with observe(model) as seen:
        model(source, target)
    record = seen["decoder.layers.2.cross_attention"]
    record.weights(rows=slice(0, 8))     # exact softmax weights, computed when asked for

A record keeps queries, keys and the mask, not the queries x keys weights: memory linear in length. The forward pass
stays on its fast kernel and gives the same bits with and without an observer. Weights are those before dropout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from heedful.attention import tap
from heedful.attention.kernels import reference
from heedful.attention.multihead import MultiHeadAttention
from heedful.attention.scores import ScaledDot


@dataclass(frozen=True)
class Record:
    """One call of attention: query (batch, heads, queries, d_k), key (batch, kv_heads, keys, d_k), score and mask."""

    query: Tensor
    key: Tensor
    score: ScaledDot
    mask: Tensor | None

    def weights(self, rows: slice = slice(None), keys: slice = slice(None)) -> Tensor:
        """Give the exact softmax weights (batch, heads, rows, keys) of some queries (`rows`) on some keys, float32."""
        query = self.query[:, :, rows].float()
        mask, score = self.mask, self.score
        if mask is not None and mask.shape[-2] > 1:
            mask = mask[..., rows, :]
        if score.bias is not None:
            bias = score.bias if score.bias.shape[-2] == 1 else score.bias[..., rows, :]
            score = ScaledDot(bias=bias.detach().float())
        with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
            return reference.weights(query, self.key.float(), score, mask)[..., keys]


class Seen:
    """What was seen: the records of every attention module, by the module's name in the model."""

    def __init__(self) -> None:
        self._records: dict[str, list[Record]] = {}
        self._inside: list[str] = []

    def hear(self, query: Tensor, key: Tensor, score: ScaledDot, mask: Tensor | None) -> None:
        """Keep one call of `attend` under the name of the module that made it."""
        if self._inside:
            record = Record(query.detach(), key.detach(), score, mask)
            self._records.setdefault(self._inside[-1], []).append(record)

    def enter(self, name: str) -> None:
        """A module begins: what is heard from now on is its own."""
        self._inside.append(name)

    def leave(self) -> None:
        """The innermost module ends."""
        self._inside.pop()

    def clear(self) -> None:
        """Forget what was seen so far (between two steps of decoding, say)."""
        self._records.clear()

    def __getitem__(self, name: str) -> Record:
        """Give the last record of the module `name`."""
        return self.calls(name)[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def calls(self, name: str) -> list[Record]:
        """Give the record of every call of the module `name`, in order: one for each step of decoding."""
        if name not in self._records:
            raise KeyError(f"No attention was seen in {name!r}; it was seen in: {', '.join(self._records) or 'none'}.")
        return self._records[name]


@contextmanager
def observe(model: nn.Module, names: str = "") -> Iterator[Seen]:
    """Watch the attention modules of `model` whose name contains `names`, while the context is open."""
    seen = Seen()
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, MultiHeadAttention) and names in name:
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: seen.enter(name)))
            hooks.append(module.register_forward_hook(lambda *_: seen.leave(), always_call=True))
    token = tap.LISTENER.set(seen)
    try:
        yield seen
    finally:
        tap.LISTENER.reset(token)
        for hook in hooks:
            hook.remove()
