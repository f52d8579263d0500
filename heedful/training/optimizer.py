"""The optimizer: AdamW for all weights, or Muon for the hidden matrices and AdamW for the rest, or plain SGD.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") makes of a matrix's momentum M the
orthogonal matrix that is nearest to it, so that an update changes all directions alike:

    B <- mu B + (1 - mu) G,   M = mu B + (1 - mu) G                     (Nesterov's momentum of the gradient G)
    X <- M / |M|,   five times X <- a X + b (X X^T) X + c (X X^T)^2 X   (Newton-Schulz; |M| is the Frobenius norm)
    W <- W - rate (0.2 sqrt(max(rows, columns)) X + decay W)

The last line is that of Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2, equation 4: updates are then
as large as AdamW's, so that its rate and weight decay serve both. AdamW updates all else: embeddings, output layers,
biases, norms, tables of relative positions, convolutions, scores, and what a recurrent cell makes of its own state.
Unlike `torch.optim.Muon`, which multiplies in bfloat16 on every machine, this one does so only where it is native, and
takes W^Q, W^K and W^V for three matrices although they lie in one tensor.

When a model is fine-tuned, its lower layers can learn more slowly (Howard and Ruder 2018, "Universal Language Model
Fine-tuning for Text Classification", section 3.2): layer l of L learns with rate * layer_decay^(L - l).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention import MultiHeadAttention
from heedful.errors import RecipeError
from heedful.layers import FeedForward
from heedful.machine import native_bfloat16
from heedful.training.settings import TrainingSettings

# Jordan et al. 2024: small singular values grow fastest with these, and all end within some 0.3 of one.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
# What a model's layers are called that give logits and numbers, not hidden vectors.
_OUTPUTS = ("output", "policy", "value", "next_sentence")
# Numbers of the matrices that are multiplied as one batch: on a CPU more than its cache holds gain nothing.
STACKED = {"cpu": 2**17, "cuda": 2**24}


class Optimizer:
    """Updates the weights of a model by their gradients: `torchs` all of them, or those that are not Muon's."""

    def __init__(self, model: nn.Module, torchs: torch.optim.Optimizer, muon: "Muon | None" = None) -> None:
        self.parameters, self.torchs, self.muon = dict(model.named_parameters()), torchs, muon

    def step(self, rate: float) -> None:
        """Update the weights with this learning rate."""
        for group in self.torchs.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        self.torchs.step()
        if self.muon is not None:
            self.muon.step(rate)

    def zero_grad(self) -> None:
        """Forget the gradients, and free their memory."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """What is remembered of earlier gradients, by the names of the parameters."""
        return {
            f"optimizer/{key}/{name}": value
            for name, parameter in self.parameters.items()
            for key, value in self._states(parameter).get(parameter, {}).items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with what `state` gave; other tensors are passed over. Raises KeyError for what the model has not."""
        for path, value in tensors.items():
            if path.startswith("optimizer/"):
                _, key, name = path.split("/", 2)
                parameter = self.parameters[name]
                # As the parameter lies in memory (channels first or last), or a fused update would mix them up.
                like = (
                    torch.empty_like(parameter, dtype=value.dtype) if value.shape == parameter.shape else None
                )
                mine = value.to(parameter.device, copy=True) if like is None else like.copy_(value)
                self._states(parameter)[parameter][key] = mine

    def _states(self, parameter: Tensor) -> defaultdict[Tensor, dict[str, Tensor]]:
        return (
            self.muon.state
            if self.muon is not None and parameter in self.muon.matrices
            else self.torchs.state
        )


def make_optimizer(model: nn.Module, settings: TrainingSettings, precision: str) -> Optimizer:
    """Give the optimizer of a training whose precision is "float32" or "bfloat16".

    Raises RecipeError for a decay over layers where the model does not tell which layer a weight is of, and for Muon
    where there is nothing for it to update.
    """
    shares = layer_shares(model, settings.layer_decay)
    if settings.optimizer == "sgd":
        return Optimizer(
            model,
            torch.optim.SGD(
                _groups(model.parameters(), shares),
                lr=1.0,
                momentum=settings.momentum,
                nesterov=settings.momentum > 0,
                weight_decay=settings.weight_decay,
                fused=True,
            ),
        )
    matrices = hidden_matrices(model) if settings.optimizer == "muon" else {}
    if settings.optimizer == "muon" and not matrices:
        raise RecipeError(
            "training.optimizer is muon, which is for matrices between hidden vectors, and this model has none: "
            "choose adamw."
        )
    adamw = torch.optim.AdamW(
        _groups((parameter for parameter in model.parameters() if parameter not in matrices), shares),
        lr=1.0,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    if not matrices:
        return Optimizer(model, adamw)
    # Where bfloat16 is emulated it is a hundred times slower than float32.
    fast = precision == "bfloat16" and native_bfloat16(next(iter(matrices)).device.type)
    dtype = torch.bfloat16 if fast else torch.float32
    return Optimizer(model, adamw, Muon(matrices, settings.momentum, settings.weight_decay, dtype, shares))


def layer_shares(model: nn.Module, decay: float) -> dict[Tensor, float]:
    """Give what each weight's learning rate is multiplied with: decay ** (layers above its own); nothing if it is 1.

    The model tells its `layers` and the `layer_of` a name, as `heedful.models.encoder.HeadedEncoder` does.
    """
    if decay == 1:
        return {}
    layer_of: Any = getattr(model, "layer_of", None)
    layers: Any = getattr(model, "layers", None)
    if layer_of is None or layers is None:
        raise RecipeError(
            f"training.layer_decay is {decay}, which is for models that are an encoder with a head: set it to 1."
        )
    return {parameter: decay ** (layers - 1 - layer_of(name)) for name, parameter in model.named_parameters()}


def _groups(parameters: Iterable[nn.Parameter], shares: Mapping[Tensor, float]) -> list[dict[str, Any]]:
    """The parameters as PyTorch's optimizers take them, together by their share of the learning rate."""
    alike: defaultdict[float, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        alike[shares.get(parameter, 1.0)].append(parameter)
    return [{"params": found, "share": share} for share, found in alike.items()]


def hidden_matrices(model: nn.Module) -> dict[Tensor, Sequence[int]]:
    """Give the weights between hidden vectors, and the rows of each of the matrices that lie in one below the other."""
    matrices: dict[Tensor, Sequence[int]] = {}
    outputs = [getattr(model, name, None) for name in _OUTPUTS]
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            matrices[module.in_weight] = module.split
        elif isinstance(module, FeedForward) and module.activation == "swiglu":
            matrices[module.inner.weight] = (module.outer.in_features,) * 2
        elif (
            isinstance(module, nn.Linear)
            and all(module is not output for output in outputs)
            and isinstance(module._parameters.get("weight"), nn.Parameter)  # and not made of others
        ):
            matrices.setdefault(module.weight, (module.out_features,))
    return matrices


class Muon:
    """Muon for matrices.

    matrices: parameters (rows, columns), and the rows of each of the matrices that a parameter is made of
    momentum: mu, how much of the mean of gradients each step keeps
    weight_decay: the share of a weight that a step takes off, times the learning rate
    dtype: what is multiplied; weights and momentum stay as they are
    shares: what the learning rate of a matrix is multiplied with, where it is not 1
    """

    def __init__(
        self,
        matrices: Mapping[Tensor, Sequence[int]],
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
        shares: Mapping[Tensor, float] | None = None,
    ) -> None:
        self.matrices, self.momentum, self.weight_decay, self.dtype = matrices, momentum, weight_decay, dtype
        self.shares = shares or {}
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update all matrices that have a gradient."""
        # By shape and share: (weight, gradient, momentum) of each matrix, as views that have no more rows than columns.
        alike: defaultdict[tuple[torch.Size, float], list[tuple[Tensor, ...]]] = defaultdict(list)
        for parameter, rows in self.matrices.items():
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - self.momentum)
            share = self.shares.get(parameter, 1.0)
            parameter.mul_(1 - share * rate * self.weight_decay)
            tensors = parameter.detach(), parameter.grad, state["momentum"]
            for part in zip(*(tensor.split(rows) for tensor in tensors), strict=True):
                height, width = part[0].shape
                matrix = part if height <= width else tuple(tensor.mT for tensor in part)
                alike[matrix[0].shape, share].append(matrix)
        for (shape, share), found in alike.items():
            together = max(1, STACKED.get(found[0][0].device.type, 1) // shape.numel())
            for first in range(0, len(found), together):
                weights, gradients, momenta = zip(*found[first : first + together], strict=True)
                stack = torch.stack(gradients).lerp_(torch.stack(momenta), self.momentum)
                for weight, change in zip(weights, orthogonal(stack, self.dtype), strict=True):
                    weight.add_(change, alpha=-share * rate * 0.2 * math.sqrt(shape[1]))


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Give matrices with the singular vectors of those given, and singular values near one.

    matrices: (batch, rows, columns); rows should be the fewer, as the products of rows with rows are what is computed

    Gives the same shape, in `dtype`. Singular values of at least 0.01 |M| become 0.68 to 1.14; lower ones come less
    near to one, and zeros stay zeros.
    """
    a, b, c = NEWTON_SCHULZ
    x = (matrices / torch.linalg.matrix_norm(matrices, keepdim=True).clamp(min=1e-7)).to(dtype)
    if x.shape[-1] < 2 * x.shape[-2] or dtype == torch.bfloat16:
        for _ in range(NEWTON_SCHULZ_STEPS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x
    # Of wide matrices only the products of rows take part in the iteration, and the matrices once at its end. The
    # polynomials of one symmetric matrix can change places. In bfloat16 small singular values would be lost.
    gram = x @ x.mT
    one = a * torch.eye(gram.shape[-1], dtype=dtype, device=x.device)
    whole = one / a
    for _ in range(NEWTON_SCHULZ_STEPS):
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + one
        whole, gram = step @ whole, step @ gram @ step
    return whole @ x
