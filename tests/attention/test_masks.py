"""Masks: every rule is its definition written with loops, on any tile of the matrix and in any algebra."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.attention import ALiBi, ScaledDot, attend, masks
from heedful.attention.grid import Grid
from heedful.attention.masks import Mask
from tests.attention.mask_definitions import CPU, RULES, Definition, Sizes, expression, integers, sizes, tiles


def _check(draw, here: Sizes, mask: Mask, definition: Definition) -> None:
    """Written, any tile and its coverage say what the definition says."""
    assert mask.misfit(here.grid, (here.batch, here.heads)) is None
    expected = here.written(definition)
    assert torch.equal(here.of(mask), expected)
    written = mask.written(here.grid)
    assert torch.equal(written.allowed.expand_as(expected), expected)
    assert torch.equal(written.blocked, ~written.allowed)
    some = expected.any(-1, keepdim=True)
    if written.some is None:
        assert some.all()
    else:
        assert torch.equal(written.some.expand_as(some), some)
    tile = draw(tiles(here))
    part = expected[:, tile.heads, tile.rows, tile.keys]
    assert torch.equal(here.of(mask, tile), part)
    coverage = mask.coverage(tile)
    assert coverage in ("none", "some", "all")
    assert not (coverage == "none" and part.any())
    assert not (coverage == "all" and not part.all())


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@settings(max_examples=40)
@given(data=st.data())
def test_every_rule_is_its_definition_on_every_tile(rule, data):
    here = data.draw(sizes())
    _check(data.draw, here, *rule(data.draw, here))


@settings(max_examples=80)
@given(data=st.data())
def test_so_is_every_expression_of_the_algebra(data):
    here = data.draw(sizes())
    _check(data.draw, here, *expression(data.draw, here, depth=3))


EXACT = ("causal", "window", "padding", "not_padding", "prefix", "block", "layout", "given")


@pytest.mark.parametrize("rule", EXACT)
@settings(max_examples=40)
@given(data=st.data())
def test_where_positions_follow_each_other_coverage_is_exact(rule, data):
    here = data.draw(sizes(plain=True))
    mask, definition = RULES[rule](data.draw, here)
    tile = data.draw(tiles(here))
    part = here.written(definition)[:, tile.heads, tile.rows, tile.keys]
    assert mask.coverage(tile) == ("all" if part.all() else "some" if part.any() else "none")


@settings(max_examples=60)
@given(data=st.data())
def test_packed_documents_and_windows_around_one_centre_are_judged_exactly(data):
    here = data.draw(sizes(plain=True))
    grid, tile = here.grid, data.draw(tiles(here))
    for mask in (
        masks.document(integers(data.draw, (grid.keys,), 0, 3).sort().values),
        masks.around(torch.tensor([data.draw(st.integers(-1, 8))]), data.draw(st.integers(0, 40)) / 8),
    ):
        part = mask.tile(tile)
        assert mask.coverage(tile) == ("all" if part.all() else "some" if part.any() else "none")


@given(
    centers=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=4),
    reach=st.floats(0, 20),
    first=st.integers(0, 50),
    count=st.integers(1, 9),
)
def test_coverage_and_tile_round_the_same_way(centers, reach, first, count):
    grid = Grid(len(centers), first + count, CPU)
    mask = masks.around(torch.tensor(centers).unsqueeze(-1), reach)
    tile = grid.tile(slice(None), slice(first, first + count))
    allowed, coverage = mask.tile(tile), mask.coverage(tile)
    assert not (coverage == "none" and allowed.any())
    assert not (coverage == "all" and not allowed.all())


def test_a_tile_of_10_to_the_14_pairs_is_judged_without_being_made():
    tile = Grid(10**7, 10**7, CPU).tile()
    lengths = torch.tensor([10**7, 3])
    for mask in (
        masks.causal(),
        masks.window(5, 5),
        masks.padding(lengths),
        masks.prefix(lengths),
        masks.block(64),
        masks.causal() & ~masks.window(9, 0) | masks.prefix(7),
    ):
        assert mask.coverage(tile) == "some"


@settings(max_examples=40)
@given(data=st.data())
def test_de_morgan(data):
    here = data.draw(sizes())
    one, _ = expression(data.draw, here, depth=1)
    other, _ = expression(data.draw, here, depth=1)
    tile = data.draw(tiles(here))
    for left, right in ((~(one & other), ~one | ~other), (~(one | other), ~one & ~other)):
        assert torch.equal(here.of(left, tile), here.of(right, tile))
        assert left.coverage(tile) == right.coverage(tile)


def test_tensors_may_stand_on_either_side():
    grid, tensor = Grid(3, 4, CPU), torch.rand(2, 1, 3, 4) < 0.5
    causal = masks.causal().tile(grid.tile())
    for mask, expected in (
        (tensor & masks.causal(), tensor & causal),
        (masks.causal() & tensor, tensor & causal),
        (tensor | masks.causal(), tensor | causal),
        (masks.causal() | tensor, tensor | causal),
        (tensor & tensor & ~masks.causal(), tensor & ~causal),
    ):
        assert isinstance(mask, Mask)
        assert torch.equal(mask.tile(grid.tile()), expected)
    with pytest.raises(TypeError):
        tensor + masks.causal()


ORDERED = {
    "causal": masks.causal(),
    "causal window": masks.causal() & masks.window(2, 1),
    "prefix": masks.causal() | masks.prefix(3),
    "block": masks.causal() & masks.block(3),
    "strided": masks.causal() & masks.block(2, torch.eye(5, dtype=torch.bool) | (torch.arange(5) == 0)),
}


@pytest.mark.parametrize("mask", ORDERED.values(), ids=ORDERED.keys())
@pytest.mark.parametrize("queries", [1, 2])
def test_a_step_with_a_cache_sees_what_the_full_pass_sees(mask, queries):
    whole = mask.tile(Grid(9, 9, CPU).tile())
    for keys in range(queries, 10):
        step = mask.tile(Grid(queries, keys, CPU).tile())
        assert torch.equal(step, whole[keys - queries : keys, :keys])


@pytest.mark.parametrize("mask", ORDERED.values(), ids=ORDERED.keys())
def test_steps_and_shuffled_keys_attend_as_the_full_pass_does(mask):
    query, key, value = (torch.randn(2, 2, 9, 4, dtype=torch.float64) for _ in range(3))
    whole, order = attend(query, key, value, mask=mask), torch.randperm(9)
    shuffled = attend(query, key[:, :, order], value[:, :, order], mask=mask, key_positions=order)
    torch.testing.assert_close(shuffled, whole, rtol=0, atol=1e-13)
    for step in range(9):
        alone = attend(
            query[:, :, step : step + 1], key, value, mask=mask, query_positions=torch.tensor([step])
        )
        torch.testing.assert_close(alone, whole[:, :, step : step + 1], rtol=0, atol=1e-13)


def test_a_window_may_forget_what_it_has_passed():
    query, key, value = (torch.randn(1, 2, 9, 4, dtype=torch.float64) for _ in range(3))
    mask = masks.causal() & masks.window(2, None)
    whole = attend(query, key, value, mask=mask)
    for step in range(9):
        kept = slice(max(0, step - 3), step + 1)  # one more than is seen
        alone = attend(
            query[:, :, step : step + 1],
            key[:, :, kept],
            value[:, :, kept],
            mask=mask,
            query_positions=torch.tensor([step]),
            key_positions=torch.arange(9)[kept],
        )
        torch.testing.assert_close(alone, whole[:, :, step : step + 1], rtol=0, atol=1e-13)


def test_a_mask_is_written_once_for_all_layers_and_no_larger_than_it_is():
    mask, grid = masks.padding(torch.tensor([2, 4])), Grid(5, 4, CPU)
    assert mask.written(grid) is mask.written(Grid(5, 4, CPU))
    assert mask.written(grid).allowed.shape == (2, 1, 1, 4)
    assert mask.written(Grid(5, 6, CPU)).allowed.shape == (2, 1, 1, 6)
    placed = Grid(5, 4, CPU, positions_of_keys=torch.tensor([3, 2, 1, 0]))
    causal = masks.causal()
    assert not torch.equal(causal.written(Grid(5, 4, CPU)).allowed, causal.written(placed).allowed)


@pytest.mark.parametrize("mask", [masks.causal(), masks.padding(torch.tensor([3]))])
def test_a_mask_that_inference_has_seen_can_be_trained_with(mask):
    query = torch.randn(1, 2, 4, 8)
    score = ScaledDot().then(ALiBi(torch.tensor([0.5, 0.25])))
    with torch.inference_mode():
        seen = attend(query, query, query, score=score, mask=mask)
    query.requires_grad_()
    made = attend(query, query, query, score=score, mask=mask)
    made.sum().backward()
    torch.testing.assert_close(made.detach(), seen.clone())


def test_centers_get_no_gradient():
    centers = torch.tensor([[1.5], [2.0]], requires_grad=True)
    mask = masks.around(centers, 1)
    assert not mask.tile(Grid(2, 4, CPU).tile()).requires_grad
    assert mask.coverage(Grid(2, 4, CPU).tile()) == "some"
    # bfloat16 would put 257 at 256.
    far = masks.around(torch.tensor([[256.0]], dtype=torch.bfloat16), 0.5).tile(Grid(1, 300, CPU).tile())
    assert far.nonzero().tolist() == [[0, 256]]


def test_masks_read_like_the_algebra():
    mask = masks.causal() & masks.padding(torch.tensor([4, 7]))
    assert repr(mask) == "(causal() & padding([4, 7]))"
    assert repr(~mask | masks.window(3, None)) == "(~(causal() & padding([4, 7])) | window(3, None))"
    assert repr(masks.window(None, 0)) == "causal()"
    assert repr(masks.prefix(3) | masks.block(4)) == "(prefix(3) | block(4))"
    assert repr(masks.prefix(torch.arange(64))) == "prefix(<64>)"
    assert repr(masks.document(torch.zeros(2, 9).long())) == "document(<2 x 9>)"
    assert repr(masks.document(torch.tensor([0, 1]), torch.tensor([1]))) == "document([0, 1], [1])"
    assert repr(masks.around(torch.tensor([[1.5], [2.0]]), 2)) == "around([1.5, 2.0], 2)"
    assert repr(masks.block(2, torch.ones(3, 3).bool())) == "block(2, <3 x 3>)"
    assert repr(masks.as_mask(torch.ones(3, 3).bool())) == "given(<3 x 3>)"
    assert repr(masks.not_padding(torch.ones(3, 3), 0)) == "not_padding(<3 x 1 x 1 x 3>)"


INTEGERS = torch.tensor([1, 2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masks.window(-1, 2), "window's left must be a whole number of at least 0, got -1"),
        (lambda: masks.window(1, 2.5), "window's right must be a whole number of at least 0, got 2.5"),
        (lambda: masks.block(0), "block's size must be a whole number of at least 1, got 0"),
        (lambda: masks.block(2, torch.ones(2, 2)), r"takes a bool layout .* got torch.float32 of \(2, 2\)"),
        (lambda: masks.block(2, torch.ones(2).bool()), r"layout .* got torch.bool of \(2,\)"),
        (lambda: masks.prefix(-3), "prefix must be a whole number of at least 0, got -3"),
        (lambda: masks.prefix(torch.tensor([1.0])), "prefix must be integers, .* got torch.float32"),
        (lambda: masks.padding(INTEGERS.float()), "padding's lengths must be integers, .* got torch.float32"),
        (lambda: masks.padding(torch.ones(2, 3).long()), r"padding's lengths must be .* of \(2, 3\)"),
        (
            lambda: masks.padding(torch.ones(3).bool()),
            "padding's lengths must be integers, .* got torch.bool",
        ),
        (lambda: masks.not_padding(INTEGERS, 0), r"takes tokens \(batch, keys\), got \(2,\)"),
        (lambda: masks.document(INTEGERS.float()), "document takes integers as ids, .* got torch.float32"),
        (lambda: masks.document(INTEGERS, INTEGERS[None, None]), "document takes integers as query_ids"),
        (lambda: masks.around(torch.ones(3), 2), r"around takes centers .* got \(3,\)"),
        (lambda: masks.around(torch.ones(3, 1), -1.0), "around takes a reach of at least 0, got -1.0"),
        (lambda: masks.causal() & torch.ones(3), "A mask is bool .* got torch.float32; masks.from_additive"),
        (lambda: masks.causal() & 3, "A mask is one of heedful.attention.masks or a bool tensor, got 3"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            masks.padding(torch.tensor([1, 2, 3])),
            r"padding\(\[1, 2, 3\]\) is for a batch of 3, got a batch of 2",
        ),
        (masks.causal() | ~masks.prefix(torch.tensor([1, 2, 3])), "is for a batch of 3, got a batch of 2"),
        (masks.document(torch.zeros(6).long()), r"has ids \(6,\) for 5 keys and a batch of 2"),
        (masks.document(torch.zeros(3, 5).long()), r"has ids \(3, 5\) for 5 keys and a batch of 2"),
        (masks.document(torch.zeros(5).long(), INTEGERS), r"has ids \(2,\) for 6 queries"),
        (masks.document(torch.zeros(5).long()), "needs query_ids: 6 queries cannot be the last of 5 keys"),
        (masks.around(torch.zeros(7, 1), 2), r"\(7, 1\) does not broadcast to .* = \(2, 4, 6, 5\)"),
        (masks.block(2, torch.ones(3, 3, 3).bool()), "is for 3 heads, got 4"),
        (masks.block(9, torch.ones(2, 2).bool()), "has no place for queries of the blocks -1 to 0"),
        (masks.not_padding(torch.ones(2, 6), 0), r"\(2, 1, 1, 6\) does not broadcast"),
    ],
)
def test_masks_of_other_sizes_are_refused(mask, message):
    query, key = torch.zeros(2, 4, 6, 3), torch.zeros(2, 4, 5, 3)
    with pytest.raises(ValueError, match="The mask .*" + message):
        attend(query, key, key, mask=mask)
