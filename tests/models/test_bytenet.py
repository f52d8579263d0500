"""ByteNet: its parameters by a formula, what its decoder sees of the source, and dynamic unfolding."""

import pytest
import torch

from heedful.layers.convolution import receptive_field
from heedful.models import ByteNet, ByteNetSettings
from tests.models.variants import small


def _parameters(settings: ByteNetSettings, source: int, target: int) -> int:
    width = settings.d_model
    d, blocks = width // 2, 2 * settings.sets * len(settings.dilations)
    maps = (width * d + d) + (settings.kernel * d * d + d) + (d * width + width)
    norms = 2 * width + 2 * d + 2 * d
    final = 2 * width + width * width + width
    return blocks * (maps + norms) + final + (source + target) * width + width * target + target


def test_the_papers_model_has_the_parameters_of_its_formula():
    settings = ByteNetSettings()
    with torch.device("meta"):
        model = ByteNet(settings, 300, 300)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == _parameters(settings, 300, 300)
    # 60 blocks of 7 d^2, d = 800, and little else.
    assert count / (60 * 7 * 800**2) == pytest.approx(1.0, abs=0.02)


def _seen(model: ByteNet, position: int, of: str) -> list[int]:
    """Which embeddings of source or target reach the features of a position."""
    source, target = torch.randint(4, 11, (1, 300)), torch.randint(4, 11, (1, 300))
    kept: list[torch.Tensor] = []
    embedding = model.source_embedding if of == "source" else model.target_embedding

    def keep(_module, _inputs, x):
        x.retain_grad()
        kept.append(x)

    handle = embedding.register_forward_hook(keep)
    model.features(source, target)[0, position].square().sum().backward()
    handle.remove()
    return kept[0].grad[0].abs().sum(1).nonzero().flatten().tolist()


def test_a_position_sees_63_letters_of_each_stack_a_set():
    settings = ByteNetSettings(d_model=8, sets=1, maximum_length=400)
    model = ByteNet(settings, 11, 11).double()
    field = receptive_field(settings.kernel, settings.dilations)
    assert field == 63
    assert _seen(model, 150, "target") == list(range(150 - 62, 151))
    # Through the decoder's 63 positions up to its own, and 31 of the encoder to each side of them.
    assert _seen(model, 150, "source") == list(range(150 - 62 - 31, 150 + 31 + 1))


def test_the_source_is_unfolded_to_the_estimated_length():
    model = small("bytenet: the paper's")
    lengths = torch.tensor([0, 1, 5, 10, 100])
    assert model.unfolded(lengths).tolist() == [0, 1, 6, 12, 120]
    assert small("bytenet: two longer than its source").unfolded(lengths).tolist() == [2, 3, 7, 12, 102]
    assert small("bytenet: no longer than its source").unfolded(lengths).tolist() == lengths.tolist()
    tens = 10 * torch.arange(1, 50)
    model.settings = model.settings.model_copy(update={"unfold_factor": 1.3})
    assert torch.equal(model.unfolded(tens), 13 * tens // 10)  # 1.3 * 90 is below 117 in 32 bits
    model = small("bytenet: the paper's")
    source = torch.tensor([[4, 5, 6, 7, 8, 9, 10, 4, 5, 2], [4, 5, 6, 7, 2, 0, 0, 0, 0, 0]])
    memory = model.encode(source)
    assert memory.shape == (2, 12, 8)
    assert bool(memory[0].any(1).all())
    assert memory[1].any(1).tolist() == [True] * 6 + [False] * 6


@torch.no_grad()
def test_the_decoder_goes_on_where_the_source_has_ended():
    model = small("bytenet: no longer than its source")
    source, target = torch.tensor([[7, 2]]), torch.tensor([[1, 4, 5, 6, 7, 8, 9, 10]])
    logits = model(source, target)
    state = model.start(model.encode(source))
    for position, tokens in enumerate(target.t()):
        step, state = model.step(tokens, state)
        torch.testing.assert_close(step, logits[:, position], rtol=0, atol=1e-11)


@torch.no_grad()
def test_what_it_remembers_does_not_grow_with_the_length():
    model = small("bytenet: the paper's")
    state = model.start(model.encode(torch.tensor([[5, 6, 2]])))
    sizes = {tuple(past.shape for past in state.past)}
    for token in (1, 4, 5, 6, 7):
        _, state = model.step(torch.tensor([token]), state)
        sizes.add(tuple(past.shape for past in state.past))
    # (kernel - 1) * dilation inputs of each block, half as wide as what it adds to.
    assert sizes == {((1, 2, 4), (1, 4, 4), (1, 2, 4), (1, 4, 4))}


def test_nothing_in_it_attends():
    assert small("bytenet: the paper's").source_attention() == []


def test_two_vocabularies_cannot_share_one_table():
    with pytest.raises(ValueError, match="tied='all' needs one vocabulary, got 5 source and 7 target tokens"):
        ByteNet(ByteNetSettings(d_model=8, sets=1, tied="all"), 5, 7)
