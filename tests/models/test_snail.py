"""SNAIL: its equations written out, what it can see, its channels, and steps that give what all at once gives."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import heedful
from heedful.models.snail import (
    AttentionBlock,
    AttentionSettings,
    ConvolutionSettings,
    DenseBlock,
    Experience,
    FewShotSnail,
    FewShotSnailSettings,
    PolicySnail,
    PolicySnailSettings,
    TCBlock,
)

SMALL = (
    AttentionSettings(d_key=3, d_value=2),
    ConvolutionSettings(filters=2),
    AttentionSettings(d_key=4, d_value=3),
)


def test_a_dense_block_is_its_equation():
    block, x = DenseBlock(3, 2, 4).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    expected = torch.zeros(2, 5, 4, dtype=torch.float64)
    for t in range(5):
        before = x[:, t - 2] if t >= 2 else torch.zeros_like(x[:, 0])
        both = before @ block.past.weight.T + x[:, t] @ block.present.weight.T + block.present.bias
        expected[:, t] = both[:, :4].tanh() * both[:, 4:].sigmoid()
    torch.testing.assert_close(block(x), torch.cat((x, expected), -1), rtol=0, atol=1e-12)


def test_an_attention_block_is_its_equation():
    block, x = AttentionBlock(3, 4, 5).double(), torch.randn(1, 4, 3, dtype=torch.float64)
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    query, key, value = block.query(x)[0], block.key(x)[0], block.value(x)[0]
    for t in range(4):
        weights = (key[: t + 1] @ query[t] / math.sqrt(4)).softmax(0)
        expected = torch.cat((x[0, t], weights @ value[: t + 1]))
        torch.testing.assert_close(block(x, mask)[0, t], expected, rtol=0, atol=1e-12)


def test_the_channels_of_the_omniglot_network_are_the_papers():
    model = FewShotSnail(FewShotSnailSettings(), ways=5, shots=5)
    trace, channels = [69], 69
    for block in model.experience.blocks:
        assert (
            block.blocks[0].present if isinstance(block, TCBlock) else block.query
        ).in_features == channels
        channels = block.channels
        trace.append(channels)
    assert [*trace, model.output.out_features] == [69, 101, 741, 869, 1509, 1765, 5]


def seen_by(dilations, length):
    """How far back each input stands that the last output of a TCBlock depends on."""
    block = TCBlock(2, length, 2, dilations).double()
    x = torch.randn(1, 2 * length, 2, dtype=torch.float64, requires_grad=True)
    block(x)[0, -1, 2:].sum().backward()
    return set((2 * length - 1 - x.grad[0].abs().sum(-1).nonzero().flatten()).tolist())


@pytest.mark.parametrize("length", [2, 5, 8, 26])
def test_convolutions_span_the_sequence(length):
    layers = math.ceil(math.log2(length))
    assert seen_by("from-one", length) == set(range(2**layers))
    # As printed in the paper: only places an even number of steps back.
    assert seen_by("from-two", length) == set(range(0, 2 * length, 2)) & set(range(0, 2 ** (layers + 1), 2))


@pytest.mark.parametrize("dilations", ["from-two", "from-one"])
@torch.no_grad()
def test_step_by_step_equals_all_at_once(dilations):
    stack = Experience(3, 6, SMALL, dilations).double()
    x = torch.randn(2, 9, 3, dtype=torch.float64)  # longer than what the convolutions span
    expected, state = stack(x), stack.start(2)
    for time in range(9):
        features, state = stack.step(x[:, time], state)
        torch.testing.assert_close(features, expected[:, time], rtol=0, atol=1e-12)


@torch.no_grad()
def test_selected_rows_go_on_as_their_own_sequences():
    stack = Experience(3, 6, SMALL).double()
    x, rows = torch.randn(2, 7, 3, dtype=torch.float64), torch.tensor([1, 1, 0])
    expected, state = stack(x[rows]), stack.start(2)
    for time in range(4):
        _, state = stack.step(x[:, time], state)
    state = state.select(rows)
    for time in range(4, 7):
        features, state = stack.step(x[rows, time], state)
        torch.testing.assert_close(features, expected[:, time], rtol=0, atol=1e-12)


@given(
    time=st.integers(0, 9),
    alternatives=st.integers(1, 4),
    dilations=st.sampled_from(("from-two", "from-one")),
)
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_alternatives_get_what_each_would_get_alone(time, alternatives, dilations):
    stack = Experience(3, 10, SMALL, dilations).double()
    x = torch.randn(2, time + alternatives, 3, dtype=torch.float64)
    together = stack(x, alternatives)
    for number in range(alternatives):
        alone = stack(torch.cat((x[:, :time], x[:, time + number, None]), 1))
        torch.testing.assert_close(together[:, time + number], alone[:, -1], rtol=0, atol=1e-12)
        torch.testing.assert_close(together[:, :time], alone[:, :-1], rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_future_cannot_change_the_past():
    stack = Experience(3, 8, SMALL).double()
    x = torch.randn(1, 8, 3, dtype=torch.float64)
    changed = x.clone()
    changed[:, 5] += 1
    torch.testing.assert_close(stack(changed)[:, :5], stack(x)[:, :5], rtol=0, atol=0)
    assert not torch.allclose(stack(changed)[:, 5:], stack(x)[:, 5:])


def few_shot():
    # As printed, the widest dilation reaches beyond the longest sequence, and its weights never learn.
    settings = FewShotSnailSettings(blocks=SMALL, filters=4, d_embedding=6, dilations="from-one")
    return FewShotSnail(settings, ways=3, shots=2)


@torch.no_grad()
def test_an_episode_knows_nothing_of_the_others_in_its_batch():
    model = few_shot().train()
    for _ in range(3):  # running statistics that are neither 0 nor 1
        model(torch.rand(4, 3, 28, 28), torch.tensor([[0, 1, 2]] * 4), torch.rand(4, 2, 28, 28))
    model = model.double().eval()
    examples, queries = torch.rand(4, 6, 28, 28).double(), torch.rand(4, 5, 28, 28).double()
    labels = torch.stack([torch.randperm(6) % 3 for _ in range(4)])
    together = model(examples, labels, queries)
    alone = model(examples[2:3], labels[2:3], queries[2:3, 4:])
    torch.testing.assert_close(together[2, 4], alone[0, 0], rtol=0, atol=1e-12)


def test_every_parameter_learns():
    model = few_shot().train()
    logits = model(torch.rand(2, 6, 28, 28), torch.tensor([[0, 1, 2, 0, 1, 2]] * 2), torch.rand(2, 4, 28, 28))
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert bool(parameter.grad.any()), name


@torch.no_grad()
def test_attention_is_observed_and_its_rows_sum_to_one_over_the_keys():
    model = few_shot().eval()
    labels = torch.tensor([[0, 1, 2]])
    with heedful.observe(model) as seen:
        model(torch.rand(1, 3, 28, 28), labels, torch.rand(1, 2, 28, 28))
    weights = seen["experience.blocks.2.attention"].weights()
    assert weights.shape[-2:] == (5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    # The two queries stand at the same place and do not see each other.
    assert weights[..., 4, 3].item() == weights[..., 3, 4].item() == 0


@torch.no_grad()
def test_a_policy_step_by_step_equals_all_at_once():
    model = PolicySnail(PolicySnailSettings(), inputs=7, actions=5, length=10).double()
    x = torch.randn(3, 10, 7, dtype=torch.float64)
    logits, values = model(x)
    state = model.start(3)
    for time in range(10):
        step, value, state = model.step(x[:, time], state)
        torch.testing.assert_close(step, logits[:, time], rtol=0, atol=1e-12)
        torch.testing.assert_close(value, values[:, time], rtol=0, atol=1e-12)
