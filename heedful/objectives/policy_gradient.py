"""The policy gradient: make what turned out better than expected more likely.

    delta_t = r_t + gamma V_(t+1) - V_t
    A_t     = sum_k (gamma lambda)^k delta_(t+k)             generalised advantage (Schulman et al. 2016, equation 16)
    loss    = - sum_t A_t log pi(a_t) + c_v (V_t - R_t)^2 / 2 - c_h H(pi_t),    R_t = A_t + V_t

SNAIL's paper takes a trust region (TRPO) around the same advantages; here a batch of fresh rollouts is used for one
update, for which the two have the same gradient, and Adam bounds the step.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class PolicyGradient(NamedTuple):
    """Sums over actions: the loss with its gradient, and the negative log-likelihood of the actions without."""

    loss: Tensor
    likelihood: Tensor


def advantages(rewards: Tensor, values: Tensor, discount: float, trace: float) -> Tensor:
    """Give the generalised advantages of rewards and values, all (worlds, time); after the end all is worth 0.

    discount: gamma, trace: lambda of the equation

    >>> advantages(torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[0.5, 0.5, 0.5]]), discount=1.0, trace=1.0)
    tensor([[2.5000, 1.5000, 1.5000]])
    """
    following = torch.cat((values[:, 1:], torch.zeros_like(values[:, :1])), 1)
    surprise = rewards + discount * following - values
    sums = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    for time in reversed(range(values.shape[1])):
        running = surprise[:, time] + discount * trace * running
        sums[:, time] = running
    return sums


def policy_gradient(
    logits: Tensor,
    values: Tensor,
    actions: Tensor,
    rewards: Tensor,
    *,
    discount: float,
    trace: float,
    value_weight: float,
    entropy_weight: float,
) -> PolicyGradient:
    """Give the loss of rollouts: logits (worlds, time, actions), all else (worlds, time).

    Advantages are normalised over all rollouts that are given together, so the loss is no sum over parts of them.
    """
    log_policy = logits.log_softmax(-1)
    chosen = log_policy.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    advantage = advantages(rewards, values.detach(), discount, trace)
    returns = advantage + values.detach()
    normalised = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-6)
    entropy = -(log_policy.exp() * log_policy).sum()
    error = (values - returns).square().sum() / 2
    loss = -(normalised * chosen).sum() + value_weight * error - entropy_weight * entropy
    return PolicyGradient(loss, -chosen.detach().sum())
