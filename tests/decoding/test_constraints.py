"""What is forbidden is never said, what is forced is said, in every kind of search."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.decoding import Hypothesis, SearchSettings, search
from heedful.decoding.constraints import completes, penalise_repetition, repeated_ngrams
from heedful.errors import HeedfulError, RecipeError
from heedful.text.special import END, PAD, UNKNOWN
from tests.decoding.brute_force import every_answer
from tests.decoding.small_models import Recurrent, Table, sources

METHODS: list[dict[str, object]] = [{"beam": 1}, {"beam": 3, "n_best": 3}, {"method": "sample", "n_best": 3}]
methods = pytest.mark.parametrize("method", METHODS, ids=["greedy", "beam", "sample"])


def found(method: dict[str, object], seed: int, prefixes=None, **changes: object) -> list[Hypothesis]:
    """All answers for a few sentences of a model that likes to repeat itself."""
    model = Recurrent(9, seed=seed)
    chosen = SearchSettings.model_validate({**method, **changes})
    rows = search(model, sources(3, 9, seed=seed), chosen, prefixes=prefixes)
    assert all(rows)
    return [answer for row in rows for answer in row]


def ngrams(tokens: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    return [tokens[i : i + size] for i in range(len(tokens) - size + 1)]


@methods
@given(size=st.integers(1, 4), seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_no_ngram_occurs_twice(method, size, seed):
    for answer in found(method, seed, no_repeat_ngram=size):
        said = ngrams(answer.tokens, size)
        assert len(set(said)) == len(said)


def test_without_the_constraint_the_model_does_repeat_itself():
    answers = [answer for seed in range(5) for answer in found(METHODS[0], seed)]
    assert any(len(set(answer.tokens)) < len(answer.tokens) for answer in answers)


@methods
@given(banned=st.sets(st.integers(3, 8), max_size=6), seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_banned_tokens_are_never_said(method, banned, seed):
    for answer in found(method, seed, banned_tokens=tuple(banned), ban_unknown=False):
        assert banned.isdisjoint(answer.tokens)
        assert all(token > END for token in answer.tokens)


@methods
def test_unknown_is_banned_unless_allowed(method):
    model = Recurrent(9)
    with torch.no_grad():
        model.output.bias[UNKNOWN] += 10
    batch = sources(3, 9)
    banned = search(model, batch, SearchSettings.model_validate(method))
    allowed = search(model, batch, SearchSettings.model_validate({**method, "ban_unknown": False}))
    assert all(UNKNOWN not in answer.tokens for row in banned for answer in row)
    assert all(UNKNOWN in row[0].tokens for row in allowed)


@methods
@given(
    sequences=st.lists(st.lists(st.integers(3, 8), min_size=1, max_size=3).map(tuple), max_size=6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=10)
def test_banned_sequences_are_never_said(method, sequences, seed):
    for answer in found(method, seed, banned_sequences=tuple(sequences)):
        for sequence in sequences:
            assert sequence not in ngrams(answer.tokens, len(sequence))


@methods
@given(minimum=st.integers(1, 20), seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_the_minimum_length_counts_end(method, minimum, seed):
    for answer in found(method, seed, minimum_length=minimum):
        assert len(answer.token_log_probabilities) >= minimum
        assert len(answer.tokens) + answer.finished == len(answer.token_log_probabilities)


@methods
@given(
    prefixes=st.lists(st.lists(st.integers(3, 8), max_size=5), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
@settings(max_examples=10)
def test_answers_begin_with_their_prefix(method, prefixes, seed):
    """Also where the prefix says what is banned: forcing is stronger."""
    rows = search(
        Recurrent(9, seed=seed),
        sources(3, 9, seed=seed),
        SearchSettings.model_validate({**method, "banned_tokens": (5,), "no_repeat_ngram": 1}),
        prefixes=prefixes,
    )
    for prefix, answers in zip(prefixes, rows, strict=True):
        assert answers
        for answer in answers:
            assert list(answer.tokens[: len(prefix)]) == prefix
            assert 5 not in answer.tokens[len(prefix) :]


def test_a_forced_beam_finds_the_best_of_all_answers_with_that_prefix():
    model, batch = Table(6, seed=4), sources(3, 6)
    wide = SearchSettings(beam=100, n_best=4, maximum_length_factor=0, maximum_length_add=5)
    prefixes = [[4], [], [5, 4]]
    for source, prefix, answers in zip(
        batch, prefixes, search(model, batch, wide, prefixes=prefixes), strict=True
    ):
        every = every_answer(model, source, [4, 5], 5, wide)
        expected = [answer for answer in every if list(answer.tokens[: len(prefix)]) == prefix][:4]
        assert [answer.tokens for answer in answers] == [answer.tokens for answer in expected]
        assert [answer.score for answer in answers] == pytest.approx([answer.score for answer in expected])


def test_a_constrained_beam_finds_the_best_of_all_answers_that_obey():
    model, batch = Table(6, seed=4, sharpness=1.0), sources(3, 6)
    wide = SearchSettings(
        beam=150,
        n_best=5,
        maximum_length_factor=0,
        maximum_length_add=5,
        ban_unknown=False,
        no_repeat_ngram=2,
        minimum_length=4,
        banned_sequences=((4, 5), (3, 3, END)),
    )
    for source, answers in zip(batch, search(model, batch, wide), strict=True):
        expected = [
            answer
            for answer in every_answer(model, source, [3, 4, 5], 5, wide)
            if len(answer.tokens) >= 3
            and len(set(ngrams(answer.tokens, 2))) == len(answer.tokens) - 1
            and (4, 5) not in ngrams(answer.tokens, 2)
            and answer.tokens[-2:] != (3, 3)
        ][:5]
        assert [answer.tokens for answer in answers] == [answer.tokens for answer in expected]


def test_a_hypothesis_with_nothing_left_to_say_ends():
    for method in METHODS:
        for answer in found(method, 0, banned_tokens=(4, 5, 6, 7, 8), minimum_length=9):
            assert answer.tokens == ()
            assert answer.finished


@methods
def test_it_ends_even_where_no_end_may_follow_when_nothing_else_is_left(method):
    settings = SearchSettings.model_validate(
        {**method, "banned_tokens": (5,), "no_repeat_ngram": 1, "banned_sequences": ((4, END),)}
    )
    (answers,) = search(Table(6), sources(1, 6), settings, prefixes=[[4]])
    assert {(answer.tokens, answer.finished) for answer in answers} == {((4,), True)}


@given(st.lists(st.integers(4, 6), max_size=12), st.integers(1, 4))
def test_repeated_ngrams_by_definition(tokens, size):
    mask = repeated_ngrams(torch.tensor([tokens], dtype=torch.long).view(1, -1), size, 8)
    occurred = ngrams(tuple(tokens), size)
    for token in range(8):
        completed = (*tokens, token)[-size:] if len(tokens) >= size - 1 else None
        assert mask[0, token].item() == (completed in occurred)


def test_completes_by_example():
    tokens = torch.tensor([[4, 5, 6], [5, 6, 4]])
    assert completes(tokens, (5, 6, 7)).tolist() == [True, False]
    assert completes(tokens, (7,)).tolist() == [True, True]
    assert completes(tokens, (4, 5, 6, 4, 5)).tolist() == [False, False]


def test_the_repetition_penalty_by_definition():
    logits = torch.tensor([[3.0, -2.0, 1.0], [3.0, -2.0, 1.0]])
    penalised = penalise_repetition(logits, torch.tensor([[0, 1, 0], [2, 2, 2]]), 2.0)
    assert penalised.tolist() == [[1.5, -4.0, 1.0], [3.0, -2.0, 0.5]]


@methods
def test_a_strong_repetition_penalty_ends_repetition_and_leaves_log_probability_alone(method):
    model, batch = Recurrent(40, seed=8), sources(3, 40)
    plain = SearchSettings.model_validate(method)
    strong = SearchSettings.model_validate({**method, "repetition_penalty": 1e6, "length_penalty": "none"})

    def repeats(rows: list[list[Hypothesis]]) -> int:
        return sum(len(answer.tokens) - len(set(answer.tokens)) for row in rows for answer in row)

    assert repeats(search(model, batch, strong)) < repeats(search(model, batch, plain))
    for source, answers in zip(batch, search(model, batch, strong), strict=True):
        for answer in answers:
            inputs = torch.tensor([[1, *answer.tokens]])
            outputs = [*answer.tokens, END] if answer.finished else list(answer.tokens)
            own = model(source.unsqueeze(0), inputs).log_softmax(-1)[0, range(len(outputs)), outputs]
            assert answer.log_probability == pytest.approx(own.sum().item())


def test_what_does_not_fit_the_model_is_refused():
    model, batch = Table(6, maximum_length=8), sources(2, 6)
    with pytest.raises(RecipeError, match=r"token id 6, .* vocabulary of 6"):
        search(model, batch, SearchSettings(banned_tokens=(6,)))
    with pytest.raises(RecipeError, match="token id 8"):
        search(model, batch, SearchSettings(banned_sequences=((8, 4),)))
    with pytest.raises(RecipeError, match="token id 77"):
        search(model, batch, prefixes=[[77], []])
    with pytest.raises(RecipeError, match="minimum_length is 9"):
        search(model, batch, SearchSettings(minimum_length=9))
    with torch.no_grad():
        model.table[..., 4] = -torch.inf
    for method in METHODS:
        chosen = SearchSettings.model_validate(method)
        with pytest.raises(HeedfulError, match="sentence 1: the model gives probability zero"):
            search(model, batch, chosen, prefixes=[[], [4]])
        with pytest.raises(HeedfulError, match="sentence 9: the model gives probability zero"):
            search(model, batch, chosen, prefixes=[[], [4]], numbers=[3, 9])
    with torch.no_grad():
        model.table[..., 4] = torch.nan
    with pytest.raises(HeedfulError, match="not finite"):
        search(model, batch)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_limit_gives_way_to_prefix_and_minimum_length_and_a_factor_may_be_broken(beam):
    endless, batch = Table(6, maximum_length=500), sources(3, 6)
    with torch.no_grad():
        endless.table[:, :, :, END] = -torch.inf

    def said(prefixes=None, **changes):
        found = search(endless, batch, SearchSettings(beam=beam, **changes), prefixes=prefixes)
        return [len(answers[0].tokens) for answers in found]

    lengths = (batch != PAD).sum(1).tolist()
    assert said(maximum_length_factor=1.5, maximum_length_add=3) == [n + n // 2 + 3 for n in lengths]
    tight = {"maximum_length_factor": 0, "maximum_length_add": 2}
    assert said(minimum_length=9, **tight) == [9, 9, 9]
    assert said([[4] * 7, [], [5]], **tight) == [8, 2, 2]


def test_a_forced_beginning_costs_what_it_costs_unforced():
    model, batch = Recurrent(9, seed=3), sources(4, 9)
    settings = SearchSettings(beam=1, repetition_penalty=1.5)
    free = [answers[0] for answers in search(model, batch, settings)]
    prefixes = [answer.tokens[:3] for answer in free]
    assert max(map(len, prefixes)) == 3
    for one, (other,) in zip(free, search(model, batch, settings, prefixes=prefixes), strict=True):
        assert (other.tokens, other.log_probability) == (
            one.tokens,
            pytest.approx(one.log_probability, rel=1e-9),
        )
        assert other.score == pytest.approx(one.score, rel=1e-9)
