"""The policy gradient against its definition."""

import torch

from heedful.objectives.policy_gradient import advantages, policy_gradient


def test_advantages_are_the_sum_of_their_definition():
    rewards, values = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    discount, trace = 0.9, 0.7
    given = advantages(rewards, values, discount, trace)
    after = torch.cat((values[:, 1:], torch.zeros(3, 1, dtype=torch.float64)), 1)
    surprise = rewards + discount * after - values
    for t in range(6):
        expected = sum((discount * trace) ** k * surprise[:, t + k] for k in range(6 - t))
        torch.testing.assert_close(given[:, t], expected, rtol=0, atol=1e-12)


def test_with_a_whole_trace_they_are_the_returns_less_the_values():
    rewards, values = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    returns = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(advantages(rewards, values, 1.0, 1.0), returns - values, rtol=0, atol=1e-12)


def test_the_loss_is_its_definition():
    torch.manual_seed(1)
    logits = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    values = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    actions, rewards = torch.randint(5, (4, 3)), torch.randn(4, 3, dtype=torch.float64)
    choices = {"discount": 0.9, "trace": 0.8, "value_weight": 0.5, "entropy_weight": 0.1}
    given = policy_gradient(logits, values, actions, rewards, **choices)
    advantage = advantages(rewards, values.detach(), 0.9, 0.8)
    mean, deviation = advantage.mean(), advantage.std(correction=0)
    policy = logits.softmax(-1)
    expected = torch.zeros((), dtype=torch.float64)
    for world in range(4):
        for time in range(3):
            probability = policy[world, time, actions[world, time]]
            expected -= (advantage[world, time] - mean) / (deviation + 1e-6) * probability.log()
            target = (advantage[world, time] + values[world, time]).detach()
            expected += 0.5 * (values[world, time] - target) ** 2 / 2
            expected += 0.1 * (policy[world, time] * policy[world, time].log()).sum()
    torch.testing.assert_close(given.loss, expected, rtol=0, atol=1e-11)


def test_what_paid_more_becomes_more_likely():
    logits = torch.zeros(2, 1, 2, requires_grad=True)
    result = policy_gradient(
        logits,
        torch.zeros(2, 1),
        torch.tensor([[0], [1]]),
        torch.tensor([[1.0], [0.0]]),
        discount=1.0,
        trace=1.0,
        value_weight=0.0,
        entropy_weight=0.0,
    )
    result.loss.backward()
    assert bool((logits.grad[:, 0, 0] < 0).all())


def test_one_action_alone_teaches_nothing_and_is_no_error():
    logits = torch.zeros(1, 1, 2, requires_grad=True)
    one = torch.ones(1, 1)
    result = policy_gradient(
        logits, 0 * one, one.long(), one, discount=1.0, trace=1.0, value_weight=0.0, entropy_weight=0.0
    )
    result.loss.backward()
    assert not logits.grad.any()
