"""Scores: each is its formula, written here with loops; what the papers say of one another holds."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from heedful.attention import (
    Additive,
    Concat,
    Cosine,
    Dot,
    General,
    Location,
    LocationAware,
    Rotary,
    ScaledDot,
    Score,
    SoftCap,
    attend,
    scores,
)
from heedful.attention.call import repeat_heads
from heedful.attention.grid import Grid

BATCH, HEADS, QUERIES, KEYS, D, D_QUERY, D_KEY, HIDDEN = 2, 4, 3, 5, 6, 6, 8, 7


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _doubled(score: Score) -> Score:
    """With parameters from N(0, 1) in float64, so that no score is near to another by chance."""
    if isinstance(score, nn.Module):
        score.double()
        for parameter in score.parameters():
            nn.init.normal_(parameter)
    return score


def _aware(heads: int = HEADS) -> LocationAware:
    score = _doubled(LocationAware(D_QUERY, D_KEY, HIDDEN, filters=2, width=3))
    return score.after(torch.rand(BATCH, heads, KEYS, dtype=torch.float64).softmax(-1))


# How to make each score, the widths of its queries and keys, and how many queries it takes at a time.
SCORES: dict[str, tuple[Callable[[], Score], int, int, int]] = {
    "dot": (Dot, D, D, QUERIES),
    "scaled dot": (ScaledDot, D, D, QUERIES),
    "rotary": (Rotary, D, D, QUERIES),
    "general": (lambda: General(D_QUERY, D_KEY), D_QUERY, D_KEY, QUERIES),
    "cosine": (lambda: Cosine(3.0), D, D, QUERIES),
    "learned cosine": (lambda: Cosine(nn.Parameter(torch.tensor(2.0))), D, D, QUERIES),
    "location": (lambda: Location(D_QUERY, KEYS), D_QUERY, D_KEY, QUERIES),
    "additive": (lambda: Additive(D_QUERY, D_KEY, HIDDEN), D_QUERY, D_KEY, QUERIES),
    "additive without bias": (lambda: Additive(D_QUERY, D_KEY, HIDDEN, bias=False), D_QUERY, D_KEY, QUERIES),
    "concat": (lambda: Concat(D_QUERY, D_KEY, HIDDEN), D_QUERY, D_KEY, QUERIES),
    "handicapped concat": (lambda: Concat(D_QUERY, D_KEY, key_part="identity"), D_QUERY, D_KEY, QUERIES),
    "location-aware": (_aware, D_QUERY, D_KEY, 1),
}
EVERY = pytest.mark.parametrize("name", SCORES)


def _given(name: str, kv_heads: int = HEADS) -> tuple[Score, Tensor, Tensor]:
    make, d_query, d_key, queries = SCORES[name]
    query, key = _random(BATCH, HEADS, queries, d_query), _random(BATCH, kv_heads, KEYS, d_key)
    return _doubled(make()), query, key


def _each(query: Tensor, key: Tensor, formula: Callable[[Tensor, Tensor, tuple[int, ...]], Tensor]) -> Tensor:
    """The scores by loops; formula(q, k, (batch, head, query, key)) gives one."""
    result = torch.zeros(*query.shape[:3], key.shape[2], dtype=torch.float64)
    for place in product(*map(range, result.shape)):
        b, h, i, j = place
        result[place] = formula(query[b, h, i], key[b, h, j], place)
    return result


def _is_formula(
    score: Score,
    query: Tensor,
    key: Tensor,
    formula: Callable[[Tensor, Tensor, tuple[int, ...]], Tensor],
    function: Tensor,
) -> None:
    expected = _each(query, key, formula)
    torch.testing.assert_close(function, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(score(query, key), expected, rtol=1e-12, atol=1e-12)


def test_products_are_their_formulas():
    query, key, general = _random(2, 3, 4, D), _random(2, 3, 5, D), _doubled(General(D, D))
    _is_formula(Dot(), query, key, lambda q, k, _: (q * k).sum(), scores.dot(query, key))
    _is_formula(
        ScaledDot(),
        query,
        key,
        lambda q, k, _: sum(q[c] * k[c] for c in range(D)) / math.sqrt(D),
        scores.scaled_dot(query, key),
    )
    weight = general.weight.detach()
    _is_formula(
        general,
        query,
        key,
        lambda q, k, _: sum(q[r] * weight[r, c] * k[c] for r in range(D) for c in range(D)),
        scores.general(query, key, weight),
    )


@pytest.mark.parametrize(("name", "width"), [("general", D_KEY), ("location", D_QUERY), ("rotary", D)])
def test_the_fused_kernel_is_asked_with_the_width_that_queries_and_keys_have_when_prepared(name, width):
    # PyTorch writes the weights out, without a word, where this width is not that of the values.
    score, query, key = _given(name)
    assert score.prepare(query, key, Grid(QUERIES, KEYS, key.device))[1].shape[-1] == width
    value = _random(BATCH, HEADS, KEYS, width)
    expected = attend(query, key, value, score=score, kernel="reference")
    torch.testing.assert_close(attend(query, key, value, score=score, kernel="fused"), expected)
    with pytest.raises(ValueError, match=f"one width, got {width} and {width + 1}"):
        attend(query, key, _random(BATCH, HEADS, KEYS, width + 1), score=score, kernel="fused")


def test_cosine_is_its_formula():
    query, key = _random(2, 3, 4, D), _random(2, 3, 5, D)
    sharpness = torch.rand(2, 1, 4, 1, dtype=torch.float64)
    _is_formula(
        Cosine(sharpness),
        query,
        key,
        lambda q, k, place: (
            sharpness[place[0], 0, place[2], 0]
            * sum(q[c] * k[c] for c in range(D))
            / (math.sqrt(sum(q**2)) * math.sqrt(sum(k**2)))
        ),
        scores.cosine(query, key, sharpness),
    )


def test_additive_scores_are_their_formulas():
    query, key = _random(2, 3, 4, D_QUERY), _random(2, 3, 5, D_KEY)
    score = _doubled(Additive(D_QUERY, D_KEY, HIDDEN))
    w, u, v, b = (t.detach() for t in (score.query_weight, score.key_weight, score.v, score.bias))
    _is_formula(
        score,
        query,
        key,
        lambda q, k, _: sum(v[n] * math.tanh(w[n] @ q + u[n] @ k + b[n]) for n in range(HIDDEN)),
        scores.additive(query, key, w, u, v, b),
    )
    score = _doubled(Concat(D_QUERY, D_KEY, HIDDEN))
    w, v = score.weight.detach(), score.v.detach()
    _is_formula(
        score,
        query,
        key,
        lambda q, k, _: sum(v[n] * math.tanh(w[n] @ torch.cat((q, k))) for n in range(HIDDEN)),
        scores.concat(query, key, w, v),
    )


def test_location_is_its_formula():
    query, key, score = _random(2, 3, 4, D_QUERY), _random(2, 3, 5, D_KEY), _doubled(Location(D_QUERY, 9))
    weight = score.weight.detach()
    _is_formula(
        score, query, key, lambda q, _, place: weight[place[3]] @ q, scores.location(query, weight, keys=5)
    )


def test_location_aware_is_its_formula():
    query, key = _random(2, 3, 1, D_QUERY), _random(2, 3, 6, D_KEY)
    score = _doubled(LocationAware(D_QUERY, D_KEY, HIDDEN, filters=2, width=5))
    previous = torch.rand(2, 3, 6, dtype=torch.float64)
    parts = score.query_weight, score.key_weight, score.feature_weight, score.v, score.bias
    w, v_keys, u, v, b = (t.detach() for t in parts)
    filters = score.filters.detach()

    def formula(q: Tensor, k: Tensor, place: tuple[int, ...]) -> float:
        batch, head, _, j = place
        f = torch.zeros(2, dtype=torch.float64)
        for n, offset in product(range(2), range(-2, 3)):
            if 0 <= j + offset < 6:
                f[n] += filters[n, offset + 2] * previous[batch, head, j + offset]
        inside = w @ q + v_keys @ k + u @ f + b
        return sum(v[n] * math.tanh(inside[n]) for n in range(HIDDEN))

    function = scores.location_aware(query, key, previous, filters, w, v_keys, u, v, b)
    _is_formula(score.after(previous), query, key, formula, function)
    torch.testing.assert_close(score.after(previous.unsqueeze(2))(query, key), function)


@EVERY
@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1])
def test_attend_gives_the_softmax_of_the_score_whatever_the_number_of_heads_of_keys(name, kv_heads):
    score, query, key = _given(name, kv_heads)
    value = _random(BATCH, kv_heads, KEYS, 3)
    weights = score(query, repeat_heads(key, HEADS)).softmax(-1)
    attended = attend(query, key, value, score=score, kernel="reference")
    torch.testing.assert_close(attended, weights @ repeat_heads(value, HEADS), rtol=1e-12, atol=1e-12)


@EVERY
def test_gradients_reach_queries_keys_values_and_parameters(name):
    score, query, key = _given(name, kv_heads=2)
    value = _random(BATCH, 2, KEYS, 2)
    parameters = tuple(score.parameters()) if isinstance(score, nn.Module) else ()

    def attended(query: Tensor, key: Tensor, value: Tensor, *_: Tensor) -> Tensor:
        return attend(query, key, value, score=score, kernel="reference")

    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    # Projections of the gradient: a full comparison of each number would take long.
    assert torch.autograd.gradcheck(attended, (*inputs, *parameters), fast_mode=True)


@EVERY
def test_prepared_keys_give_the_same_scores(name):
    score, query, key = _given(name)
    prepared = score.prepare_key(key, Grid(0, KEYS, key.device))
    torch.testing.assert_close(score.for_prepared_keys()(query, prepared), score(query, key), rtol=0, atol=0)
    assert not score.keys_prepared  # the score itself still takes keys as they come


@pytest.mark.parametrize("name", ["dot", "scaled dot", "general", "cosine", "additive", "concat"])
@given(order=st.permutations(range(KEYS)))
def test_content_based_scores_do_not_know_the_order_of_keys(name, order):
    score, query, key = _given(name)
    torch.testing.assert_close(score(query, key[:, :, order]), score(query, key)[..., order])


def test_the_divisor_is_the_root_of_the_width_and_not_of_the_number_of_keys():
    # A slip that is often copied: sqrt(n), n the length of the source.
    query = key = torch.ones(1, 1, 1, 16)
    for keys in (1, 4, 100):
        assert ScaledDot()(query, key.expand(1, 1, keys, 16)).flatten().tolist() == [4.0] * keys


def test_the_scaled_dot_of_normal_vectors_has_variance_one():
    query, key = torch.randn(2, 1, 1, 500, 256)
    assert ScaledDot()(query, key).var().item() == pytest.approx(1.0, abs=0.05)
    assert Dot()(query, key).var().item() == pytest.approx(256.0, rel=0.05)


def test_general_with_the_identity_is_dot():
    query, key, score = _random(2, 3, 4, D), _random(2, 3, 5, D), _doubled(General(D, D))
    nn.init.eye_(score.weight)
    torch.testing.assert_close(score(query, key), Dot()(query, key), rtol=0, atol=0)


def test_concat_is_additive_with_its_matrix_split():
    query, key = _random(2, 3, 4, D_QUERY), _random(2, 3, 5, D_KEY)
    concat, additive = (
        _doubled(Concat(D_QUERY, D_KEY, HIDDEN)),
        Additive(D_QUERY, D_KEY, HIDDEN, bias=False).double(),
    )
    w, u = concat.weight.detach().split((D_QUERY, D_KEY), 1)
    additive.load_state_dict({"query_weight": w, "key_weight": u, "v": concat.v.detach()})
    torch.testing.assert_close(concat(query, key), additive(query, key), rtol=1e-12, atol=1e-12)


def test_the_handicap_of_concat_is_an_identity_where_the_matrix_meets_the_key_and_must_be_asked_for():
    query, key = _random(2, 3, 4, D_QUERY), _random(2, 3, 5, D_KEY)
    handicapped, free = (
        _doubled(Concat(D_QUERY, D_KEY, key_part="identity")),
        Concat(D_QUERY, D_KEY).double(),
    )
    assert handicapped.weight.shape == (D_KEY, D_QUERY)
    assert free.weight.shape == (D_KEY, D_QUERY + D_KEY)
    whole = torch.cat((handicapped.weight.detach(), torch.eye(D_KEY, dtype=torch.float64)), 1)
    free.load_state_dict({"weight": whole, "v": handicapped.v.detach()})
    torch.testing.assert_close(handicapped(query, key), free(query, key), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="d_hidden is d_key = 8, got 7"):
        Concat(D_QUERY, D_KEY, HIDDEN, key_part="identity")


@given(one=st.floats(0.01, 100), other=st.floats(0.01, 100))
def test_cosine_does_not_know_how_long_vectors_are(one, other):
    query, key = _random(1, 2, 3, D), _random(1, 2, 4, D)
    torch.testing.assert_close(Cosine()(query * one, key * other), Cosine()(query, key))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_cosine_of_nothing_is_nothing_and_of_large_vectors_finite(dtype):
    query = torch.zeros(1, 1, 1, 4, dtype=dtype, requires_grad=True)
    key = torch.tensor([[[[300.0, 0, 0, 0], [0, 0, 0, 0]]]], dtype=dtype, requires_grad=True)
    cosines = Cosine()(query, key)
    assert cosines.tolist() == [[[[0.0, 0.0]]]]
    cosines.sum().backward()
    assert query.grad.abs().sum() == key.grad.abs().sum() == 0
    assert Cosine()(key[:, :, :1], key).tolist() == [[[[1.0, 0.0]]]]  # 300^2 is beyond float16


def test_location_looks_at_the_query_and_the_place_only():
    score, query, key = _given("location")
    assert torch.equal(score(query, key), score(query, _random(*key.shape)))
    first = score(query, key[:, :, :2])  # a shorter source: the first rows of W
    torch.testing.assert_close(first, score(query, key)[..., :2], rtol=0, atol=0)


def test_location_counts_by_position():
    score, query, key = _given("location")
    positions = torch.tensor([[4, 3, 0, 1, 2], [0, 1, 2, 3, 4]])
    value = _random(BATCH, HEADS, KEYS, 2)
    moved = attend(query, key, value, score=score, key_positions=positions, kernel="reference")
    plain = attend(query, key, value, score=score, kernel="reference")
    place = [positions[0].tolist().index(n) for n in range(KEYS)]
    expected = attend(query[:1], key[:1], value[:1][:, :, place], score=score, kernel="reference")
    torch.testing.assert_close(moved[:1], expected)
    torch.testing.assert_close(moved[1:], plain[1:])


def test_location_refuses_or_ignores_what_lies_beyond_its_matrix():
    _, query, key = _given("location")
    value = _random(BATCH, HEADS, KEYS, 2).requires_grad_()
    with pytest.raises(ValueError, match="up to 3 positions, got one of 5"):
        attend(query, key, value, score=Location(D_QUERY, 3).double())
    score = _doubled(Location(D_QUERY, 3, longer="ignore"))
    mask = torch.tensor([True, False, True, True, True])
    for kernel in ("reference", "auto"):
        attended = attend(query, key, value, score=score, mask=mask, kernel=kernel)
        known = score(query, key[:, :, :3])[..., [0, 2]].softmax(-1)
        torch.testing.assert_close(attended, known @ value[:, :, [0, 2]])
        (gradient,) = torch.autograd.grad(attended.sum(), value)
        assert gradient[:, :, 3:].abs().sum() == 0
    # Where all that the score can speak of is masked, nothing is attended to.
    nothing = attend(query, key, value, score=score, mask=torch.tensor([False] * 3 + [True] * 2))
    assert nothing.abs().sum() == 0


def test_location_aware_after_nothing_is_additive():
    query, key = _random(BATCH, HEADS, 1, D_QUERY), _random(BATCH, HEADS, KEYS, D_KEY)
    aware, additive = _aware(), Additive(D_QUERY, D_KEY, HIDDEN).double()
    additive.load_state_dict({name: aware.state_dict()[name] for name in additive.state_dict()})
    nothing = torch.zeros(BATCH, HEADS, KEYS, dtype=torch.float64)
    torch.testing.assert_close(aware.after(nothing)(query, key), additive(query, key))


def test_location_aware_learns_through_the_weights_before():
    query, key = _random(BATCH, HEADS, 1, D_QUERY), _random(BATCH, HEADS, KEYS, D_KEY)
    score, previous = _aware(), torch.rand(BATCH, HEADS, KEYS, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda previous: score.after(previous)(query, key), (previous,))


def test_location_aware_takes_one_query_and_the_weights_of_the_one_before():
    score, query, key = LocationAware(D, D, HIDDEN), torch.zeros(1, 1, 2, D), torch.zeros(1, 1, 3, D)
    with pytest.raises(ValueError, match=r"needs the weights of the query before: score\.after\(weights\)"):
        attend(query[:, :, :1], key, key, score=score)
    with pytest.raises(ValueError, match=r"takes one query .* got 2 queries"):
        attend(query, key, key, score=score.after(torch.zeros(1, 1, 3)))
    with pytest.raises(ValueError, match=r"weights \(1, 1, 3\) of the one before, .* weights \(1, 1, 4\)"):
        attend(query[:, :, :1], key, key, score=score.after(torch.zeros(1, 1, 4)))
    with pytest.raises(ValueError, match="width must be odd, got 4"):
        LocationAware(D, D, HIDDEN, width=4)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (ScaledDot(), "ScaledDot: queries and keys need one width"),
        (Cosine(), "Cosine: queries and keys need one width"),
        (General(3, 4), r"General: it was made for queries of width 3, got query \(1, 1, 1, 5\)"),
        (General(5, 4), "General: it was made for keys of width 4"),
        (Additive(3, 4, 9), "Additive: it was made for queries of width 3"),
        (Additive(5, 4, 9), "Additive: it was made for keys of width 4"),
        (Additive(5, 4, 9).for_prepared_keys(), "Additive: it was made for keys of width 9"),
        (Concat(5, 4, 9), "Concat: it was made for keys of width 4"),
        (Location(4, 9), "Location: it was made for queries of width 4"),
    ],
)
def test_wrong_widths_are_told(score, message):
    with pytest.raises(ValueError, match=message):
        attend(torch.zeros(1, 1, 1, 5), torch.zeros(1, 1, 2, 6), torch.zeros(1, 1, 2, 6), score=score)


def test_additive_as_in_the_paper_begins_with_equal_weights_and_learns_v_first():
    torch.manual_seed(0)
    score = Additive(50, 60, 70)
    score.reset_parameters("paper")
    for weight in (score.query_weight, score.key_weight):
        assert weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert score.v.abs().sum() == score.bias.abs().sum() == 0
    query, key = torch.randn(1, 1, 2, 50), torch.randn(1, 1, 3, 60)
    assert torch.equal(score(query, key), torch.zeros(1, 1, 2, 3))
    attend(query, key, key, score=score, kernel="reference").square().sum().backward()
    assert score.v.grad.abs().sum() > 0
    assert score.query_weight.grad.abs().sum() == score.key_weight.grad.abs().sum() == 0


@pytest.mark.parametrize("make", [lambda: General(50, 60), lambda: Location(50, 60), lambda: Concat(50, 60)])
def test_scores_of_luong_begin_within_a_tenth_when_asked_to(make):
    score = make()
    score.reset_parameters("paper")
    largest = max(parameter.abs().max().item() for parameter in score.parameters())
    assert 0.09 < largest <= 0.1


@EVERY
def test_a_score_whose_parameters_are_coarser_than_its_queries_computes_in_the_type_of_the_queries(name):
    # An observer asks a bfloat16 model in float32.
    score, query, key = _given(name)
    if isinstance(score, nn.Module):
        score.bfloat16()
    assert score(query.float(), key.float()).dtype == torch.float32


def test_a_score_followed_by_modifiers_shares_its_parameters_and_leaves_the_first_as_it_was():
    general = General(D_QUERY, D_KEY)
    capped = general.then(SoftCap(1.0)).then(SoftCap(2.0))
    assert [modifier.cap for modifier in capped.modifiers] == [1.0, 2.0]
    assert general.modifiers == ()
    assert capped.weight is general.weight
