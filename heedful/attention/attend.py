"""attend: the one function that all attention goes through.

    Attention(Q, K, V) = softmax(score(Q, K)) V        (Vaswani et al. 2017, equation 1)

The score says *what* is computed, the kernel only *how*: all kernels are tested against `kernels.reference`, values
and gradients. What is attended to can be watched from outside with `heedful.attention.observe`.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from heedful.attention import tap
from heedful.attention.call import Call
from heedful.attention.grid import Grid
from heedful.attention.kernels import explicit, fused, reference, streaming, triton
from heedful.attention.masks import Mask, as_mask
from heedful.attention.scores import ScaledDot, Score

Kernel = Literal["auto", "reference", "explicit", "streaming", "fused", "triton"]

KERNELS: dict[str, ModuleType] = {
    "reference": reference,
    "explicit": explicit,
    "streaming": streaming,
    "fused": fused,
    "triton": triton,
}

# Up to so many weights for one head the explicit kernel wins on a CPU (benchmarks/attention_speed.py): over the fused
# one where gradients are wanted, as its way back is shorter; over it without them; over the streaming one.
EXPLICIT_IN_TRAINING, EXPLICIT_WITHOUT_GRADIENTS, EXPLICIT_WEIGHTS = 64 * 64, 16 * 16, 256 * 256
# Where the fused kernel needs a mask or bias written out: of more numbers than this the streaming one is faster, as it
# passes over tiles, and takes a tenth of the memory.
WRITTEN_WEIGHTS = 2**23


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    score: Score | None = None,
    mask: Mask | Tensor | None = None,
    dropout: float = 0.0,
    kernel: Kernel = "auto",
    query_positions: Tensor | None = None,
    key_positions: Tensor | None = None,
) -> Tensor:
    """Give each query the mean of the values, weighted by how well their keys answer it.

    query: (batch, heads, queries, d_q)
    key: (batch, kv_heads, keys, d_k); heads is a multiple of kv_heads (grouped queries)
    value: (batch, kv_heads, keys, d_v)
    score: the score function; scaled dot product when None
    mask: who may attend to whom, a mask of `heedful.attention.masks` or a bool tensor that broadcasts to (batch, heads,
        queries, keys); True = may attend; a query that may attend to nothing gets zeros
    dropout: the probability with which a weight is set to zero (the others grow by 1 / (1 - dropout))
    kernel: how to compute it; "auto" takes the fastest that is exact, and `explain_kernel` says which and why
    query_positions, key_positions: integers, (queries,) and (keys,) or with the batch first; left out, keys stand at 0,
        1, ... and the queries at the last of these positions

    Gives (batch, heads, queries, d_v). Raises ValueError for shapes that do not fit together, a mask that is not
    bool, and a kernel that does not exist or cannot express what is asked.

    >>> import torch
    >>> query = key = torch.eye(2).reshape(1, 1, 2, 2)
    >>> attend(query, key, torch.tensor([[[[0.0], [1.0]]]])).squeeze().round(decimals=4)
    tensor([0.3302, 0.6698])
    """
    call = make_call(query, key, value, score, mask, dropout, query_positions, key_positions)
    if kernel == "auto":
        chosen = _choose(call)
    elif kernel in KERNELS:
        chosen = kernel
        if (reason := KERNELS[kernel].refusal(call)) is not None:
            raise ValueError(
                f"The {kernel} kernel cannot compute this attention: {reason}. Use kernel='auto'."
            )
    else:
        raise ValueError(f"There is no kernel {kernel!r}; there are auto, {', '.join(KERNELS)}.")
    attended = KERNELS[chosen].attend(call)
    tap.report(call)
    return attended


@dataclass(frozen=True)
class Explanation:
    """Which kernel `auto` takes, why, and why each other one is not taken."""

    kernel: str
    why: str
    others: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.kernel}: {self.why}", *(f"  not {name}: {why}" for name, why in self.others.items())]
        return "\n".join(lines)


def explain_kernel(query: Tensor, key: Tensor, value: Tensor, **choices: Any) -> Explanation:
    """Say which kernel `attend` would take with the same arguments, and why; nothing is computed.

    >>> import torch
    >>> x = torch.zeros(1, 8, 1024, 64)
    >>> print(explain_kernel(x, x, x).kernel, explain_kernel(x, x, x, dropout=0.1).kernel)
    fused streaming
    """
    choices.pop("kernel", None)
    call = make_call(query, key, value, **choices)
    kernel = _choose(call)
    refusals = {name: module.refusal(call) for name, module in KERNELS.items() if name != kernel}
    size = f"{call.grid.queries} x {call.grid.keys} weights a head"
    why = {
        "explicit": f"{size} are few enough to be written out, which is fastest",
        "fused": "PyTorch's kernel computes exactly this, in linear memory",
        "streaming": f"{size} are too many to be written out, and it computes everything in linear memory",
        "triton": "programs of heedful's own compute what PyTorch's kernel does not, in linear memory",
    }
    slower = {
        "reference": "the definition, slower",
        "explicit": f"it would write out {size}",
        "streaming": "slower here",
        "fused": "slower at these sizes"
        if kernel == "explicit"
        else f"it would need mask or biases written out, {size}",
        "triton": f"it would need the mask written out, {size}"
        if triton.writes(call) > WRITTEN_WEIGHTS
        else "slower here",
    }
    return Explanation(
        kernel, why[kernel], {name: reason or slower[name] for name, reason in refusals.items()}
    )


def _choose(call: Call) -> str:
    weights = call.grid.queries * call.grid.keys
    refused = fused.refusal(call) is not None
    cpu = call.query.device.type == "cpu"
    if refused:
        few = EXPLICIT_WEIGHTS
    elif not cpu:
        few = 0
    else:
        inputs = call.query, call.key, call.value
        trained = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        few = EXPLICIT_IN_TRAINING if trained else EXPLICIT_WITHOUT_GRADIENTS
    if weights <= few:
        return "explicit"
    if not refused and fused.writes(call) <= WRITTEN_WEIGHTS:
        return "fused"
    # On a CPU there is but Triton's interpreter.
    if not cpu and triton.refusal(call) is None and triton.writes(call) <= WRITTEN_WEIGHTS:
        return "triton"
    return "streaming"


def make_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score: Score | None = None,
    mask: Mask | Tensor | None = None,
    dropout: float = 0.0,
    query_positions: Tensor | None = None,
    key_positions: Tensor | None = None,
) -> Call:
    """Check what `attend` is given, and put it together; raises ValueError as it does."""
    score = ScaledDot() if score is None else score
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(
            f"attend takes four dimensions (batch, heads, length, width), got {_shapes(query, key, value)}."
        )
    if (wrong := score.mismatch(query, key)) is not None:
        raise ValueError(f"{type(score).__name__}: {wrong}, got {_shapes(query, key, value)}.")
    if key.shape[:3] != value.shape[:3]:
        raise ValueError(
            f"Each key needs a value: the first three dimensions differ in {_shapes(query, key, value)}."
        )
    if query.shape[0] != key.shape[0] or query.shape[1] % key.shape[1]:
        raise ValueError(
            f"The batches must agree and heads be a multiple of kv_heads, got {_shapes(query, key, value)}."
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"Dropout is a probability below 1, got {dropout}.")
    for name, tensor, positions in (("query", query, query_positions), ("key", key, key_positions)):
        expected = tensor.shape[2]
        if positions is not None and (positions.ndim not in (1, 2) or positions.shape[-1] != expected):
            raise ValueError(
                f"{name}_positions must be ({expected},) or (batch, {expected}), got {tuple(positions.shape)}."
            )
    grid = Grid(query.shape[2], key.shape[2], query.device, query_positions, key_positions)
    mask = None if mask is None else as_mask(mask)
    if score.mask is not None:
        mask = score.mask if mask is None else score.mask & mask
    # A larger tensor would widen the result without a word.
    heads = query.shape[0], query.shape[1]
    if mask is not None and (wrong := mask.misfit(grid, heads)) is not None:
        raise ValueError(f"The mask {wrong}.")
    for modifier in score.modifiers:
        if (wrong := modifier.misfit(grid, heads)) is not None:
            raise ValueError(f"{type(modifier).__name__}: {wrong}.")
    return Call(query, key, value, score, mask, dropout, grid)


def _shapes(query: Tensor, key: Tensor, value: Tensor) -> str:
    return f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
