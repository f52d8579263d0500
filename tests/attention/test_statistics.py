"""Statistics of weights equal those of the matrix written out, whatever the score, the mask and the blocks."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from heedful.attention import (
    Additive,
    ALiBi,
    Bias,
    Cosine,
    Gaussian,
    General,
    Location,
    Record,
    RelativeBuckets,
    RelativePositions,
    Rotary,
    ScaledDot,
    SoftCap,
    masks,
    positions,
    recomputed,
)
from heedful.attention.attend import make_call
from heedful.attention.kernels import reference
from heedful.attention.matrix import Joined, Written
from heedful.attention.overview import Overview
from heedful.attention.statistics import Distance, Entropy, Maximum, Position, Received, Spread, Top

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
HEADS = 4
few = settings(max_examples=25)

SCORES = {
    "scaled dot": lambda n, m: ScaledDot(),
    "rotary": lambda n, m: Rotary(),
    "cosine": lambda n, m: Cosine(3.0),
    "general": lambda n, m: General(6, 6),
    "location": lambda n, m: Location(6, 40),
    "additive": lambda n, m: Additive(6, 6, 5),
    "shaw": lambda n, m: ScaledDot().then(RelativePositions(torch.randn(HEADS, 9, 6))),
    "t5": lambda n, m: ScaledDot().then(
        RelativeBuckets(torch.randn(8, HEADS), both_sides=False, furthest=20)
    ),
    "alibi, capped": lambda n, m: ScaledDot().then(ALiBi(positions.alibi_slopes(HEADS)), SoftCap(2.0)),
    "bias of heads": lambda n, m: ScaledDot().then(Bias(torch.randn(HEADS, n, m))),
    "bias of keys that hides some": lambda n, m: ScaledDot().then(
        Bias(torch.randn(m).masked_fill(torch.rand(m) < 0.3, -math.inf))
    ),
    "gaussian": lambda n, m: ScaledDot().then(Gaussian(m * torch.rand(2, HEADS, n, 1), 4.0)),
}
MASKS = {
    "none": lambda n, m: None,
    "causal": lambda n, m: masks.causal(),
    "window": lambda n, m: masks.window(3, 2),
    "padding": lambda n, m: masks.padding(torch.tensor([m, m // 2])),
    "nothing for one sentence": lambda n, m: masks.padding(torch.tensor([0, m])),
    "causal in documents": lambda n, m: (
        masks.causal() & masks.document(torch.arange(m) // 7, torch.arange(n) // 7)
    ),
    "any": lambda n, m: torch.rand(2, HEADS, n, m) < 0.4,
    "far apart": lambda n, m: masks.prefix(2) | masks.window(1, 0),
}


@st.composite
def _calls(draw, dtype=None):
    """A call of attention, and its weights written out."""
    torch.manual_seed(draw(st.integers(0, 2**20)))
    n, m = draw(st.integers(1, 23)), draw(st.integers(1, 23))
    kv_heads = draw(st.sampled_from([1, 2, HEADS]))
    dtype = dtype or draw(st.sampled_from(list(TOLERANCE)))
    query = torch.randn(2, HEADS, n, 6, dtype=dtype)
    key = torch.randn(2, kv_heads, m, 6, dtype=dtype)
    score = SCORES[draw(st.sampled_from(list(SCORES)))](n, m)
    mask = MASKS[draw(st.sampled_from(list(MASKS)))](n, m)
    places = {}
    if draw(st.booleans()):
        places = {"query_positions": torch.randint(30, (2, n)), "key_positions": torch.randperm(30)[:m]}
    if n > m and mask is not None and "document" in repr(mask):
        mask = None
    call = make_call(query, key, key, score=score, mask=mask, **places)
    weights = _dense(call)
    return call, weights


def _dense(call) -> Tensor:
    with torch.no_grad():
        return reference.weights(call)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of a few rows and heads, so that short sequences have many."""
    monkeypatch.setattr(recomputed, "BLOCK", 200)
    monkeypatch.setattr(recomputed, "ROWS", 4)
    monkeypatch.setattr(recomputed, "CHUNK", 5)


def _close(one: Tensor, other: Tensor, scale: float = 1.0) -> None:
    torch.testing.assert_close(one, other, rtol=TOLERANCE[other.dtype], atol=TOLERANCE[other.dtype] * scale)


def _positions(call) -> tuple[Tensor, Tensor]:
    tile = call.grid.tile()
    return tile.query_positions.double(), tile.key_positions.double()


@few
@given(_calls())
def test_rows_tiles_and_heads_are_those_of_the_matrix(drawn):
    call, dense = drawn
    record = Record(call)
    n, m = dense.shape[2:]
    for rows, keys in ((slice(n // 3, 2 * n // 3 + 1), slice(m // 2, m)), (slice(None), slice(-1, None))):
        _close(record.weights(rows, keys), dense[:, :, rows, keys])
        _close(Record(call).head(2).weights(rows, keys), dense[:, 2:3, rows, keys])
    _close(record.row(n - 1), dense[:, :, -1])
    _close(record.weights(), dense)
    sums = record.weights().sum(-1)
    if record.score.factor(call.grid.tile()) is None:
        _close(sums, (record.log_sum_exp() > -math.inf).to(sums.dtype))


@few
@given(_calls())
def test_statistics_of_rows_are_those_of_the_matrix(drawn):
    call, dense = drawn
    # A Gaussian far from all keys leaves weights that are no ordinary numbers: the record has them as logarithms.
    nothing = Record(call).log_sum_exp() == -math.inf
    assume(bool((nothing | (dense.sum(-1) > 1e-30)).all()))
    exact = dense.double()
    exact = exact / exact.sum(-1, keepdim=True).clamp_min(1e-300)
    query, key = _positions(call)
    position = (exact * key).sum(-1)
    spread = (exact * (key - position.unsqueeze(-1)) ** 2).sum(-1).sqrt()
    expected = {
        Entropy(): torch.special.entr(exact).sum(-1),
        Maximum(): dense.amax(-1),
        Position(): position,
        Distance(): (exact * (key - query).abs()).sum(-1),
        Spread(): spread,
    }
    record = Record(call)
    for one, of, other in zip(expected, record.measure(*expected), expected.values(), strict=True):
        if one == Spread():  # a root of a sum of squares of positions up to 30 has the root of its error
            _close(of**2, (other**2).to(dense.dtype), 900)
        else:
            _close(of, other.to(dense.dtype), 30)
    _close(record.head(1).entropy(), record.entropy()[:, 1:2], 10)


@few
@given(_calls())
def test_statistics_of_columns_are_those_of_the_matrix(drawn):
    call, dense = drawn
    record = Record(call)
    _close(record.received(), dense.sum(-2), 10)
    seen = torch.ones(1, 1, dtype=torch.bool) if call.mask is None else call.mask.tile(call.grid.tile())
    fields = seen.expand(dense.shape).sum(-2).clamp_min(1)
    _close(record.received(by_receptive_field=True), dense.sum(-2) / fields)
    _close(record.head(3).received(True), (dense.sum(-2) / fields)[:, 3:])
    m = dense.shape[3]
    chosen = torch.rand(2, m) < 0.4
    _close(record.mass(chosen), (dense * chosen[:, None, None]).sum(-1))
    _close(record.mass(chosen[0]), dense[..., chosen[0]].sum(-1))
    _close(record.mass(0), dense[..., 0])
    _close(record.head(1).mass([-1, 0]), dense[:, 1:2, :, sorted({0, m - 1})].sum(-1))
    _close(record.mass(slice(1, 4)), dense[..., 1:4].sum(-1))
    query, key = _positions(call)
    for offset in (-1, 0, 1, 5):
        _close(record.at(offset), (dense * (key - query == offset)).sum(-1))


@few
@given(_calls(), st.integers(1, 9))
def test_the_largest_weights_are_found_with_their_keys(drawn, k):
    call, dense = drawn
    values, keys = Record(call).top(k)
    expected = dense.topk(min(k, dense.shape[-1])).values
    _close(values, expected)
    assert torch.equal(keys == -1, values == 0)
    _close(dense.gather(-1, keys.clamp_min(0)).masked_fill(keys < 0, 0.0), values)


@few
@given(_calls(), st.integers(1, 30))
def test_an_overview_is_the_matrix_pooled_and_its_coarser_levels_follow(drawn, size):
    call, dense = drawn
    picture = Record(call).overview(size)
    n, m = dense.shape[2:]
    while True:
        rows, columns = picture.cell
        height, width = math.ceil(n / rows), math.ceil(m / columns)
        cells = width * (torch.arange(n) // rows).unsqueeze(1) + torch.arange(m) // columns
        for found, reduce in ((picture.mean, "mean"), (picture.maximum, "amax")):
            flat = torch.zeros(2, HEADS, height * width, dtype=dense.dtype)
            places = cells.flatten().expand(2, HEADS, n * m)
            pooled = flat.scatter_reduce(-1, places, dense.flatten(2), reduce, include_self=False)
            _close(found, pooled.unflatten(-1, (height, width)))
        if picture.mean.shape[2:] == (1, 1):
            break
        picture = picture.coarser()
    first = Record(call).overview(size)
    assert max(first.mean.shape[2:]) <= size
    assert all(
        cell == 1 or math.ceil(length / (cell // 2)) > size
        for cell, length in zip(first.cell, (n, m), strict=True)
    )


@few
@given(
    st.integers(0, 2**20),
    st.sampled_from(["none", "causal", "window", "far apart"]),
    st.sampled_from(list(TOLERANCE)),
    st.sampled_from([1, 2, HEADS]),
    st.integers(1, 5),
    st.integers(1, 6),
)
def test_steps_joined_have_the_statistics_of_the_full_pass(seed, mask, dtype, kv_heads, before, steps):
    # A prompt in one call, then one query at a time over keys that grow.
    torch.manual_seed(seed)
    n = before + steps
    query = torch.randn(2, HEADS, n, 6, dtype=dtype)
    key = torch.randn(2, kv_heads, n, 6, dtype=dtype)
    rule = masks.causal() if MASKS[mask](n, n) is None else MASKS[mask](n, n) & masks.causal()
    score = ScaledDot().then(ALiBi(positions.alibi_slopes(HEADS)))

    def call(start: int, stop: int) -> recomputed.Recomputed:
        part = key[:, :, :stop]
        return recomputed.Recomputed(make_call(query[:, :, start:stop], part, part, score=score, mask=rule))

    one_by_one = [Written.of(call(place, place + 1)) for place in range(before, n)]
    joined, whole = Record(Joined([call(0, before), *one_by_one])), Record(call(0, n))
    statistics = Entropy(), Maximum(), Position(), Distance(), Spread(), Received()
    for of, other in zip(joined.measure(*statistics), whole.measure(*statistics), strict=True):
        _close(of, other, 30)
    expected = whole.summary()
    for name, of in joined.summary().items():
        _close(of, expected[name], 30)
    _close(joined.top(3)[0], whole.top(3)[0])
    picture, other = joined.overview(5), whole.overview(5)
    _close(picture.mean, other.mean)
    _close(picture.maximum, other.maximum)
    _close(joined.mass([0, -1]), whole.mass([0, -1]))


@few
@given(_calls(torch.float64))
def test_one_pass_gives_all_and_is_not_made_again(drawn):
    call, dense = drawn
    record = Record(call)
    passes = []
    blocks = record.matrix.blocks
    record.matrix.blocks = lambda heads, logs: passes.append(heads) or blocks(heads, logs)  # pyright: ignore
    record.measure(Entropy(), Received(), Top(2), Overview(4))
    record.entropy(), record.received(), record.top(2), record.overview(4)
    assert passes == [slice(0, HEADS)]
    assert record.measure() == []
    summary = record.summary()
    assert set(summary) >= {"entropy", "maximum", "distance", "spread", "first", "previous", "itself", "next"}
    counted = (record.log_sum_exp() > -math.inf).sum(-1).clamp_min(1)
    _close(summary["first"], dense[..., 0].sum(-1) / counted)
    assert summary["entropy"].shape == (2, HEADS)


def test_queries_that_see_nothing_have_zeros_everywhere():
    query, key = torch.randn(2, 1, HEADS, 9, 6)
    record = Record(make_call(query, key, key, mask=torch.arange(9).unsqueeze(-1) > 4))
    for statistic in ("entropy", "maximum", "position", "distance", "spread"):
        found = getattr(record, statistic)()
        assert not found[:, :, :5].any()
        assert bool((found[:, :, 5:] > 0).all())
    assert bool((record.log_sum_exp()[:, :, :5] == -math.inf).all())
    assert not record.weights()[:, :, :5].any()
    summary = record.summary(queries=torch.arange(9) < 7)
    torch.testing.assert_close(summary["entropy"], record.entropy()[:, :, 5:7].mean(-1))


def test_far_away_and_narrow_is_told_from_wide():
    # All weight on two neighbouring keys 60,000 positions away: in float32 the squares of such distances are known to
    # within some hundreds only.
    query = torch.full((1, 1, 4, 1), 60.0)
    key = torch.zeros(1, 1, 300, 1)
    key[:, :, [7, 8]] = 1.0
    places = torch.arange(300)
    record = Record(make_call(query, key, key, query_positions=places[:4] + 60_000, key_positions=places))
    torch.testing.assert_close(record.spread(), torch.full((1, 1, 4), 0.5))
    torch.testing.assert_close(record.distance(), 60_000 + torch.arange(4).reshape(1, 1, 4) - 7.5)


def test_models_of_bfloat16_are_looked_at_in_float32():
    query, key = torch.randn(2, 1, HEADS, 9, 6).bfloat16()
    score = General(6, 6).bfloat16()
    record = Record(make_call(query, key, key, score=score, mask=masks.causal()))
    exact = make_call(query.float(), key.float(), key.float(), score=score.float(), mask=masks.causal())
    for found, expected in ((record.weights(), _dense(exact)), (record.entropy(), Record(exact).entropy())):
        assert found.dtype == torch.float32
        _close(found, expected)


def test_what_is_not_there_is_refused():
    query = torch.randn(1, 2, 3, 4)
    record = Record(make_call(query, query, query))
    with pytest.raises(IndexError, match="no head 2: the record has 2, counted from 0"):
        record.head(2)
    with pytest.raises(IndexError, match="no query 3: the record has 3"):
        record.row(3)
    with pytest.raises(IndexError, match="no key 3: the record has 3"):
        record.mass([0, 3])
    with pytest.raises(ValueError, match=r"bools \(3,\) or \(1, 3\), got \(4,\)"):
        record.mass(torch.ones(4) > 0)
    with pytest.raises(ValueError, match="without gaps, got a slice of step 2"):
        record.weights(rows=slice(0, 3, 2))


def test_a_factor_in_lower_precision_loses_nothing_in_the_logarithm():
    query, key = torch.randn(2, 1, HEADS, 9, 6, dtype=torch.float64)
    score = ScaledDot().then(Gaussian(torch.rand(1, HEADS, 9, 1), 4.0))  # float32
    call = make_call(query, key, key, score=score)
    shares = _dense(call)
    shares /= shares.sum(-1, keepdim=True)
    _close(Record(call).entropy(), torch.special.entr(shares).sum(-1))


def test_a_rectangle_without_rows_or_keys_is_empty():
    query = torch.randn(1, HEADS, 9, 6)
    for score in (Rotary(), Location(6, 9), ScaledDot()):
        record = Record(make_call(query, query, query, score=score))
        assert record.weights(keys=slice(4, 4)).shape == (1, HEADS, 9, 0)
        assert record.weights(rows=slice(9, 12)).shape == (1, HEADS, 0, 9)
