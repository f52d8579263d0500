"""The end-to-end memory network against the equations of Sukhbaatar et al. 2015 written out, and its laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heedful import observe
from heedful.layers.sentences import sentence_vectors
from heedful.models.memn2n import MemN2N, MemN2NSettings, shifted
from heedful.models.memories import Memories

VOCABULARY, WIDTH = 9, 4
SENTENCES = torch.tensor([[1, 2, 3], [4, 2, 0], [5, 0, 0], [6, 7, 8]])
MEMORIES = Memories(SENTENCES, torch.tensor([[0, 1, 0], [2, -1, -1]]), torch.tensor([3, 1]))


def small(**choices) -> MemN2N:
    choices = {"d_model": WIDTH, "hops": 2, "memories": 5, "linear_start": 0, **choices}
    return MemN2N(MemN2NSettings(**choices), VOCABULARY).double().eval()


def sentence(words: list[int], table: torch.Tensor, encoding: str) -> torch.Tensor:
    """The sum over words, one coordinate at a time."""
    words = [word for word in words if word]
    vector = torch.zeros(WIDTH, dtype=torch.float64)
    for j, word in enumerate(words, 1):
        for k in range(1, WIDTH + 1):
            vector[k - 1] += weight(j, k, len(words), encoding) * table[word, k - 1]
    return vector


def weight(j: int, k: int, length: int, encoding: str) -> float:
    if encoding == "bag":
        return 1.0
    return 1 + 4 * (k - (WIDTH + 1) / 2) * (j - (length + 1) / 2) / (WIDTH * length)


def written_out(model: MemN2N, story: list[list[int]], question: list[int]) -> torch.Tensor:
    """The logits of one question: section 2, hop by hop and memory by memory."""
    settings, words = model.settings, model.words[0]
    tables = words.split(WIDTH, -1)
    times = None if model.times is None else model.times[0].split(WIDTH, -1)
    u = sentence(question, tables[0], settings.encoding)
    for hop in range(settings.hops):
        a, c = (hop, hop + 1) if settings.tied == "adjacent" else (1, 2)
        first = 0 if settings.tied == "adjacent" else 1
        m, values = [], []
        for place, fact in enumerate(story):
            ago = len(story) - 1 - place
            for vectors, table in ((m, a), (values, c)):
                vector = sentence(fact, tables[table], settings.encoding)
                vectors.append(vector if times is None else vector + times[table - first][ago])
        for vectors in (m, values):
            vectors += [torch.zeros(WIDTH, dtype=torch.float64)] * ((settings.places or 0) - len(story))
        scores = torch.stack([u @ each for each in m])
        p = scores if model.linear else scores.softmax(0)
        o = sum(weight * value for weight, value in zip(p, values, strict=True))
        u = o + (u if model.map is None else model.map[0] @ u)
    return tables[-1] @ u


@pytest.mark.parametrize("tied", ["adjacent", "layer-wise"])
@pytest.mark.parametrize("encoding", ["position", "bag"])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("places", [None, 2, 4])
@torch.no_grad()
def test_it_is_the_equations(tied, encoding, linear, temporal, places):
    model = small(tied=tied, encoding=encoding, linear_start=int(linear), temporal=temporal, places=places)
    logits = model(MEMORIES)
    assert logits.shape == (1, 2, VOCABULARY)
    rows = SENTENCES.tolist()
    for row, (story, question) in enumerate((([0, 1, 0], 3), ([2], 1))):
        expected = written_out(model, [rows[fact] for fact in story], rows[question])
        torch.testing.assert_close(logits[0, row], expected, rtol=0, atol=1e-12)


def test_it_has_as_many_numbers_as_the_paper_says():
    # K + 1 tables of words and of times for adjacent tying; A, C, B, W, T_A, T_C and H for layer-wise tying.
    def count(**choices):
        return sum(parameter.numel() for parameter in small(**choices).parameters())

    assert count() == 3 * (VOCABULARY + 5) * WIDTH
    assert count(tied="layer-wise") == 4 * VOCABULARY * WIDTH + 2 * 5 * WIDTH + WIDTH**2


@torch.no_grad()
def test_each_hop_is_seen_and_linear_ones_are_not():
    model = small()
    with observe(model) as seen:
        model(MEMORIES)
    assert list(seen) == ["hops.0", "hops.1"]
    weights = seen["hops.1"].weights()
    assert weights.shape == (2, 1, 1, 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1, 1, dtype=weights.dtype))
    assert weights[1, 0, 0, 1:].tolist() == [0, 0]
    with observe(small(linear_start=1)) as seen:
        small(linear_start=1)(MEMORIES)
    assert len(seen) == 0


@pytest.mark.parametrize("places", [None, 2, 5])
@torch.no_grad()
def test_padding_changes_nothing_and_a_story_without_facts_gives_numbers(places):
    model = small(places=places)
    wider = Memories(
        torch.nn.functional.pad(SENTENCES, (0, 2)),
        torch.nn.functional.pad(MEMORIES.keys, (0, 2), value=-1),
        MEMORIES.questions,
    )
    torch.testing.assert_close(model(wider), model(MEMORIES), rtol=0, atol=1e-12)
    nothing = Memories(SENTENCES, torch.full((1, 3), -1), torch.tensor([3]))
    assert bool(torch.isfinite(model(nothing)).all())


@torch.no_grad()
def test_starts_are_models_of_their_own():
    several = small(starts=3, tied="layer-wise")
    logits = several(MEMORIES)
    for start in range(3):
        alone = several.best(start)
        assert alone.settings.starts == 1
        torch.testing.assert_close(alone(MEMORIES)[0], logits[start], rtol=0, atol=1e-12)


def test_a_start_gets_no_gradient_of_another():
    several = small(starts=2)
    several(MEMORIES)[0].square().sum().backward()
    for parameter in several.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad[0].any())
        assert not parameter.grad[1].any()


def test_one_length_for_all_sentences_is_that_of_the_authors_code():
    width, longest, vocabulary = 6, 7, 9
    words = torch.tensor([[3, 5, 2, 0], [4, 0, 0, 0]])
    table = torch.randn(vocabulary, width, dtype=torch.float64)
    k, j = torch.arange(1, width + 1.0)[:, None], torch.arange(1, longest + 1.0)
    weights = (1 + 4 * (k - (width + 1) / 2) * (j - (longest + 1) / 2) / (width * longest)).double()
    expected = [sum(weights[:, n] * table[w] for n, w in enumerate(row) if w) for row in words.tolist()]
    found = sentence_vectors(words, table, "position", width, longest)
    torch.testing.assert_close(found, torch.stack(expected))


def test_linear_start_ends_when_validation_gets_no_better_and_is_stored():
    model = small(linear_start=1)
    assert [model.validated(loss) for loss in (3.0, 2.0, 2.0, 1.0)] == [False, False, True, False]
    again = small(linear_start=1)
    again.load_state_dict(model.state_dict())
    assert not again.linear
    assert float(again.least) == 1.0
    assert small(linear_start=1).validated(float("nan"))  # linear hops can run away


@given(st.integers(1, 12), st.floats(0, 1), st.integers(0, 99))
def test_noise_shifts_times_and_keeps_their_order(facts, noise, seed):
    torch.manual_seed(seed)
    ago = torch.arange(facts - 1, -1, -1).expand(50, -1)
    found = shifted(ago, torch.full((50, 1), facts), noise)
    assert bool((found >= ago).all())
    assert bool((found[:, :-1] > found[:, 1:]).all())
    most = -int(-facts * torch.tensor(noise) // 1)
    assert int((found - ago).max()) <= most


def test_noise_is_for_training_only():
    model = small(noise=1.0)
    assert torch.equal(model(MEMORIES), model(MEMORIES))
    model.train()
    assert not torch.equal(model(MEMORIES), model(MEMORIES))


def test_each_number_of_empty_memories_is_as_likely_and_the_most_is_a_tenth_rounded_up():
    torch.manual_seed(0)
    stories, facts = 20_000, 10
    ago = torch.arange(facts - 1, -1, -1).expand(stories, -1)
    oldest = (shifted(ago, torch.full((stories, 1), facts), 0.1) - ago)[:, 0]
    # None or one; and of eleven places for it one is before the oldest fact, where it shifts nothing.
    share = 1 / 2 * 10 / 11
    assert set(oldest.tolist()) == {0, 1}
    assert abs(float(oldest.double().mean()) - share) < 5 * (share * (1 - share) / stories) ** 0.5
