"""Cross-entropy with label smoothing, fused with the output layer.

The target distribution puts 1 - eps on the reference token and eps / (V - 1) on each of the V - 1 others, as
tensor2tensor and fairseq do (other code divides by V, or by V - 2). Loss and perplexity are sums and means over real
target tokens; padding counts nothing.

The logits of a batch, (tokens, vocabulary), are the largest tensor of a small model's step. They are never kept: the
gradient is made in the forward pass, chunk by chunk, while the chunk's logits are in the processor's cache.

With R-Drop (Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks") each batch passes the model twice,
under two draws of dropout, and the two distributions of each token are drawn together.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heedful.objectives.softmax import soften
from heedful.text.special import PAD

# Rows whose logits exist at the same time; 512 x 10,000 float32 numbers are 20 MB.
CHUNK = 512


def smoothed_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    reference: Tensor,
    smoothing: float = 0.0,
    r_drop: float = 0.0,
    ignore: int | None = PAD,
) -> tuple[Tensor, Tensor]:
    """Give the summed label-smoothed cross-entropy and the summed negative log-likelihood (without gradient).

    features (tokens, d_model), weight (vocabulary, d_model), bias (vocabulary,) or None, reference (tokens,), of which
    those that are `ignore` do not count. With `r_drop` > 0 the tokens are those of two passes, and to the cross-entropy
    comes r_drop / 2 times the divergences of a token's two distributions, in both directions (Liang et al. 2021,
    equations 1 to 4).
    """
    kind = features.device.type
    if torch.is_autocast_enabled(kind):
        features = features.to(torch.get_autocast_dtype(kind))
    if not torch.is_grad_enabled():  # in validation the gradients would be made for nothing
        features, weight, bias = features.detach(), weight.detach(), None if bias is None else bias.detach()
    # What is to be exact in `_Fused` says so itself; autocast would round it.
    with torch.autocast(kind, enabled=False):
        real = torch.ones_like(reference, dtype=torch.bool) if ignore is None else reference != ignore
        return _Fused.apply(features, weight, bias, reference, real, smoothing, r_drop)


class _Fused(torch.autograd.Function):
    """Output layer, log-softmax, smoothed cross-entropy and their gradient, a chunk of rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        reference: Tensor,
        real: Tensor,
        smoothing: float,
        r_drop: float,
    ) -> tuple[Tensor, Tensor]:
        kind, vocabulary = features.dtype, weight.shape[0]
        exact = torch.float64 if kind == torch.float64 else torch.float32
        other = smoothing / (vocabulary - 1)
        matrix = weight.detach().to(kind)
        offset = None if bias is None else bias.detach().to(kind)
        # For one token with logits z and reference y: loss = lse(z) - (1 - eps - other) z_y - other * sum_v z_v, and
        # d loss / d z = softmax(z) - (1 - eps - other) [v = y] - other. The last, constant part is treated apart.
        on_reference = 1.0 - smoothing - other
        wants = any(tensor is not None and tensor.requires_grad for tensor in (features, weight, bias))
        feature_gradient = torch.empty_like(features) if wants else None
        weight_gradient = torch.zeros_like(weight, dtype=exact) if wants else None
        bias_gradient = None if bias is None or not wants else torch.zeros_like(bias, dtype=exact)
        column_sum = matrix.sum(0, dtype=exact)
        offset_sum = 0.0 if offset is None else offset.sum(dtype=exact)
        feature_sum = torch.zeros_like(column_sum)
        smoothed = torch.zeros((), dtype=torch.float64, device=features.device)
        likelihood = torch.zeros((), dtype=torch.float64, device=features.device)
        for here in _chunks(len(reference), 2 if r_drop else 1, features.device):
            x, y, counts = features[here].detach(), reference[here].unsqueeze(1), real[here].unsqueeze(1)
            logits = torch.nn.functional.linear(x, matrix, offset)
            logit = logits.gather(1, y).to(exact)
            total = x.to(exact) @ column_sum + offset_sum
            # R-Drop reads the logits once more.
            normaliser = None if r_drop else soften(logits, y, on_reference)
            if normaliser is not None:
                error, log_likelihood = logits, logit - normaliser
            else:
                probabilities = logits.softmax(-1, dtype=exact)
                likely = probabilities.gather(1, y)
                log_likelihood = likely.log()
                if bool((likely < torch.finfo(exact).tiny).any()):  # less probable than the type can hold
                    log_likelihood = logit - logits.to(exact).logsumexp(-1, keepdim=True)
                normaliser = logit - log_likelihood
                if r_drop:
                    divergence, divergence_gradient = _divergence(logits.to(exact), probabilities)
                    smoothed += (
                        0.5 * r_drop * (divergence * counts[: len(divergence)]).sum(dtype=torch.float64)
                    )
                    probabilities += 0.5 * r_drop * divergence_gradient
                probabilities.scatter_add_(1, y, torch.full_like(logit, -on_reference))
                error = probabilities.to(kind)
            each = normaliser - on_reference * logit - other * total.unsqueeze(1)
            smoothed += (each * counts).sum(dtype=torch.float64)
            likelihood -= (log_likelihood * counts).sum(dtype=torch.float64)
            if feature_gradient is None or weight_gradient is None:
                continue
            x_counted = x * counts
            feature_gradient[here] = ((error @ matrix).to(exact) - other * column_sum) * counts
            if kind == exact:
                weight_gradient.addmm_(error.t(), x_counted)
            else:
                weight_gradient += error.t() @ x_counted
            feature_sum += x_counted.sum(0, dtype=exact)
            if bias_gradient is not None:
                # A product, as the error is larger than all else: it would be copied to be summed.
                bias_gradient += (counts.to(kind).t() @ error).squeeze(0) - other * int(counts.sum())
        if weight_gradient is not None:
            weight_gradient -= other * feature_sum
        ctx.save_for_backward(feature_gradient, weight_gradient, bias_gradient)
        ctx.types = (weight.dtype, None if bias is None else bias.dtype)
        likelihood = likelihood.to(exact)
        ctx.mark_non_differentiable(likelihood)
        return smoothed.to(exact), likelihood

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] -- the decorator hides the names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        upstream = gradients[0]
        feature_gradient, weight_gradient, bias_gradient = ctx.saved_tensors
        weight_type, bias_type = ctx.types
        return (
            feature_gradient * upstream.to(feature_gradient.dtype),
            (weight_gradient * upstream).to(weight_type),
            None if bias_gradient is None else (bias_gradient * upstream).to(bias_type),
            None,
            None,
            None,
            None,
        )


def _chunks(rows: int, passes: int, device: torch.device) -> Iterator[slice | Tensor]:
    """Give the rows of each chunk; of two passes, the same tokens of both."""
    if passes == 1:
        yield from (slice(first, first + CHUNK) for first in range(0, rows, CHUNK))
    else:
        half = rows // 2
        for tokens in torch.arange(half, device=device).split(CHUNK // 2):
            yield torch.cat((tokens, tokens + half))


def _divergence(logits: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Give KL(p || q) + KL(q || p), (tokens, 1), of the two halves of the rows, and its gradient by the logits.

    With z the logits of p less those of q the sum is E_p[z] - E_q[z]: the normalisers cancel. The gradient by the
    logits of p is p (z - E_p[z]) + p - q, and by those of q the same with p and q exchanged.
    """
    p, q = probabilities.chunk(2)
    first, second = logits.chunk(2)
    difference = first - second
    under_p = (p * difference).sum(-1, keepdim=True)
    under_q = (q * difference).sum(-1, keepdim=True)
    gradient = torch.cat((p * (difference - under_p) + p - q, q * (under_q - difference) + q - p))
    return under_p - under_q, gradient
