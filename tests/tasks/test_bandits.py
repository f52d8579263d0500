"""Agents: what is played is what is learnt from; strategies beside them; trainings that can be gone on from."""

import numpy as np
import pytest
import torch

import heedful
from heedful.data.environments import BanditSettings, MarkovSettings, draw
from heedful.errors import DataError, RecipeError
from heedful.tasks import bandits_folder, strategies
from heedful.tasks.bandits import Acting, ActingSettings, WorldStream, play
from heedful.training.recipe import read, recipe_of
from tests.tasks.small_runs import Said, train

SMALL = {
    "d_input": 8,
    "dilations": "from-one",
    "blocks": [{"kind": "convolution", "filters": 4}, {"kind": "attention", "d_key": 8, "d_value": 8}],
}
PROCESS = {"kind": "markov", "states": 3, "actions": 2, "horizon": 4, "episodes": 2}


def recipe(world, **training):
    return recipe_of("bandits").model_validate(
        {
            "task": "bandits",
            "data": {"world": world, "worlds": 16, "validation_worlds": 20, "test_worlds": 40},
            "model": SMALL,
            "training": {
                "steps": 6,
                "validate_every": 3,
                "checkpoint_every": 2,
                "metric": "reward",
                "label_smoothing": 0.0,
                "device": "cpu",
                "schedule": {"kind": "constant", "rate": 3e-3, "warmup": 0},
                **training,
            },
        }
    )


@pytest.mark.parametrize("world", [{"kind": "bandit", "arms": 3, "pulls": 5}, PROCESS])
def test_a_killed_training_goes_on_bit_for_bit_and_its_folder_acts(world, tmp_path):
    chosen = recipe(world)
    _, whole = train(Acting, tmp_path / "whole", chosen)
    with pytest.raises(InterruptedError):
        train(Acting, tmp_path / "killed", chosen, stop_at=5)
    task, resumed = train(Acting, tmp_path / "killed", chosen)
    state = resumed.model.state_dict()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    scores = task.evaluate(tmp_path / "killed" / "model", "cpu")
    known = strategies.BANDITS if world["kind"] == "bandit" else strategies.PROCESSES
    assert list(scores) == ["test", *known]
    agent = heedful.load(tmp_path / "killed")
    lines = ["", "2:1 0:0"] if world["kind"] == "bandit" else ["", "0:1:0.5 2:0:-1 1"]
    for advice in agent.stream(lines):
        assert sum(advice.probabilities) == pytest.approx(1)
        assert str(advice) == str(int(np.argmax(advice.probabilities)))
    with pytest.raises(DataError, match=r"Line 1 is not of the form"):
        next(agent.stream(["left"]))
    with pytest.raises(DataError, match="knows actions 0 to"):
        agent.predict([(9, 1.0)] if world["kind"] == "bandit" else [(0, 9, 1.0)])


@pytest.mark.parametrize(
    "settings", [BanditSettings(arms=3, pulls=6), MarkovSettings(states=3, actions=2, horizon=3, episodes=2)]
)
def test_what_was_played_is_what_the_model_reads_at_once_and_by_the_history(settings):
    model = bandits_folder.make(recipe(settings.model_dump()).model, settings)
    torch.nn.init.normal_(model.policy.weight)
    worlds = draw(settings, 4, np.random.default_rng(1))
    played = play(model, worlds)
    agent = bandits_folder.Agent(model, settings)
    with torch.no_grad():
        probabilities = model(played.places)[0].softmax(-1)
    states = (
        played.places[2, :, : worlds.states].argmax(-1).tolist() if worlds.states else [0] * worlds.length
    )
    history = []
    for time in range(worlds.length):
        advice = agent.predict(history, states[time])
        assert advice.probabilities == pytest.approx(probabilities[2, time].tolist(), abs=1e-5)
        action, reward = int(played.actions[2, time]), float(played.rewards[2, time])
        history.append((states[time], action, reward) if worlds.states else (action, reward))


def test_a_stream_goes_on_where_it_stood():
    stream, other = (WorldStream(recipe(PROCESS).data, 3) for _ in range(2))
    next(stream)
    other.restore(stream.state())
    assert torch.equal(next(stream).worlds.means, next(other).worlds.means)


def test_an_agent_is_not_scored_with_the_worlds_that_chose_it(tmp_path):
    chosen = recipe(PROCESS)
    same_number = chosen.data.model_copy(update={"test_worlds": chosen.data.validation_worlds})
    task = Acting(chosen.model_copy(update={"data": same_number}), tmp_path, Said())
    model = task.build().eval()
    task.save(model, tmp_path / "model", {})
    reward, _ = task.evaluate(tmp_path / "model", "cpu")["test"]
    assert task.validate(model, "reward") == task.validate(model, "reward")
    assert task.validate(model, "reward") != pytest.approx(reward.value)


def test_a_share_is_of_what_one_who_knows_would_get(tmp_path):
    task = Acting(recipe(PROCESS), tmp_path, Said())
    rewards, best = np.array([2.0, 4.0, 3.0, 3.0]), np.array([4.0, 8.0, 6.0, 6.0])
    share, reward = (task._score(metric, rewards, best) for metric in ("share", "reward"))
    assert (share.value, share.low, share.high) == pytest.approx((50, 50, 50))  # half of it in every world
    half = 1.96 * np.std(rewards, ddof=1) / 2
    assert (reward.value, reward.low, reward.high) == pytest.approx((3, 3 - half, 3 + half))


def score(strategy, settings, count=2000):
    worlds = draw(settings, count, np.random.default_rng(5))
    rewards = strategies.play(strategy, worlds, 1)
    return float(rewards.sum(1).mean()), float(rewards.sum() / worlds.best().sum())


def test_strategies_on_bandits_reach_what_the_paper_says():
    """Mishra et al. 2018, table 3, 10 pulls of 5 arms: random 5.0, Gittins 6.6; others lie between."""
    reached = {name: score(name, BanditSettings())[0] for name in strategies.BANDITS}
    assert reached["random"] == pytest.approx(5.0, abs=0.1)
    assert reached["gittins"] == pytest.approx(6.6, abs=0.1)
    assert all(reached["random"] < reached[name] <= reached["gittins"] + 0.1 for name in ("ucb1", "thompson"))


def test_gittins_indices_are_the_published_ones():
    """Gittins 1989, table 8.3 (discount 0.99): 0.8699 for a Beta(1, 1) arm, 0.9102 after a payout."""
    table = strategies.gittins_indices(3, 0.99, ahead=400, steps=1000)
    assert table[0, 0] == pytest.approx(0.8699, abs=2e-3)
    assert table[1, 0] == pytest.approx(0.9102, abs=2e-3)
    assert table[0, 1] < table[0, 0] < table[1, 0]


def test_strategies_on_decision_processes_reach_what_the_paper_says():
    """Mishra et al. 2018, table 4, 10 episodes: random 0.482, PSRL 0.665 of what their value iteration reached.

    That is 1.38 times random. A reward is 1 on average, so 100 steps at random bring 100.
    """
    random, psrl = (score(name, MarkovSettings(), 500)[0] for name in ("random", "psrl"))
    assert random == pytest.approx(100, abs=2)
    assert psrl / random == pytest.approx(1.38, abs=0.06)


def test_what_a_recipe_cannot_ask_for():
    with pytest.raises(ValueError, match=r"label_smoothing and training\.r_drop are for right answers"):
        recipe(PROCESS, label_smoothing=0.1)
    with pytest.raises(RecipeError, match="no metric 'bleu'"):
        ActingSettings.lower_is_better("bleu")


@pytest.mark.parametrize(("name", "parameters"), [("bandits", 177_894), ("mdp", None)])
def test_the_shipped_recipes_can_be_built(name, parameters):
    chosen = read(name)
    model = bandits_folder.make(chosen.model, chosen.data.world)
    assert parameters in (None, sum(parameter.numel() for parameter in model.parameters()))


@pytest.mark.slow
def test_an_agent_learns_to_explore(tmp_path):
    """Three pulls of two arms: 1.5 at random; nobody can expect more than 5/3 (dynamic programming over posteriors)."""
    chosen = recipe(
        {"kind": "bandit", "arms": 2, "pulls": 3},
        steps=300,
        validate_every=300,
        schedule={"kind": "constant", "rate": 1e-2, "warmup": 0},
    )
    chosen = chosen.model_copy(
        update={"data": chosen.data.model_copy(update={"worlds": 256, "validation_worlds": 4000})}
    )
    _, trainer = train(Acting, tmp_path, chosen)
    assert trainer.best > 1.6
