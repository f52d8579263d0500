"""Look inside: see what every attention module attended to, without slowing it down.

    with observe(model) as seen:
        model(source, target)
    record = seen["decoder.layers.2.cross_attention"]
    record.weights(rows=slice(0, 8))     # exact softmax weights, computed when asked for

A record keeps queries, keys and the mask, not the queries x keys weights: memory linear in length. The forward pass
stays on its fast kernel and gives the same bits with and without an observer. Weights are those before dropout.
Observers may be nested; each sees all. What other threads do with the same model meanwhile is not seen.
"""

from collections.abc import Callable, Iterator
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
        """Give the exact softmax weights (batch, heads, rows, keys) of some queries (`rows`) on some keys.

        They are float32, or float64 where the model is.
        """
        exact = torch.promote_types(self.query.dtype, torch.float32)
        full = (*self.query.shape[:3], self.key.shape[2])
        mask, bias = (
            None if given is None else given.expand(full)[:, :, rows]
            for given in (self.mask, self.score.bias)
        )
        score = ScaledDot(None if bias is None else bias.to(exact))
        with torch.no_grad(), torch.autocast(self.query.device.type, enabled=False):
            query, key = self.query[:, :, rows].to(exact), self.key.to(exact)
            return reference.weights(query, key, score, mask)[..., keys]


class Seen:
    """What was seen: the records of every attention module, by the module's name in the model."""

    def __init__(self) -> None:
        self._records: dict[str, list[Record]] = {}
        self._inside: list[str] = []

    def hear(self, query: Tensor, key: Tensor, score: ScaledDot, mask: Tensor | None) -> None:
        """Keep one call of `attend` under the name of the module that made it."""
        if self._inside:
            bias = None if score.bias is None else score.bias.detach()
            record = Record(query.detach(), key.detach(), ScaledDot(bias), mask)
            self._records.setdefault(self._inside[-1], []).append(record)

    def enter(self, name: str) -> None:
        """A module begins: what is heard from now on is its own."""
        self._inside.append(name)

    def leave(self, name: str) -> None:
        """The innermost module ends, if it is this one: a module that failed before it began ends without beginning."""
        if self._inside[-1:] == [name]:
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
            raise KeyError(
                f"No attention was seen in {name!r}; it was seen in: {', '.join(self._records) or 'none'}."
            )
        return self._records[name]


@contextmanager
def observe(model: nn.Module, names: str = "") -> Iterator[Seen]:
    """Watch the attention modules of `model` whose name contains `names`, while the context is open."""
    seen = Seen()

    def tell(what: Callable[[str], None], name: str) -> None:
        if seen in tap.LISTENERS.get():  # not in another thread
            what(name)

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, MultiHeadAttention) and names in name:
            enter = module.register_forward_pre_hook(lambda *_, name=name: tell(seen.enter, name))
            leave = module.register_forward_hook(
                lambda *_, name=name: tell(seen.leave, name), always_call=True
            )
            hooks += [enter, leave]
    token = tap.LISTENERS.set((*tap.LISTENERS.get(), seen))
    try:
        yield seen
    finally:
        tap.LISTENERS.reset(token)
        for hook in hooks:
            hook.remove()
