"""Attention on CUDA by programs of our own, for what PyTorch's fused kernel does not express: memory linear in length.

Beyond products of queries and keys it computes additive scores; causal, windowed and padding masks from indices,
passing over the tiles they empty; gradients of a bias; soft caps; d_v other than d_k. The programs are in
`triton_tiles`; here is what they are asked. Triton is imported on first use. Where the environment says
TRITON_INTERPRET=1 its interpreter runs them on a CPU, slowly: for tests.

Dropout draws from a counter, so that the backward pass draws the same again. Gradients of a bias and of additive scores
are summed by atomic additions, whose order, and so the last bit of the sum, may differ from run to run. Values that are
not finite reach every query, unless they stand behind `padding`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from heedful.attention.call import Call, repeat_heads
from heedful.attention.kernels.once import once
from heedful.attention.mask_algebra import Both, Given
from heedful.attention.mask_rules import Padding, Prefix, Window
from heedful.attention.masks import Mask
from heedful.attention.modifiers import Bias, SoftCap
from heedful.attention.scores import AdditiveScore, DotScore

# As Triton reads it.
INTERPRETED = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST = 256
# Of one operand's tile: its products stay in registers, and some of them fit in the shared memory of any GPU.
TILE_BYTES = 2**13
# A bound on distances that bounds nothing, and to which lengths can be added within 32 bits.
FAR = 2**30


def refusal(call: Call) -> str | None:
    """Say why these programs cannot compute this attention, or None when they can."""
    return _refused_here(call) or _refused_score(call)


def _refused_here(call: Call) -> str | None:
    device = call.query.device
    if find_spec("triton") is None:
        return "it needs the package triton, which is not installed"
    if not INTERPRETED:
        if device.type != "cuda":
            return f"it runs on CUDA, or for tests in Triton's interpreter, and these tensors are on {device}"
        if torch.cuda.get_device_capability(device) < (8, 0):
            return "Triton needs a GPU of compute capability 8.0"
    dtypes = {tensor.dtype for tensor in (call.query, call.key, call.value)}
    if INTERPRETED and torch.bfloat16 in dtypes:
        return "Triton's interpreter multiplies the bits of bfloat16 as if they were integers"
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        given = ", ".join(sorted(map(str, dtypes)))
        return f"it computes in float32, bfloat16 or float16, one for query, key and value, got {given}"
    return None


def _refused_score(call: Call) -> str | None:
    score = call.score
    if not isinstance(score, DotScore | AdditiveScore):
        return f"it computes products and additive scores of queries and keys, not {type(score).__name__}"
    kinds = [type(modifier) for modifier in score.modifiers]
    for kind in kinds:
        if kind not in (Bias, SoftCap):
            return f"it applies Bias and SoftCap, not {kind.__name__}"
        if kinds.count(kind) > 1:
            return f"it applies one {kind.__name__}, not {kinds.count(kind)}"
    widths = {"values": call.value.shape[-1]}
    if isinstance(score, DotScore):
        widths["keys"] = score.width(call.query, call.key)
    for name, width in widths.items():
        if width > WIDEST:
            return f"it takes {name} of a width up to {WIDEST}, got {width}"
    return None


def writes(call: Call) -> int:
    """Give how many numbers of the queries x keys it needs written out: those of masks that are not told by indices."""
    told = all(isinstance(rule, Given) or _by_index(rule, call.grid.plain) for rule in _rules(call.mask))
    return 0 if told else call.grid.queries * call.grid.keys


def attend(call: Call) -> Tensor:
    """Give softmax(score(query, key)) value, with dropout on the weights."""
    attended: Any = _Attention.apply(*_prepared(call))
    return attended


def log_sum_exp(call: Call) -> Tensor:
    """Give log(sum of e^score) over the keys that each query may attend to, (batch, heads, queries), in float32.

    It is -inf for a query that may attend to nothing, and without gradient.
    """
    with torch.no_grad():
        plan, query, key, value, vector, bias = _prepared(call)
        return _forward(plan, *_laid_out(query, key, value, vector, bias))[1]


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is computed of the tensors.

    low, high: between which a key's position less its query's must lie
    lengths: (batch,), how many keys may be seen of each sentence; allowed: (batch, heads, queries, keys), 0 or 1
    cap: of the scores, before the bias (cap_first) or after it
    """

    low: int
    high: int
    lengths: Tensor | None
    allowed: Tensor | None
    cap: float | None
    cap_first: bool
    dropout: float | None
    seed: int


def _rules(mask: Mask | None) -> Iterator[Mask]:
    """Give the masks that must all allow a pair."""
    if isinstance(mask, Both):
        yield from _rules(mask.one)
        yield from _rules(mask.other)
    elif mask is not None:
        yield mask


def _by_index(rule: Mask, plain: bool) -> bool:
    return isinstance(rule, Padding) or (plain and isinstance(rule, Window | Prefix))


def _prepared(call: Call) -> tuple[_Plan, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Give the plan; query, key, value; v of additive scores, (batch, heads, d); the bias."""
    grid, device = call.grid, call.query.device
    batch, heads, queries, _ = call.query.shape
    low, high, lengths, written = -FAR, FAR, [], []
    for rule in _rules(call.mask):
        if isinstance(rule, Window) and grid.plain:
            low = low if rule.left is None else max(low, -rule.left)
            high = high if rule.right is None else min(high, rule.right)
        elif isinstance(rule, Padding | Prefix) and _by_index(rule, grid.plain):
            lengths.append(torch.as_tensor(rule.bound, device=device).to(torch.int32).expand(batch))
        else:
            written.append(rule.allowed if isinstance(rule, Given) else rule.written(grid).allowed)
    bias = cap = None
    for modifier in call.score.modifiers:
        if isinstance(modifier, Bias):
            bias = modifier.bias
        elif isinstance(modifier, SoftCap):
            cap = modifier.cap
    plan = _Plan(
        low,
        high,
        reduce(torch.minimum, lengths).contiguous() if lengths else None,
        # Triton reads bools as single bits; a byte each is what they are.
        reduce(torch.logical_and, written).view(torch.uint8).expand(batch, heads, queries, grid.keys)
        if written
        else None,
        cap,
        cap is not None and isinstance(call.score.modifiers[0], SoftCap),
        call.dropout or None,
        int(torch.randint(2**31 - 1, ())) if call.dropout else 0,
    )
    query, key = (tensor.to(call.value.dtype) for tensor in call.prepared())
    # A score may have given each head keys of its own.
    value = repeat_heads(call.value, key.shape[1])
    vector = call.score.v.expand(batch, heads, -1) if isinstance(call.score, AdditiveScore) else None
    return plan, query, key, value, vector, bias


def _laid_out(
    query: Tensor, key: Tensor, value: Tensor, vector: Tensor | None, bias: Tensor | None
) -> list[Any]:
    """Give the tensors as the programs read them: with the length last where they go dimension by dimension."""
    if vector is not None:
        query, key, vector = query.mT, key.mT, vector.contiguous()
    bias = None if bias is None else bias.detach().contiguous()
    return [query.contiguous(), key.contiguous(), value.contiguous(), vector, bias]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: Tensor | None) -> Tensor:
        attended, lse = _forward(plan, *_laid_out(*tensors))  # pyright: ignore[reportArgumentType]
        ctx.plan = plan
        ctx.save_for_backward(*tensors, attended, lse)
        return attended

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        *tensors, attended, lse = ctx.saved_tensors
        with torch.no_grad():
            read = [*_laid_out(*tensors), attended, lse]
            gradients = _backward(ctx.plan, upstream[0], ctx.needs_input_grad[5], *read)
        return None, *once(gradients, (*upstream, *tensors), "triton")


def _forward(
    plan: _Plan, query: Tensor, key: Tensor, value: Tensor, vector: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Give the attended values, and the log-sum-exp (batch, heads, queries)."""
    run = _Run(plan, query, key, value, vector, bias)
    attended = query.new_empty(run.batch, run.heads, run.queries, value.shape[-1])
    lse = query.new_empty(attended.shape[:-1], dtype=torch.float32)
    run("forward", query, key, value, vector, *run.rules, bias, attended, lse)
    return attended, lse


def _backward(
    plan: _Plan,
    upstream: Tensor,
    of_bias: bool,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    vector: Tensor | None,
    bias: Tensor | None,
    attended: Tensor,
    lse: Tensor,
) -> tuple[Tensor | None, ...]:
    """Give the gradients of query, key, value, vector and bias."""
    run = _Run(plan, query, key, value, vector, bias)
    upstream = upstream.contiguous()
    # How much each row would gain if all its weights grew: what the softmax takes back.
    delta = (upstream.float() * attended.float()).sum(-1)
    # What is added to from several places begins with zeros, in float32.
    start = torch.empty_like if vector is None else _zeros
    d_query, d_key, d_value = start(query), start(key), torch.empty_like(value)
    d_vector = None if vector is None else _zeros(vector)
    d_bias = _zeros(bias) if bias is not None and of_bias else None
    read = (*run.rules, bias, upstream, lse, delta)
    run("backward_keys", query, key, value, vector, *read, d_query, d_key, d_value, d_vector, d_bias)
    if vector is None:
        run("backward_queries", query, key, value, *read, d_query)
    else:
        d_query, d_key = d_query.mT.to(query.dtype), d_key.mT.to(key.dtype)
    return d_query, d_key, d_value, _typed(d_vector, vector), _typed(d_bias, bias)


def _typed(gradient: Tensor | None, tensor: Tensor | None) -> Tensor | None:
    return None if gradient is None or tensor is None else gradient.to(tensor.dtype)


def _zeros(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor, dtype=torch.float32)


class _Run:
    """Starts programs with what all of them are told."""

    def __init__(
        self,
        plan: _Plan,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        vector: Tensor | None,
        bias: Tensor | None,
    ) -> None:
        self.batch, self.heads = query.shape[:2]
        self.kv_heads, self.keys, value_width = value.shape[1:]
        width, self.queries = (query.shape[-1], query.shape[-2]) if vector is None else query.shape[-2:]
        self.device = query.device
        self.rules = plan.allowed, plan.lengths
        tile_width, tile_value = (max(16, 1 << (size - 1).bit_length()) for size in (width, value_width))
        widest = tile_value if vector is not None else max(tile_width, tile_value)
        size = query.element_size()
        self.tile = max(16, min(128 // size, TILE_BYTES // (widest * size)))
        full = self.batch, self.heads, self.queries, self.keys
        allowed_strides = (0,) * 4 if plan.allowed is None else plan.allowed.stride()
        bias_strides = (0,) * 4 if bias is None else bias.expand(full).stride()
        self.numbers = (*allowed_strides, *bias_strides, self.queries, self.keys, plan.low, plan.high)
        self.numbers = (*self.numbers, plan.cap, plan.dropout, plan.seed)
        self.constants = {
            "heads": self.heads,
            "group": self.heads // self.kv_heads,
            "width": width,
            "value_width": value_width,
            "cap_first": plan.cap_first,
            "tile_rows": self.tile,
            "tile_keys": self.tile,
            "tile_width": tile_width,
            "tile_value": tile_value,
        }
        self.shared = {"one_row": not bias_strides[2], "one_key": not bias_strides[3]}

    def __call__(self, name: str, *tensors: Tensor | None) -> None:
        """Run a program of `triton_tiles` for each block of queries or keys."""
        from heedful.attention.kernels import triton_tiles

        by_keys = name == "backward_keys"
        length, heads = (self.keys, self.kv_heads) if by_keys else (self.queries, self.heads)
        programs = self.batch * heads * -(-length // self.tile)
        more = {**self.constants, **self.shared} if by_keys else self.constants
        with torch.cuda.device_of(tensors[0]):  # where Triton starts them
            getattr(triton_tiles, name)[(programs,)](*tensors, *self.numbers, **more, num_stages=1)
