"""Influence through layers equals the product of dense matrices, though none is ever made."""

import math
from collections.abc import Callable, Sequence
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heedful.attention import (
    ALiBi,
    Gaussian,
    Record,
    ScaledDot,
    influence,
    masks,
    observe,
    positions,
    recomputed,
)
from heedful.attention.attend import make_call
from heedful.attention.influence import Rollout, Step, WidestPath, decoder_steps
from heedful.models import DecoderOnlySettings, DecoderOnlyTransformer, Transformer, TransformerSettings
from tests.attention.largest import Largest

HEADS = 4
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
MASKS: dict[str, Callable[[int], masks.Mask | Tensor | None]] = {
    "none": lambda n: None,
    "causal": lambda n: masks.causal(),
    "window": lambda n: masks.window(2, 1),
    "padding": lambda n: masks.padding(torch.tensor([n, n // 2])),
    "nothing for one sentence": lambda n: masks.padding(torch.tensor([0, n])),
    "only others": lambda n: ~torch.eye(n, dtype=torch.bool),
    "any": lambda n: torch.rand(2, HEADS, n, n) < 0.4,
}
few = settings(max_examples=15)
seeds, lengths = st.integers(0, 2**20), st.integers(1, 13)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(recomputed, "BLOCK", 300)
    monkeypatch.setattr(recomputed, "ROWS", 6)
    monkeypatch.setattr(recomputed, "CHUNK", 5)


def _record(n: int, m: int | None = None, mask=None, score=None, kv_heads: int = 2) -> Record:
    query = 2 * torch.randn(2, HEADS, n, 6, dtype=torch.float64)
    key = torch.randn(2, kv_heads, m or n, 6, dtype=torch.float64)
    return Record(make_call(query, key, key, mask=mask, score=score))


def _layers(seed: int, n: int, mask: str, score=None) -> list[Record]:
    torch.manual_seed(seed)
    return [_record(n, mask=MASKS[mask](n), score=score) for _ in range(3)]


def _with_residual(record: Record, residual: float, heads: str = "mean") -> Tensor:
    """Abnar and Zuidema's A': (batch, n, n), every row of which sums to one."""
    weights = record.weights()
    fused = weights.mean(1) if heads == "mean" else weights.amax(1)
    whole = (1 - residual) * fused + residual * torch.eye(fused.shape[-1], dtype=fused.dtype)
    return whole / whole.sum(-1, keepdim=True)


def _product(matrices: Sequence[Tensor]) -> Tensor:
    result = matrices[0]
    for matrix in matrices[1:]:
        result = matrix @ result
    return result


def _widest(matrices: Sequence[Tensor]) -> Tensor:
    """The product with minimum for times and maximum for plus."""
    result = matrices[0]
    for matrix in matrices[1:]:
        result = torch.minimum(matrix.unsqueeze(-1), result.unsqueeze(1)).amax(2)
    return result


@few
@given(
    seeds,
    lengths,
    st.sampled_from(list(MASKS)),
    st.sampled_from([0.5, 0.1]),
    st.sampled_from(["mean", "maximum"]),
)
def test_rollout_is_the_product_of_the_layers(seed, n, mask, residual, heads):
    layers = _layers(seed, n, mask)
    dense = _product([_with_residual(layer, residual, heads) for layer in layers])
    rollout = Rollout(layers, residual, heads)
    rows = rollout.rows(slice(None))["tokens"]
    torch.testing.assert_close(rows, dense, **CLOSE)
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, n, dtype=torch.float64), **CLOSE)
    torch.testing.assert_close(rollout.columns(slice(None)), dense, **CLOSE)
    some = [n - 1, 0, -1]
    torch.testing.assert_close(rollout.rows(some)["tokens"], dense[:, some], **CLOSE)
    torch.testing.assert_close(rollout.columns(some), dense[:, :, some], **CLOSE)
    torch.testing.assert_close(rollout.rows(n // 2)["tokens"], dense[:, n // 2, None], **CLOSE)


@few
@given(seeds, lengths, st.sampled_from(list(MASKS)), st.sampled_from([0.5, 0.1]))
def test_the_widest_path_is_the_product_of_minimum_and_maximum(seed, n, mask, residual):
    layers = _layers(seed, n, mask)
    dense = _widest([_with_residual(layer, residual) for layer in layers])
    paths = WidestPath(layers, residual)
    torch.testing.assert_close(paths.rows(slice(None))["tokens"], dense, **CLOSE)
    torch.testing.assert_close(paths.columns(slice(None)), dense, **CLOSE)


def test_the_widest_path_is_the_best_of_all_paths():
    layers = _layers(0, 4, "any")
    matrices = [_with_residual(layer, 0.5)[1] for layer in layers]
    best = torch.zeros(4, 4, dtype=torch.float64)
    for start, first, second, end in product(range(4), repeat=4):
        edges = matrices[0][first, start], matrices[1][second, first], matrices[2][end, second]
        best[end, start] = max(best[end, start], min(edges))
    torch.testing.assert_close(WidestPath(layers).columns(range(4))[1], best, **CLOSE)


def _maximum_flow(matrices: Sequence[Tensor], start: int, end: int) -> float:
    """Edmonds and Karp 1972 on the layered graph, from output `start` of the last layer down to input `end`."""
    n = matrices[0].shape[0]
    left: dict[tuple[int, int], float] = {}
    for layer, matrix in enumerate(matrices):
        for i, j in product(range(n), repeat=2):
            left[(layer + 1) * n + i, layer * n + j] = float(matrix[i, j])
            left[layer * n + j, (layer + 1) * n + i] = 0.0
    source, sink, total = len(matrices) * n + start, end, 0.0
    while True:
        before, queue = {source: source}, [source]
        for node in queue:
            for a, b in left:
                if a == node and b not in before and left[a, b] > 1e-12:
                    before[b] = a
                    queue.append(b)
        if sink not in before:
            return total
        path, node = [], sink
        while node != source:
            path.append((before[node], node))
            node = before[node]
        flow = min(left[edge] for edge in path)
        for a, b in path:
            left[a, b] -= flow
            left[b, a] += flow
        total += flow


def test_the_widest_path_carries_a_part_of_the_maximum_flow():
    layers = _layers(3, 4, "none")
    matrices = [_with_residual(layer, 0.5)[0] for layer in layers]
    widest = WidestPath(layers).rows(slice(None))["tokens"][0]
    for start, end in ((0, 0), (1, 3), (3, 2)):
        flow = _maximum_flow(matrices, start, end)
        # n^(layers - 1) paths, of which it is the best, carry all of the flow.
        assert flow / 16 <= float(widest[start, end]) <= flow < 1 + 1e-9


def _dense_of_decoder(own, cross, encoder) -> Tensor:
    """One matrix a step over both streams, source first: (batch, target, source + target)."""
    n, m = own[0].shape[2], cross[0].shape[3]
    result = torch.eye(m + n, dtype=torch.float64).expand(2, -1, -1)
    source, target = slice(m), slice(m, None)

    def step(record: Record, reads: slice, writes: slice) -> None:
        nonlocal result
        matrix = torch.eye(m + n, dtype=torch.float64).repeat(2, 1, 1)
        matrix[:, writes, writes] /= 2
        matrix[:, writes, reads] += record.weights().mean(1) / 2
        result = matrix / matrix.sum(-1, keepdim=True) @ result

    for record in encoder:
        step(record, source, source)
    for one, other in zip(own, cross, strict=True):
        step(one, target, target)
        step(other, source, target)
    return result[:, target]


@few
@given(seeds, lengths, lengths)
def test_a_decoder_draws_from_source_and_target(seed, n, m):
    torch.manual_seed(seed)
    padding = masks.padding(torch.tensor([m, m // 2]))
    own = [_record(n, mask=masks.causal()) for _ in range(2)]
    cross = [_record(n, m, mask=padding) for _ in range(2)]
    encoder = [_record(m, mask=padding) for _ in range(2)]
    dense = _dense_of_decoder(own, cross, encoder)
    rollout = Rollout(decoder_steps(own, cross, encoder))
    rows = rollout.rows(slice(None))
    torch.testing.assert_close(rows["source"], dense[..., :m], **CLOSE)
    torch.testing.assert_close(rows["target"], dense[..., m:], **CLOSE)
    torch.testing.assert_close(rollout.columns(slice(None)), dense[..., :m], **CLOSE)
    torch.testing.assert_close(rollout.columns(slice(None), of="target"), dense[..., m:], **CLOSE)
    total = rows["source"].sum(-1) + rows["target"].sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), **CLOSE)
    memory = Rollout(decoder_steps(own, cross)).rows(-1)
    torch.testing.assert_close(memory["source"][:, 0], _dense_of_decoder(own, cross, [])[:, -1, :m], **CLOSE)
    widest = WidestPath(decoder_steps(own, cross, encoder))
    torch.testing.assert_close(widest.rows(range(n))["source"], widest.columns(range(m)), **CLOSE)


@few
@given(seeds, lengths, st.sampled_from(["none", "causal", "padding", "any"]))
def test_what_is_received_is_the_sum_of_rows_over_those_who_may_see(seed, n, mask):
    layers = _layers(seed, n, mask)
    dense = _product([_with_residual(layer, 0.5) for layer in layers])
    counted = torch.rand(2, n) < 0.7
    rollout = Rollout(layers)
    torch.testing.assert_close(rollout.received()["tokens"], dense.sum(1), **CLOSE)
    found = rollout.received(counted)["tokens"]
    torch.testing.assert_close(found, (dense * counted.unsqueeze(-1)).sum(1), **CLOSE)
    seen = torch.eye(n, dtype=torch.bool) | (
        torch.ones(n, n, dtype=torch.bool)
        if layers[-1].mask is None
        else layers[-1].mask.tile(layers[-1].grid.tile())
    )
    seen = seen.expand(2, HEADS, n, n).any(1)
    fields = (seen * counted.unsqueeze(-1)).sum(1).clamp_min(1)
    torch.testing.assert_close(rollout.received(counted, True)["tokens"], found / fields, **CLOSE)


def test_in_a_decoder_position_j_is_seen_by_all_from_itself_on():
    # Attention spread evenly over what may be seen favours the first positions ever more, layer by layer.
    n = 6
    query = torch.zeros(1, 1, n, 4, dtype=torch.float64)
    layers = [Record(make_call(query, query, query, mask=masks.causal())) for _ in range(2)]
    rollout = Rollout(layers)
    plain, fair = rollout.received()["tokens"][0], rollout.received(by_receptive_field=True)["tokens"][0]
    torch.testing.assert_close(fair, plain / torch.arange(n, 0, -1))
    assert bool((plain.diff() < 0).all())
    assert float(plain[0] / plain[-1]) > 2 * float(fair[0] / fair[-1])
    assert not rollout.columns(3)[0, :3].any()


def test_the_source_of_a_decoder_is_seen_by_the_target():
    own, cross, encoder = [_record(3, mask=masks.causal())], [_record(3, 5)], [_record(5)]
    rollout = Rollout(decoder_steps(own, cross, encoder))
    plain, fair = rollout.received(), rollout.received(by_receptive_field=True)
    torch.testing.assert_close(fair["source"], plain["source"] / 3, **CLOSE)
    torch.testing.assert_close(fair["target"], plain["target"] / torch.tensor([3, 2, 1]), **CLOSE)
    with pytest.raises(ValueError, match="'b', do not attend to 'a' themselves"):
        Rollout([Step(_record(3, 5), "a", "m"), Step(_record(3), "m", "b")]).received(by_receptive_field=True)


def test_weights_that_do_not_sum_to_one_are_taken_as_shares():
    score = ScaledDot().then(
        ALiBi(positions.alibi_slopes(HEADS)), Gaussian(3 * torch.rand(2, HEADS, 5, 1), 2.0)
    )
    layers = _layers(0, 5, "none", score)
    rows = Rollout(layers).rows(slice(None))["tokens"]
    torch.testing.assert_close(rows, _product([_with_residual(layer, 0.5) for layer in layers]), **CLOSE)
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 5, dtype=torch.float64), **CLOSE)


def test_without_a_residual_it_is_the_product_of_the_weights():
    layers = _layers(0, 5, "causal")
    dense = _product([layer.weights().mean(1) for layer in layers])
    torch.testing.assert_close(Rollout(layers, residual=0.0).columns(range(5)), dense, **CLOSE)
    blind = _layers(0, 6, "nothing for one sentence")
    assert not Rollout(blind, residual=0.0).rows(slice(None))["tokens"][0].any()


def test_one_head_is_taken_by_its_record():
    layers = [layer.head(2) for layer in _layers(0, 5, "causal")]
    dense = _product(
        [(layer.weights().squeeze(1) + torch.eye(5, dtype=torch.float64)) / 2 for layer in layers]
    )
    torch.testing.assert_close(Rollout(layers).columns(range(5)), dense, **CLOSE)


def test_models_are_rolled_out_from_what_was_seen_of_them():
    choices = {"d_model": 16, "d_ff": 24, "heads": 4, "encoder_layers": 2, "decoder_layers": 2}
    model = Transformer(TransformerSettings(**choices), 11, 11).double().eval()
    source, target = torch.tensor([[4, 5, 6, 2], [7, 2, 0, 0]]), torch.tensor([[1, 8, 9], [1, 4, 0]])
    with observe(model) as seen:
        model(source, target)
    own, cross = (
        [seen[f"decoder.layers.{n}.{kind}"] for n in range(2)]
        for kind in ("self_attention", "cross_attention")
    )
    encoder = [seen[f"encoder.layers.{n}.self_attention"] for n in range(2)]
    rows = Rollout(decoder_steps(own, cross, encoder)).rows(slice(None))
    dense = _dense_of_decoder(own, cross, encoder)
    torch.testing.assert_close(torch.cat([rows["source"], rows["target"]], -1), dense, **CLOSE)
    assert not rows["source"][1, :, 2:].any()  # padding


def test_steps_of_decoding_joined_roll_out_as_the_full_pass():
    model = (
        DecoderOnlyTransformer(DecoderOnlySettings(d_model=16, d_ff=16, heads=2, layers=2), 11, 11)
        .double()
        .eval()
    )
    source, target = torch.tensor([[4, 5, 6, 2]]), torch.tensor([[1, 8, 9]])
    names = [f"decoder.layers.{n}.self_attention" for n in range(2)]
    with observe(model) as whole, torch.no_grad():
        model(source, target)
    with observe(model) as seen, torch.no_grad():
        state = model.start(model.encode(source))
        for tokens in target.t():
            _, state = model.step(tokens, state)
    joined = Rollout([seen.joined(name) for name in names])
    expected = Rollout([whole[name] for name in names])
    torch.testing.assert_close(joined.columns([0, 4]), expected.columns([0, 4]), **CLOSE)
    torch.testing.assert_close(joined.rows(-1), expected.rows(-1), **CLOSE)
    with pytest.raises(ValueError, match="steps of decoding joined"):
        Rollout([seen[name] for name in names])


def test_no_matrix_is_made(monkeypatch):
    # Blocks of 6 rows: the largest tensor that any operation makes has 6 x n weights of 4 heads, not n x n.
    sizes = []
    monkeypatch.setattr(influence, "ROWS", 4)
    for n in (24, 48):
        monkeypatch.setattr(recomputed, "BLOCK", 2 * 4 * 6 * n)
        layers = _layers(0, n, "causal")[:2]
        with Largest() as largest:
            Rollout(layers).rows([3, n - 1])
            Rollout(layers).columns([3])
            WidestPath(layers).columns([3])
            Rollout(layers).received(by_receptive_field=True)
        sizes.append(largest.elements)
    assert sizes[1] <= 2 * sizes[0]


def test_what_does_not_fit_is_refused():
    layers = [_record(4), _record(4)]
    with pytest.raises(ValueError, match="at least one layer"):
        Rollout([])
    with pytest.raises(ValueError, match="less than 1, got 1"):
        Rollout(layers, residual=1)
    with pytest.raises(ValueError, match="got 'median'"):
        Rollout(layers, heads="median")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"'tokens' has 4 vectors, but step 1 has 5 queries"):
        Rollout([_record(4), _record(5)])
    with pytest.raises(ValueError, match="2 and 1"):
        decoder_steps(layers, layers[:1])
    with pytest.raises(IndexError, match="no position 4: 'tokens' has 4"):
        Rollout(layers).rows(4)
    with pytest.raises(ValueError, match="no stream 'words'; there are tokens"):
        Rollout(layers).columns(0, of="words")


def test_influence_of_float32_models_is_float32_and_near():
    torch.manual_seed(0)
    query = torch.randn(1, 2, 33, 8)
    layers = [Record(make_call(query, query, query, mask=masks.causal())) for _ in range(3)]
    rows = Rollout(layers).rows(slice(None))["tokens"]
    assert rows.dtype == torch.float32
    exact = _product([_with_residual(layer, 0.5) for layer in layers])
    assert math.isclose(float((rows - exact).abs().max()), 0, abs_tol=1e-6)
