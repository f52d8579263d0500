"""Bandits and decision processes: their distributions, their luck, and what one who knows them reaches."""

import numpy as np
import pytest
import torch

from heedful.data.environments import BanditSettings, MarkovProcesses, MarkovSettings, draw, pick, place, plan


def worlds(settings, count=2000, seed=1):
    return draw(settings, count, np.random.default_rng(seed))


@pytest.mark.parametrize("settings", [BanditSettings(), MarkovSettings(episodes=2)])
def test_the_same_draw_gives_the_same_worlds(settings):
    first, again, other = worlds(settings, 6), worlds(settings, 6), worlds(settings, 6, seed=2)
    assert not torch.equal(first.means, other.means)
    assert not torch.equal(first.luck, other.luck)
    state = first.start()
    action = torch.tensor([0, 1, 2, 3, 4, 0])
    for time in range(first.length):
        reward, following = first.act(time, state, action)
        assert torch.equal(reward, again.act(time, state, action)[0])
        assert torch.equal(following, again.act(time, state, action)[1])
        state = following
    assert torch.equal(state, first.start())  # an episode has just ended


def test_an_arm_pays_as_often_as_it_says():
    bandits = worlds(BanditSettings(arms=2, pulls=50))
    action = torch.zeros(len(bandits), dtype=torch.long)
    paid = torch.stack([bandits.act(time, bandits.start(), action)[0] for time in range(50)], 1)
    assert set(paid.unique().tolist()) == {0.0, 1.0}
    assert float((paid.mean(1) - bandits.means[:, 0]).square().mean()) == pytest.approx(1 / 6 / 50, rel=0.1)
    # The best of n uniform means is n / (n + 1).
    assert float(bandits.best().mean()) == pytest.approx(50 * 2 / 3, rel=0.02)


def test_rewards_and_transitions_have_the_distributions_that_they_say():
    processes = worlds(MarkovSettings(episodes=1), 4000)
    zeros = processes.start()
    reward, following = processes.act(0, zeros, zeros)
    assert float(reward.mean()) == pytest.approx(1.0, abs=0.1)
    assert float(reward.var()) == pytest.approx(2.0, rel=0.1)  # of the mean and of the noise
    expected = processes.transitions[:, 0, 0].mean(0)
    torch.testing.assert_close(torch.bincount(following, minlength=10) / 4000, expected, rtol=0, atol=0.02)
    torch.testing.assert_close(processes.transitions.sum(-1), torch.ones(4000, 10, 5))


def test_value_iteration_is_worth_what_following_it_brings():
    settings = MarkovSettings(states=3, actions=2, horizon=5, episodes=1)
    processes = worlds(settings, 1)
    policy, value = plan(processes.means, processes.transitions, 5)
    # All plans of a step and state, by hand, backwards.
    means, transitions, after = processes.means[0], processes.transitions[0], torch.zeros(3)
    for step in reversed(range(5)):
        all_of_them = torch.stack([means[:, a] + transitions[:, a] @ after for a in range(2)], 1)
        assert torch.equal(policy[0, step], all_of_them.argmax(1))
        after = all_of_them.amax(1)
    torch.testing.assert_close(value[0], after)
    many = MarkovProcesses(
        choice=torch.rand(20000, 5),
        means=processes.means.expand(20000, -1, -1),
        transitions=processes.transitions.expand(20000, -1, -1, -1),
        noise=torch.randn(20000, 5, generator=torch.Generator().manual_seed(1)),
        luck=torch.rand(20000, 5, generator=torch.Generator().manual_seed(2)),
        horizon=5,
    )
    state, total = many.start(), torch.zeros(20000)
    for step in range(5):
        reward, state = many.act(step, state, policy[0, step][state])
        total += reward
    assert float(total.mean()) == pytest.approx(float(value[0, 0]), abs=0.08)


def test_choices_follow_their_probabilities():
    probabilities = torch.tensor([0.5, 0.0, 0.25, 0.25])
    luck = torch.tensor([0.0, 0.49, 0.5, 0.74, 0.75, 0.999999])
    assert pick(probabilities.expand(6, -1), luck).tolist() == [0, 0, 2, 2, 3, 3]


def test_what_an_agent_reads():
    processes = worlds(MarkovSettings(states=3, actions=2, episodes=1), 2)
    state = torch.tensor([2, 0])
    assert place(processes, state, None, begins=True).tolist() == [
        [0, 0, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0],
    ]
    last = torch.tensor([1, 0]), torch.tensor([0.5, -1.0])
    assert place(processes, state, last, begins=True).tolist() == [
        [0, 0, 1, 0, 1, 0.5, 1],
        [1, 0, 0, 1, 0, -1.0, 1],
    ]
    bandits = worlds(BanditSettings(arms=2), 1)
    read = place(bandits, bandits.start(), (torch.tensor([1]), torch.tensor([1.0])), begins=False)
    assert read.tolist() == [[0, 1, 1, 0]]
